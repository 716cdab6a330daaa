"""Sensors of the CPU engine: compiled rays, and what the sensors make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vtenv.sensing.cameras import Poses, Rays
from vtenv.sensing.images import depth_images, gel_images
from vtenv.sensing.raycast import cast_depth
from vtenv.world_model import WorldModel


class CPUSensor(Protocol):
    """A sensor of the CPU engine.

    Its constructor takes the world model, the name of its camera, the keys to make and `Poses`.
    """

    def reset(self, worlds: NDArray[np.int64], noise: dict[str, NDArray[np.float64]]) -> None:
        """Take over the settings of noise of worlds that were reset, one row each."""

    def draw(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """Draw what the next images need, and make room for them.

        Returns:
            New arrays (N, C, H, W) by key, with the last images of all other worlds.
        """

    def measure(self, worlds: NDArray[np.int64]) -> None:
        """Fill the images of worlds; different threads do different worlds."""


class RayCamera(Rays):
    """Cameras of a model that cast rays at its geoms; see `Rays`."""

    def cast(self, worlds: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Fill `out` (N, C, H, W) with planar depth, [m]; infinity where nothing is hit."""
        poses, seen = self.poses, self.seen
        cast_depth(
            worlds,
            poses.variant,
            seen.ids,
            seen.types,
            seen.sizes,
            seen.used,
            poses.geom_pos,
            poses.geom_mat,
            poses.cam_pos[:, self.ids],
            poses.cam_mat[:, self.ids],
            *self.extents,
            out,
        )


class _RaySensor:
    """What a camera sees, and the last images of all worlds by key; a `CPUSensor` but for them."""

    def __init__(
        self, world_model: WorldModel, camera: str, keys: tuple[str, ...], poses: Poses
    ) -> None:
        self.keys = keys
        self.rays = RayCamera(world_model, camera, poses)
        self.settings = self.rays.camera.settings
        self.depth = np.empty(self.rays.shape, np.float32)
        self.last: dict[str, NDArray[Any]] = {}

    def new(self, key: str, dtype: type, worlds: NDArray[np.int64]) -> NDArray[Any]:
        """Room for the next images of worlds, with the last ones of all others."""
        known = len(worlds) < len(self.depth) and key in self.last
        return self.last[key].copy() if known else np.zeros(self.depth.shape, dtype)

    def reset(self, worlds: NDArray[np.int64], noise: dict[str, NDArray[np.float64]]) -> None:
        """Nothing of it is a world's own."""


class DepthSensor(_RaySensor):
    """A depth camera with noise; see `vtenv.sensing.images.depth_images`."""

    def __init__(
        self, world_model: WorldModel, camera: str, keys: tuple[str, ...], poses: Poses
    ) -> None:
        super().__init__(world_model, camera, keys, poses)
        self._seeds = np.zeros(len(self.depth), np.uint64)
        self._noise_mm = np.zeros(len(self.depth))

    def reset(self, worlds: NDArray[np.int64], noise: dict[str, NDArray[np.float64]]) -> None:
        """Take over the worlds' noise."""
        self._noise_mm[worlds] = noise["depth_noise_mm"]

    def draw(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """Draw the seeds of the images' noise."""
        self.last = {key: self.new(key, np.float32, worlds) for key in self.keys}
        for world in worlds:
            if self._noise_mm[world] > 0 or self.settings["dropout"] > 0:
                self._seeds[world] = generators[world].bit_generator.random_raw()
        return self.last

    def measure(self, worlds: NDArray[np.int64]) -> None:
        """Fill the images."""
        self.rays.cast(worlds, self.depth)
        (image,) = self.last.values()
        depth_images(
            worlds,
            self.depth[:, 0],
            self._seeds,
            self._noise_mm,
            np.float32(self.settings["noise_distance"]),
            self.settings["dropout"],
            self.settings["quantization_mm"],
            image[:, 0],
        )


class GelSensor(_RaySensor):
    """Cameras behind gels; see `vtenv.sensing.images.gel_images`."""

    def draw(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """Make room; nothing is drawn."""
        # Fresh memory costs page faults: the indentation takes the place of the depth that it
        # follows from where nobody asked for it.
        gel = self.new("gel", np.float32, worlds) if "gel" in self.keys else self.depth
        self.last = {"gel": gel, "contact": self.new("contact", np.uint8, worlds)}
        return {key: self.last[key] for key in self.keys}

    def measure(self, worlds: NDArray[np.int64]) -> None:
        """Fill the images."""
        self.rays.cast(worlds, self.depth)
        gel_images(
            worlds,
            self.depth,
            np.float32(self.settings["thickness_mm"]),
            np.float32(self.settings["threshold_mm"]),
            self.last["gel"],
            self.last["contact"],
        )
