"""A bank of settled grasps, made once and cached, so that a reset is a copy.

A grasp is what the fingers and the plug do relative to the hand once the fingers have closed
and the plug hangs in them under gravity.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from filelock import FileLock
from mujoco.batch import Batch
from numpy.typing import NDArray
from platformdirs import user_cache_path

from vtenv.atomic_write import atomic_write
from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.config import HeldPlugConfig, InitialStateRanges
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, CONNECTORS, SHOULDER_IN_HAND

BANK_SIZE = 256
"""Grasps of each connector."""
GRASP_SIZE = 9
"""Numbers in a grasp: both fingers [m], the plug's position [m] and orientation (wxyz) in the
hand's frame."""
GEL_STIFFNESSES = (0.7, 0.8, 1.0, 1.25, 1.6, 2.0)
"""Stiffnesses of the gel, in parts of the nominal, that banks are made for: between them grasps
are interpolated, 0.02 mm off at most."""

_CLOSE_STEPS, _HANG_STEPS = 100, 50
_GAP = 0.0005
"""Room between pad and plug from which the fingers close, in [m]."""
_MAX_SHIFT = 0.002
"""Distance, in [m], by which closing may move a plug."""
_MAX_SPEED = 0.2
"""Speed (m/s or rad/s) under which a grasp counts as settled."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GraspBank:
    """Settled grasps for the grasps that an environment draws, whatever its domains.

    Attributes:
        stiffnesses: Stiffnesses of the gel, ascending, (S,).
        grasps: Grasps by stiffness and connector, (S, 4, `BANK_SIZE`, `GRASP_SIZE`).
        scale: Scale of the connectors. A plug presses into the gel by what is grasped and, deep
            in, by what is inserted, which reaches into it.
    """

    stiffnesses: NDArray[np.float64]
    grasps: NDArray[np.float64]
    scale: float

    @classmethod
    def load(cls, config: HeldPlugConfig, num_threads: int = 1) -> GraspBank:
        """The bank of an environment, from the cache or made now."""
        ranges = config.domain_randomization
        low, high = (ranges and ranges.gel_stiffness) or (1.0, 1.0)
        below = max(s for s in GEL_STIFFNESSES if s <= low)
        above = min(s for s in GEL_STIFFNESSES if s >= high)
        stiffnesses = [s for s in GEL_STIFFNESSES if below <= s <= above]
        scale = config.connector_scale
        banks = [load_bank(config.initial_state, num_threads, scale, s) for s in stiffnesses]
        return cls(np.array(stiffnesses), np.stack(banks), scale)

    def take(
        self,
        connector: NDArray[np.int64],
        grasp: NDArray[np.int64],
        stiffness: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Grasps of the bank, at any stiffness within its own.

        Args:
            connector: Index in `CONNECTOR_NAMES`, (N,).
            grasp: Index of a grasp of that connector, (N,).
            stiffness: Stiffness of the gel, in parts of the nominal, (N,).

        Returns:
            The grasps, (N, `GRASP_SIZE`).
        """
        above = np.searchsorted(self.stiffnesses, stiffness)
        below = np.maximum(above - 1, 0)
        stiffer, softer = (self.grasps[level, connector, grasp] for level in (above, below))
        # Linear in the compliance, as the indentation of a spring.
        least, most, asked = 1 / self.stiffnesses[above], 1 / self.stiffnesses[below], 1 / stiffness
        part = (asked - least) / np.where(above == below, 1.0, most - least)
        return stiffer + part[:, None] * (softer - stiffer)

    def settle(
        self,
        connector: NDArray[np.int64],
        in_hand: NDArray[np.float64],
        stiffness: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Settle other grasps, as `settle_grasps`, each at its own stiffness of the gel."""
        grasps = np.empty((len(connector), GRASP_SIZE))
        for value in np.unique(stiffness):
            rows = stiffness == value
            grasps[rows] = settle_grasps(
                connector[rows], in_hand[rows], 1, self.scale, float(value)
            )
        return grasps


def settle_grasps(
    connector: NDArray[np.int64],
    in_hand: NDArray[np.float64],
    num_threads: int = 1,
    scale: float = 1.0,
    stiffness: float = 1.0,
) -> NDArray[np.float64]:
    """Close the fingers on plugs placed in the hand and let them settle.

    Args:
        connector: Index in `CONNECTOR_NAMES`, (N,).
        in_hand: Plug x [m], z [m] and pitch [rad] in the hand, from its nominal place, (N, 3).
        num_threads: Threads to use.
        scale: Scale of the connectors, as `SceneConfig.connector_scale`.
        stiffness: Stiffness of the gel, in parts of the nominal.

    Returns:
        The grasps, (N, `GRASP_SIZE`).

    Raises:
        RuntimeError: If one does not come to rest; names its connector and placement.
    """
    models = _models(scale, stiffness)
    weightless = _models(scale, stiffness, gravity=False)
    batch = Batch(models[0], len(connector), num_threads)
    batch.set_models([weightless[c] for c in connector])
    batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE)
    width = np.array([CONNECTORS[name].body_size[1] for name in CONNECTOR_NAMES])[connector]
    batch.qpos[:, scene.FINGER_QPOS] = (scene.FINGER_OPEN - width / 2 - _GAP)[:, None]
    x, z, pitch = in_hand.T
    # Placed by its shoulder, turned about it.
    zero = np.zeros_like(x)
    start = np.stack([SHOULDER_IN_HAND + x, zero, scene.HAND_HEIGHT + z], axis=-1)
    batch.qpos[:, scene.PLUG_POS] = start
    batch.qpos[:, scene.PLUG_QUAT] = np.stack(
        [np.cos(pitch / 2), zero, np.sin(pitch / 2), zero], axis=-1
    )
    batch.mocap_pos[:] = [1.0, 0.0, scene.HAND_HEIGHT]  # the socket, out of the way
    batch.ctrl[:, scene.FINGER_CTRL] = scene.GRIP_FORCE
    batch.step(nstep=_CLOSE_STEPS)
    batch.set_models([models[c] for c in connector])
    batch.step(nstep=_HANG_STEPS)

    moving = np.abs(batch.qvel).max(axis=1) > _MAX_SPEED
    moved = np.abs(batch.qpos[:, scene.PLUG_POS] - start).max(axis=1) > _MAX_SHIFT
    bad = np.flatnonzero(moving | moved | batch.warning[:, :, 1].any(axis=1))
    if bad.size:
        i = int(bad[0])
        raise RuntimeError(
            f"the grasp of {CONNECTOR_NAMES[connector[i]]!r} at x={x[i] * 1e3:.2f} mm, "
            f"z={z[i] * 1e3:.2f} mm, pitch={np.degrees(pitch[i]):.1f} degrees does not settle; "
            "place the plug nearer to the middle of the fingers"
        )
    grasps = np.concatenate(
        [batch.qpos[:, part] for part in (scene.FINGER_QPOS, scene.PLUG_POS, scene.PLUG_QUAT)],
        axis=-1,
    )
    grasps[:, 2:5] -= batch.qpos[:, :3] + [0.0, 0.0, scene.HAND_HEIGHT]
    return grasps


@functools.cache
def load_bank(
    ranges: InitialStateRanges, num_threads: int = 1, scale: float = 1.0, stiffness: float = 1.0
) -> NDArray[np.float64]:
    """The settled grasps for these in-hand ranges, from the cache or made now.

    The cache's key covers everything a grasp depends on: the compiled scene of every
    connector, MuJoCo's version, the ranges and the bank's size. A file is written whole or
    not at all, by one process at a time.

    Args:
        ranges: The ranges.
        num_threads: Threads to use if it is made.
        scale: As in `settle_grasps`.
        stiffness: As in `settle_grasps`.

    Returns:
        Grasps by connector, (4, `BANK_SIZE`, `GRASP_SIZE`), read-only.
    """
    in_hand = [
        (name, getattr(ranges, name)) for name in ranges.names() if name.startswith("in_hand_")
    ]
    bounds = [pair for _, pair in in_hand]
    path = user_cache_path("vtinsert") / f"grasps-{_key(in_hand, scale, stiffness)}.npz"
    bank = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            bank = _read(path)
            if bank is None:
                bank = _make_bank(bounds, num_threads, scale, stiffness)
                _write(path, bank)
    except OSError as error:
        _logger.warning("grasps are not cached, and take seconds to settle again: %s", error)
        if bank is None:
            bank = _make_bank(bounds, num_threads, scale, stiffness)
    bank.flags.writeable = False
    return bank


def _models(scale: float, stiffness: float, gravity: bool = True) -> list[mujoco.MjModel]:
    """The scene's models by connector; grasps depend on neither clearance nor image sizes."""
    models = scene.build_models(scene.SceneConfig(connector_scale=scale), CONNECTOR_NAMES)
    for model in models:
        model.opt.gravity[:] *= gravity
        for side in ("left", "right"):
            model.geom(f"gel_{side}").solref[0] /= math.sqrt(stiffness)
    return models


def _key(in_hand: list[tuple[str, tuple[float, float]]], scale: float, stiffness: float) -> str:
    specs = []
    for name in CONNECTOR_NAMES:
        spec = scene.build_spec(scene.SceneConfig(connector_scale=scale), name)
        spec.compile()
        specs.append(spec.to_xml())
    settings = [_CLOSE_STEPS, _HANG_STEPS, _GAP, BANK_SIZE, scene.GRIP_FORCE, stiffness]
    text = json.dumps([mujoco.__version__, specs, in_hand, settings])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _make_bank(
    bounds: list[tuple[float, float]], num_threads: int, scale: float, stiffness: float
) -> NDArray[np.float64]:
    generator = np.random.default_rng(0)
    count = len(CONNECTOR_NAMES) * BANK_SIZE
    low, high = np.array(bounds).T
    in_hand = generator.uniform(low, high, (count, 3)) * [1e-3, 1e-3, np.pi / 180]
    connector = np.repeat(np.arange(len(CONNECTOR_NAMES)), BANK_SIZE)
    grasps = settle_grasps(connector, in_hand, num_threads, scale, stiffness)
    return grasps.reshape(len(CONNECTOR_NAMES), BANK_SIZE, GRASP_SIZE)


def _read(path: Path) -> NDArray[np.float64] | None:
    """The bank in `path`; None if there is none, or not a whole one."""
    try:
        with path.open("rb") as stream:  # np.load leaves its own open on a damaged file
            bank = np.load(stream, allow_pickle=False)["grasps"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        _logger.warning("%s is damaged and is made again: %s", path, error)
        return None
    shape = (len(CONNECTOR_NAMES), BANK_SIZE, GRASP_SIZE)
    if bank.shape == shape and np.isfinite(bank).all():
        return bank
    _logger.warning("%s is not a bank of shape %s and is made again", path, shape)
    return None


def _write(path: Path, bank: NDArray[np.float64]) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, grasps=bank)
