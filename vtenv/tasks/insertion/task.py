"""The insertion task as pure functions on arrays with a leading world axis.

Written once for every engine: NumPy and torch arrays alike, through `array-api-compat`.
Lengths are in [m], angles in [rad] and forces in [N] unless a name says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vtenv.state import Array, InitialState, WorldState, constant, namespace
from vtenv.tasks.insertion.config import InitialStateRanges, VTInsertConfig
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, CONNECTORS, SHOULDER_IN_HAND
from vtenv.tasks.insertion.scene import HAND_HEIGHT

ACTION_SCALE = (0.004, 0.003, 0.002, 0.06, 0.06)
"""Change of the hand's target by an action of 1: x, y, z in [m], yaw, pitch in [rad]."""
TARGET_LEASH = (0.006, 0.006, 0.006, 0.15, 0.15)
"""Farthest the target may be from the hand, in the same order; bounds the hand's force to
12 N and its torque to 3 Nm."""

WORKSPACE = ((-0.02, 0.06), (-0.045, 0.045), (-0.025, 0.025), (-0.6, 0.6), (-0.6, 0.6))
"""Bounds of the target, in the same order, from the hand's nominal pose: the gantry's range."""

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

PROPRIO_SIZE = 12
STATE_SIZE = PROPRIO_SIZE + 15 + len(CONNECTOR_NAMES)

_TRAVELS = tuple(CONNECTORS[name].travel for name in CONNECTOR_NAMES)
_LOW, _HIGH = zip(*WORKSPACE, strict=True)

NUM_UNIFORMS = 2 + len(InitialStateRanges.names())
"""Random numbers that an initial state takes."""


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


def check_options(
    options: Mapping[str, object] | None, connectors: Sequence[str]
) -> dict[str, object]:
    """Check what `reset(options=...)` fixes.

    Args:
        options: `connector`, and fields of `InitialStateRanges` with a number in their unit.
        connectors: The connectors that the environment draws from.

    Returns:
        A copy.

    Raises:
        ValueError: If a name or value is not allowed; lists what is.
    """
    checked = dict(options or {})
    allowed = ("connector", *InitialStateRanges.names())
    unknown = sorted(set(checked) - set(allowed))
    if unknown:
        raise ValueError(f"unknown reset option {unknown[0]!r}; choose from {', '.join(allowed)}")
    for name, value in checked.items():
        if name == "connector":
            if value not in connectors:
                raise ValueError(
                    f"reset option connector={value!r} is not allowed; this environment was "
                    f"made for {', '.join(connectors)}"
                )
            continue
        low, high = InitialStateRanges.limits(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and low <= value <= high):  # type: ignore[operator]
            raise ValueError(
                f"reset option {name}={value!r} is not allowed; it must be a number from "
                f"{low:g} to {high:g}"
            )
    return checked


def initial_state(
    uniforms: Array, config: VTInsertConfig, bank_size: int, options: Mapping[str, object]
) -> InitialState:
    """Map uniform random numbers to initial states.

    Args:
        uniforms: Numbers in [0, 1), (N, `NUM_UNIFORMS`), float64.
        config: Connectors to draw from, and ranges.
        bank_size: Number of settled grasps of each connector.
        options: Values that are fixed rather than drawn, checked by `check_options`.

    Returns:
        The states; a plug's place in the hand is the bank's, unless an option fixes a part
        of it.
    """
    xp = namespace(uniforms)
    names = (str(options["connector"]),) if "connector" in options else config.connectors
    ids = constant(tuple(map(CONNECTOR_NAMES.index, names)), uniforms, xp.int64)
    connector = xp.take(ids, xp.astype(uniforms[:, 0] * len(names), xp.int64))

    values: dict[str, Array] = {}
    for column, name in enumerate(InitialStateRanges.names(), start=2):
        low, high = getattr(config.initial_state, name)
        if name in options:
            low = high = float(options[name])  # type: ignore[arg-type]
        unit = math.pi / 180 if name.endswith("_deg") else 1e-3
        values[name] = (low + (high - low) * uniforms[:, column]) * unit
    in_hand = xp.stack(
        [values["in_hand_x_mm"], values["in_hand_z_mm"], values["in_hand_pitch_deg"]], axis=-1
    )
    if not any(name.startswith("in_hand_") for name in options):
        in_hand = in_hand * math.nan
    zero = xp.zeros_like(values["hand_y_mm"])
    hand = [zero, values["hand_y_mm"], values["hand_z_mm"], values["hand_yaw_deg"], zero]
    socket = [values["socket_x_mm"], values["socket_y_mm"], values["socket_z_mm"] + HAND_HEIGHT]
    return InitialState(
        connector=connector,
        grasp=xp.astype(uniforms[:, 1] * bank_size, xp.int64),
        in_hand=in_hand,
        hand=xp.stack(hand, axis=-1),
        socket_pos_w=xp.stack(socket, axis=-1),
        socket_yaw=values["socket_yaw_deg"],
    )


