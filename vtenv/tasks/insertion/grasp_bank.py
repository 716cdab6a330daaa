"""A bank of settled grasps, made once and cached, so that a reset is a copy.

A grasp is what the fingers and the plug do relative to the hand once the fingers have closed
and the plug hangs in them under gravity.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import logging
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from filelock import FileLock
from mujoco.batch import Batch
from numpy.typing import NDArray
from platformdirs import user_cache_path

from vtenv.atomic_write import atomic_write
from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.config import HeldPlugConfig, InitialStateRanges
from vtenv.tasks.insertion.connectors import (
    CONNECTOR_NAMES,
    FINGER_OPEN,
    SHOULDER_IN_HAND,
    Connector,
)
from vtenv.validation import Range

BANK_SIZE = 256
"""Grasps of each connector."""
GRASP_SIZE = 9
"""Numbers in a grasp: both fingers [m], the plug's position [m] and orientation (wxyz) in the
hand's frame."""
GEL_STIFFNESSES = (0.7, 0.8, 1.0, 1.25, 1.6, 2.0)
"""Stiffnesses of the gel, in parts of the nominal, that banks are made for: between them grasps
are interpolated, 0.02 mm off at most."""

GRIP_FORCES = (3.0, 5.0, 8.0, 12.0, 20.0, 30.0)
"""Grip forces, in [N], that banks are made for where it varies: between them grasps are
interpolated."""

_CLOSE_STEPS, _HANG_STEPS = 200, 100
_GAP = 0.0005
"""Room between pad and plug from which the fingers close, in [m]."""
_MAX_SHIFT = 0.002
"""Distance, in [m], by which closing may move a plug."""
_MAX_SPEED = 0.2
"""Speed (m/s or rad/s) under which a grasp counts as settled."""
_REACH = 0.03
"""Distance of a held plug's shoulder from the hand's centre, in [m], at most."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GraspBank:
    """Settled grasps for the grasps that an environment draws, whatever its domains.

    Attributes:
        connectors: The K connectors in play.
        stiffnesses: Stiffnesses of the gel, ascending, (S,).
        grasps: Grasps by stiffness and connector, (S, K, `BANK_SIZE`, `GRASP_SIZE`).
        scale: Scale of the connectors. A plug presses into the gel by what is grasped and, deep
            in, by what is inserted, which reaches into it.
        grip_force: Force with which each finger closes, in [N].
    """

    connectors: tuple[Connector, ...]
    stiffnesses: NDArray[np.float64]
    grasps: NDArray[np.float64]
    scale: float
    grip_force: float

    @classmethod
    def load(cls, config: HeldPlugConfig, grip: float, num_threads: int = 1) -> GraspBank:
        """The bank of an environment and a grip force, in [N]."""
        domains = config.domain_randomization
        low, high = (domains and domains.gel_stiffness) or (1.0, 1.0)
        below = max(s for s in GEL_STIFFNESSES if s <= low)
        above = min(s for s in GEL_STIFFNESSES if s >= high)
        stiffnesses = [s for s in GEL_STIFFNESSES if below <= s <= above]
        ranges, scale = config.initial_state, config.connector_scale
        grasps = [
            [load_bank(c, ranges, num_threads, scale, s, grip) for c in config.connectors]
            for s in stiffnesses
        ]
        return cls(config.connectors, np.array(stiffnesses), np.array(grasps), scale, grip)

    def take(
        self,
        connector: NDArray[np.int64],
        grasp: NDArray[np.int64],
        stiffness: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Grasps of the bank, at any stiffness within its own.

        Args:
            connector: Index in `connectors`, (N,).
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
        """Settle other grasps, as `settle_grasps`, each at its own stiffness of the gel.

        Args:
            connector: Index in `connectors`, (N,).
            in_hand: As in `settle_grasps`.
            stiffness: Stiffness of the gel, in parts of the nominal, (N,).
        """
        grasps = np.empty((len(connector), GRASP_SIZE))
        for kind, value in sorted(set(zip(connector.tolist(), stiffness.tolist(), strict=True))):
            rows = (connector == kind) & (stiffness == value)
            grasps[rows] = settle_grasps(
                self.connectors[kind], in_hand[rows], 1, self.scale, value, self.grip_force
            )
        return grasps


def load_banks(config: HeldPlugConfig, num_threads: int = 1) -> tuple[GraspBank, ...]:
    """The banks of an environment, by ascending grip force: one where that is fixed."""
    low, high = config.disturbances.grip_force_n
    forces = [low]
    if high > low:
        below = max(f for f in GRIP_FORCES if f <= low)
        above = min(f for f in GRIP_FORCES if f >= high)
        forces = [f for f in GRIP_FORCES if below <= f <= above]
    return tuple(GraspBank.load(config, force, num_threads) for force in forces)


def take(
    banks: Sequence[GraspBank],
    connector: NDArray[np.int64],
    grasp: NDArray[np.int64],
    stiffness: NDArray[np.float64],
    grip: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Grasps of banks, at any grip force within their own; see `GraspBank.take`.

    Args:
        banks: As `load_banks` returns.
        connector: As in `GraspBank.take`.
        grasp: As in `GraspBank.take`.
        stiffness: As in `GraspBank.take`.
        grip: Force with which each finger closes, (N,), [N].
    """
    if len(banks) == 1:
        return banks[0].take(connector, grasp, stiffness)
    forces = np.array([bank.grip_force for bank in banks])
    above = np.clip(np.searchsorted(forces, grip), 1, len(banks) - 1)
    grasps = np.empty((len(grip), GRASP_SIZE))
    for level in np.unique(above):
        rows = above == level
        chosen = connector[rows], grasp[rows], stiffness[rows]
        weaker, firmer = (banks[i].take(*chosen) for i in (level - 1, level))
        part = (grip[rows] - forces[level - 1]) / (forces[level] - forces[level - 1])
        grasps[rows] = weaker + part[:, None] * (firmer - weaker)
    return grasps


