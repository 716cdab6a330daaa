"""Where an initial state puts things, in the model's own coordinates; the same for every engine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.domain import Domain
from vtenv.tasks.insertion.grasp_bank import GraspBank
from vtenv.tasks.insertion.initial import InitialState


class Placement(NamedTuple):
    """Rows of an engine's state for N worlds, float64.

    Attributes:
        qpos: Joint positions, (N, 14).
        ctrl: Actuator inputs, (N, 7).
        socket_pos: The socket's position, (N, 3).
        socket_quat: The socket's orientation, wxyz, (N, 4).
    """

    qpos: NDArray[np.float64]
    ctrl: NDArray[np.float64]
    socket_pos: NDArray[np.float64]
    socket_quat: NDArray[np.float64]


def place(initial: InitialState, bank: GraspBank, domain: Domain | None = None) -> Placement:
    """Turn initial states into rows of an engine's state.

    Args:
        initial: The states; grasps that an option fixes are settled now.
        bank: Settled grasps.
        domain: The worlds' domains; None where nothing is randomised.
    """
    stiffness = np.ones(len(initial.hand)) if domain is None else domain.gel_stiffness
    grasps = bank.take(initial.connector, initial.grasp, stiffness)
    fresh = np.flatnonzero(~np.isnan(initial.in_hand[:, 0]))
    if fresh.size:
        grasps[fresh] = bank.settle(
            initial.connector[fresh], initial.in_hand[fresh], stiffness[fresh]
        )

    yaw = initial.hand[:, 3]
    cos, sin = np.cos(yaw), np.sin(yaw)
    x, y, z = grasps[:, 2:5].T
    plug = np.stack([cos * x - sin * y, sin * x + cos * y, z + scene.HAND_HEIGHT], axis=-1)
    qpos = np.concatenate(
        [
            initial.hand,
            grasps[:, :2],
            plug + initial.hand[:, :3],
            _turn(yaw, grasps[:, 5:9]),
        ],
        axis=-1,
    )
    ctrl = np.full((len(yaw), 7), bank.grip_force)
    ctrl[:, scene.HAND_CTRL] = initial.hand
    upright = np.broadcast_to([1.0, 0.0, 0.0, 0.0], (len(yaw), 4))
    return Placement(qpos, ctrl, initial.socket_pos_w, _turn(initial.socket_yaw, upright))


def _turn(yaw: NDArray[np.float64], quat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternions (N, 4), wxyz, turned about the world's vertical by `yaw` (N,)."""
    c, s = np.cos(yaw / 2), np.sin(yaw / 2)
    w, x, y, z = quat.T
    return np.stack([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], axis=-1)
