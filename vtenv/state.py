"""What engines and the task tell each other, as arrays with a leading world axis.

Arrays belong to the engine's library: NumPy on the CPU, torch on a GPU. Lengths are in [m],
angles in [rad], forces in [N]; `_w` marks the world frame.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace

Array = Any
"""An array of a library that the array API standard covers."""


def namespace(array: Array) -> Any:
    """The array API functions for an array: NumPy's own, or those of its library."""
    return np if isinstance(array, np.ndarray) else array_namespace(array)


def constant(values: Any, like: Array, dtype: Any = None) -> Array:
    """Values as an array of the library, device and, unless given, dtype of another.

    Numbers and tuples of them become an array once, which all share: it must not be changed,
    and a device need not be waited for.
    """
    dtype = dtype or like.dtype
    if isinstance(values, float | int | tuple | range):
        return _shared(values, namespace(like), dtype, like.device)
    return namespace(like).asarray(values, dtype=dtype, device=like.device)


@functools.cache
def _shared(values: Any, xp: Any, dtype: Any, device: Any) -> Array:
    return xp.asarray(values, dtype=dtype, device=device)


@dataclass(frozen=True)
class InitialState:
    """How worlds start; N of them.

    Attributes:
        connector: Index in `CONNECTOR_NAMES`, (N,), integer.
        grasp: Index of a settled grasp of that connector, (N,), integer.
        in_hand: Plug x, z and pitch in the hand, (N, 3), to settle a new grasp there; NaN
            where the grasp of the bank is meant.
        hand: Hand x, y, z, yaw and pitch from its nominal pose, (N, 5).
        socket_pos_w: Centre of the socket's mouth, (N, 3).
        socket_yaw: Yaw of the socket, (N,).
    """

    connector: Array
    grasp: Array
    in_hand: Array
    hand: Array
    socket_pos_w: Array
    socket_yaw: Array


@dataclass(frozen=True)
class WorldState:
    """The state of N worlds after a control step.

    Attributes:
        connector: Index in `CONNECTOR_NAMES`, (N,), integer.
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


class PhysicsState(NamedTuple):
    """The state of one world in the model's own coordinates, NumPy, for drawing it.

    Attributes:
        connector: Index in `CONNECTOR_NAMES`.
        qpos: Joint positions, (14,).
        mocap_pos: The socket's position, (1, 3).
        mocap_quat: The socket's orientation, (1, 4), wxyz.
    """

    connector: int
    qpos: Array
    mocap_pos: Array
    mocap_quat: Array
