"""Clutter: more connectors on the table, out of the gripper's way."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vtenv.grasps.images import FINGER_HALF_WIDTH, TABLE_HALF_EXTENT
from vtenv.grasps.resting import pose_in_si, resting_connectors
from vtenv.jit import jit
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES

FINGER_REACH = 0.034
"""Distance of an open finger's back from the gripper's centre plane, in [m]."""
CLUTTER_GAP = 0.002
"""Room between an object of the clutter and everything else, in [m]: too much for one of them to
hide the next from the camera, or to be touched by a finger."""
MAX_CLUTTER = 6
"""Most objects beside the grasped one."""

_TRIALS = 128
"""Places drawn at a time."""
_ROUNDS = 1000
"""How often they are drawn anew before giving up."""


@jit()
def _apart(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether the direction of a side separates two rectangles.

    A rectangle is x, y, angle, half its length and half its width.
    """
    dx, dy = b[0] - a[0], b[1] - a[1]
    for one, other in ((a, b), (b, a)):
        cos, sin = math.cos(one[2]), math.sin(one[2])
        turn = other[2] - one[2]
        c, s = abs(math.cos(turn)), abs(math.sin(turn))
        if abs(cos * dx + sin * dy) > one[3] + c * other[3] + s * other[4]:
            return True
        if abs(cos * dy - sin * dx) > one[4] + s * other[3] + c * other[4]:
            return True
    return False


@jit()
def _fit(taken: NDArray[np.float64], trials: NDArray[np.float64], chosen: NDArray[np.int64]) -> int:
    """Choose the first trials that are apart from `taken` and from each other; how many."""
    count = 0
    for trial in range(len(trials)):
        if count == len(chosen):
            break
        free = True
        for other in range(len(taken)):
            free = free and _apart(trials[trial], taken[other])
        for earlier in range(count):
            free = free and _apart(trials[trial], trials[chosen[earlier]])
        if free:
            chosen[count] = trial
            count += 1
    return count


def place_clutter(
    connector: NDArray[np.int64],
    pose: NDArray[np.float32],
    number: int,
    generators: Sequence[np.random.Generator],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Lay connectors of any kind around grasped ones, their middles in view.

    They keep `CLUTTER_GAP` from the grasped connector, from each other, and from the ground that
    the open fingers come down on and close over.

    Args:
        connector: Index in `CONNECTOR_NAMES` of the grasped ones, (N,).
        pose: Their poses, (N, 3).
        number: How many to lay around each.
        generators: Draws each of the N arrangements.

    Returns:
        Indices of the connectors, (N, number), and their poses, (N, number, 3).

    Raises:
        RuntimeError: If there is no room for so many.
    """
    grown = resting_connectors().half_size + CLUTTER_GAP / 2
    gripper = [0.0, 0.0, 0.0, FINGER_HALF_WIDTH + CLUTTER_GAP / 2, FINGER_REACH + CLUTTER_GAP / 2]
    laid = np.empty((len(pose), number), np.int64)
    laid_pose = np.empty((len(pose), number, 3), np.float32)
    chosen = np.empty(number, np.int64)
    reach = [TABLE_HALF_EXTENT * 1e3, TABLE_HALF_EXTENT * 1e3, 180.0]
    for row, generator in enumerate(generators):
        taken = np.array([gripper, [*pose_in_si(pose[row]), *grown[connector[row]]]])
        for _ in range(_ROUNDS):
            kind = generator.integers(0, len(CONNECTOR_NAMES), _TRIALS)
            trial = (generator.uniform(-1.0, 1.0, (_TRIALS, 3)) * reach).astype(np.float32)
            rectangles = np.concatenate([pose_in_si(trial), grown[kind]], axis=1)
            if _fit(taken, rectangles, chosen) == number:
                break
        else:
            raise RuntimeError(f"there is no room for {number} connectors beside a grasp")
        laid[row], laid_pose[row] = kind[chosen], trial[chosen]
    return laid, laid_pose
