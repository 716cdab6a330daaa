"""Settled grasps: where they end up, and the cache that keeps them."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from vtenv.tasks.insertion import grasp_bank, scene
from vtenv.tasks.insertion.config import HeldPlugConfig, InitialStateRanges
from vtenv.tasks.insertion.connectors import CONNECTORS, SHOULDER_IN_HAND
from vtenv.tasks.insertion.grasp_bank import (
    BANK_SIZE,
    GRASP_SIZE,
    GraspBank,
    load_bank,
    settle_grasps,
)

SMALL = 4  # grasps a connector where the number does not matter
USB = CONNECTORS["usb"]
SHIFTED = np.array([0, 0, 0.1, 0, 0, 0, 0, 0, 0])
OPENED = np.array([0.02, 0.02, 0, 0, 0, 0, 0, 0, 0])
IN_HAND = ("in_hand_x_mm", "in_hand_z_mm", "in_hand_pitch_deg")
UNITS = np.array([1e-3, 1e-3, np.pi / 180])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder; nothing loaded from it outlives the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_bank.cache_clear()
    yield tmp_path / "vtinsert"
    load_bank.cache_clear()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grasp_bank, "BANK_SIZE", SMALL)


def reload(ranges: InitialStateRanges | None = None, num_threads: int = 1) -> NDArray[np.float64]:
    """The bank as another process would load it."""
    load_bank.cache_clear()
    return load_bank(USB, ranges or InitialStateRanges(), num_threads)


def placement(grasps: NDArray[np.float64]) -> NDArray[np.float64]:
    """The plug's x, z [m] and pitch [rad] in the hand, as they are asked for; (..., 3)."""
    w, x, y, z = np.moveaxis(grasps[..., 5:9], -1, 0)
    axis_x, axis_z = 1 - 2 * (y * y + z * z), 2 * (x * z - w * y)
    return np.stack(
        [grasps[..., 2] - SHOULDER_IN_HAND, grasps[..., 4], np.arctan2(-axis_z, axis_x)], axis=-1
    )


def requests(bounds: list[tuple[float, float]], inside: int) -> NDArray[np.float64]:
    """Corners of the bounds, and some placements inside them; (K, 3) in SI."""
    low, high = np.array(bounds).T
    random = np.random.default_rng(0).uniform(low, high, (inside, 3))
    return np.concatenate([list(itertools.product(*bounds)), random]) * UNITS


# Settling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("widest", [False, True], ids=["default ranges", "limits"])
@pytest.mark.parametrize("connector", CONNECTORS.values(), ids=CONNECTORS)
def test_plugs_settle_where_they_are_asked_for(connector, widest):
    ranges = InitialStateRanges()
    bounds = [ranges.limits(name) if widest else getattr(ranges, name) for name in IN_HAND]
    asked = requests(bounds, inside=12)
    grasps = settle_grasps(connector, asked, 2)
    assert grasps.shape == (len(asked), GRASP_SIZE)
    error = np.abs(placement(grasps) - asked) / UNITS
    # A tenth of a millimetre and of a degree: a quarter of the clearance at most.
    assert error.max() < 0.1
    # Between the fingers, upright, and pressed in by about the gel's millimetre.
    np.testing.assert_allclose(grasps[:, 3], 0.0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(grasps[:, 5:9], axis=1), 1.0, atol=1e-9)
    np.testing.assert_allclose(grasps[:, [6, 8]], 0.0, atol=1e-3)
    pressed = connector.body_size[1] / 2 - (scene.FINGER_OPEN - grasps[:, :2])
    assert ((pressed > 0.0004) & (pressed < 0.002)).all()


def test_settling_does_not_depend_on_threads_or_company():
    """Bit for bit: each grasp is its own world."""
    asked = np.random.default_rng(1).uniform(-1, 1, (6, 3)) * [3e-3, 3e-3, 0.17]
    together = settle_grasps(USB, asked, 1)
    np.testing.assert_array_equal(settle_grasps(USB, asked, 3), together)
    np.testing.assert_array_equal(settle_grasps(USB, asked[::-1], 2), together[::-1])
    np.testing.assert_array_equal(settle_grasps(USB, asked[2:3]), together[2:3])


def test_settling_does_not_change_what_it_is_given():
    asked = np.array([[1e-3, -1e-3, 0.1]])
    settle_grasps(USB, asked)
    assert asked.tolist() == [[1e-3, -1e-3, 0.1]]


def test_a_plug_out_of_the_fingers_is_named():
    asked = np.array([[0.0, 0.0, 0.0], [0.06, 0.0, 0.0]])
    with pytest.raises(RuntimeError, match=r"'usb' at x=60\.00 mm, z=0\.00 mm, pitch=0\.0 deg"):
        settle_grasps(USB, asked)


