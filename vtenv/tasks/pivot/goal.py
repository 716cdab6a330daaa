"""Goals: where the plug is to be in the hand, drawn once it is known how it starts there."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.connectors import SHOULDER_IN_HAND
from vtenv.validation import Range

GOAL_PITCH_DEG: Range = (-18.0, 18.0)
"""Range of the commanded pitch in the hand, positive nose-down."""
MIN_TURN_DEG = 11.0
"""Least difference between the commanded and the first pitch."""
GOAL_SHIFT_MM: Range = (-5.5, -3.0)
"""Range of the commanded place along the fingers, from the first one: pushing on the fixture moves
a plug back only."""
NUM_GOAL_UNIFORMS = 2
"""Random numbers that a goal takes."""

OPTION_LIMITS: dict[str, Range] = {"goal_x_mm": (-10.0, 6.0), "goal_pitch_deg": (-25.0, 25.0)}
"""Least and greatest goals that `reset(options=...)` fixes, by name."""


def initial_in_hand(qpos: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where plugs start in a level hand.

    Args:
        qpos: Joint positions, (N, 14).

    Returns:
        Place along the fingers, from the nominal one, (N,), [m], and pitch, (N,), [rad].
    """
    hand = qpos[:, scene.HAND_QPOS]
    cos, sin = np.cos(hand[:, 3]), np.sin(hand[:, 3])
    away = qpos[:, scene.PLUG_POS][:, :2] - hand[:, :2]
    w, x, y, z = qpos[:, scene.PLUG_QUAT].T
    axis_x, axis_y, axis_z = 1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)
    place = cos * away[:, 0] + sin * away[:, 1] - SHOULDER_IN_HAND
    return place, np.arctan2(-axis_z, cos * axis_x + sin * axis_y)


def draw_goals(
    uniforms: NDArray[np.float64], qpos: NDArray[np.float64], options: Mapping[str, object]
) -> NDArray[np.float64]:
    """Map uniform random numbers to goals.

    Args:
        uniforms: Numbers in [0, 1), (N, `NUM_GOAL_UNIFORMS`).
        qpos: Joint positions at the start, (N, 14).
        options: Values that are fixed rather than drawn, by the names of `OPTION_LIMITS`.

    Returns:
        Commanded place along the fingers [m] and pitch [rad], (N, 2).
    """
    first_place, first_pitch = initial_in_hand(qpos)
    low, high = GOAL_SHIFT_MM
    place = first_place + (low + (high - low) * uniforms[:, 0]) * 1e-3
    low, high = (math.radians(bound) for bound in GOAL_PITCH_DEG)
    least = math.radians(MIN_TURN_DEG)
    # Uniform over what of the range is at least a turn away from the first pitch, which may be
    # near an end of the range.
    below = np.clip(first_pitch - least - low, 0.0, high - low)
    above = np.clip(high - first_pitch - least, 0.0, high - low)
    along = uniforms[:, 1] * (below + above)
    pitch = np.where(along < below, low + along, high - (below + above - along))
    if "goal_x_mm" in options:
        place[:] = float(options["goal_x_mm"]) * 1e-3  # type: ignore[arg-type]
    if "goal_pitch_deg" in options:
        pitch[:] = math.radians(float(options["goal_pitch_deg"]))  # type: ignore[arg-type]
    return np.stack([place, pitch], axis=-1)
