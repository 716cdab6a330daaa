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


class _Images:
    """The last images of all worlds, by key."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self.last: dict[str, NDArray[Any]] = {}

    def new(
        self, key: str, shape: tuple[int, ...], dtype: type, worlds: NDArray[np.int64]
    ) -> NDArray[Any]:
        known = len(worlds) < shape[0] and key in self.last
        return self.last[key].copy() if known else np.zeros(shape, dtype)


class DepthSensor:
    """A depth camera with noise; see `vtenv.sensing.images.depth_images`."""

    def __init__(
        self, world_model: WorldModel, camera: str, keys: tuple[str, ...], poses: Poses
    ) -> None:
        self._rays = RayCamera(world_model, camera, poses)
        self._images = _Images(keys)
        self._true = np.empty(self._rays.shape, np.float32)
        self._settings = self._rays.camera.settings
        self._seeds = np.zeros(len(self._true), np.uint64)
        self._noise_mm = np.zeros(len(self._true))

    def reset(self, worlds: NDArray[np.int64], noise: dict[str, NDArray[np.float64]]) -> None:
        """Take over the worlds' noise."""
        self._noise_mm[worlds] = noise["depth_noise_mm"]

    def draw(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """Draw the seeds of the images' noise."""
        (key,) = self._images.keys
        image = self._images.new(key, self._true.shape, np.float32, worlds)
        for world in worlds:
            if self._noise_mm[world] > 0 or self._settings["dropout"] > 0:
                self._seeds[world] = generators[world].bit_generator.random_raw()
        self._images.last = {key: image}
        return self._images.last

    def measure(self, worlds: NDArray[np.int64]) -> None:
        """Fill the images."""
        self._rays.cast(worlds, self._true)
        (image,) = self._images.last.values()
        depth_images(
            worlds,
            self._true[:, 0],
            self._seeds,
            self._noise_mm,
            np.float32(self._settings["noise_distance"]),
            self._settings["dropout"],
            self._settings["quantization_mm"],
            image[:, 0],
        )


class GelSensor:
    """Cameras behind gels; see `vtenv.sensing.images.gel_images`."""

    def __init__(
        self, world_model: WorldModel, camera: str, keys: tuple[str, ...], poses: Poses
    ) -> None:
        self._rays = RayCamera(world_model, camera, poses)
        self._images = _Images(keys)
        self._distance = np.empty(self._rays.shape, np.float32)
        self._unseen = np.empty_like(self._distance)
        self._settings = self._rays.camera.settings

    def reset(self, worlds: NDArray[np.int64], noise: dict[str, NDArray[np.float64]]) -> None:
        """Nothing of it is a world's own."""

    def draw(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """Make room; nothing is drawn."""
        shape, images = self._distance.shape, self._images
        # Fresh memory costs page faults: none for an image that nobody asked for.
        wanted = "gel" in images.keys
        gel = images.new("gel", shape, np.float32, worlds) if wanted else self._unseen
        images.last = {"gel": gel, "contact": images.new("contact", shape, np.uint8, worlds)}
        return {key: images.last[key] for key in images.keys}

    def measure(self, worlds: NDArray[np.int64]) -> None:
        """Fill the images."""
        self._rays.cast(worlds, self._distance)
        gel_images(
            worlds,
            self._distance,
            np.float32(self._settings["thickness_mm"]),
            np.float32(self._settings["threshold_mm"]),
            self._images.last["gel"],
            self._images.last["contact"],
        )
