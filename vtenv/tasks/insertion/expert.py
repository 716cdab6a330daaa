"""The scripted expert: inserts the plug from privileged state.

Aligns the tip with the socket's axis while it comes to the mouth, goes in once it is aligned,
and backs off to try again when it is not. Needs no memory, and runs on arrays of any library.
"""

from __future__ import annotations

from vtenv.arrays import Array, constant, namespace
from vtenv.tasks.insertion.actions import ACTION_SCALE
from vtenv.tasks.insertion.measures import Geometry
from vtenv.tasks.insertion.state import WorldState

_ALIGNED_LATERAL, _ALIGNED_ANGLE = 0.001, 0.06
"""Error of the tip [m] and the axis [rad] at which the expert goes in."""
_STANDOFF = 0.004
"""Distance before the mouth, in [m], at which it waits to be aligned."""
_GAIN = 0.5
"""Part of an error corrected in one step."""
_ENTRY_STEP = 0.002
"""Way forward in one step while going in, in [m]: half of what it could, which keeps the
forces on entry well under `measures.MAX_SOCKET_FORCE`."""


def expert_action(state: WorldState, geom: Geometry) -> Array:
    """Actions for all worlds.

    Args:
        state: The worlds.
        geom: Their `vtenv.tasks.insertion.measures.geometry`.

    Returns:
        Actions in [-1, 1], (N, 5).
    """
    xp = namespace(state.hand)
    aligned = (geom.lateral < _ALIGNED_LATERAL) & (geom.angle < _ALIGNED_ANGLE)
    go_in = aligned | (geom.depth > 0.002)
    to_standoff = xp.clip(-_STANDOFF - geom.depth, -ACTION_SCALE[0], ACTION_SCALE[0])
    entry = xp.maximum(to_standoff, constant(_ENTRY_STEP, to_standoff))
    ahead = xp.where(go_in, entry, to_standoff)

    forward = state.socket_mat_w[:, :, 0]
    sideways = state.socket_mat_w[:, :, 1]
    move = forward * ahead[:, None] - sideways * (_GAIN * geom.tip[:, :1])
    action = [
        move[:, 0] / ACTION_SCALE[0],
        move[:, 1] / ACTION_SCALE[1],
        -_GAIN * geom.tip[:, 1] / ACTION_SCALE[2],
        -_GAIN * geom.yaw / ACTION_SCALE[3],
        -_GAIN * geom.pitch / ACTION_SCALE[4],
    ]
    return xp.clip(xp.stack(action, axis=-1), -1.0, 1.0)
