"""Convex primitives that plugs and holes are made of, in [m], and the walls of a hole.

Frames: a plug's origin is its shoulder, the plane between the held body and the inserted part, +x
towards the tip. A hole's origin is the centre of its mouth, +x into the hole. A fully inserted plug
has the frame of its hole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

HOUSING_HALF_SIZE = (0.012, 0.024, 0.012)
"""Half-extents of the block that carries the socket, in [m]: depth, width, height. Wider than
the palm, so that the overhead camera sees its flanks when the hand covers the mouth."""

CHAMFER_SLOPE = 1.5
"""Chamfer depth over chamfer width. 34 degrees from the axis: far outside the friction cone
(11 degrees at a friction of 0.2), so plugs slide in rather than wedge."""

KINDS = {"box": 3, "capsule": 2, "cylinder": 2}
"""Kinds of primitive, in model order, and how many numbers the size of each has."""

_S = math.sqrt(0.5)
ALONG_X = (_S, 0.0, _S, 0.0)
"""Orientation of a capsule or cylinder along x; without one it lies along z."""
ALONG_Y = (_S, _S, 0.0, 0.0)
"""Orientation of a capsule or cylinder along y."""


class Primitive(NamedTuple):
    """One convex primitive in its owner's frame.

    Attributes:
        kind: One of `KINDS`.
        size: As MuJoCo's `geom_size`: half-extents of a box; radius and half-length of a
            capsule (without its caps) or cylinder, in [m].
        pos: Its middle, in [m].
        quat: Its orientation, wxyz.
    """

    kind: str
    size: tuple[float, ...]
    pos: tuple[float, float, float]
    quat: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0)

    def check(self) -> str | None:
        """What is wrong with its numbers; None if nothing is."""
        if self.kind not in KINDS:
            return (
                f"its kind {self.kind!r} is not one of {', '.join(KINDS)}: contacts need convex "
                "shapes, and the sensors' rays hit these alone; compose the shape of several"
            )
        if len(self.size) != KINDS[self.kind]:
            return f"size={self.size} must have {KINDS[self.kind]} numbers for a {self.kind}"
        numbers = (*self.size, *self.pos, *self.quat)
        if len(self.pos) != 3 or len(self.quat) != 4 or not all(map(math.isfinite, numbers)):
            return f"pos={self.pos} must be 3 finite numbers and quat={self.quat} 4"
        if min(self.size) <= 0:
            return f"size={self.size} must be positive"
        if not math.isclose(math.hypot(*self.quat), 1.0, abs_tol=1e-6):
            return f"quat={self.quat} must have length 1"
        return None

    def support(self, directions: ArrayLike) -> NDArray[np.float64]:
        """How far it reaches from its owner's origin along unit vectors (K, 3): (K,), [m]."""
        unit = np.asarray(directions, np.float64)
        mat = np.empty(9)
        mujoco.mju_quat2Mat(mat, np.array(self.quat, np.float64))
        along = unit @ mat.reshape(3, 3)
        if self.kind == "box":
            reach = np.abs(along) @ np.array(self.size)
        else:
            radius, half = self.size
            slant = np.abs(along[:, 2])
            across = np.sqrt(1 - np.minimum(slant, 1) ** 2) if self.kind == "cylinder" else 1.0
            reach = slant * half + radius * across
        return unit @ np.array(self.pos) + reach


def bounds(primitives: Iterable[Primitive]) -> NDArray[np.float64]:
    """Lowest and highest x, y and z of primitives, (2, 3), [m]."""
    axes = np.concatenate([-np.eye(3), np.eye(3)])
    reach = np.max([primitive.support(axes) for primitive in primitives], axis=0)
    return np.stack([-reach[:3], reach[3:]])


def box(
    start: float, end: float, half_y: float, half_z: float, *, y: float = 0.0, z: float = 0.0
) -> Primitive:
    """Axis-aligned box from `start` to `end` along x."""
    return Primitive("box", ((end - start) / 2, half_y, half_z), ((start + end) / 2, y, z))


def capsule(
    start: float, end: float, radius: float, *, y: float = 0.0, z: float = 0.0
) -> Primitive:
    """Capsule along x that reaches exactly from `start` to `end`."""
    size = (radius, (end - start) / 2 - radius)
    return Primitive("capsule", size, ((start + end) / 2, y, z), ALONG_X)


