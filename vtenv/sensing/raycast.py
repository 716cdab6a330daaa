"""Depth cameras by analytic ray casting, compiled and free of the GIL.

A camera tests each primitive only against the pixels that its bounding box projects onto, so
an image costs in proportion to what it shows: about 15 microseconds for a finger and 40 for the
overhead view at 64 x 64, where casting every ray at every geom takes 600. Depth is planar (along
the camera's axis), as in computer graphics, and exact to single precision; it depends on nothing
but the primitives it is given.

Pixel (row, column) looks through its centre: row 0 is the top, column 0 the left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np
from numba.misc.special import literally
from numpy.typing import NDArray

from vtenv.jit import jit

_PLANE = int(mujoco.mjtGeom.mjGEOM_PLANE)
_SPHERE = int(mujoco.mjtGeom.mjGEOM_SPHERE)
_CAPSULE = int(mujoco.mjtGeom.mjGEOM_CAPSULE)
_CYLINDER = int(mujoco.mjtGeom.mjGEOM_CYLINDER)
_BOX = int(mujoco.mjtGeom.mjGEOM_BOX)

SUPPORTED_TYPES = frozenset({_PLANE, _SPHERE, _CAPSULE, _CYLINDER, _BOX})
"""`mjtGeom` values that rays can hit."""

_MISS: float = np.float32(np.inf)  # type: ignore[assignment] # single, like the images
_ONE: float = np.float32(1.0)  # type: ignore[assignment]
_TINY: float = np.float32(1e-12)  # type: ignore[assignment]


@dataclass(frozen=True)
class Primitives:
    """What a camera can see, for each variant of a model.

    Attributes:
        ids: Geom ids, shape (G,), int64.
        types: `mjtGeom` of each, shape (G,), int64.
        sizes: `geom_size` of each in each variant, shape (V, G, 3), float32, [m].
        used: Whether it exists in each variant, shape (V, G), bool.
    """

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    sizes: NDArray[np.float32]
    used: NDArray[np.bool_]

    @classmethod
    def from_models(
        cls, models: list[mujoco.MjModel], groups: tuple[int, ...], bodies: tuple[str, ...] = ()
    ) -> Primitives:
        """Collect the opaque geoms of `groups`, but for meshes, from models of one layout.

        Args:
            models: The models.
            groups: Geom groups.
            bodies: Bodies whose geoms these are, with those that hang on them; none for all.

        Raises:
            ValueError: If one of the geoms is of a type that rays cannot hit.
        """
        first = models[0]
        ids = visible_geoms(first, groups, bodies)
        ids = ids[first.geom_type[ids] != mujoco.mjtGeom.mjGEOM_MESH]
        types = first.geom_type[ids]
        unsupported = set(types.tolist()) - SUPPORTED_TYPES
        if unsupported:
            names = ", ".join(mujoco.mjtGeom(t).name for t in sorted(unsupported))
            raise ValueError(
                f"rays cannot hit {names}; use a plane, sphere, capsule, cylinder, box or mesh"
            )
        sizes = np.stack([m.geom_size[ids] for m in models]).astype(np.float32)
        sizes[:, types == _SPHERE, 1:] = 0.0  # which MuJoCo ignores, whatever it is
        return cls(
            ids=ids.astype(np.int64),
            types=types.astype(np.int64),
            sizes=sizes,
            used=np.stack([m.geom_rgba[ids, 3] > 0 for m in models]),
        )


def visible_geoms(
    model: mujoco.MjModel, groups: tuple[int, ...], bodies: tuple[str, ...]
) -> NDArray[np.int64]:
    """Ids of the geoms in `groups`, of `bodies` and those that hang on them; no bodies for all."""
    chosen = np.isin(model.geom_group, groups)
    if bodies:
        found = {model.body(name).id for name in bodies}
        for body in range(model.nbody):  # parents come first
            if model.body_parentid[body] in found:
                found.add(body)
        chosen &= np.isin(model.geom_bodyid, sorted(found))
    return np.flatnonzero(chosen)


@jit()
def pixel_range(low: float, high: float, size: int) -> tuple[int, int]:
    """First and one past the last pixel whose centre lies in [low, high] of [-1, 1]."""
    first = math.ceil((low + 1.0) * 0.5 * size - 0.5 - 1e-3)
    last = math.floor((high + 1.0) * 0.5 * size - 0.5 + 1e-3) + 1
    return min(max(first, 0), size), min(max(last, 0), size)


@jit()
def _bounds(
    pos: NDArray[np.float64],
    mat: NDArray[np.float64],
    half: NDArray[np.float64],
    camera_pos: NDArray[np.float64],
    camera_mat: NDArray[np.float64],
    extent_u: float,
    extent_v: float,
    perspective: bool,
) -> tuple[float, float, float, float]:
    """Rectangle [-1, 1]^2 of the image that a geom's oriented box covers; all if unsure."""
    low_u, high_u, low_v, high_v = np.inf, -np.inf, np.inf, -np.inf
    for corner in range(8):
        x = half[0] if corner & 1 else -half[0]
        y = half[1] if corner & 2 else -half[1]
        z = half[2] if corner & 4 else -half[2]
        d0 = pos[0] + mat[0] * x + mat[1] * y + mat[2] * z - camera_pos[0]
        d1 = pos[1] + mat[3] * x + mat[4] * y + mat[5] * z - camera_pos[1]
        d2 = pos[2] + mat[6] * x + mat[7] * y + mat[8] * z - camera_pos[2]
        u = camera_mat[0] * d0 + camera_mat[3] * d1 + camera_mat[6] * d2
        v = camera_mat[1] * d0 + camera_mat[4] * d1 + camera_mat[7] * d2
        scale_u, scale_v = extent_u, extent_v
        if perspective:
            depth = -(camera_mat[2] * d0 + camera_mat[5] * d1 + camera_mat[8] * d2)
            if depth < 1e-6:
                return -1.0, 1.0, -1.0, 1.0
            scale_u, scale_v = extent_u * depth, extent_v * depth
        low_u, high_u = min(low_u, u / scale_u), max(high_u, u / scale_u)
        low_v, high_v = min(low_v, v / scale_v), max(high_v, v / scale_v)
    return low_u, high_u, low_v, high_v


