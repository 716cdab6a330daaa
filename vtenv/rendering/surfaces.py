"""Triangle meshes of turned, lofted and swept shapes, for the pictures of the scene.

Lengths are in [m]. MuJoCo makes the normals: smooth along gentle edges, sharp along creases.
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

_NO_AREA = 1e-14
"""Twice the area below which a triangle is dropped, in [m^2]."""


class Surface(NamedTuple):
    """A triangle mesh.

    Attributes:
        vertices: (V, 3).
        texcoords: (V, 2).
        faces: Indices of vertices, counter-clockwise from outside, (F, 3).
    """

    vertices: Points
    texcoords: Points
    faces: NDArray[np.int64]

    def placed(self, rotation: Points, offset: ArrayLike) -> Surface:
        """The surface turned by `rotation`, (3, 3), and then moved by `offset`."""
        return self._replace(vertices=self.vertices @ rotation.T + np.asarray(offset))


def merge(surfaces: Sequence[Surface]) -> Surface:
    """One surface of several."""
    first = np.cumsum([0, *(len(surface.vertices) for surface in surfaces[:-1])])
    faces = [surface.faces + start for surface, start in zip(surfaces, first, strict=True)]
    vertices, texcoords, _ = (np.concatenate(arrays) for arrays in zip(*surfaces, strict=True))
    return Surface(vertices, texcoords, np.concatenate(faces))


def _surface(points: ArrayLike, texcoords: ArrayLike, faces: ArrayLike) -> Surface:
    """A surface without the triangles that have no area, which MuJoCo refuses."""
    vertices, corners = np.asarray(points, np.float64), np.asarray(faces, np.int64)
    a, b, c = vertices[corners].transpose(1, 0, 2)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return Surface(vertices, np.asarray(texcoords, np.float64), corners[area > _NO_AREA])


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
    corner = (row * n + column).ravel()[:, None]
    halves = np.array([[0, 1, n + 1], [0, n + 1, n]])
    faces = (corner[:, None] + halves).reshape(-1, 3)
    side = _surface(rings.reshape(-1, 3), np.stack([u.ravel(), v.ravel()], axis=-1), faces)
    return merge([side, *map(_disc, ends)]) if caps else side


def _disc(ring: Points) -> Surface:
    """Flat face within a ring of points, (N, 3), seen from where it goes counter-clockwise."""
    n = len(ring)
    edge = np.arange(n)
    faces = np.stack([np.full(n, n), edge, (edge + 1) % n], axis=-1)
    points = np.concatenate([ring, ring.mean(axis=0, keepdims=True)])
    return _surface(points, np.zeros((n + 1, 2)), faces)


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


def _rounded_rectangle(half_y: float, half_z: float, radius: float, corner: int = 3) -> Points:
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
    half_size: Sequence[float], centre: Sequence[float] = (0.0, 0.0, 0.0), edge: float = 0.001
) -> Surface:
    """Box with rounded edges.

    Args:
        half_size: Half-extents along x, y and z.
        centre: Its middle.
        edge: Radius of its edges.
    """
    half_x, half_y, half_z = half_size
    stations = []
    for t in np.linspace(0, math.pi / 2, 4):
        inset = edge * (1 - math.sin(t))
        contour = _rounded_rectangle(half_y - inset, half_z - inset, max(edge - inset, 1e-6))
        stations.append((-half_x + edge * (1 - math.cos(t)), contour))
    stations += [(-x, contour) for x, contour in reversed(stations)]
    rings = [np.column_stack([np.full(len(contour), x), contour]) for x, contour in stations]
    return loft(rings).placed(np.eye(3), centre)


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
    # Each piece of the profile for itself: the edges between them are sharp.
    return merge([loft(pair, closed=False, caps=False) for pair in pairwise(rings)])


def flat(corners: ArrayLike) -> Surface:
    """Quadrilaterals, (Q, 4, 3), in the plane of x and z; texture coordinates are those in [cm]."""
    points = np.asarray(corners, np.float64).reshape(-1, 3)
    halves = np.array([[0, 1, 2], [0, 2, 3]])
    faces = (np.arange(0, len(points), 4)[:, None, None] + halves).reshape(-1, 3)
    return _surface(points, points[:, [0, 2]] * 100, faces)


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
