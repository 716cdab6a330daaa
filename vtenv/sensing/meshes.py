"""Depth of triangle meshes: what `vtenv.sensing.raycast` leaves out.

Each triangle that faces the camera is drawn over the pixels whose rays hit it, the nearest wins. A
mesh is what its triangles enclose, so it must be watertight; one that reaches behind the camera is
not seen there, like a primitive.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from vtenv.jit import jit
from vtenv.sensing.raycast import pixel_range, visible_geoms


@dataclass(frozen=True)
class Meshes:
    """The meshes that a camera can see, for each variant of a model.

    Attributes:
        ids: Geom ids, (M,), int64.
        used: Whether each exists in each variant, (V, M), bool.
        spans: First triangle of each in each variant, and one past the last, (V, M, 2), int64.
        triangles: Corners in the geom's frame, counterclockwise from outside, (T, 3, 3), float64,
            [m].
    """

    ids: NDArray[np.int64]
    used: NDArray[np.bool_]
    spans: NDArray[np.int64]
    triangles: NDArray[np.float64]

    @classmethod
    def from_models(
        cls, models: list[mujoco.MjModel], groups: tuple[int, ...], bodies: tuple[str, ...] = ()
    ) -> Meshes:
        """Collect the opaque meshes; arguments as of `Primitives.from_models`.

        Raises:
            ValueError: If one of them is not watertight.
        """
        seen = visible_geoms(models[0], groups, bodies)
        ids = seen[models[0].geom_type[seen] == mujoco.mjtGeom.mjGEOM_MESH]
        spans = np.zeros((len(models), len(ids), 2), np.int64)
        used = np.stack([model.geom_rgba[ids, 3] > 0 for model in models])
        parts, count = [np.zeros((0, 3, 3))], 0
        for variant, model in enumerate(models):
            for index in np.flatnonzero(used[variant]):
                corners = _triangles(model, int(model.geom_dataid[ids[index]]))
                spans[variant, index] = count, count + len(corners)
                parts.append(corners)
                count += len(corners)
        return cls(ids, used, spans, np.concatenate(parts))


def _triangles(model: mujoco.MjModel, mesh: int) -> NDArray[np.float64]:
    """Corners of a mesh's triangles, (T, 3, 3).

    Raises:
        ValueError: If it is not watertight; says where and what to do.
    """
    first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    corners = model.mesh_vert[first : first + count]
    first, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    faces = model.mesh_face[first : first + count]
    # Corners that lie at one place are one, however often the file has them.
    same = np.unique(corners, axis=0, return_inverse=True)[1].reshape(-1)[faces]
    whole = (same != np.roll(same, 1, axis=1)).all(axis=1)
    faces, same = faces[whole], same[whole]
    edges = np.stack([same, np.roll(same, -1, axis=1)], axis=-1).reshape(-1, 2)
    there, back = ({tuple(edge) for edge in way.tolist()} for way in (edges, edges[:, ::-1]))
    if len(there) < len(edges) or there != back:
        name = model.mesh(mesh).name
        raise ValueError(
            f"the mesh {name!r} is not watertight: {len(there ^ back) // 2} of its "
            f"{len(edges)} edges have no triangle on the other side, or one that is turned over; "
            "close it, or put primitives in a geom group and name that with groups"
        )
    return np.asarray(corners[faces], np.float64)


@jit()
def cast_meshes(
    worlds: NDArray[np.int64],
    variant: NDArray[np.int64],
    ids: NDArray[np.int64],
    used: NDArray[np.bool_],
    spans: NDArray[np.int64],
    triangles: NDArray[np.float64],
    geom_pos: NDArray[np.float64],
    geom_mat: NDArray[np.float64],
    camera_pos: NDArray[np.float64],
    camera_mat: NDArray[np.float64],
    extent_u: float,
    extent_v: float,
    perspective: bool,
    out: NDArray[np.float32],
) -> None:
    """Lower `out[worlds]` to the depth of meshes.

    Args:
        worlds: Which of the N worlds to do, int64.
        variant: Variant of each world, (N,), int64.
        ids: As in `Meshes`.
        used: As in `Meshes`.
        spans: As in `Meshes`.
        triangles: As in `Meshes`.
        geom_pos: As in `vtenv.sensing.raycast.cast_depth`, like all that follow.
        geom_mat: Likewise.
        camera_pos: Likewise.
        camera_mat: Likewise.
        extent_u: Likewise.
        extent_v: Likewise.
        perspective: Likewise.
        out: Depth images of the primitives, (N, C, H, W), float32, [m].
    """
    height, width = out.shape[2], out.shape[3]
    u, v, nearness = np.empty(3), np.empty(3), np.empty(3)
    eye_from_geom, offset, seen = np.empty((3, 3)), np.empty(3), np.empty(3)
    for world in worlds:
        for camera in range(out.shape[1]):
            image = out[world, camera]
            eye, eye_mat = camera_pos[world, camera], camera_mat[world, camera]
            for index in range(ids.size):
                if not used[variant[world], index]:
                    continue
                pos, mat = geom_pos[world, ids[index]], geom_mat[world, ids[index]]
                for i in range(3):
                    offset[i] = 0.0
                    for k in range(3):
                        offset[i] += eye_mat[3 * k + i] * (pos[k] - eye[k])
                    for j in range(3):
                        eye_from_geom[i, j] = 0.0
                        for k in range(3):
                            eye_from_geom[i, j] += eye_mat[3 * k + i] * mat[3 * k + j]
                first, end = spans[variant[world], index]
                for triangle in triangles[first:end]:
                    behind = False
                    for corner in range(3):
                        for i in range(3):
                            seen[i] = offset[i]
                            for k in range(3):
                                seen[i] += eye_from_geom[i, k] * triangle[corner, k]
                        # What is linear over the image is depth, and in perspective one over it.
                        depth = -seen[2]
                        behind |= perspective and depth < 1e-6
                        scale = 1.0 / depth if perspective else 1.0
                        u[corner], v[corner] = (
                            seen[0] * scale / extent_u,
                            seen[1] * scale / extent_v,
                        )
                        nearness[corner] = scale if perspective else depth
                    if not behind:
                        _draw_triangle(u, v, nearness, perspective, height, width, image)


@jit()
def _draw_triangle(
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    values: NDArray[np.float64],
    inverse: bool,
    height: int,
    width: int,
    image: NDArray[np.float32],
) -> None:
    """Lower an image to a triangle's depth, if the triangle faces the camera.

    Args:
        u: Of its corners in the image, which is [-1, 1] wide and high, (3,).
        v: Likewise, upwards.
        values: Depth at the corners, or one over it, (3,).
        inverse: Whether it is one over it.
        height: Rows of the image.
        width: Columns of it.
        image: Depth, (H, W).
    """
    area = (u[1] - u[0]) * (v[2] - v[0]) - (u[2] - u[0]) * (v[1] - v[0])
    if not area > 0.0:
        return
    rows = pixel_range(-v.max(), -v.min(), height)
    columns = pixel_range(u.min(), u.max(), width)
    for row in range(rows[0], rows[1]):
        y = 1.0 - 2.0 * (row + 0.5) / height
        for column in range(columns[0], columns[1]):
            x = 2.0 * (column + 0.5) / width - 1.0
            part_0 = ((u[1] - x) * (v[2] - y) - (u[2] - x) * (v[1] - y)) / area
            part_1 = ((u[2] - x) * (v[0] - y) - (u[0] - x) * (v[2] - y)) / area
            part_2 = 1.0 - part_0 - part_1
            if min(part_0, part_1, part_2) < -1e-9:  # a ray on an edge hits one side or both
                continue
            value = part_0 * values[0] + part_1 * values[1] + part_2 * values[2]
            depth = np.float32(1.0 / value if inverse else value)
            if 0.0 <= depth < image[row, column]:
                image[row, column] = depth
