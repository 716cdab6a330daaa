"""What the overhead camera and the gels see of a grasp, kinematically.

The gripper stands with its fingertips on the table and closes along its y axis; each pad moves
until it touches, and then by `INDENTATION` more, while the connector stays where it is. Frame and
poses are those of `vtenv.grasps.resting`.
"""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from vtenv.grasps.resting import AXIS_HEIGHT, extents, pose_in_si, resting_connectors
from vtenv.sensing.images import CONTACT_THRESHOLD_MM, gel_images
from vtenv.sensing.raycast import cast_depth
from vtenv.tasks.insertion.connectors import FINGER_OPEN
from vtenv.tasks.insertion.primitives import quat_from_axes
from vtenv.tasks.insertion.scene import (
    CAMERA_HEIGHT,
    GEL_SIZE,
    GEL_THICKNESS,
    HAND_HEIGHT,
)

CAMERA_TO_TABLE = HAND_HEIGHT + CAMERA_HEIGHT
"""Height of the overhead camera above the table, in [m]."""
TABLE_HALF_EXTENT = 0.040
"""Half the side of the overhead view at the table, in [m]. No point of a grasped connector is
farther than 33 mm from the image's middle, along its sides, so each is seen whole; 0.36 mm a pixel
of 224 at the table."""
FINGER_HALF_WIDTH = 0.013
"""Half the width of a finger, in [m]: the gel's, and its frame."""
INDENTATION = 0.00095
"""How far each pad presses on from its first touch, in [m].

In the environment, 20 N press flat bodies 0.8 mm and round ones 1.3 mm into the gel. Here it is
one depth for all, so that the size of an imprint tells of the connector's shape alone and not of
a model of the gel. Pads that would meet first share the connector's thickness between them.
"""
_CHECK_SIZE = 64
"""Side of the masks, in pixels, that tell whether a configuration is a grasp, whatever size is
asked for; the smallest for which no mask of a grasp is ever empty."""
_CHECK_PIXELS = 4
"""Pixels, 0.6 mm^2, that an imprint must have to count as contact."""


def _camera_mat(right: list[float], up: list[float]) -> NDArray[np.float64]:
    mat = np.empty(9)
    mujoco.mju_quat2Mat(mat, np.array(quat_from_axes(right, up, np.cross(right, up))))
    return mat.round(12)  # of axes, exactly


_OVERHEAD_MAT = _camera_mat([0, -1, 0], [1, 0, 0])
_GEL_MATS = np.stack([_camera_mat([-sign, 0, 0], [0, 0, 1]) for sign in (1, -1)])