@jit(inline="always")
def _hit_box(
    ox: float,
    oy: float,
    oz: float,
    dx: float,
    dy: float,
    dz: float,
    hx: float,
    hy: float,
    hz: float,
) -> float:
    # A ray parallel to a face divides by zero, and the infinities sort it out.
    ix, iy, iz = _ONE / dx, _ONE / dy, _ONE / dz
    ax, bx = (-hx - ox) * ix, (hx - ox) * ix
    ay, by = (-hy - oy) * iy, (hy - oy) * iy
    az, bz = (-hz - oz) * iz, (hz - oz) * iz
    near = max(min(ax, bx), min(ay, by), min(az, bz))
    far = min(max(ax, bx), max(ay, by), max(az, bz))
    return near if near <= far else _MISS


@jit(inline="always")
def _hit_sphere(
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, radius: float
) -> float:
    a = dx * dx + dy * dy + dz * dz
    b = ox * dx + oy * dy + oz * dz
    # The distance of the ray from the centre, computed without cancelling large terms.
    px, py, pz = ox - b / a * dx, oy - b / a * dy, oz - b / a * dz
    rest = radius * radius - (px * px + py * py + pz * pz)
    if rest < 0:
        return _MISS
    return -b / a - math.sqrt(rest / a)


@jit(inline="always")
def _hit_tube(ox: float, oy: float, dx: float, dy: float, radius: float) -> float:
    """An endless tube along z."""
    a = dx * dx + dy * dy
    if a < _TINY:
        return _MISS
    b = ox * dx + oy * dy
    px, py = ox - b / a * dx, oy - b / a * dy
    rest = radius * radius - (px * px + py * py)
    if rest < 0:
        return _MISS
    return -b / a - math.sqrt(rest / a)


@jit(inline="always")
def _hit_capsule(
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, radius: float, half: float
) -> float:
    tube = _hit_tube(ox, oy, dx, dy, radius)
    if abs(oz + tube * dz) <= half:
        return tube
    # The nearer cap hides the farther one wherever the tube's side is not hit.
    top = _hit_sphere(ox, oy, oz - half, dx, dy, dz, radius)
    bottom = _hit_sphere(ox, oy, oz + half, dx, dy, dz, radius)
    return min(top, bottom)


@jit(inline="always")
def _hit_cylinder(
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, radius: float, half: float
) -> float:
    tube = _hit_tube(ox, oy, dx, dy, radius)
    if abs(oz + tube * dz) <= half:
        return tube
    if abs(dz) < _TINY:
        return _MISS
    end = -half if dz > 0 else half
    s = (end - oz) / dz
    x, y = ox + s * dx, oy + s * dy
    return s if x * x + y * y <= radius * radius else _MISS


@jit()
def _draw(
    kind: int,
    size: NDArray[np.float32],
    rays: tuple[NDArray[np.float32], ...],
    rows: tuple[int, int],
    columns: tuple[int, int],
    out: NDArray[np.float32],
) -> None:
    """Lower `out` to one geom's depth over a rectangle of pixels.

    Compiled for each kind by itself, with single numbers alone and each pixel written: only so does
    the loop over a row compute several pixels at once.

    Args:
        kind: `mjtGeom` of the geom, a constant.
        size: The geom's size, (3,).
        rays: origin, by_u, by_v, way, way_u and way_v, (3,) each. In the geom's frame, the ray of
            image point (u, v) starts at origin + u by_u + v by_v and runs along
            way + u way_u + v way_v for each unit of planar depth.
        rows: First row, and one past the last.
        columns: Likewise.
        out: The image, (H, W).
    """
    literally(kind)
    origin, by_u, by_v, way, way_u, way_v = rays
    height, width = np.float32(out.shape[0]), np.float32(out.shape[1])
    half = np.float32(0.5)
    hx, hy, hz = size[0], size[1], size[2]
    for row in range(rows[0], rows[1]):
        v = _ONE - np.float32(2.0) * (np.float32(row) + half) / height
        ox0, oy0, oz0 = origin[0] + v * by_v[0], origin[1] + v * by_v[1], origin[2] + v * by_v[2]
        dx0, dy0, dz0 = way[0] + v * way_v[0], way[1] + v * way_v[1], way[2] + v * way_v[2]
        for column in range(columns[0], columns[1]):
            u = np.float32(2.0) * (np.float32(column) + half) / width - _ONE
            ox, oy, oz = ox0 + u * by_u[0], oy0 + u * by_u[1], oz0 + u * by_u[2]
            dx, dy, dz = dx0 + u * way_u[0], dy0 + u * way_u[1], dz0 + u * way_u[2]
            if kind == _BOX:
                depth = _hit_box(ox, oy, oz, dx, dy, dz, hx, hy, hz)
            elif kind == _CAPSULE:
                depth = _hit_capsule(ox, oy, oz, dx, dy, dz, hx, hy)
            elif kind == _CYLINDER:
                depth = _hit_cylinder(ox, oy, oz, dx, dy, dz, hx, hy)
            else:  # a plane, from above
                depth = -oz / dz if dz < 0 < oz else _MISS
            before = out[row, column]
            out[row, column] = depth if 0 <= depth < before else before