def settle_grasps(
    connector: Connector,
    in_hand: NDArray[np.float64],
    num_threads: int = 1,
    scale: float = 1.0,
    stiffness: float = 1.0,
    grip_force: float = scene.GRIP_FORCE,
) -> NDArray[np.float64]:
    """Close the fingers on plugs placed in the hand and let them settle.

    Args:
        connector: The connector.
        in_hand: Plug x [m], z [m] and pitch [rad] in the hand, from its nominal place, (N, 3).
        num_threads: Threads to use.
        scale: Scale of what is inserted, as in `Connector.shape`.
        stiffness: Stiffness of the gel, in parts of the nominal.
        grip_force: Force with which each finger closes, in [N].

    Returns:
        The grasps, (N, `GRASP_SIZE`).

    Raises:
        RuntimeError: If one does not come to rest; names its connector and placement.
    """
    # Grasps depend on neither the fit nor the sizes of images.
    (model,) = scene.build_models(scene.SceneConfig(connector_scale=scale), (connector,))
    for side in ("left", "right"):
        model.geom(f"gel_{side}").solref[0] /= math.sqrt(stiffness)
    weightless = copy.copy(model)
    weightless.opt.gravity[:] = 0.0
    batch = Batch(model, len(in_hand), num_threads)
    batch.set_models(weightless)
    batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE)
    width = connector.body_size[1]
    batch.qpos[:, scene.FINGER_QPOS] = FINGER_OPEN - width / 2 - _GAP
    x, z, pitch = in_hand.T
    # Placed by its shoulder, turned about it.
    zero = np.zeros_like(x)
    start = np.stack([SHOULDER_IN_HAND + x, zero, scene.HAND_HEIGHT + z], axis=-1)
    batch.qpos[:, scene.PLUG_POS] = start
    batch.qpos[:, scene.PLUG_QUAT] = np.stack(
        [np.cos(pitch / 2), zero, np.sin(pitch / 2), zero], axis=-1
    )
    batch.mocap_pos[:] = [1.0, 0.0, scene.HAND_HEIGHT]  # the socket, out of the way
    batch.ctrl[:, scene.FINGER_CTRL] = grip_force
    batch.step(nstep=_CLOSE_STEPS)
    batch.set_models(model)
    batch.step(nstep=_HANG_STEPS)

    moving = np.abs(batch.qvel).max(axis=1) > _MAX_SPEED
    moved = np.abs(batch.qpos[:, scene.PLUG_POS] - start).max(axis=1) > _MAX_SHIFT
    bad = np.flatnonzero(moving | moved | batch.warning[:, :, 1].any(axis=1))
    if bad.size:
        i = int(bad[0])
        raise RuntimeError(
            f"the grasp of {connector.name!r} at x={x[i] * 1e3:.2f} mm, "
            f"z={z[i] * 1e3:.2f} mm, pitch={np.degrees(pitch[i]):.1f} degrees does not settle; "
            "place the plug nearer to the middle of the fingers"
        )
    grasps = np.concatenate(
        [batch.qpos[:, part] for part in (scene.FINGER_QPOS, scene.PLUG_POS, scene.PLUG_QUAT)],
        axis=-1,
    )
    grasps[:, 2:5] -= batch.qpos[:, :3] + [0.0, 0.0, scene.HAND_HEIGHT]
    return grasps


