"""Profiles: the cross-sections that plugs and their holes share.

Frames and primitives are those of `vtenv.tasks.insertion.primitives`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vtenv.tasks.insertion.primitives import (
    ALONG_Y,
    Primitive,
    box,
    capsule,
    face_plates,
    flat_wall,
    rectangular_hole,
)

_RING_SECTORS = 12
"""Boxes around a round hole; it is 3.5% wider across its corners than across its flats."""
_MIN_SHEET = 0.0003
"""Dividers between pin holes, and tongues, thinner than this, in [m], are left out. The outer walls
still hold the clearance, and so thin a sheet would be tunnelled through."""

_POINT = 0.7
"""Width of a square post's tip, in parts of the post's."""


class Profile(Protocol):
    """The cross-section that a plug's inserted part and its hole share.

    Any hashable object with these two methods is one; primitives in [m].
    """

    def insert(self, travel: float, scale: float) -> Sequence[Primitive]:
        """What is inserted: from inside the held body (x < 0) to its tip at x = `travel`.

        Args:
            travel: Length from shoulder to tip, in [m].
            scale: Size across the axis, in parts of the standard's.
        """

    def hole(
        self, depth: float, clearance: tuple[float, float], lead_in: float, scale: float
    ) -> Sequence[Primitive]:
        """What surrounds the hole, the housing's face around its mouth included.

        Args:
            depth: Depth of the hole, in [m].
            clearance: Room between insert and hole on each side, along y and along z, in [m].
            lead_in: Width of the chamfer at the mouth, in [m].
            scale: As in `insert`.
        """


@dataclass(frozen=True)
class RectangularProfile:
    """A rectangle, its tip rounded.

    Attributes:
        width: Along y, in [m].
        height: Along z, in [m].
        nose: Radius of the tip's edges, in [m].
    """

    width: float
    height: float
    nose: float

    def insert(self, travel: float, scale: float) -> list[Primitive]:
        """A box with a rim of capsules."""
        half_y, half_z = self.width / 2 * scale, self.height / 2 * scale
        nose = self.nose * scale
        rim_x, rim_y, rim_z = travel - nose, half_y - nose, half_z - nose
        return [
            box(-0.001, rim_x, half_y, half_z),
            *(Primitive("capsule", (nose, rim_y), (rim_x, 0, z), ALONG_Y) for z in (rim_z, -rim_z)),
            *(Primitive("capsule", (nose, rim_z), (rim_x, y, 0)) for y in (rim_y, -rim_y)),
        ]

    def hole(
        self, depth: float, clearance: tuple[float, float], lead_in: float, scale: float
    ) -> list[Primitive]:
        """Four walls."""
        sides = zip((self.width, self.height), clearance, strict=True)
        half_y, half_z = (side / 2 * scale + room for side, room in sides)
        return rectangular_hole(half_y, half_z, depth, lead_in)


@dataclass(frozen=True)
class ShellProfile:
    """A rectangular shell with a cavity, which a tongue in its hole goes into; USB-A is one.

    The cavity is under the upper wall, and all below it is solid. So turned by 180 degrees about
    its axis, the plug meets the tongue with what is solid, and does not go in. The clearance is
    that of the tongue in the cavity.

    Attributes:
        width: Of the shell, along y, in [m].
        height: Of the shell, along z, in [m].
        thickness: Of its walls, in [m]; their edges at the tip are half round.
        cavity: Height of the cavity, in [m].
        setback: Distance of the tongue's half-round tip behind the mouth, in [m].
        slack_y: How much more than the clearance the opening leaves the shell, on each side along
            y, in [m].
        slack_z: Likewise along z.
    """

    width: float
    height: float
    thickness: float
    cavity: float
    setback: float
    slack_y: float = 0.0
    slack_z: float = 0.0

    def _cavity_z(self, scale: float) -> float:
        """Height of the cavity's middle, in [m]."""
        return (self.height / 2 - self.thickness - self.cavity / 2) * scale

    def insert(self, travel: float, scale: float) -> list[Primitive]:
        """Three walls and a base, each with a rim of capsules."""
        half_y, half_z = self.width / 2 * scale, self.height / 2 * scale
        edge, half_cavity = self.thickness / 2 * scale, self.cavity / 2 * scale
        middle, rim_x, rim_y = self._cavity_z(scale), travel - edge, half_y - edge
        base = middle - half_cavity  # its top
        return [
            box(-0.001, rim_x, half_y, edge, z=half_z - edge),
            *(box(-0.001, rim_x, edge, half_cavity, y=y, z=middle) for y in (rim_y, -rim_y)),
            box(-0.001, rim_x, half_y, (base + half_z) / 2, z=(base - half_z) / 2),
            *(
                Primitive("capsule", (edge, rim_y), (rim_x, 0, z), ALONG_Y)
                for z in (half_z - edge, base - edge, edge - half_z)
            ),
            *(Primitive("capsule", (edge, half_z - edge), (rim_x, y, 0)) for y in (rim_y, -rim_y)),
        ]

    def hole(
        self, depth: float, clearance: tuple[float, float], lead_in: float, scale: float
    ) -> list[Primitive]:
        """Four walls, and the tongue; none where the clearance leaves less than a sheet of it."""
        room_y, room_z = clearance
        half_y = self.width / 2 * scale + room_y + self.slack_y
        half_z = self.height / 2 * scale + room_z + self.slack_z
        walls = rectangular_hole(half_y, half_z, depth, lead_in)
        tongue_y = (self.width / 2 - self.thickness) * scale - room_y
        tongue_z = self.cavity / 2 * scale - room_z
        if 2 * tongue_z < _MIN_SHEET:
            return walls
        start, middle = self.setback + tongue_z, self._cavity_z(scale)
        tip = Primitive("capsule", (tongue_z, tongue_y - tongue_z), (start, 0, middle), ALONG_Y)
        return [*walls, box(start, depth, tongue_y, tongue_z, z=middle), tip]


