"""Connectors laid out to be grasped: the primitives of each, and its outline from above.

A connector lies level on a stand that is no wider than itself, and that neither camera nor gel
sees: without one, fingertips would meet the table before their gels' middle meets the connector.

Frame of a resting connector: its origin on the table below the middle of its length, +x towards its
tip, +z up. A *pose* is x [mm], y [mm] and angle [degrees] of that frame in the gripper's, whose
origin lies on the table below the gripper's centre; angles are about the vertical, from +x,
counter-clockwise as seen from above.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, CONNECTORS
from vtenv.tasks.insertion.primitives import Primitive
from vtenv.tasks.insertion.scene import GEOM_TYPES, slots

AXIS_HEIGHT = 0.013
"""Height of every connector's axis above the table, in [m]: that of the gripper's centre when its
fingertips are on the table, so that imprints lie across the middle of the gel, as they do in the
environment."""


class RestingConnectors(NamedTuple):
    """What the camera and the gels see of each connector.

    Attributes:
        types: `mjtGeom` of each of G geoms, (G,), int64.
        sizes: Their `geom_size` for each connector, (4, G, 3), float32, [m].
        used: Whether the connector has it, (4, G).
        pos: Its position, (4, G, 3), [m].
        mat: Its orientation, (4, G, 3, 3).
        half_size: Half the length and width of the connector, (4, 2), [m].
        corners: Corners of the rectangles that make its outline, in order, (4, G, 4, 2), [m];
            NaN for none.
        discs: x, y and radius of the discs that make the rest of it, (4, 2 G, 3), [m]; NaN for
            none.
    """

    types: NDArray[np.int64]
    sizes: NDArray[np.float32]
    used: NDArray[np.bool_]
    pos: NDArray[np.float64]
    mat: NDArray[np.float64]
    half_size: NDArray[np.float64]
    corners: NDArray[np.float64]
    discs: NDArray[np.float64]


@functools.cache
def resting_connectors() -> RestingConnectors:
    """The connectors, in the order of their ids."""
    seen = [slot for slot in slots(tuple(CONNECTORS.values())) if slot.role in ("body", "insert")]
    kinds, places = len(CONNECTOR_NAMES), sum(slot.number for slot in seen)
    shapes = RestingConnectors(
        types=np.array([int(GEOM_TYPES[slot.kind]) for slot in seen for _ in range(slot.number)]),
        sizes=np.zeros((kinds, places, 3), np.float32),
        used=np.zeros((kinds, places), np.bool_),
        pos=np.zeros((kinds, places, 3)),
        mat=np.tile(np.eye(3), (kinds, places, 1, 1)),
        half_size=np.empty((kinds, 2)),
        corners=np.full((kinds, places, 4, 2), np.nan),
        discs=np.full((kinds, 2 * places, 3), np.nan),
    )
    for kind, connector in enumerate(CONNECTORS.values()):
        length, width, _ = connector.body_size
        middle = np.array([(connector.travel - length) / 2, 0.0, -AXIS_HEIGHT])
        shapes.half_size[kind] = (connector.travel + length) / 2, width / 2
        plug, place = {"body": connector.body, "insert": connector.insert()}, 0
        for slot in seen:
            primitives = [part for part in plug[slot.role] if part.kind == slot.kind]
            for offset, primitive in enumerate(primitives):
                _add(shapes, kind, place + offset, primitive, middle)
            place += slot.number
    return shapes


def _add(
    shapes: RestingConnectors, kind: int, place: int, primitive: Primitive, origin: ArrayLike
) -> None:
    flat = np.empty(9)
    mujoco.mju_quat2Mat(flat, np.array(primitive.quat))
    mat = flat.reshape(3, 3)
    pos = np.array(primitive.pos) - np.asarray(origin)
    shapes.sizes[kind, place, : len(primitive.size)] = primitive.size
    shapes.used[kind, place] = True
    shapes.pos[kind, place], shapes.mat[kind, place] = pos, mat

    along = mat[:2, 2]  # of a capsule or cylinder, as seen from above
    if primitive.kind == "box":
        half = np.array(primitive.size[:2])
        axes = mat[:2, :2].T
        lies_flat = abs(mat[2, 2]) > 1 - 1e-9
    else:
        radius, half_length = primitive.size
        upright = np.hypot(*along) < 1e-9
        lies_flat = abs(mat[2, 2]) < 1e-9 or (upright and primitive.kind == "capsule")
        half = np.array([half_length, radius])
        axes = np.array([along, [-along[1], along[0]]])
        if primitive.kind == "capsule":
            for end, sign in enumerate((1.0, -1.0)):
                centre = pos[:2] + sign * half_length * along
                shapes.discs[kind, 2 * place + end] = *centre, radius
    if not lies_flat:
        raise ValueError(
            f"the {primitive.kind} at {primitive.pos} of {CONNECTOR_NAMES[kind]!r} is tilted; a "
            "connector's outline takes boxes that are level, and capsules and cylinders that "
            "are level or upright"
        )
    if primitive.kind == "box" or np.hypot(*along) > 1e-9:
        signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        shapes.corners[kind, place] = pos[:2] + (signs * half) @ axes


def pose_in_si(pose: NDArray[np.float32]) -> NDArray[np.float64]:
    """Poses, (..., 3), in [m] and [rad]."""
    return pose * np.array([1e-3, 1e-3, np.pi / 180])


def extents(
    connector: NDArray[np.int64], pose: NDArray[np.float32], half_width: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest y [m] of connectors where |x| <= `half_width` [m]; NaN for nothing.

    Args:
        connector: Index in `CONNECTOR_NAMES`, (N,).
        pose: Their poses, (N, 3).
        half_width: Half the width of the strip along y.

    Returns:
        Two arrays, (N,).
    """
    x, y, angle = (values[:, None, None] for values in pose_in_si(pose).T)
    cos, sin = np.cos(angle), np.sin(angle)

    def placed(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        along, across = points[..., 0], points[..., 1]
        return x + cos * along - sin * across, y + sin * along + cos * across

    shapes = resting_connectors()
    ax, ay = placed(shapes.corners[connector])  # (N, G, 4)
    bx, by = np.roll(ax, -1, axis=2), np.roll(ay, -1, axis=2)
    found = [np.where(np.abs(ax) <= half_width, ay, np.nan)]
    for edge in (-half_width, half_width):
        crosses = (ax - edge) * (bx - edge) < 0
        crossing = ay + (by - ay) * (edge - ax) / np.where(crosses, bx - ax, np.nan)
        found.append(crossing)
    discs = shapes.discs[connector][:, :, None]
    cx, cy = placed(discs)  # (N, 2 G, 1)
    beyond, radius = np.maximum(np.abs(cx) - half_width, 0.0), discs[..., 2]
    reach = np.sqrt(np.where(beyond <= radius, radius**2 - beyond**2, np.nan))
    found += [cy - reach, cy + reach]
    touched = np.concatenate([one.reshape(len(pose), -1) for one in found], axis=1)
    return np.fmin.reduce(touched, axis=1), np.fmax.reduce(touched, axis=1)