def cylinder(
    start: float, end: float, radius: float, *, y: float = 0.0, z: float = 0.0
) -> Primitive:
    """Cylinder along x from `start` to `end`."""
    return Primitive("cylinder", (radius, (end - start) / 2), ((start + end) / 2, y, z), ALONG_X)


def quat_from_axes(x: ArrayLike, y: ArrayLike, z: ArrayLike) -> tuple[float, ...]:
    """Quaternion (wxyz) of the right-handed frame with these unit axes."""
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.column_stack([x, y, z]).astype(np.float64).ravel())
    return tuple(quat.tolist())


def _point(vector: np.ndarray) -> tuple[float, float, float]:
    x, y, z = vector.tolist()
    return x, y, z


def flat_wall(
    distance: float, angle: float, half_width: float, depth: float, lead_in: float
) -> list[Primitive]:
    """One flat inner wall of a hole: a straight box, and the chamfer before it.

    In the plane of the hole's axis (x) and the wall's outward direction (r), the wall runs from
    (0, distance + lead_in) down to (chamfer depth, distance) and then straight to `depth`.

    Args:
        distance: Distance of the straight wall from the hole's axis, in [m].
        angle: Direction of the wall seen from the axis, about x from +y towards +z, in [rad].
        half_width: Half the wall's width, in [m].
        depth: Depth of the hole, in [m].
        lead_in: Width of the chamfer at the mouth, in [m].
    """
    axis = np.array([1.0, 0.0, 0.0])
    outward = np.array([0.0, math.cos(angle), math.sin(angle)])
    along = np.cross(axis, outward)
    chamfer = min(CHAMFER_SLOPE * lead_in, depth / 2)
    half_thickness = max(lead_in, 0.002) / 2

    centre = axis * (chamfer + depth) / 2 + outward * (distance + half_thickness)
    size = ((depth - chamfer) / 2, half_thickness, half_width)
    walls = [Primitive("box", size, _point(centre), quat_from_axes(axis, outward, along))]
    if lead_in > 0:
        length = math.hypot(chamfer, lead_in)
        slope = (axis * chamfer - outward * lead_in) / length
        normal = np.cross(along, slope)  # into the wall
        half_height = chamfer * lead_in / length / 2  # fills the triangle before the wall
        middle = axis * chamfer / 2 + outward * (distance + lead_in / 2)
        size = (length / 2, half_height, half_width)
        quat = quat_from_axes(slope, normal, along)
        walls.append(Primitive("box", size, _point(middle + normal * half_height), quat))
    return walls


def face_plates(half_y: float, half_z: float, depth: float) -> list[Primitive]:
    """The housing around a rectangular opening: four boxes with the face, and the back.

    Args:
        half_y: Half the opening's width, in [m].
        half_z: Half its height, in [m].
        depth: Where the hole ends, in [m].
    """
    half_x, width, height = HOUSING_HALF_SIZE
    side_y, side_z = (width - half_y) / 2, (height - half_z) / 2
    bottom = 2 * half_x
    return [
        box(0, bottom, side_y, height, y=half_y + side_y),
        box(0, bottom, side_y, height, y=-half_y - side_y),
        box(0, bottom, half_y, side_z, z=half_z + side_z),
        box(0, bottom, half_y, side_z, z=-half_z - side_z),
        box(depth, bottom, half_y, half_z),
    ]


def rectangular_hole(half_y: float, half_z: float, depth: float, lead_in: float) -> list[Primitive]:
    """A rectangular hole in the housing.

    Args:
        half_y: Half its width behind the lead-in, clearance included, in [m].
        half_z: Half its height there, in [m].
        depth: Its depth, in [m].
        lead_in: Width of the chamfer at the mouth, in [m].
    """
    walls = face_plates(half_y + lead_in, half_z + lead_in, depth)
    for angle, distance, across in (
        (0.0, half_y, half_z),
        (math.pi, half_y, half_z),
        (math.pi / 2, half_z, half_y),
        (-math.pi / 2, half_z, half_y),
    ):
        walls += flat_wall(distance, angle, across + lead_in, depth, lead_in)
    return walls
