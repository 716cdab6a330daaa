"""The state of worlds in which a hand holds a plug before a socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vtenv.arrays import Array, namespace
from vtenv.world_model import PhysicsState


@dataclass(frozen=True)
class PadState:
    """What is felt of a grasp, and how it began.

    Attributes:
        wrenches: Of the left and the right pad on the plug, in the world frame: force, torque and
            the point that it is about, (N, 18); on a GPU zeros between a reset and the first step.
        grip: Force that each finger closes with, (N, 2), in [N].
        grasp: Plug x [m], z [m] and pitch [rad] in the hand at the start of the episode, (N, 3).
    """

    wrenches: Array
    grip: Array
    grasp: Array


@dataclass(frozen=True)
class WorldState:
    """The state of N worlds after a control step.

    Attributes:
        connector: Index of its connector among those in play, (N,), integer.
        hand: Hand x, y, z, yaw and pitch from its nominal pose, (N, 5).
        target: Where the hand is driven to, as `hand`, (N, 5).
        fingers: Distance each finger has closed, (N, 2).
        hand_pos_w: Centre of the hand, (N, 3).
        hand_mat_w: Orientation of the hand, (N, 3, 3).
        plug_pos_w: The plug's shoulder, (N, 3).
        plug_mat_w: Orientation of the plug, (N, 3, 3).
        socket_pos_w: Centre of the socket's mouth, (N, 3).
        socket_mat_w: Orientation of the socket, (N, 3, 3).
        socket_force: Magnitude of the net force between socket and plug, (N,).
        touching: Whether each gel touches the plug, (N, 2), bool.
        stable: Whether the physics engine reported no trouble so far, (N,), bool.
        pads: The pads; None in worlds where no modality senses their forces.
    """

    connector: Array
    hand: Array
    target: Array
    fingers: Array
    hand_pos_w: Array
    hand_mat_w: Array
    plug_pos_w: Array
    plug_mat_w: Array
    socket_pos_w: Array
    socket_mat_w: Array
    socket_force: Array
    touching: Array
    stable: Array
    pads: PadState | None = None


def world_state(
    physics: PhysicsState, num_clearances: int, parameters: Mapping[str, Array]
) -> WorldState:
    """What the physics of `vtenv.tasks.insertion.scene` mean.

    Args:
        physics: The worlds.
        num_clearances: Models of each connector, one for each clearance.
        parameters: Those of `Episodes`.
    """
    frames, force = physics.frames, physics.readings["socket_force"]
    xp = namespace(force)
    wrenches = physics.readings.get("pad_wrenches")
    return WorldState(
        connector=physics.variant // num_clearances,
        hand=physics.joints["hand"],
        target=physics.controls["hand"],
        fingers=physics.joints["fingers"],
        hand_pos_w=frames["hand"].pos_w,
        hand_mat_w=frames["hand"].mat_w,
        plug_pos_w=frames["plug"].pos_w,
        plug_mat_w=frames["plug"].mat_w,
        socket_pos_w=frames["socket"].pos_w,
        socket_mat_w=frames["socket"].mat_w,
        socket_force=xp.sqrt(xp.sum(force**2, axis=-1)),
        touching=physics.readings["gel_contacts"] > 0,
        stable=physics.stable,
        pads=None
        if wrenches is None
        else PadState(wrenches, parameters["grip"], parameters["grasp"]),
    )
