"""The scripted expert: inserts the plug from privileged state.

Aligns the tip with the socket's axis while it comes to the mouth, goes in once it is aligned,
and backs off to try again when it is not. Needs no memory, and runs on arrays of any library.
"""

from __future__ import annotations

from vtenv.arrays import Array, constant, namespace
from vtenv.tasks.insertion.actions import ACTION_SCALE
from vtenv.tasks.insertion.measures import Geometry
from vtenv.tasks.insertion.state import WorldState

MAX_LATERAL = 0.001
"""Error of the tip at which the expert goes in, in [m], where the mouth is as wide."""
_ALIGNED_ANGLE = 0.06
"""Error of the axis at which it goes in, in [rad]."""
_STANDOFF = 0.004
"""Distance before the mouth, in [m], at which it waits to be aligned."""
_INSIDE = 0.002
"""Depth of the tip, in [m], from which the walls align it."""
_ENTRY_STEP = 0.002
"""Way forward in one step while going in, in [m]: half of what it could, which keeps the
forces on entry well under `measures.MAX_SOCKET_FORCE`."""


def gain(delay: int) -> float:
    """Part of an error corrected in one step.

    A correction is seen after the delay, and another step or so in which the hand gets there: the
    more corrections are under way at once, the smaller each must be, or they add up to more than
    the error. With 0.5 the expert swings about the axis from a delay of two steps on.

    Args:
        delay: Control steps from an action to what it does.
    """
    return 0.5 / (1 + 0.75 * delay)


def expert_action(
    state: WorldState, geom: Geometry, max_lateral: float | Array = MAX_LATERAL, delay: int = 0
) -> Array:
    """Actions for all worlds.

    Args:
        state: The worlds.
        geom: Their `vtenv.tasks.insertion.measures.geometry`.
        max_lateral: Error of the tip at which it goes in, in [m], one for all or (N,).
        delay: Control steps from an action to what it does.

    Returns:
        Actions in [-1, 1], (N, 5).
    """
    xp, part = namespace(state.hand), gain(delay)
    aligned = (geom.lateral < max_lateral) & (geom.angle < _ALIGNED_ANGLE)
    go_in = aligned | (geom.depth > _INSIDE)
    to_standoff = -_STANDOFF - geom.depth
    if delay:
        to_standoff = part * to_standoff
    to_standoff = xp.clip(to_standoff, -ACTION_SCALE[0], ACTION_SCALE[0])
    # As the gain: what is under way when the mouth is missed still goes ahead.
    entry_step = _ENTRY_STEP / (1 + delay / 3)
    entry = xp.maximum(to_standoff, constant(entry_step, to_standoff))
    ahead = xp.where(go_in, entry, to_standoff)

    forward, sideways, up = (state.socket_mat_w[:, :, axis] for axis in range(3))
    move = forward * ahead[:, None] - part * (sideways * geom.tip[:, :1] + up * geom.tip[:, 1:])
    action = [
        move[:, 0] / ACTION_SCALE[0],
        move[:, 1] / ACTION_SCALE[1],
        move[:, 2] / ACTION_SCALE[2],
        -part * geom.yaw / ACTION_SCALE[3],
        -part * geom.pitch / ACTION_SCALE[4],
    ]
    return xp.clip(xp.stack(action, axis=-1), -1.0, 1.0)
