"""The insertion task as pure functions on arrays with a leading world axis.

Written once for every engine: NumPy and torch arrays alike, through `array-api-compat`.
Lengths are in [m], angles in [rad] and forces in [N] unless a name says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vtenv.arrays import Array, constant, namespace
from vtenv.sensing.tractions import WRENCH_SIZE
from vtenv.tasks.insertion.connectors import SHOULDER_IN_HAND
from vtenv.tasks.insertion.state import PadState, WorldState

SUCCESS_FRACTION = 0.85
"""Part of the plug's travel that must be in the socket."""
MAX_SOCKET_FORCE = 60.0
"""Contact force between socket and plug that ends an episode as a failure, in [N]; a third
above the highest peak of the scripted expert."""
MAX_SLIP = (0.012, 0.010, 0.6)
"""In-hand x, z and pitch beyond which the plug has slipped out of the grasp."""
_CONTACT_TOLERANCE = 0.0002
"""Allowance for soft contacts when judging alignment, in [m]."""

FAILURES = ("", "dropped", "slipped", "force", "unstable")
"""Causes of failure, by code; 0 is none."""

REWARD_WEIGHTS = {
    "lateral": 1.0,
    "angular": 0.5,
    "approach": 1.0,
    "insertion": 5.0,
    "success": 5.0,
    "failure": -2.0,
    "force": -0.01,
    "time": -0.01,
}
"""Weight of each term of the dense reward."""
POTENTIALS = ("lateral", "angular", "approach", "insertion")
"""Terms rewarded by their change over a step, so that no cycle of states earns anything."""


@dataclass(frozen=True)
class Geometry:
    """Where the plug is, relative to socket and hand.

    Attributes:
        depth: How far the tip is past the mouth along the socket's axis, (N,); negative
            outside.
        tip: The tip across the socket's axis: y and z in the socket's frame, (N, 2).
        lateral: Distance of the tip from the socket's axis, (N,).
        yaw, pitch, roll: The plug's orientation in the socket's frame, (N,); pitch is
            positive nose-down.
        angle: Angle between the plug's and the socket's axis, (N,).
        in_hand: The plug's x, z and pitch in the hand, from its nominal place, (N, 3).
        travel: Length to insert, (N,).
    """

    depth: Array
    tip: Array
    lateral: Array
    yaw: Array
    pitch: Array
    roll: Array
    angle: Array
    in_hand: Array
    travel: Array


def _in_frame(mat: Array, *vectors: Array) -> Array:
    """K world vectors (N, 3) each in the frames with orientation `mat` (N, 3, 3): (N, K, 3)."""
    xp = namespace(mat)
    v = xp.stack(vectors, axis=1)
    m = mat[:, None]
    # Written out: a sum over an axis of three is several times slower.
    return m[:, :, 0] * v[..., :1] + m[:, :, 1] * v[..., 1:2] + m[:, :, 2] * v[..., 2:]


def geometry(state: WorldState, travel: Array) -> Geometry:
    """Where the plug is, relative to socket and hand.

    Args:
        state: The worlds.
        travel: Length that each world's plug goes in, (N,), in [m].
    """
    xp = namespace(state.plug_pos_w)

    axis_w = state.plug_mat_w[:, :, 0]
    tip_w = state.plug_pos_w + axis_w * travel[:, None] - state.socket_pos_w
    in_socket = _in_frame(state.socket_mat_w, tip_w, axis_w, state.plug_mat_w[:, :, 1])
    tip, axis, side = in_socket[:, 0], in_socket[:, 1], in_socket[:, 2]
    in_hand = _in_frame(state.hand_mat_w, state.plug_pos_w - state.hand_pos_w, axis_w)
    place, axis_hand = in_hand[:, 0], in_hand[:, 1]
    across = xp.hypot(in_socket[:, :2, 1], in_socket[:, :2, 2])
    # All the angles in one call: yaw, pitch, roll and the angle between the axes in the
    # socket's frame, and the pitch in the hand's.
    opposite = [axis[:, 1], -axis[:, 2], side[:, 2], across[:, 1], -axis_hand[:, 2]]
    adjacent = [axis[:, 0], axis[:, 0], side[:, 1], axis[:, 0], axis_hand[:, 0]]
    angles = xp.atan2(xp.stack(opposite), xp.stack(adjacent))
    return Geometry(
        depth=tip[:, 0],
        tip=tip[:, 1:],
        lateral=across[:, 0],
        yaw=angles[0],
        pitch=angles[1],
        roll=angles[2],
        angle=angles[3],
        in_hand=xp.stack([place[:, 0] - SHOULDER_IN_HAND, place[:, 2], angles[4]], axis=-1),
        travel=travel,
    )