def _placed(
    connector: NDArray[np.int64], pose: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions, (N, K, G, 3), and orientations, (N, K, G, 3, 3), of connectors' geoms."""
    shapes = resting_connectors()
    x, y, angle = np.moveaxis(pose_in_si(pose), -1, 0)
    turn = np.zeros((*connector.shape, 1, 3, 3))
    turn[..., 0, 0, 0] = turn[..., 0, 1, 1] = np.cos(angle)
    turn[..., 0, 1, 0] = np.sin(angle)
    turn[..., 0, 0, 1] = -np.sin(angle)
    turn[..., 0, 2, 2] = 1.0
    pos = (turn @ shapes.pos[connector][..., None])[..., 0]
    pos[..., 0] += x[..., None]
    pos[..., 1] += y[..., None]
    return pos, turn @ shapes.mat[connector]


def _cast(
    connector: NDArray[np.int64],
    pose: NDArray[np.float32],
    camera_pos: NDArray[np.float64],
    camera_mat: NDArray[np.float64],
    size: int,
    *,
    overhead: bool,
) -> NDArray[np.float32]:
    """Depth of (N, K) connectors, on the table if seen from `overhead`, (N, C, size, size)."""
    shapes = resting_connectors()
    count, number = connector.shape
    types = np.tile(shapes.types, number)
    sizes = shapes.sizes[connector].reshape(count, -1, 3)
    used = shapes.used[connector].reshape(count, -1)
    pos, mat = (part.reshape(count, types.size, -1) for part in _placed(connector, pose))
    if overhead:
        types = np.append(types, int(mujoco.mjtGeom.mjGEOM_PLANE))
        sizes = np.concatenate([sizes, np.zeros((count, 1, 3), np.float32)], axis=1)
        used = np.concatenate([used, np.ones((count, 1), np.bool_)], axis=1)
        pos = np.concatenate([pos, np.zeros((count, 1, 3))], axis=1)
        mat = np.concatenate([mat, np.tile(np.eye(3).ravel(), (count, 1, 1))], axis=1)
    rows, geoms = np.arange(count), np.arange(types.size)
    extent = TABLE_HALF_EXTENT / CAMERA_TO_TABLE if overhead else GEL_SIZE / 2
    out = np.empty((count, camera_pos.shape[1], size, size), np.float32)
    cast_depth(
        rows, rows, geoms, types, sizes, used, pos, mat,
        camera_pos, camera_mat, extent, extent, overhead, out,
    )  # fmt: skip
    return out


def contact_masks(
    connector: NDArray[np.int64], pose: NDArray[np.float32], size: int
) -> NDArray[np.uint8]:
    """Where the closed gels are indented.

    Args:
        connector: Index in `CONNECTOR_NAMES`, (N,).
        pose: Of configurations that are grasps, (N, 3).
        size: Rows and columns.

    Returns:
        Masks of the left and right gel, (N, 2, size, size), in {0, 1}.
    """
    low, high = extents(connector, pose, GEL_SIZE / 2)
    pressed = np.minimum(INDENTATION, (high - low) / 2)
    count = len(pose)
    eyes = np.zeros((count, 2, 3))
    eyes[:, 0, 1] = high - pressed + GEL_THICKNESS
    eyes[:, 1, 1] = low + pressed - GEL_THICKNESS
    eyes[:, :, 2] = AXIS_HEIGHT
    mats = np.tile(_GEL_MATS, (count, 1, 1))
    distance = _cast(connector[:, None], pose[:, None], eyes, mats, size, overhead=False)
    contact = np.empty(distance.shape, np.uint8)
    thickness, threshold = np.float32(GEL_THICKNESS * 1e3), np.float32(CONTACT_THRESHOLD_MM)
    every = np.arange(count)
    # The indentation is not kept.
    gel_images(every, distance, thickness, threshold, distance, contact)
    return contact


def overhead_depth(
    connector: NDArray[np.int64], pose: NDArray[np.float32], size: int
) -> NDArray[np.float32]:
    """What the overhead camera sees of K connectors on the table.

    Args:
        connector: Index in `CONNECTOR_NAMES`, (N, K).
        pose: Their poses, (N, K, 3).
        size: Rows and columns.

    Returns:
        Planar depth, (N, 1, size, size), [m], without noise.
    """
    count = len(connector)
    eyes = np.tile([0.0, 0.0, CAMERA_TO_TABLE], (count, 1, 1))
    mats = np.tile(_OVERHEAD_MAT, (count, 1, 1))
    return _cast(connector, pose, eyes, mats, size, overhead=True)


def is_grasp(connector: NDArray[np.int64], pose: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether configurations are grasps: clear of the open fingers, and held by the closed ones.

    Args:
        connector: Index in `CONNECTOR_NAMES`, (N,).
        pose: Their poses, (N, 3).

    Returns:
        (N,).
    """
    low, high = extents(connector, pose, FINGER_HALF_WIDTH)
    within_gel, _ = extents(connector, pose, GEL_SIZE / 2)
    valid = (low > -FINGER_OPEN) & (high < FINGER_OPEN) & np.isfinite(within_gel)
    for start in range(0, len(pose), 256):
        rows = start + np.flatnonzero(valid[start : start + 256])
        if rows.size:
            contact = contact_masks(connector[rows], pose[rows], _CHECK_SIZE)
            pixels = contact.sum(axis=(2, 3), dtype=np.int64)
            valid[rows] = (pixels >= _CHECK_PIXELS).all(axis=1)
    return valid
