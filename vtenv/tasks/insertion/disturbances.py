"""What disturbs an insertion: a weak grip, a cable that pulls, a socket that is tilted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vtenv.arrays import Array, constant, namespace
from vtenv.tasks.insertion.ranges import Ranges
from vtenv.tasks.insertion.scene import SUBSTEPS, TIMESTEP
from vtenv.tasks.insertion.state import WorldState
from vtenv.validation import Range

NUM_DISTURBANCE_UNIFORMS = 8
"""Random numbers that the disturbances of an episode take, whichever there are."""

CABLE_ASIDE_DEG = 30.0
"""Farthest the cable pulls to a side."""
CABLE_STEEP_DEG = (45.0, 90.0)
"""How steeply the cable hangs down or is held up, from straight back."""
STEADY_PULL = 0.1
"""Part of the cable's force that is always there; the rest comes and goes in tugs."""
TUG_FREQUENCY = (0.5, 1.0)
"""Tugs a second, least and most."""
FIRST_TUG_S = (0.08, 0.25)
"""When the first tug is strongest, in [s]: after a first look, and before a plug can be in."""


@dataclass(frozen=True)
class DisturbanceConfig(Ranges):
    """Ranges from which an episode's disturbances are drawn, uniformly and independently.

    All sizes are ours.

    Raises:
        ValueError: If a pair is out of its limits; names it and them.
    """

    widest: ClassVar[Mapping[str, Range]] = {
        "grip_force_n": (1.0, 30.0),
        "cable_force_n": (0.0, 15.0),
        "socket_pitch_deg": (-15.0, 15.0),
        "socket_roll_deg": (-15.0, 15.0),
    }

    grip_force_n: Range = (8.0, 20.0)
    """Force with which each finger closes, 1 to 30: from where a misaligned push turns and slides
    the plug, to a firm hold."""
    cable_force_n: Range = (0.0, 0.0)
    """Greatest pull of the cable on the plug's tail in an episode, 0 to 15. It hangs down or is
    held up, in a direction drawn for the episode, and pulls in tugs."""
    socket_pitch_deg: Range = (-8.0, 8.0)
    """The socket about its own side, positive nose-down, -15 to 15."""
    socket_roll_deg: Range = (0.0, 0.0)
    """The socket about its own axis, -15 to 15; the hand cannot roll, so that beyond what the
    clearance leaves the plug must turn between the fingers."""

    @property
    def pulls(self) -> bool:
        """Whether any cable pulls."""
        return self.cable_force_n[1] > 0


@dataclass(frozen=True)
class Disturbances:
    """The disturbances of N worlds, NumPy arrays on the host, float64.

    Attributes:
        grip_force: Force with which each finger closes, (N,), [N].
        cable_force: Greatest pull of the cable as a vector in the world frame, (N, 3), [N].
        tugs: Tugs a second, and when the first is strongest, in [s], (N, 2).
        socket_pitch: (N,), [rad].
        socket_roll: (N,), [rad].
    """

    grip_force: NDArray[np.float64]
    cable_force: NDArray[np.float64]
    tugs: NDArray[np.float64]
    socket_pitch: NDArray[np.float64]
    socket_roll: NDArray[np.float64]


def draw_disturbances(uniforms: NDArray[np.float64], config: DisturbanceConfig) -> Disturbances:
    """Map uniform random numbers to disturbances.

    Args:
        uniforms: Numbers in [0, 1), (N, `NUM_DISTURBANCE_UNIFORMS`).
        config: The ranges.
    """

    def between(column: int, bounds: Range) -> NDArray[np.float64]:
        low, high = bounds
        return np.asarray(low + (high - low) * uniforms[:, column])

    pull = between(1, config.cable_force_n)
    aside = np.radians(between(2, (-CABLE_ASIDE_DEG, CABLE_ASIDE_DEG)))
    # The lower half of the numbers is for cables that hang, the upper for those held up.
    signed = between(3, (-1.0, 1.0))
    low, high = CABLE_STEEP_DEG
    up = np.radians(np.sign(signed) * (low + (high - low) * np.abs(signed)))
    ways = [-np.cos(aside) * np.cos(up), np.sin(aside) * np.cos(up), np.sin(up)]
    return Disturbances(
        grip_force=between(0, config.grip_force_n),
        cable_force=pull[:, None] * np.stack(ways, axis=-1),
        tugs=np.stack([between(4, TUG_FREQUENCY), between(5, FIRST_TUG_S)], axis=-1),
        socket_pitch=np.radians(between(6, config.socket_pitch_deg)),
        socket_roll=np.radians(between(7, config.socket_roll_deg)),
    )


def cable_forces(
    state: WorldState, elapsed: Array, cable_force: Array, tugs: Array, body_length: Array
) -> Array:
    """Force and torque of the cables on the plugs, at their centres of mass, (N, 6).

    Args:
        state: The worlds.
        elapsed: Control steps since the reset, (N,), integer.
        cable_force: As in `Disturbances`, (N, 3).
        tugs: As in `Disturbances`, (N, 2).
        body_length: Length of the held body, whose middle is the centre of mass and whose end the
            cable's, (N,), [m].
    """
    xp = namespace(cable_force)
    seconds = xp.astype(elapsed, cable_force.dtype) * (TIMESTEP * SUBSTEPS)
    turns = tugs[:, 0] * (seconds - tugs[:, 1])
    # To the eighth: a tug lasts for about a quarter of the time from one to the next.
    pulled = STEADY_PULL + (1 - STEADY_PULL) * xp.cos(math.pi * turns) ** 8
    force = cable_force * pulled[:, None]
    arm = state.plug_mat_w[:, :, 0] * (-body_length / 2)[:, None]
    next_, after = (constant(axes, elapsed) for axes in ((1, 2, 0), (2, 0, 1)))
    torque = arm[:, next_] * force[:, after] - arm[:, after] * force[:, next_]
    return xp.concat([force, torque], axis=-1)