# The bank ------------------------------------------------------------------------------------


@pytest.mark.parametrize("connector", CONNECTORS.values(), ids=CONNECTORS)
def test_the_default_bank_fills_its_ranges(connector, cache):
    bank = load_bank(connector, InitialStateRanges(), num_threads=2)
    assert bank.shape == (BANK_SIZE, GRASP_SIZE)
    assert not bank.flags.writeable
    values = placement(bank) / UNITS
    for column, name in enumerate(IN_HAND):
        low, high = getattr(InitialStateRanges(), name)
        # Evenly: each quarter of the range holds a quarter of the grasps, within four and a
        # half standard deviations.
        edges = np.linspace(low - 0.1, high + 0.1, 5)
        assert edges[0] < values[:, column].min()
        assert values[:, column].max() < edges[-1]
        counts = np.histogram(values[:, column], edges)[0]
        assert np.abs(counts - BANK_SIZE / 4).max() < 4.5 * (BANK_SIZE * 3 / 16) ** 0.5
    assert len(np.unique(bank, axis=0)) == BANK_SIZE
    assert [path.suffix for path in cache.iterdir() if path.suffix != ".lock"] == [".npz"]


@pytest.mark.usefixtures("small", "cache")
def test_a_connectors_grasps_do_not_depend_on_the_others_in_play():
    aux = CONNECTORS["aux"]
    alone, both = (
        GraspBank.load(HeldPlugConfig(connectors=names), 20.0)
        for names in (("usb",), ("aux", "usb"))
    )
    assert both.grasps.shape == (1, 2, SMALL, GRASP_SIZE)
    np.testing.assert_array_equal(both.grasps[:, 1], alone.grasps[:, 0])
    assert np.abs(placement(both.grasps[0, 0]) - placement(both.grasps[0, 1])).max() > 1e-3
    taken = both.take(np.array([1, 0]), np.array([2, 3]), np.ones(2))
    np.testing.assert_array_equal(taken, both.grasps[0, [1, 0], [2, 3]])
    asked = np.array([[1e-3, 0.0, 0.1], [0.0, -1e-3, 0.0], [2e-3, 0.0, 0.0]])
    settled = both.settle(np.array([1, 0, 1]), asked, np.ones(3))
    np.testing.assert_array_equal(settled[[0, 2]], settle_grasps(USB, asked[[0, 2]]))
    np.testing.assert_array_equal(settled[1:2], settle_grasps(aux, asked[1:2]))


@pytest.mark.usefixtures("small", "cache")
def test_a_connector_of_ones_own_has_grasps_of_its_own():
    mine = dataclasses.replace(USB, name="mine")
    bank = GraspBank.load(HeldPlugConfig(connectors=("usb", mine)), 20.0)
    own = placement(bank.grasps[0, 1]) / UNITS
    assert np.abs(own - placement(bank.grasps[0, 0]) / UNITS).max() > 0.1
    assert (np.abs(own) < [3.1, 4.1, 12.1]).all()


def only_file(cache: Path) -> Path:
    (path,) = cache.glob("*.npz")
    return path


@pytest.mark.usefixtures("small")
def test_a_cached_bank_is_read_and_not_settled_again(cache):
    bank = reload()
    path = only_file(cache)
    # Marked, so that reading it and settling again give different arrays.
    marked = bank + 1e-4 * SHIFTED
    with path.open("wb") as file:
        np.savez(file, grasps=marked)
    written = path.stat().st_mtime_ns
    np.testing.assert_array_equal(reload(), marked)
    assert path.stat().st_mtime_ns == written


@pytest.mark.usefixtures("small")
def test_a_bank_is_loaded_once_a_process(cache):
    first = reload()
    only_file(cache).unlink()
    assert load_bank(USB, InitialStateRanges(), 1) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 0.0


