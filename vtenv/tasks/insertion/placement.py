"""Where an initial state puts things, in the model's own coordinates; the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.connectors import SHOULDER_IN_HAND
from vtenv.tasks.insertion.disturbances import Disturbances
from vtenv.tasks.insertion.domain import Domain
from vtenv.tasks.insertion.grasp_bank import GraspBank, take
from vtenv.tasks.insertion.initial import InitialState


class Placement(NamedTuple):
    """Rows of an engine's state for N worlds, float64.

    Attributes:
        qpos: Joint positions, (N, 14).
        ctrl: Actuator inputs, (N, 7).
        socket_pos: The socket's position, (N, 3).
        socket_quat: The socket's orientation, wxyz, (N, 4).
        in_hand: Plug x [m], z [m] and pitch [rad] in the hand, from its nominal place, (N, 3).
    """

    qpos: NDArray[np.float64]
    ctrl: NDArray[np.float64]
    socket_pos: NDArray[np.float64]
    socket_quat: NDArray[np.float64]
    in_hand: NDArray[np.float64]


def place(
    initial: InitialState,
    banks: Sequence[GraspBank],
    disturbances: Disturbances,
    domain: Domain | None = None,
) -> Placement:
    """Turn initial states into rows of an engine's state.

    Args:
        initial: The states; grasps that an option fixes are settled now.
        banks: Settled grasps, as `load_banks` returns.
        disturbances: The worlds' grip and tilt.
        domain: Their domains; None where nothing is randomised.
    """
    count = len(initial.hand)
    stiffness = np.ones(count) if domain is None else domain.gel_stiffness
    grip = disturbances.grip_force
    grasps = take(banks, initial.connector, initial.grasp, stiffness, grip)
    fresh = np.flatnonzero(~np.isnan(initial.in_hand[:, 0]))
    for force in np.unique(grip[fresh]):
        rows = fresh[grip[fresh] == force]
        grasps[rows] = replace(banks[0], grip_force=float(force)).settle(
            initial.connector[rows], initial.in_hand[rows], stiffness[rows]
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
    ctrl = np.tile(grip[:, None], (1, 7))
    ctrl[:, scene.HAND_CTRL] = initial.hand
    tilt = _tilted(disturbances.socket_pitch, disturbances.socket_roll)
    quat = _turn(initial.socket_yaw, tilt)
    return Placement(qpos, ctrl, initial.socket_pos_w, quat, _in_hand(grasps))


def _in_hand(grasps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Plug x, z and pitch in the hand, (N, 3), of settled grasps: see `GraspBank`."""
    w, x, y, z = grasps[:, 5:9].T
    pitch = np.arctan2(2 * (w * y - x * z), 1 - 2 * (y**2 + z**2))
    return np.stack([grasps[:, 2] - SHOULDER_IN_HAND, grasps[:, 4], pitch], axis=-1)


def _tilted(pitch: NDArray[np.float64], roll: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternions (N, 4), wxyz, of a pitch about y after a roll about x, (N,) each."""
    c, s, cos, sin = np.cos(pitch / 2), np.sin(pitch / 2), np.cos(roll / 2), np.sin(roll / 2)
    return np.stack([c * cos, c * sin, s * cos, -s * sin], axis=-1)


def _turn(yaw: NDArray[np.float64], quat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternions (N, 4), wxyz, turned about the world's vertical by `yaw` (N,)."""
    c, s = np.cos(yaw / 2), np.sin(yaw / 2)
    w, x, y, z = quat.T
    return np.stack([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], axis=-1)
