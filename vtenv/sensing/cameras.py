"""How cameras map the world to pixels: intrinsics, poses, and points from depth images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from vtenv.sensing.meshes import Meshes
from vtenv.sensing.profiles import SensorProfile
from vtenv.sensing.raycast import Primitives
from vtenv.world_model import Camera, Snapshot, WorldModel

_OPENCV_AXES = np.diag([1.0, -1.0, -1.0])
"""OpenCV's camera axes, right, down and ahead, in MuJoCo's: right, up and backwards."""


@dataclass(frozen=True)
class CameraView:
    """A camera at one moment, in OpenCV's conventions.

    The camera's axes point right (x), down (y) and ahead (z) in its image. The centre of the
    pixel (row, column) is at u = column, v = row.

    Attributes:
        intrinsics: K, (3, 3). In perspective K (x/z, y/z, 1) is (u, v, 1); without it,
            K (x, y, 1) is, lengths in [m].
        pose_w: The camera's frame in the world's, (4, 4): a point of the camera's frame, times
            this, is a point of the world. Lengths in [m].
        size: Rows and columns of the image.
        perspective: Whether the rays meet in one point, or are parallel.
    """

    intrinsics: NDArray[np.float64]
    pose_w: NDArray[np.float64]
    size: tuple[int, int]
    perspective: bool

    def points(self, depth: NDArray[np.floating]) -> NDArray[np.float64]:
        """The points that a depth image shows, in the world frame.

        Args:
            depth: Planar depth, (H, W), [m]; 0, and what is not finite, is no measurement.

        Returns:
            Points, (H, W, 3), [m]; NaN where nothing was measured.

        Raises:
            ValueError: If the image has another size.
        """
        if depth.shape != self.size:
            raise ValueError(f"the depth image has shape {depth.shape}; expected {self.size}")
        rows, columns = np.indices(self.size)
        pixels = np.stack([columns, rows, np.ones(self.size)], axis=-1)
        rays = pixels @ np.linalg.inv(self.intrinsics).T
        z = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan)[..., None]
        across = rays[..., :2] * (z if self.perspective else np.ones_like(z))
        points = np.concatenate([across, z], axis=-1)
        world: NDArray[np.float64] = points @ self.pose_w[:3, :3].T + self.pose_w[:3, 3]
        return world


def camera_views(world_model: WorldModel, name: str, snapshot: Snapshot) -> list[CameraView]:
    """The views of one of a world model's cameras, one for each channel of its images.

    Args:
        world_model: What is simulated.
        name: The camera's name in `WorldModel.cameras`.
        snapshot: The state of a world.

    Raises:
        ValueError: If there is no such camera; lists those there are.
    """
    if name not in world_model.cameras:
        raise ValueError(
            f"there is no camera {name!r}; choose one of {', '.join(world_model.cameras)}"
        )
    model, camera = world_model.models[snapshot.variant], world_model.cameras[name]
    ids = world_model.camera_ids(name)
    rows, columns = camera.size
    views = []
    for index in ids:
        _, half, perspective = view_extents(model, index, camera)
        focal = rows / 2 / half
        centre_u, centre_v = (columns - 1) / 2, (rows - 1) / 2
        intrinsics = np.array([[focal, 0.0, centre_u], [0.0, focal, centre_v], [0.0, 0.0, 1.0]])
        pose = np.eye(4)
        pose[:3, :3] = snapshot.cam_mat[index].reshape(3, 3) @ _OPENCV_AXES
        pose[:3, 3] = snapshot.cam_pos[index]
        views.append(CameraView(intrinsics, pose, camera.size, perspective))
    return views


def view_extents(model: mujoco.MjModel, index: int, camera: Camera) -> tuple[float, float, bool]:
    """Half the width and height that a camera sees, and whether in perspective.

    In perspective they are tangents of angles, else lengths in [m].
    """
    rows, columns = camera.size
    if camera.half_extent is not None:
        return *camera.half_extent, False
    fovy = float(model.cam_fovy[index])
    perspective = model.cam_projection[index] == mujoco.mjtProjection.mjPROJ_PERSPECTIVE
    half = math.tan(math.radians(fovy) / 2) if perspective else fovy / 2
    return half * columns / rows, half, bool(perspective)


class Poses(NamedTuple):
    """Where geoms and cameras are in N worlds; views of an engine's memory, which stay in place.

    NumPy's arrays, or Warp's (but for `variant`, which is torch's), of vectors and matrices.

    Attributes:
        variant: Index of each world's model, (N,), int64.
        geom_pos: (N, ngeom) positions, [m].
        geom_mat: (N, ngeom) orientations.
        cam_pos: (N, ncam) positions, [m].
        cam_mat: (N, ncam) orientations.
        geom_size: (N, ngeom) sizes, or (1, ngeom) if all worlds share them; None where
            they follow from the variant.
        readings: (N, nsensordata) readings of the model's own sensors; None where there are
            none.
    """

    variant: Any
    geom_pos: Any
    geom_mat: Any
    cam_pos: Any
    cam_mat: Any
    geom_size: Any = None
    readings: Any = None


class Rays:
    """The rays of one of a world model's cameras, without what casts them.

    Args:
        world_model: The world model.
        camera: Name of the camera in `WorldModel.cameras`.
        poses: Where geoms and cameras are.

    Attributes:
        camera: The camera.
        poses: As given.
        ids: Ids of the model's cameras that it stands for.
        seen: What it can see, but for meshes.
        meshes: The meshes that it can see.
        extents: `view_extents` of it.
    """

    def __init__(self, world_model: WorldModel, camera: str, poses: Poses) -> None:
        self.camera = world_model.cameras[camera]
        self.poses = poses
        self.ids = world_model.camera_ids(camera)
        visible = world_model.models, self.camera.groups, self.camera.bodies
        self.seen, self.meshes = Primitives.from_models(*visible), Meshes.from_models(*visible)
        self.extents = view_extents(world_model.models[0], self.ids[0], self.camera)

    @property
    def profile(self) -> SensorProfile:
        """The tactile sensor whose camera it is.

        Raises:
            ValueError: If it is another kind of camera.
        """
        if self.camera.profile is None:
            raise ValueError(f"{', '.join(self.camera.names)}: no camera of a tactile sensor")
        return self.camera.profile

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the images of all worlds."""
        return len(self.poses.variant), len(self.camera.names), *self.camera.size
