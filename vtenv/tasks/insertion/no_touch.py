"""Scripted players without touch, or without more of it than at first.

Both know the socket's true pose, their own hand's and their fingers', which tell where between them
the plug is. The search takes the plug to be in the middle of its grasp, and when that does not go
in, tries places around it on a spiral. The other takes the plug to be where it exactly was in the
hand at first: what the best look at the gels is worth that is never repeated.
"""

from __future__ import annotations

import dataclasses
import math

from vtenv.arrays import Array, namespace
from vtenv.tasks.insertion.config import InitialStateRanges
from vtenv.tasks.insertion.connectors import SHOULDER_IN_HAND
from vtenv.tasks.insertion.expert import MAX_LATERAL, expert_action
from vtenv.tasks.insertion.measures import geometry
from vtenv.tasks.insertion.state import WorldState
from vtenv.tasks.insertion.task import InsertionTask

APPROACH_STEPS = 30
"""Control steps that it gives the middle of the grasp before it searches."""
TURN_STEPS = 16
"""Control steps in a turn of the spiral."""


def search_action(
    state: WorldState,
    travel: Array,
    elapsed: Array,
    ranges: InitialStateRanges,
    horizon: int = 100,
    delay: int = 0,
) -> Array:
    """Actions for all worlds.

    Args:
        state: The worlds; nothing of the plug is looked at.
        travel: Length that each world's plug goes in, (N,), in [m].
        elapsed: Control steps since the reset, (N,), integer.
        ranges: How far from the middle of its grasp a plug may be.
        horizon: Control steps of an episode, at the end of which the spiral has come to the
            ends of the ranges.
        delay: As in `expert_action`.

    Returns:
        Actions in [-1, 1], (N, 5).
    """
    xp = namespace(travel)
    middle = xp.zeros_like(state.hand[:, :3])
    believed = geometry(_holding(state, middle), travel)
    searched = xp.astype(elapsed - APPROACH_STEPS, travel.dtype)
    part = xp.clip(searched / (horizon - APPROACH_STEPS), 0.0, 1.0)
    phase = searched * (2 * math.pi / TURN_STEPS)
    height = part * xp.cos(phase) * (1e-3 * max(map(abs, ranges.in_hand_z_mm)))
    pitch = part * xp.sin(phase) * math.radians(max(map(abs, ranges.in_hand_pitch_deg)))
    # The tip of a plug that is pitched nose-down is lower than its shoulder.
    lever = SHOULDER_IN_HAND + travel
    tip = believed.tip + xp.stack([xp.zeros_like(height), height - lever * xp.sin(pitch)], axis=-1)
    tried = dataclasses.replace(
        believed,
        tip=tip,
        lateral=xp.hypot(tip[:, 0], tip[:, 1]),
        pitch=believed.pitch + pitch,
        angle=xp.hypot(believed.yaw, believed.pitch + pitch),
    )
    # While it searches it presses on, gently, whatever it believes.
    action = expert_action(state, tried, MAX_LATERAL, delay)
    pressing = xp.astype(elapsed > APPROACH_STEPS, travel.dtype)
    ahead = action[:, :1] * (1 - pressing[:, None]) + 0.25 * pressing[:, None]
    return xp.concat([ahead, action[:, 1:]], axis=-1)


def first_look_action(task: InsertionTask, state: WorldState, first_in_hand: Array) -> Array:
    """Actions of the expert with the plug where it was in the hand at first.

    Args:
        task: Whose expert.
        state: The worlds; nothing of the plug is looked at.
        first_in_hand: `Geometry.in_hand` at the episodes' starts, (N, 3).

    Returns:
        Actions in [-1, 1], (N, 5).
    """
    believed = _holding(state, first_in_hand)
    return task.expert_at(believed, task.geometry(believed))


def _holding(state: WorldState, in_hand: Array) -> WorldState:
    """Worlds whose plugs are somewhere in the hand: x, z and pitch, (N, 3)."""
    xp = namespace(in_hand)
    ahead, side, up = (state.hand_mat_w[:, :, axis] for axis in range(3))
    x, z, pitch = (in_hand[:, i, None] for i in range(3))
    y = (state.fingers[:, 1:] - state.fingers[:, :1]) / 2
    shoulder = state.hand_pos_w + (SHOULDER_IN_HAND + x) * ahead + y * side + z * up
    nose = xp.cos(pitch) * ahead - xp.sin(pitch) * up
    back = xp.sin(pitch) * ahead + xp.cos(pitch) * up
    mat = xp.stack([nose, side, back], axis=-1)
    return dataclasses.replace(state, plug_pos_w=shoulder, plug_mat_w=mat)