@dataclass(frozen=True)
class RoundProfile:
    """A circle, its tip a hemisphere; `radius` in [m]."""

    radius: float

    def insert(self, travel: float, scale: float) -> list[Primitive]:
        """A capsule."""
        radius = self.radius * scale
        return [capsule(-2 * radius, travel, radius)]

    def hole(
        self, depth: float, clearance: tuple[float, float], lead_in: float, scale: float
    ) -> list[Primitive]:
        """A ring of flat walls that touch the circle; the narrower clearance is all around."""
        radius = self.radius * scale + min(clearance)
        mouth = radius + lead_in
        return [
            *face_plates(mouth, mouth, depth),
            *_corners(mouth, depth, np.arange(4) * math.pi / 2 + math.pi / 4),
            *_ring(radius, depth, lead_in, np.arange(_RING_SECTORS) * 2 * math.pi / _RING_SECTORS),
        ]


@dataclass(frozen=True)
class DProfile:
    """A D: a rectangle, its tip rounded, with half a circle in the place of its side at +y.

    Attributes:
        width: Along y, in [m]; more than the height.
        height: Along z, the circle's diameter, in [m].
        nose: Radius of the tip's edges, in [m]; the half circle's is a quarter sphere.
    """

    width: float
    height: float
    nose: float

    def insert(self, travel: float, scale: float) -> list[Primitive]:
        """A rectangle's primitives, and a capsule."""
        radius = self.height / 2 * scale
        straight = RectangularProfile(self.width - self.height / 2, self.height, self.nose)
        centre = (self.width - self.height) / 2 * scale
        return [
            *_moved(straight.insert(travel, scale), -radius / 2),
            capsule(-2 * radius, travel, radius, y=centre),
        ]

    def hole(
        self, depth: float, clearance: tuple[float, float], lead_in: float, scale: float
    ) -> list[Primitive]:
        """A rectangle's walls, and those of a ring in two of its corners."""
        sides = zip((self.width, self.height), clearance, strict=True)
        half_y, half_z = (side / 2 * scale + room for side, room in sides)
        angles = np.array([-2, -1, 1, 2]) * 2 * math.pi / _RING_SECTORS
        rounded = [
            *_corners(half_z + lead_in, depth, np.array([-1, 1]) * math.pi / 4),
            *_ring(half_z, depth, lead_in, angles),
        ]
        walls = rectangular_hole(half_y, half_z, depth, lead_in)
        return walls + _moved(rounded, half_y - half_z)