def is_success(state: WorldState, geom: Geometry, clearance: float | Array) -> Array:
    """Whether the plug is in: deep enough, aligned, and held.

    Aligned means within what a hole of this clearance allows: the tip within a corner of the
    clearance's square, the axis within the cone that the clearance leaves over the depth
    required; both with an allowance for soft contacts.

    Args:
        state: The worlds.
        geom: Their `geometry`.
        clearance: Room on each side, in [m]; one for all, or one for each, (N,).

    Returns:
        Flags, (N,), bool.
    """
    xp = namespace(geom.depth)
    required = SUCCESS_FRACTION * geom.travel
    room = math.sqrt(2) * clearance + _CONTACT_TOLERANCE
    aligned = (geom.lateral <= room) & (geom.angle <= xp.atan(2 * room / required))
    return (geom.depth >= required) & aligned & xp.all(state.touching, axis=-1)


def failure(state: WorldState, geom: Geometry) -> Array:
    """Why the episode failed: codes into `FAILURES`, (N,), integer; 0 if it did not."""
    xp = namespace(geom.depth)
    slip = xp.any(xp.abs(geom.in_hand) > constant(MAX_SLIP, geom.depth), axis=-1)
    dropped = ~xp.any(state.touching, axis=-1)
    code = xp.where(slip, 2, xp.where(state.socket_force > MAX_SOCKET_FORCE, 3, 0))
    return xp.where(state.stable, xp.where(dropped, 1, code), 4)


def potentials(
    geom: Geometry, clearance: float | Array, lead_in: float | Array
) -> dict[str, Array]:
    """How far along the task is, by term: each rises to 1 as the plug goes in.

    Projected on the socket's axis: approach is the way to the mouth, insertion the way from
    there, which counts only in the mouth's opening; lateral and angular are the alignment.
    """
    xp = namespace(geom.depth)
    in_mouth = geom.lateral <= clearance + lead_in + _CONTACT_TOLERANCE
    inserted = xp.clip(geom.depth / (SUCCESS_FRACTION * geom.travel), 0.0, 1.0)
    away = xp.stack(
        [geom.lateral / 0.005, geom.angle / 0.2, xp.clip(-geom.depth / 0.02, 0.0, None)]
    )
    lateral, angular, approach = 1 - xp.tanh(away)
    return {
        "lateral": lateral,
        "angular": angular,
        "approach": approach,
        "insertion": xp.where(in_mouth, inserted, xp.zeros_like(inserted)),
    }


def dense_reward(
    before: dict[str, Array],
    after: dict[str, Array],
    success: Array,
    failed: Array,
    socket_force: Array,
    weights: Mapping[str, float] = REWARD_WEIGHTS,
) -> dict[str, Array]:
    """Weighted terms of the dense reward; their sum is the reward.

    Args:
        before: `potentials` before the step.
        after: `potentials` after it.
        success: Flags, (N,).
        failed: Flags, (N,).
        socket_force: Contact force, (N,), in [N]; over 10 N it costs.
        weights: Weight of each term.
    """
    xp = namespace(socket_force)
    dtype = socket_force.dtype
    terms = {name: after[name] - before[name] for name in after}
    terms["success"] = xp.astype(success, dtype)
    terms["failure"] = xp.astype(failed, dtype)
    terms["force"] = xp.clip(socket_force / 10.0 - 1.0, 0.0, 5.0)
    terms["time"] = xp.ones_like(socket_force)
    return {name: weights[name] * term for name, term in terms.items()}