@functools.lru_cache(maxsize=64)
def load_bank(
    connector: Connector,
    ranges: InitialStateRanges,
    num_threads: int = 1,
    scale: float = 1.0,
    stiffness: float = 1.0,
    grip_force: float = scene.GRIP_FORCE,
) -> NDArray[np.float64]:
    """A connector's settled grasps for these in-hand ranges, from the cache or made now.

    The cache's key covers everything a grasp depends on: the connector's compiled scene,
    MuJoCo's version, the ranges and the bank's size. A file is written whole or not at all, by
    one process at a time. A connector's grasps do not depend on which others are in play.

    Args:
        connector: The connector.
        ranges: The ranges.
        num_threads: Threads to use if it is made.
        scale: As in `settle_grasps`.
        stiffness: As in `settle_grasps`.
        grip_force: As in `settle_grasps`.

    Returns:
        The grasps, (`BANK_SIZE`, `GRASP_SIZE`), read-only.
    """
    in_hand = [
        (name, getattr(ranges, name)) for name in ranges.names() if name.startswith("in_hand_")
    ]
    placements = _draw(connector.name, [pair for _, pair in in_hand])
    settings = scale, stiffness, grip_force
    key = _key(connector, in_hand, *settings)
    path = user_cache_path("vtinsert") / f"grasps-{connector.name}-{key}.npz"
    bank = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            bank = _read(path)
            if bank is None:
                bank = settle_grasps(connector, placements, num_threads, *settings)
                _write(path, bank)
    except OSError as error:
        _logger.warning("grasps are not cached, and take seconds to settle again: %s", error)
        if bank is None:
            bank = settle_grasps(connector, placements, num_threads, *settings)
    bank.flags.writeable = False
    return bank


def _key(
    connector: Connector,
    in_hand: list[tuple[str, Range]],
    scale: float,
    stiffness: float,
    grip_force: float,
) -> str:
    spec = scene.build_spec(scene.SceneConfig(connector_scale=scale), connector)
    spec.compile()
    settings = [_CLOSE_STEPS, _HANG_STEPS, _GAP, BANK_SIZE, grip_force, stiffness]
    text = json.dumps([mujoco.__version__, spec.to_xml(), in_hand, settings])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _draw(name: str, bounds: list[Range]) -> NDArray[np.float64]:
    """Where a connector's plugs are placed in the hand, (`BANK_SIZE`, 3), in SI.

    Each connector has a part of one sequence of random numbers for itself.
    """
    built_in = name in CONNECTOR_NAMES
    part = CONNECTOR_NAMES.index(name) if built_in else 4096 + zlib.crc32(name.encode())
    bits = np.random.PCG64(np.random.SeedSequence(0))
    bits.advance(part * BANK_SIZE * len(bounds))
    low, high = np.array(bounds).T
    in_hand = np.random.Generator(bits).uniform(low, high, (BANK_SIZE, len(bounds)))
    return in_hand * [1e-3, 1e-3, np.pi / 180]


def _read(path: Path) -> NDArray[np.float64] | None:
    """The bank in `path`; None if there is none, or not a whole one."""
    if not path.is_file():  # nor wait for somebody to write to a pipe
        if path.exists():
            _logger.warning("%s is not a regular file and is made again", path)
        return None
    try:
        with path.open("rb") as stream:  # np.load leaves its own open on a damaged file
            bank = np.load(stream, allow_pickle=False)["grasps"]
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        _logger.warning("%s is damaged and is made again: %s", path, error)
        return None
    if _is_bank(bank):
        return bank
    _logger.warning("%s does not hold %d grasps within the hand and is made again", path, BANK_SIZE)
    return None


def _is_bank(bank: NDArray[Any]) -> bool:
    """Whether an array can hold settled grasps: finite, within the hand, with rotations."""
    if bank.shape != (BANK_SIZE, GRASP_SIZE) or bank.dtype != np.float64:
        return False
    fingers, place, quat = bank[:, :2], bank[:, 2:5], bank[:, 5:]
    closed = (fingers >= 0.0) & (fingers <= FINGER_OPEN)
    rotation = np.abs(np.linalg.norm(quat, axis=1) - 1.0) < 1e-6
    # NaN compares as false.
    return bool(closed.all() and (np.abs(place) < _REACH).all() and rotation.all())


def _write(path: Path, bank: NDArray[np.float64]) -> None:
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, grasps=bank)
