"""The pivoting task as pure functions on arrays with a leading world axis.

Written once for every engine, as `vtenv.tasks.insertion.measures`. Lengths are in [m], angles in
[rad] and forces in [N] unless a name says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vtenv.arrays import Array, constant, namespace
from vtenv.tasks.insertion.connectors import FINGER_OPEN
from vtenv.tasks.insertion.measures import MAX_SOCKET_FORCE, Geometry
from vtenv.tasks.insertion.state import WorldState

PITCH_TOLERANCE = math.radians(3)
"""Error of the pitch in the hand that is success."""
PLACE_TOLERANCE = 0.001
"""Error of the place along the fingers that is success."""
PRESSED_FORCE_N = 1.0
"""Contact force with the fixture above which the plug is pressed on it."""
FINISHING = 2.0
"""Errors of a plug that is nearly at its goal, in parts of what is success."""
MAX_UNLOADED_FORCE = 0.5
"""Contact force with the fixture under which the fingers alone hold the plug."""
MAX_SLIP = (0.012, 0.013, 0.6)
"""In-hand x, z and pitch beyond which the plug has slipped out of the grasp."""
CLOSED_GAP = 0.001
"""Gap between the fingers under which they have closed on nothing. A light grip loses touch for
milliseconds when the plug is knocked, so that touch does not tell."""

REWARD_WEIGHTS = {
    "pitch": 3.0,
    "place": 3.0,
    "success": 5.0,
    "failure": -2.0,
    "force": -0.01,
    "time": -0.01,
}
"""Weight of each term of the dense reward."""
POTENTIALS = ("pitch", "place")
"""Terms rewarded by their change over a step, so that no cycle of states earns anything."""


@dataclass(frozen=True)
class PivotGeometry(Geometry):
    """Where the plug is, relative to fixture and hand, and what is missing to its goal.

    Attributes:
        place_error: Way still to go along the fingers, (N,); negative to the back.
        pitch_error: Turn still to make, (N,); positive nose-down.
    """

    place_error: Array
    pitch_error: Array


def pivot_geometry(geometry: Geometry, goal: Array) -> PivotGeometry:
    """What is missing to goals.

    Args:
        geometry: Where the plugs are.
        goal: Commanded place along the fingers and pitch, (N, 2).
    """
    place, pitch = geometry.in_hand[:, 0], geometry.in_hand[:, 2]
    return PivotGeometry(
        **vars(geometry), place_error=goal[:, 0] - place, pitch_error=goal[:, 1] - pitch
    )


def is_success(state: WorldState, geom: PivotGeometry) -> Array:
    """Whether the plug is where it should be, held by both fingers and nothing else."""
    xp = namespace(geom.depth)
    turned = xp.abs(geom.pitch_error) <= PITCH_TOLERANCE
    shifted = xp.abs(geom.place_error) <= PLACE_TOLERANCE
    free = state.socket_force < MAX_UNLOADED_FORCE
    return turned & shifted & free & xp.all(state.touching, axis=-1)


def failure(state: WorldState, geom: PivotGeometry) -> Array:
    """Why the episode failed: codes into insertion's `FAILURES`, (N,), integer; 0 for none."""
    xp = namespace(geom.depth)
    slip = xp.any(xp.abs(geom.in_hand) > constant(MAX_SLIP, geom.depth), axis=-1)
    gap = 2 * FINGER_OPEN - state.fingers[:, 0] - state.fingers[:, 1]
    code = xp.where(slip, 2, xp.where(state.socket_force > MAX_SOCKET_FORCE, 3, 0))
    return xp.where(state.stable, xp.where(gap < CLOSED_GAP, 1, code), 4)


def potentials(geom: PivotGeometry) -> dict[str, Array]:
    """How far along the task is, by term: each rises to 1 as the plug comes to its goal."""
    xp = namespace(geom.depth)
    away = [xp.abs(geom.pitch_error) / 0.2, xp.abs(geom.place_error) / 0.003]
    pitch, place = 1 - xp.tanh(xp.stack(away))
    return {"pitch": pitch, "place": place}