def proprio(state: WorldState) -> Array:
    """Proprioception, (N, 12): lengths in [cm], angles in [rad]; see `VTInsertEnv`."""
    xp = namespace(state.hand)
    lag = state.target - state.hand
    return xp.concat(
        [
            state.hand[:, :3] * 100,
            state.hand[:, 3:],
            lag[:, :3] * 100,
            lag[:, 3:],
            state.fingers * 100,
        ],
        axis=-1,
    )


def privileged(state: WorldState, geom: Geometry, sizes: Array) -> Array:
    """The privileged state, (N, 31): lengths in [cm], angles in [rad]; see `VTInsertEnv`.

    Args:
        state: The worlds.
        geom: Their `geometry`.
        sizes: Width and height of what each world inserts and of what it holds, (N, 4), in [m].
    """
    xp = namespace(state.hand)
    socket, socket_yaw, _ = _socket_in_hand(state)
    columns = [
        geom.in_hand[:, :2] * 100,
        geom.in_hand[:, 2:],
        geom.depth[:, None] * 100,
        geom.tip * 100,
        xp.stack([geom.yaw, geom.pitch, geom.roll], axis=-1),
        socket * 100,
        socket_yaw[:, None],
        geom.travel[:, None] * 100,
        state.socket_force[:, None] / 10,
        sizes * 100,
    ]
    return xp.concat([proprio(state), *columns], axis=-1)


def poses(state: WorldState, geom: Geometry) -> Array:
    """The columns of `vtenv.tasks.insertion.pose_labels.POSE_LABELS`, (N, 8)."""
    xp = namespace(state.hand)
    degrees = 180 / math.pi
    socket, yaw, pitch = _socket_in_hand(state)
    columns = [
        geom.in_hand[:, :2] * 1e3,
        geom.in_hand[:, 2:] * degrees,
        socket * 1e3,
        yaw[:, None] * degrees,
        pitch[:, None] * degrees,
    ]
    return xp.concat(columns, axis=-1)


def pad_labels(state: WorldState, geom: Geometry, pads: PadState) -> dict[str, Array]:
    """Force and slip of the pads, by the names of `probe_targets.TOUCH_LABELS`, (N,) each.

    Forces are the parts of the contact force along the direction that the hand closes in and across
    it, each the mean over both pads. Slip is how far the point of the plug that the pads' middle
    held at the start of the episode has moved in the plane of the pads.
    """
    xp = namespace(geom.in_hand)
    count = len(geom.in_hand)
    wrenches = xp.reshape(pads.wrenches, (count, -1, WRENCH_SIZE))
    across_x, along, across_z = xp.unstack(
        _in_frame(state.hand_mat_w, wrenches[:, 0, :3], wrenches[:, 1, :3]), axis=-1
    )
    # A sensor that has read nothing yet: nothing but the grip is felt.
    unread = state.touching & ~xp.any(wrenches[..., :3] != 0, axis=-1)
    normal = xp.where(unread, pads.grip, xp.abs(along))
    (x, z, pitch), (first_x, first_z, first_pitch) = (
        xp.unstack(place, axis=-1) for place in (geom.in_hand, pads.grasp)
    )
    turn = pitch - first_pitch
    cos, sin, first_x = xp.cos(turn), xp.sin(turn), first_x + SHOULDER_IN_HAND
    moved_x = x + SHOULDER_IN_HAND - first_x * cos - first_z * sin
    moved_z = z + first_x * sin - first_z * cos
    return {
        "pad_normal_n": xp.mean(normal, axis=-1),
        "pad_tangential_n": xp.mean(xp.hypot(across_x, across_z), axis=-1),
        "slip_mm": xp.hypot(moved_x, moved_z) * 1e3,
    }


def _socket_in_hand(state: WorldState) -> tuple[Array, Array, Array]:
    """The socket's mouth, (N, 3), and its yaw and pitch, (N,), in the hand's frame."""
    in_hand = _in_frame(
        state.hand_mat_w, state.socket_pos_w - state.hand_pos_w, state.socket_mat_w[:, :, 0]
    )
    axis = in_hand[:, 1]
    xp = namespace(axis)
    yaw, pitch = (xp.atan2(side, axis[:, 0]) for side in (axis[:, 1], -axis[:, 2]))
    return in_hand[:, 0], yaw, pitch
