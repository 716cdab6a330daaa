"""Sensors of the Warp engine: our kernels, on the device where the physics run."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import warp as wp

from vtenv.sensing import warp_kernels as kernels
from vtenv.sensing.cameras import Poses, Rays
from vtenv.sensing.images import NOISE_SUM_DEVIATION
from vtenv.world_model import WorldModel


class WarpSensor(Protocol):
    """A sensor of the Warp engine.

    Its constructor takes the world model, the name of its camera, the keys to make, `Poses`, and
    a seed for each world's next image, (N,), int64, of torch, which stays in place.

    Attributes:
        images: Images (N, C, H, W) by key, of Warp, which stay in place.
        noise: The worlds' own settings of noise, (N,) each, of torch, which stay in place; rows
            of `InitialPhysics.noise` are written to them.
        is_noisy: Whether it needs the seeds.
    """

    images: dict[str, Any]
    noise: dict[str, torch.Tensor]
    is_noisy: bool

    def measure(self, worlds: torch.Tensor) -> None:
        """Fill the images of listed worlds, int64; captured as a CUDA graph."""


class RayCamera(Rays):
    """Cameras of a model that cast rays at its geoms; see `Rays`.

    Attributes:
        views: The geoms as the cameras of listed worlds see them, and rectangles of pixels.
    """

    def __init__(self, world_model: WorldModel, camera: str, poses: Poses) -> None:
        super().__init__(world_model, camera, poses)
        self._seen: tuple[Any, ...] = (
            wp.array(self.seen.ids, dtype=int),
            wp.array(self.seen.types, dtype=int),
            wp.array(self.seen.used, dtype=wp.bool),
        )
        shape = (*self.shape[:2], len(self.seen.ids))
        self.views = wp.zeros(shape, dtype=kernels.View), wp.zeros(shape, dtype=wp.vec4i)

    def prepare(self, worlds: torch.Tensor) -> None:
        """Turn the geoms that listed worlds' cameras can see into `views`."""
        poses = self.poses
        wp.launch(
            kernels.prepare_views,
            dim=(len(worlds), *self.views[0].shape[1:]),
            inputs=[
                wp.from_torch(worlds),
                *self._seen,
                wp.from_torch(poses.variant),
                poses.geom_size,
                poses.geom_pos,
                poses.geom_mat,
                poses.cam_pos,
                poses.cam_mat,
                self.ids.start,
                *self.extents,
                *self.camera.size,
            ],
            outputs=list(self.views),
        )


class DepthSensor:
    """A depth camera with noise; see `vtenv.sensing.images.depth_images`."""

    def __init__(
        self,
        world_model: WorldModel,
        camera: str,
        keys: tuple[str, ...],
        poses: Poses,
        seeds: torch.Tensor,
    ) -> None:
        (key,) = keys
        self._rays = RayCamera(world_model, camera, poses)
        self._true = wp.zeros(self._rays.shape, dtype=float)
        self.images = {key: wp.zeros(self._rays.shape, dtype=float)}
        self.noise = {"depth_noise_mm": torch.zeros(len(seeds), device=seeds.device)}
        self.is_noisy = True
        self._seeds = seeds

    def measure(self, worlds: torch.Tensor) -> None:
        """Fill the images."""
        rays, settings = self._rays, self._rays.camera.settings
        listed = wp.from_torch(worlds)
        dim = (len(worlds), *rays.camera.size)
        rays.prepare(worlds)
        wp.launch(kernels.cast_depth, dim=dim, inputs=[listed, *rays.views], outputs=[self._true])
        wp.launch(
            kernels.add_noise,
            dim=dim,
            inputs=[
                listed,
                self._true,
                wp.from_torch(self._seeds, dtype=wp.uint64),
                wp.from_torch(self.noise["depth_noise_mm"]),
                1e-3 / settings["noise_distance"] ** 2 / NOISE_SUM_DEVIATION,
                settings["dropout"],
                settings["quantization_mm"] * 1e-3,
            ],
            outputs=list(self.images.values()),
        )


class GelSensor:
    """Cameras behind gels; see `vtenv.sensing.images.gel_images`."""

    def __init__(
        self,
        world_model: WorldModel,
        camera: str,
        keys: tuple[str, ...],
        poses: Poses,
        seeds: torch.Tensor,
    ) -> None:
        self._rays = RayCamera(world_model, camera, poses)
        self._keeps_gel = "gel" in keys
        shape = self._rays.shape
        self._contact = wp.zeros(shape, dtype=wp.uint8)
        self._gel = wp.zeros(shape if self._keeps_gel else (1, 1, 1, 1), dtype=float)
        made = {"gel": self._gel, "contact": self._contact}
        self.images = {key: made[key] for key in keys}
        self.noise: dict[str, torch.Tensor] = {}
        self.is_noisy = False

    def measure(self, worlds: torch.Tensor) -> None:
        """Fill the images."""
        rays, settings = self._rays, self._rays.camera.settings
        rays.prepare(worlds)
        wp.launch(
            kernels.cast_gel,
            dim=(len(worlds), *rays.shape[1:]),
            inputs=[
                wp.from_torch(worlds),
                *rays.views,
                settings["thickness_mm"],
                settings["threshold_mm"],
                self._keeps_gel,
            ],
            outputs=[self._gel, self._contact],
        )
