"""The scripted expert: turns the plug on the fixture's edge, then pushes it back on the face.

Nose-up turns are made on the upper edge and nose-down turns on the lower one, beside the hole.
Needs no memory, and runs on arrays of any library.
"""

from __future__ import annotations

import math

from vtenv.arrays import Array, constant, namespace
from vtenv.tasks.insertion.actions import ACTION_SCALE, target_leash
from vtenv.tasks.insertion.connectors import SHOULDER_IN_HAND
from vtenv.tasks.insertion.primitives import HOUSING_HALF_SIZE
from vtenv.tasks.insertion.state import WorldState
from vtenv.tasks.pivot.measures import PivotGeometry

_BESIDE = 0.015
"""Distance beside the hole at which the expert works, in [m]: every plug clears it there."""
_BACK, _LEAD = -0.003, 0.003
"""Depth of the tip [m] behind which the expert goes up and down, and to which it reaches over
the edge."""
_ROOM = 0.0015
"""Room between plug and edge on the way over it, in [m]."""
_AT_PLACE = 0.003
"""Distance from the line beside the hole, and from the height on the face, that will do."""
_ON_FACE, _FACING = 0.4 * HOUSING_HALF_SIZE[2], 0.8 * HOUSING_HALF_SIZE[2]
"""Heights of the tip between which the expert pushes, and counts as facing the housing."""

_PRESS, _PRESS_PER_RAD, _MIN_PRESS = 0.0035, 0.03, 0.0019
"""Lead of the target that turns a plug, in [m]: the most, for an error of one radian, and what
is added to it, with which a plug just turns."""
_GRIP_CENTRE, _LEVER = 0.006, 0.019
"""Where the fingers hold a plug, ahead of the hand's centre, and the lever of the edge about it
for which the lead is meant, in [m]: a shorter plug is pressed harder."""
_PUSH, _PUSH_PER_METRE, _MIN_PUSH = 0.0045, 0.5, 0.003
"""Lead of the target that pushes a plug, likewise."""
_DRAG, _DRAG_PER_RAD = 0.0015, 0.05
"""Lead of the target along the face, which turns back what pushing has turned."""
_TURNED, _DISTURBED, _PUSHED = math.radians(1.8), math.radians(2.5), 0.0005
"""Errors of pitch at which the expert stops turning, and leaves the face to turn again; error
of place at which it stops pushing."""
_GAIN = 0.25
"""Part of an error corrected in one step; survives three steps of delay."""


def expert_action(state: WorldState, geom: PivotGeometry, half_height: Array) -> Array:
    """Actions for all worlds.

    Args:
        state: The worlds.
        geom: Their `vtenv.tasks.pivot.measures.pivot_geometry`.
        half_height: Half the height of what is inserted, (N,), [m].

    Returns:
        Actions in [-1, 1], (N, 5).
    """
    xp = namespace(geom.depth)
    depth, y, z = geom.depth, geom.tip[:, 0], geom.tip[:, 1]
    one, zero = xp.ones_like(z), xp.zeros_like(z)
    # On the face a turn is left alone until it is large: pushing disturbs it.
    turned = xp.where(xp.abs(z) < _FACING, _DISTURBED * one, _TURNED * one)
    turn = xp.abs(geom.pitch_error) > turned
    left = xp.where(y < 0, -_BESIDE - y, _BESIDE - y)
    beside = xp.abs(left) < _AT_PLACE

    # Turning, as on the upper edge; the lower one is its mirror image.
    side = xp.where(geom.pitch_error < 0, one, -one)
    at_edge = z + xp.clip(depth, 0.0, None) * xp.tan(geom.pitch)
    above = side * at_edge - half_height - HOUSING_HALF_SIZE[2]
    over = (above > -0.001) & beside & (depth > _BACK)
    pressing = over & (depth > 0.5 * _LEAD)
    lever = SHOULDER_IN_HAND + geom.in_hand[:, 0] + geom.travel - _LEAD - _GRIP_CENTRE
    press = xp.clip(_PRESS_PER_RAD * xp.abs(geom.pitch_error) + _MIN_PRESS, 0.0, _PRESS)
    press = press * _LEVER / xp.clip(lever, 0.5 * _LEVER, None)
    reach = pressing | (beside & (above > 0.5 * _ROOM))
    turn_ahead = xp.where(reach, _LEAD - depth, _BACK - depth)
    turn_up = side * xp.where(pressing, -press, _ROOM - above)
    # Behind the mouth, or over the edge, it is free to go up and down.
    behind = depth < 0.3 * _BACK
    turn_up = xp.where(behind | over | (above > 0), turn_up, zero)

    # Pushing, or waiting before the face once all is done.
    level = xp.clip(z, -_ON_FACE, _ON_FACE) - z
    pushing = (geom.place_error < -_PUSHED) & beside & (xp.abs(level) < _AT_PLACE)
    push = xp.clip(-_PUSH_PER_METRE * geom.place_error + _MIN_PUSH, 0.0, _PUSH)
    drag = xp.clip(_DRAG_PER_RAD * geom.pitch_error, -_DRAG, _DRAG)
    push_ahead = xp.where(pushing, push, _BACK - depth)
    push_up = xp.where(pushing, drag, zero) + xp.where(behind | pushing, level, zero)

    ahead, up = xp.where(turn, turn_ahead, push_ahead), xp.where(turn, turn_up, push_up)
    return _lead(state, geom, ahead, left, up)


def _lead(state: WorldState, geom: PivotGeometry, ahead: Array, left: Array, up: Array) -> Array:
    """Actions after which the target leads the hand so far along the socket's axes, level.

    Args:
        state: The worlds.
        geom: Where the plugs are.
        ahead: Into the socket, (N,), [m].
        left: To the socket's left, (N,), [m].
        up: Upwards, (N,), [m].
    """
    xp = namespace(ahead)
    forward, sideways = state.socket_mat_w[:, :, 0], state.socket_mat_w[:, :, 1]
    move = forward * ahead[:, None] + sideways * left[:, None]
    lead = xp.stack([move[:, 0], move[:, 1], up, -geom.yaw, -state.hand[:, 4]], axis=-1)
    leash = constant(target_leash(), ahead)
    change = xp.clip(lead, -leash, leash) + state.hand - state.target
    return xp.clip(_GAIN * change / constant(ACTION_SCALE, ahead), -1.0, 1.0)
