"""Triangle meshes of turned, lofted and swept shapes, for the pictures of the scene.

Lengths are in [m]. Contours are closed and seen from +x, counter-clockwise, as (N, 2) arrays
of y and z.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
"""Points in rows; (N, 2) or (N, 3)."""

_CREASE = math.cos(math.radians(35.0))
"""Cosine of the angle between faces from which the edge between them is drawn sharp."""
_SAME_PLACE = 1e-8
"""Distance within which two points are one, in [m]."""
_NO_AREA = 1e-14
"""Twice the area below which a triangle is dropped, in [m^2]."""


class Surface(NamedTuple):
    """A triangle mesh whose vertices have their own normal and texture coordinates.

    Attributes:
        vertices: (V, 3).
        normals: Unit normals, (V, 3).
        texcoords: (V, 2).
        faces: Indices of vertices, counter-clockwise from outside, (F, 3).
    """

    vertices: Points
    normals: Points
    texcoords: Points
    faces: NDArray[np.int64]

    def placed(self, rotation: Points, offset: ArrayLike) -> Surface:
        """The surface turned by `rotation`, (3, 3), and then moved by `offset`."""
        vertices = self.vertices @ rotation.T + np.asarray(offset)
        return self._replace(vertices=vertices, normals=self.normals @ rotation.T)


def merge(surfaces: Sequence[Surface]) -> Surface:
    """One surface of several."""
    counts = [len(surface.vertices) for surface in surfaces]
    first = np.cumsum([0, *counts[:-1]])
    faces = [surface.faces + start for surface, start in zip(surfaces, first, strict=True)]
    vertices, normals, texcoords, _ = (
        np.concatenate(arrays) for arrays in zip(*surfaces, strict=True)
    )
    return Surface(vertices, normals, texcoords, np.concatenate(faces))


def shade(points: ArrayLike, faces: ArrayLike, texcoords: ArrayLike | None = None) -> Surface:
    """Give a mesh its normals: smooth along gentle edges, sharp along creases.

    Args:
        points: (P, 3); points at the same place count as one.
        faces: Indices into `points`, (F, 3); triangles without area are dropped.
        texcoords: One for each point, (P, 2); None for zeros.
    """
    points = np.asarray(points, np.float64)
    corners = np.asarray(faces, np.int64)
    uv = np.zeros((len(points), 2)) if texcoords is None else np.asarray(texcoords, np.float64)
    a, b, c = points[corners].transpose(1, 0, 2)
    area = np.cross(b - a, c - a)
    size = np.linalg.norm(area, axis=1)
    kept = size > _NO_AREA
    corners, area, size = corners[kept], area[kept], size[kept]
    flat = area / size[:, None]

    # Beside every corner, all the corners at its place: their faces, where not across a
    # crease, give it its normal.
    grid = np.round(points / _SAME_PLACE).astype(np.int64)
    place = np.unique(grid, axis=0, return_inverse=True)[1].reshape(-1)[corners.ravel()]
    face = np.repeat(np.arange(len(corners)), 3)
    order = np.argsort(place, kind="stable")
    count = np.bincount(place)
    first = np.cumsum(count) - count
    beside = count[place]
    one = np.repeat(np.arange(len(place)), beside)
    rank = np.arange(len(one)) - np.repeat(np.cumsum(beside) - beside, beside)
    other = order[first[place[one]] + rank]
    smooth = np.einsum("ij,ij->i", flat[face[one]], flat[face[other]]) > _CREASE
    normals = np.zeros((len(place), 3))
    np.add.at(normals, one[smooth], area[face[other[smooth]]])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)

    rows = np.hstack([points[corners.ravel()], normals, uv[corners.ravel()]])
    rows, index = np.unique(np.round(rows, 9), axis=0, return_inverse=True)
    return Surface(rows[:, :3], rows[:, 3:6], rows[:, 6:], index.reshape(-1, 3))


def loft(rings: ArrayLike, *, closed: bool = True, caps: bool = True) -> Surface:
    """Skin over rings of points.

    Args:
        rings: (R, N, 3); seen from where the rings go, counter-clockwise. Texture coordinates
            run along the rings (u) and from ring to ring (v), 0 to 1.
        closed: Whether the last point of a ring meets the first.
        caps: Whether the first and the last ring are filled, as seen from their centres.
    """
    rings = np.asarray(rings, np.float64)
    ends = (rings[0, ::-1], rings[-1])
    if closed:
        rings = np.concatenate([rings, rings[:, :1]], axis=1)
    count, n = rings.shape[:2]
    u, v = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, count))
    row, column = np.meshgrid(np.arange(count - 1), np.arange(n - 1), indexing="ij")
    corner = (row * n + column).ravel()
    faces = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + n + 1], axis=-1),
            np.stack([corner, corner + n + 1, corner + n], axis=-1),
        ]
    )
    side = shade(rings.reshape(-1, 3), faces, np.stack([u.ravel(), v.ravel()], axis=-1))
    if not caps:
        return side
    # Shaded on their own: next to a rounded edge a flat face would not look flat.
    return merge([side, *map(_disc, ends)])


def _disc(ring: Points) -> Surface:
    """Flat face within a ring of points, (N, 3), seen from where it goes counter-clockwise."""
    n = len(ring)
    edge = np.arange(n)
    faces = np.stack([np.full(n, n), edge, (edge + 1) % n], axis=-1)
    return shade(np.concatenate([ring, ring.mean(axis=0, keepdims=True)]), faces)


def revolve(profile: Sequence[tuple[float, float]], segments: int = 32) -> Surface:
    """Turned shape about the x axis.

    Args:
        profile: Positions along x, ascending, and radii there.
        segments: Sides of the polygon that stands for a circle.
    """
    x, radius = np.asarray(profile, np.float64).T
    angle = np.arange(segments) * 2 * math.pi / segments
    circle = np.stack([np.zeros(segments), np.cos(angle), np.sin(angle)], axis=-1)
    rings = circle * radius[:, None, None]
    rings[:, :, 0] = x[:, None]
    return loft(rings)


def thread(
    start: float, end: float, major: float, minor: float, pitch: float, segments: int = 24
) -> Surface:
    """Right-handed V thread about the x axis, running out in a chamfer at its end.

    Args:
        start: Where the thread starts along x.
        end: Where it ends.
        major: Radius of the crests.
        minor: Radius of the roots.
        pitch: Advance of one turn.
        segments: Points of one turn.
    """
    x = np.linspace(start, end, round((end - start) / pitch * 10))
    angle = np.arange(segments) * 2 * math.pi / segments
    phase = (x[:, None] / pitch - angle / (2 * math.pi)) % 1.0
    height = np.clip(np.abs(phase - 0.5) * 2.5 - 0.25, 0.0, 1.0)  # flat crests and roots
    chamfer = minor * 0.93 + (end - x)[:, None]
    radius = np.minimum(minor + (major - minor) * height, chamfer)
    along = np.broadcast_to(x[:, None], radius.shape)
    return loft(np.stack([along, radius * np.cos(angle), radius * np.sin(angle)], axis=-1))


def extrude(stations: Sequence[tuple[float, Points]]) -> Surface:
    """Skin over contours of as many points each, at ascending positions along x."""
    return loft([np.column_stack([np.full(len(c), x), c]) for x, c in stations])


def rounded_rectangle(half_y: float, half_z: float, radius: float, corner: int = 3) -> Points:
    """Contour of a rectangle with rounded corners, (4 * (corner + 1), 2)."""
    radius = min(radius, half_y, half_z)
    turn = np.linspace(0, math.pi / 2, corner + 1)
    arcs = []
    for quarter, (sy, sz) in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1)]):
        angle = turn + quarter * math.pi / 2
        y = sy * (half_y - radius) + radius * np.cos(angle)
        z = sz * (half_z - radius) + radius * np.sin(angle)
        arcs.append(np.stack([y, z], axis=-1))
    return np.concatenate(arcs)


def slab(
    half_size: Sequence[float],
    centre: Sequence[float] = (0.0, 0.0, 0.0),
    edge: float = 0.001,
    corner: float | None = None,
) -> Surface:
    """Box with rounded edges.

    Args:
        half_size: Half-extents along x, y and z.
        centre: Its middle.
        edge: Radius of the edges of the two faces across x.
        corner: Radius of the four edges along x; None for `edge`.
    """
    half_x, half_y, half_z = half_size
    corner = edge if corner is None else corner
    rings = []
    for t in np.linspace(0, math.pi / 2, 4):
        inset = edge * (1 - math.sin(t))
        radius = max(corner - inset, 1e-6)
        contour = rounded_rectangle(half_y - inset, half_z - inset, radius)
        rings.append((-half_x + edge * (1 - math.cos(t)), contour))
    rings += [(-x, contour) for x, contour in reversed(rings)]
    return extrude(rings).placed(np.eye(3), centre)


def box_edges(half_size: Sequence[float], centre: Sequence[float], radius: float) -> Surface:
    """The edges of a box, as thin bars."""
    bars = []
    for axis, sides in product(range(3), product((-1, 1), repeat=2)):
        middle, half = np.array(centre, np.float64), np.full(3, radius)
        others = [other for other in range(3) if other != axis]
        middle[others] += np.array(sides) * np.asarray(half_size)[others]
        half[axis] = half_size[axis]
        bars.append(slab(half.tolist(), middle.tolist(), radius / 2))
    return merge(bars)


def tube(path: ArrayLike, radius: float, segments: int = 12) -> Surface:
    """Round cable along a path that stays off the y axis' direction.

    Args:
        path: Its centre line, (N, 3).
        radius: Its radius.
        segments: Sides of the polygon that stands for a circle.
    """
    path = np.asarray(path, np.float64)
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.cross(np.broadcast_to([0.0, 0.0, 1.0], tangent.shape), tangent)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(tangent, side)
    angle = np.arange(segments) * 2 * math.pi / segments
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return loft(path[:, None] + radius * (cos * side[:, None] + sin * up[:, None]))


class Opening(NamedTuple):
    """Outline around an axis: a circle of radius `half_y`, or a rectangle."""

    half_y: float
    half_z: float
    round: bool = False

    def grown(self, margin: float) -> Opening:
        """The outline, wider by `margin` on each side."""
        return Opening(self.half_y + margin, self.half_z + margin, self.round)

    def corners(self) -> Points:
        """Angles of its corners about the axis, from +y towards +z."""
        angle = math.atan2(self.half_z, self.half_y)
        return np.array([] if self.round else [angle, math.pi - angle, -angle, angle - math.pi])

    def radius(self, angle: Points) -> Points:
        """Distance of the outline from the axis at each angle."""
        if self.round:
            return np.full(angle.shape, self.half_y)
        cos, sin = np.abs(np.cos(angle)), np.abs(np.sin(angle))
        return np.minimum(self.half_y / np.maximum(cos, 1e-9), self.half_z / np.maximum(sin, 1e-9))


Station = tuple[float, Opening]
"""Position along x and the outline there."""


def turn(stations: Sequence[Station], start: float, end: float) -> Surface:
    """Skin over the outlines at stations along x, over a range of angles about the axis.

    The skin faces left of the way its profile goes in the plane of x and the radius: outwards
    where that goes along +x, to the axis where it goes back.

    Args:
        stations: The profile.
        start: First angle, in [rad], from +y towards +z.
        end: Last angle.
    """
    corners = np.concatenate([outline.corners() for _, outline in stations])
    corners = start + (corners - start) % (2 * math.pi)
    angles = np.concatenate([np.linspace(start, end, 25), corners[corners < end]])
    angles = np.unique(np.round(angles, 9))
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    rings = []
    for x, outline in stations:
        contour = circle * outline.radius(angles)[:, None]
        rings.append(np.column_stack([np.full(len(angles), x), contour]))
    return loft(rings, closed=False, caps=False)


def section(lower: Sequence[tuple[float, float]], upper: Sequence[tuple[float, float]]) -> Surface:
    """Flat face in the plane of x and z, seen from -y, on both sides of the axis.

    Args:
        lower: Its inner edge: positions along x, ascending, and distances from the axis there.
        upper: Its outer edge.

    Returns:
        The face; its texture coordinates are x and z in [cm].
    """
    low, high = np.asarray(lower), np.asarray(upper)
    x = np.unique(np.concatenate([low[:, 0], high[:, 0]]))
    points: list[tuple[float, float, float]] = []
    faces = []
    for a, b in pairwise(x):
        # The piece of the inner edge between a and b: at its steps x alone does not tell.
        k = np.searchsorted(low[:, 0], (a + b) / 2)
        l0, l1 = np.interp([a, b], low[k - 1 : k + 1, 0], low[k - 1 : k + 1, 1])
        h0, h1 = np.interp([a, b], high[:, 0], high[:, 1])
        for sign in (1, -1):
            n = len(points)
            points += [(a, 0, sign * l0), (b, 0, sign * l1), (b, 0, sign * h1), (a, 0, sign * h0)]
            faces += [[n, n + 1, n + 2][::sign], [n, n + 2, n + 3][::sign]]
    array = np.asarray(points)
    return shade(array, faces, array[:, [0, 2]] * 100)