def flip_a_byte(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "only its start": lambda content: content[:20],
    "one byte flipped": flip_a_byte,
    "not a bank": lambda content: b"grasps\n" * 100,
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_file_is_made_again(damage, cache, caplog):
    bank = reload()
    path = only_file(cache)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with caplog.at_level(logging.WARNING, "vtenv"):
        np.testing.assert_array_equal(reload(), bank)
    assert str(path) in caplog.text, "a fallback says so"
    caplog.clear()
    np.testing.assert_array_equal(reload(), bank)
    assert not caplog.text, "the file was made whole again"


WRONG_CONTENTS = {
    "another shape": lambda file, bank: np.savez(file, grasps=bank[:, 1:]),
    "not finite": lambda file, bank: np.savez(file, grasps=np.full_like(bank, np.nan)),
    "all zero": lambda file, bank: np.savez(file, grasps=np.zeros_like(bank)),
    "whole numbers": lambda file, bank: np.savez(file, grasps=np.ones(bank.shape, np.int64)),
    "huge": lambda file, bank: np.savez(file, grasps=np.full_like(bank, 1e9)),
    "out of the hand": lambda file, bank: np.savez(file, grasps=bank + SHIFTED),
    "open fingers": lambda file, bank: np.savez(file, grasps=bank - OPENED),
    "single precision": lambda file, bank: np.savez(file, grasps=bank.astype(np.float32)),
    "another name": lambda file, bank: np.savez(file, bank=bank),
    "one array": np.save,
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("content", list(WRONG_CONTENTS))
def test_a_file_of_something_else_is_made_again(content, cache, caplog):
    bank = reload()
    path = only_file(cache)
    with path.open("wb") as file:
        WRONG_CONTENTS[content](file, bank)
    with caplog.at_level(logging.WARNING, "vtenv"):
        np.testing.assert_array_equal(reload(), bank)
    assert str(path) in caplog.text, "a fallback says so"


@pytest.mark.usefixtures("small")
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(cache, caplog):
    bank = reload()
    path = only_file(cache)
    path.unlink()
    os.mkfifo(path)
    with caplog.at_level(logging.WARNING, "vtenv"):
        np.testing.assert_array_equal(reload(), bank)
    assert "not a regular file" in caplog.text, "a fallback says so"
    assert path.is_file()


@pytest.mark.usefixtures("small")
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, cache, caplog):
    bank = reload()
    # A file where the folder should be: even root cannot write there.
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "vtenv"):
        np.testing.assert_array_equal(reload(), bank)
    assert "not cached" in caplog.text


@pytest.mark.usefixtures("small")
def test_a_full_disk_leaves_no_half_written_file(monkeypatch, cache, caplog):
    def no_space(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with caplog.at_level(logging.WARNING, "vtenv"):
        bank = reload()
    assert "No space left" in caplog.text
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []
    monkeypatch.undo()
    assert np.isfinite(bank).all()


@pytest.mark.usefixtures("small")
def test_other_ranges_in_the_hand_are_another_bank(cache):
    default = reload()
    narrow = reload(InitialStateRanges(in_hand_x_mm=(-1.0, 1.0)))
    assert len(list(cache.glob("*.npz"))) == 2
    assert np.abs(placement(narrow)[..., 0]).max() < 1.1e-3
    assert (default != narrow).any()


@pytest.mark.usefixtures("small")
def test_ranges_of_hand_and_socket_share_a_bank(cache):
    bank = reload()
    other = InitialStateRanges(socket_y_mm=(0.0, 0.0), hand_yaw_deg=(1.0, 2.0))
    np.testing.assert_array_equal(reload(other), bank)
    assert len(list(cache.glob("*.npz"))) == 1


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (scene, "TIMESTEP", 0.0019),
        (scene, "_GEL", scene._GEL | {"friction": [1.4, 0.02, 0.0001]}),
        (grasp_bank, "_HANG_STEPS", 40),
        (grasp_bank, "BANK_SIZE", SMALL + 1),
        (mujoco, "__version__", "0.0.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_changed_scene_is_another_bank(module, name, value, monkeypatch, cache):
    """A stale bank would start episodes in grasps that the new scene does not hold."""
    reload()
    monkeypatch.setattr(module, name, value)
    reload()
    assert len(list(cache.glob("*.npz"))) == 2


@pytest.mark.usefixtures("small")
def test_another_grip_is_another_bank(cache):
    firm = reload()
    light = load_bank(USB, InitialStateRanges(), grip_force=5.0)
    assert len(list(cache.glob("*.npz"))) == 2
    assert (light[:, :2].sum(axis=1) < firm[:, :2].sum(axis=1)).all()  # less far into the gel


_LOAD = """
import hashlib, sys
from vtenv.tasks.insertion import grasp_bank
from vtenv.tasks.insertion.config import InitialStateRanges
from vtenv.tasks.insertion.connectors import CONNECTORS
grasp_bank.BANK_SIZE = int(sys.argv[1])
bank = grasp_bank.load_bank(CONNECTORS["usb"], InitialStateRanges(), int(sys.argv[2]))
print(hashlib.sha256(bank.tobytes()).hexdigest())
"""


@pytest.mark.usefixtures("small")
def test_processes_that_start_together_agree(cache):
    """Two that race for an empty cache, and a third that settles by itself."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _LOAD, str(SMALL), str(threads)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for threads in (1, 2)
    ]
    hashes = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    only_file(cache).unlink()
    hashes.add(hashlib.sha256(reload().tobytes()).hexdigest())
    assert len(hashes) == 1