@jit()
def cast_depth(
    worlds: NDArray[np.int64],
    variant: NDArray[np.int64],
    ids: NDArray[np.int64],
    types: NDArray[np.int64],
    sizes: NDArray[np.float32],
    used: NDArray[np.bool_],
    geom_pos: NDArray[np.float64],
    geom_mat: NDArray[np.float64],
    camera_pos: NDArray[np.float64],
    camera_mat: NDArray[np.float64],
    extent_u: float,
    extent_v: float,
    perspective: bool,
    out: NDArray[np.float32],
) -> None:
    """Fill `out[worlds]` with planar depth; infinity where nothing is hit.

    Args:
        worlds: Which of the N worlds to do, int64.
        variant: Variant of each world, shape (N,), int64.
        ids: As in `Primitives`.
        types: As in `Primitives`.
        sizes: As in `Primitives`.
        used: As in `Primitives`.
        geom_pos: Positions of all geoms, shape (N, ngeom, 3), float64, [m].
        geom_mat: Orientations of all geoms, shape (N, ngeom, 9), float64.
        camera_pos: Positions of C cameras, shape (N, C, 3), float64, [m].
        camera_mat: Orientations of the cameras, shape (N, C, 9), float64.
        extent_u: Half the image's width: a tangent if `perspective`, else in [m].
        extent_v: Half the image's height, likewise.
        perspective: Whether rays start at one point or run in parallel.
        out: Depth images, shape (N, C, H, W), float32, [m].
    """
    height, width = out.shape[2], out.shape[3]
    zero = np.zeros(3, np.float32)
    relative = np.empty((3, 3))
    half = np.empty(3)
    origin, by_u, by_v = np.empty(3, np.float32), np.empty(3, np.float32), np.empty(3, np.float32)
    way = np.empty(3, np.float32)
    for world in worlds:
        for camera in range(out.shape[1]):
            image = out[world, camera]
            image[:] = _MISS
            eye, eye_mat = camera_pos[world, camera], camera_mat[world, camera]
            for geom in range(ids.size):
                if not used[variant[world], geom]:
                    continue
                pos, mat = geom_pos[world, ids[geom]], geom_mat[world, ids[geom]]
                size = sizes[variant[world], geom]
                kind = _CAPSULE if types[geom] == _SPHERE else types[geom]  # one without a length
                rows, columns = (0, height), (0, width)
                if kind != _PLANE:
                    half[:] = size
                    if kind != _BOX:
                        half[0] = half[1] = size[0]
                        half[2] = size[1] + (size[0] if kind == _CAPSULE else 0.0)
                    low_u, high_u, low_v, high_v = _bounds(
                        pos, mat, half, eye, eye_mat, extent_u, extent_v, perspective
                    )
                    rows = pixel_range(-high_v, -low_v, height)
                    columns = pixel_range(low_u, high_u, width)
                    if rows[0] >= rows[1] or columns[0] >= columns[1]:
                        continue
                for i in range(3):
                    start = 0.0
                    for k in range(3):
                        start += mat[3 * k + i] * (eye[k] - pos[k])
                    origin[i] = start
                    for j in range(3):
                        product = 0.0
                        for k in range(3):
                            product += mat[3 * k + i] * eye_mat[3 * k + j]
                        relative[i, j] = product
                    by_u[i], by_v[i] = relative[i, 0] * extent_u, relative[i, 1] * extent_v
                    way[i] = -relative[i, 2]
                if perspective:
                    rays = (origin, zero, zero, way, by_u, by_v)
                else:
                    rays = (origin, by_u, by_v, way, zero, zero)
                if kind == _BOX:
                    _draw(_BOX, size, rays, rows, columns, image)
                elif kind == _CAPSULE:
                    _draw(_CAPSULE, size, rays, rows, columns, image)
                elif kind == _CYLINDER:
                    _draw(_CYLINDER, size, rays, rows, columns, image)
                else:
                    _draw(_PLANE, size, rays, rows, columns, image)