def next_target(target: Array, hand: Array, action: Array) -> Array:
    """Move the hand's target by an action; keep it on its leash and in the workspace.

    Args:
        target: The present target, (N, 5).
        hand: The hand's pose, (N, 5).
        action: In [-1, 1], (N, 5).
    """
    xp = namespace(target)
    scale = constant(ACTION_SCALE, target)
    leash = constant(TARGET_LEASH, target)
    moved = target + xp.clip(action, -1.0, 1.0) * scale
    low, high = constant(_LOW, target), constant(_HIGH, target)
    moved = xp.minimum(xp.maximum(moved, low), high)
    # The leash last: it holds for a hand that has been pushed out of the workspace, too.
    return xp.minimum(xp.maximum(moved, hand - leash), hand + leash)


def _in_frame(mat: Array, *vectors: Array) -> Array:
    """K world vectors (N, 3) each in the frames with orientation `mat` (N, 3, 3): (N, K, 3)."""
    xp = namespace(mat)
    v = xp.stack(vectors, axis=1)
    m = mat[:, None]
    # Written out: a sum over an axis of three is several times slower.
    return m[:, :, 0] * v[..., :1] + m[:, :, 1] * v[..., 1:2] + m[:, :, 2] * v[..., 2:]


def geometry(state: WorldState) -> Geometry:
    """Where the plug is, relative to socket and hand."""
    xp = namespace(state.plug_pos_w)
    travel = constant(_TRAVELS, state.hand)[state.connector]

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


def potentials(geom: Geometry, clearance: float | Array, lead_in: float) -> dict[str, Array]:
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
) -> dict[str, Array]:
    """Weighted terms of the dense reward; their sum is the reward.

    Args:
        before: `potentials` before the step.
        after: `potentials` after it.
        success: Flags, (N,).
        failed: Flags, (N,).
        socket_force: Contact force, (N,), in [N]; over 10 N it costs.
    """
    xp = namespace(socket_force)
    dtype = socket_force.dtype
    terms = {name: after[name] - before[name] for name in POTENTIALS}
    terms["success"] = xp.astype(success, dtype)
    terms["failure"] = xp.astype(failed, dtype)
    terms["force"] = xp.clip(socket_force / 10.0 - 1.0, 0.0, 5.0)
    terms["time"] = xp.ones_like(socket_force)
    return {name: REWARD_WEIGHTS[name] * term for name, term in terms.items()}


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


def privileged(state: WorldState, geom: Geometry) -> Array:
    """The privileged state, (N, 31): lengths in [cm], angles in [rad]; see `VTInsertEnv`."""
    xp = namespace(state.hand)
    in_hand = _in_frame(
        state.hand_mat_w, state.socket_pos_w - state.hand_pos_w, state.socket_mat_w[:, :, 0]
    )
    socket, socket_axis = in_hand[:, 0], in_hand[:, 1]
    one_hot = state.connector[:, None] == constant(range(len(CONNECTOR_NAMES)), state.connector)
    columns = [
        geom.in_hand[:, :2] * 100,
        geom.in_hand[:, 2:],
        geom.depth[:, None] * 100,
        geom.tip * 100,
        xp.stack([geom.yaw, geom.pitch, geom.roll], axis=-1),
        socket * 100,
        xp.atan2(socket_axis[:, 1], socket_axis[:, 0])[:, None],
        geom.travel[:, None] * 100,
        state.socket_force[:, None] / 10,
        xp.astype(one_hot, state.hand.dtype),
    ]
    return xp.concat([proprio(state), *columns], axis=-1)