@dataclass(frozen=True)
class PinRowProfile:
    """Round pins or square posts in a row along z.

    Attributes:
        count: Pins.
        pitch: Distance between their axes, in [m].
        radius: Of a pin, in [m]; half the side of a square post.
        square: Whether they are square posts, which have pointed tips.
    """

    count: int
    pitch: float
    radius: float
    square: bool = False

    @property
    def rows(self) -> NDArray[np.float64]:
        """Heights of the pins' axes, (count,), [m]."""
        return np.asarray((np.arange(self.count) - (self.count - 1) / 2) * self.pitch)

    def insert(self, travel: float, scale: float) -> list[Primitive]:
        """A capsule for each pin; for each post a box, and a capsule for its tip."""
        rows, radius = (self.rows * scale).tolist(), self.radius * scale
        if not self.square:
            return [capsule(-0.002, travel, radius, z=z) for z in rows]
        shoulder, tip = travel - radius, _POINT * radius
        posts = [box(-0.002, shoulder, radius, radius, z=z) for z in rows]
        return posts + [capsule(shoulder - 2 * tip, travel, tip, z=z) for z in rows]

    def hole(
        self, depth: float, clearance: tuple[float, float], lead_in: float, scale: float
    ) -> list[Primitive]:
        """A slot for all pins, with dividers where the pitch leaves room: square holes.

        The narrower clearance is on all sides.
        """
        rows = self.rows * scale
        half_y = self.radius * scale + min(clearance)
        half_z = float(rows[-1]) + half_y
        walls = rectangular_hole(half_y, half_z, depth, lead_in)
        half_divider = self.pitch * scale / 2 - half_y
        if half_divider * 2 < _MIN_SHEET:
            return walls
        # A divider's nose is round: the widest lead-in that the pitch leaves room for.
        middles = ((rows[1:] + rows[:-1]) / 2).tolist()
        half_width, nose = half_y + lead_in, half_divider
        walls += [box(nose, depth, half_width, half_divider, z=z) for z in middles]
        size = (half_divider, half_width)
        return walls + [Primitive("capsule", size, (nose, 0.0, z), ALONG_Y) for z in middles]


def _ring(
    radius: float, depth: float, lead_in: float, angles: NDArray[np.float64]
) -> list[Primitive]:
    """Flat walls that touch a circle about the axis at some angles, in [rad]."""
    half_width = (radius + lead_in + 0.001) * math.tan(math.pi / _RING_SECTORS)
    return [
        wall
        for angle in angles.tolist()
        for wall in flat_wall(radius, angle, half_width, depth, lead_in)
    ]


def _corners(mouth: float, depth: float, angles: NDArray[np.float64]) -> list[Primitive]:
    """What is outside a round mouth and inside the square about it, at some angles, in [rad]."""
    thick, corners = mouth * 0.5, []
    for angle in angles:
        y, z = (mouth + thick / 2) * math.cos(angle), (mouth + thick / 2) * math.sin(angle)
        quat = (math.cos(angle / 2), math.sin(angle / 2), 0.0, 0.0)
        size = (depth / 2, thick / 2, mouth * 0.45)
        corners.append(Primitive("box", size, (depth / 2, y, z), quat))
    return corners


def _moved(primitives: Iterable[Primitive], y: float) -> list[Primitive]:
    """Primitives as they are, farther along y by so many [m]."""
    return [part._replace(pos=(part.pos[0], part.pos[1] + y, part.pos[2])) for part in primitives]


PROFILES: dict[str, type] = {
    "rectangular": RectangularProfile,
    "shell": ShellProfile,
    "round": RoundProfile,
    "d": DProfile,
    "pin_row": PinRowProfile,
}
"""Profiles that survive JSON, by the name of their kind there."""
