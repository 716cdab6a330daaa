"""Triangle meshes of turned, lofted and swept shapes, for the pictures of the scene.

Lengths are in [m]. Contours are closed and seen from +x, counter-clockwise, as (N, 2) arrays
of y and z.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
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


def turn(stations: Sequence[tuple[float, Points]], angles: Points) -> Surface:
    """Skin over outlines at stations along x, over a range of angles about the axis.

    The skin faces left of the way its profile goes in the plane of x and the radius: outwards
    where that goes along +x, to the axis where it goes back.

    Args:
        stations: Positions along x, and distances from the axis there at each angle, (A,).
        angles: Ascending, (A,), in [rad], from +y towards +z.
    """
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    rings = [
        np.column_stack([np.full(len(angles), x), circle * np.reshape(radius, (-1, 1))])
        for x, radius in stations
    ]
    return loft(rings, closed=False, caps=False)


def flat(corners: ArrayLike) -> Surface:
    """Quadrilaterals, (Q, 4, 3), in the plane of x and z; texture coordinates are those in [cm]."""
    points = np.asarray(corners, np.float64).reshape(-1, 3)
    first = np.arange(0, len(points), 4)
    faces = np.concatenate([first[:, None] + [0, 1, 2], first[:, None] + [0, 2, 3]])
    return shade(points, faces, points[:, [0, 2]] * 100)


def solid(kind: str, size: Sequence[float], edge: float) -> Surface:
    """A primitive in its own frame, its edges rounded.

    Args:
        kind: "box", "capsule" or "cylinder".
        size: As of `vtenv.tasks.insertion.primitives.Primitive`.
        edge: Radius of its edges, in [m], at most.
    """
    edge = min(edge, 0.45 * min(size))
    if kind == "box":
        return slab(size, edge=edge)
    radius, half = size
    edge = radius if kind == "capsule" else edge
    start = half if kind == "capsule" else half - edge
    turns = np.linspace(0.0, math.pi / 2, 7)
    end = [(start + edge * math.sin(t), radius - edge * (1 - math.cos(t)) + 1e-7) for t in turns]
    along_z = np.roll(np.eye(3), 1, axis=1)
    profile = [*((-x, r) for x, r in reversed(end)), *end]
    return revolve(profile).placed(along_z, (0.0, 0.0, 0.0))
