"""Sensors of the CPU engine: compiled rays, and what the sensors make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vtenv.sensing.cameras import Poses, Rays
from vtenv.sensing.colour import GelColours, colour_images
from vtenv.sensing.foundation import press_gels, softness
from vtenv.sensing.images import CONTACT_THRESHOLD_MM, depth_images, gel_images
from vtenv.sensing.membrane import Membrane, stretch_gels
from vtenv.sensing.meshes import cast_meshes
from vtenv.sensing.photometry import MEMBRANE_MM
from vtenv.sensing.raycast import cast_depth
from vtenv.sensing.tractions import (
    RAYS,
    WRENCH_SIZE,
    marker_kernels,
    move_markers,
    press_taxels,
    spread_forces,
)
from vtenv.world_model import WorldModel


class CPUSensor(Protocol):
    """A sensor of the CPU engine.

    Its constructor takes the world model, the name of its camera, the keys to make and `Poses`.

    Attributes:
        memory: What of earlier images decides the next ones, (N, ...) each, in place; the engine
            keeps it with its state, and clears the rows of worlds that are reset.
    """

    memory: dict[str, NDArray[Any]]

    def reset(self, worlds: NDArray[np.int64], noise: dict[str, NDArray[np.float64]]) -> None:
        """Take over the settings of noise of worlds that were reset, one row each."""

    def draw(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """Draw what the next images need, and make room for them.

        Returns:
            New arrays (N, ..., H, W) by key, with the last images of all other worlds.
        """

    def measure(self, worlds: NDArray[np.int64]) -> None:
        """Fill the images of worlds; different threads do different worlds."""


class RayCamera(Rays):
    """Cameras of a model that cast rays at its geoms; see `Rays`."""

    def eyes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions, (N, C, 3), and orientations, (N, C, 9), of the cameras."""
        first, last = self.ids[0], self.ids[-1]
        together = self.ids == list(range(first, last + 1))
        ids: Any = slice(first, last + 1) if together else self.ids  # a view, where that will do
        return self.poses.cam_pos[:, ids], self.poses.cam_mat[:, ids]

    def cast(self, worlds: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Fill `out` (N, C, H, W) with planar depth, [m]; infinity where nothing is hit."""
        poses, seen, meshes = self.poses, self.seen, self.meshes
        view: tuple[Any, ...] = (poses.geom_pos, poses.geom_mat, *self.eyes(), *self.extents, out)
        cast_depth(worlds, poses.variant, seen.ids, seen.types, seen.sizes, seen.used, *view)
        if meshes.ids.size:
            own: tuple[Any, ...] = (meshes.ids, meshes.used, meshes.spans, meshes.triangles)
            cast_meshes(worlds, poses.variant, *own, *view)


class _RaySensor:
    """What a camera sees, and the last images of all worlds by key; a `CPUSensor` but for them."""

    def __init__(
        self, world_model: WorldModel, camera: str, keys: tuple[str, ...], poses: Poses
    ) -> None:
        self._keys = keys
        self._rays = RayCamera(world_model, camera, poses)
        self._settings = self._rays.camera.settings
        self._depth = np.empty(self._rays.shape, np.float32)
        self._last: dict[str, NDArray[Any]] = {}
        self._shapes: dict[str, tuple[int, ...]] = dict.fromkeys(keys, self._depth.shape)
        self.memory: dict[str, NDArray[Any]] = {}

    def _new(self, key: str, dtype: type, worlds: NDArray[np.int64]) -> NDArray[Any]:
        """Room for the next images of worlds, with the last ones of all others."""
        known = len(worlds) < len(self._depth) and key in self._last
        return (
            self._last[key].copy()
            if known
            else np.zeros(self._shapes.get(key, self._depth.shape), dtype)
        )

    def reset(self, worlds: NDArray[np.int64], noise: dict[str, NDArray[np.float64]]) -> None:
        """Nothing of it is a world's own."""


class DepthSensor(_RaySensor):
    """A depth camera with noise; see `vtenv.sensing.images.depth_images`."""

    def __init__(
        self, world_model: WorldModel, camera: str, keys: tuple[str, ...], poses: Poses
    ) -> None:
        super().__init__(world_model, camera, keys, poses)
        self._seeds = np.zeros(len(self._depth), np.uint64)
        self._noise_mm = np.zeros(len(self._depth))

    def reset(self, worlds: NDArray[np.int64], noise: dict[str, NDArray[np.float64]]) -> None:
        """Take over the worlds' noise."""
        self._noise_mm[worlds] = noise["depth_noise_mm"]

    def draw(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """Draw the seeds of the images' noise."""
        self._last = {key: self._new(key, np.float32, worlds) for key in self._keys}
        for world in worlds:
            if self._noise_mm[world] > 0 or self._settings["dropout"] > 0:
                self._seeds[world] = generators[world].bit_generator.random_raw()
        return self._last

    def measure(self, worlds: NDArray[np.int64]) -> None:
        """Fill the images."""
        self._rays.cast(worlds, self._depth)
        (image,) = self._last.values()
        depth_images(
            worlds,
            self._depth[:, 0],
            self._seeds,
            self._noise_mm,
            np.float32(self._settings["noise_distance"]),
            self._settings["dropout"],
            self._settings["quantization_mm"],
            image[:, 0],
        )


class _GelRays(_RaySensor):
    """What cameras behind gels see; pressed by forces, where the gels have a modulus."""

    def __init__(
        self, world_model: WorldModel, camera: str, keys: tuple[str, ...], poses: Poses
    ) -> None:
        super().__init__(world_model, camera, keys, poses)
        self._profile = self._rays.profile
        self._softness = softness(self._profile, self._rays.extents[:2], self._rays.camera.size)
        self._at_rest = np.zeros(self._depth.shape[:2])
        self._feels_forces = bool(self._rays.camera.wrenches)
        if self._feels_forces:
            self._readings = world_model.wrench_slice(camera)

    def reset(self, worlds: NDArray[np.int64], noise: dict[str, NDArray[np.float64]]) -> None:
        """Take over how firmly the worlds' pads are pressed."""
        if self._feels_forces:
            self._at_rest[worlds] = noise["grip_n"]

    def _wrenches(self) -> NDArray[np.float64]:
        readings: NDArray[np.float64] = self._rays.poses.readings[:, self._readings]
        return readings.reshape(*self._depth.shape[:2], WRENCH_SIZE)

    def _cast(self, worlds: NDArray[np.int64]) -> None:
        self._rays.cast(worlds, self._depth)
        if self._softness:
            press_gels(
                worlds,
                self._depth,
                self._profile.thickness,
                self._softness,
                self._wrenches(),
                self._rays.eyes()[1],
                self._at_rest,
            )


class GelSensor(_GelRays):
    """Cameras behind gels; see `vtenv.sensing.images`, `vtenv.sensing.membrane` and `colour`."""

    def __init__(
        self, world_model: WorldModel, camera: str, keys: tuple[str, ...], poses: Poses
    ) -> None:
        super().__init__(world_model, camera, keys, poses)
        size = self._rays.camera.size
        self._shapes["rgb"] = (*self._depth.shape[:2], 3, *size)
        pixel_mm = 2e3 * self._rays.extents[1] / size[0]
        self._colours: tuple[Any, ...] = ()
        if "rgb" in keys:
            fitted = Membrane.of(MEMBRANE_MM[0], size, pixel_mm)
            self._colours = (*fitted, *GelColours.of(self._profile, size, pixel_mm))
        widest = self._profile.membrane_mm
        self._membrane = Membrane.of(widest, size, pixel_mm) if widest else None

    def draw(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """Make room; nothing is drawn."""
        # Fresh memory costs page faults: the indentation takes the place of the depth that it
        # follows from where nobody asked for it.
        gel = self._new("gel", np.float32, worlds) if "gel" in self._keys else self._depth
        self._last = {"gel": gel, "contact": self._new("contact", np.uint8, worlds)} | {
            key: self._new(key, np.uint8, worlds) for key in self._keys if key == "rgb"
        }
        return {key: self._last[key] for key in self._keys}

    def measure(self, worlds: NDArray[np.int64]) -> None:
        """Fill the images."""
        gel, contact = self._last["gel"], self._last["contact"]
        thickness = np.float32(self._profile.thickness_mm)
        threshold = np.float32(CONTACT_THRESHOLD_MM)
        self._cast(worlds)
        gel_images(worlds, self._depth, thickness, threshold, gel, contact)
        if self._colours:
            drawn: tuple[Any, ...] = (worlds, gel, *self._colours, self._last["rgb"])
            colour_images(*drawn)
        if self._membrane is not None:
            stretch_gels(worlds, gel, *self._membrane, threshold, contact)


class PadSensor(_GelRays):
    """Forces on taxels, and markers; see `vtenv.sensing.tractions`."""

    def __init__(
        self, world_model: WorldModel, camera: str, keys: tuple[str, ...], poses: Poses
    ) -> None:
        super().__init__(world_model, camera, keys, poses)
        pads = self._depth.shape[:2]
        rows, columns = (side // RAYS for side in self._depth.shape[2:])
        self._pressed = np.zeros((*pads, rows, columns), np.float32)
        markers = (*pads, 2, *self._profile.marker_size)
        self._shapes = {"shear": (*pads, 3, rows, columns), "markers": markers}
        self._kernels = marker_kernels((rows, columns), self._profile)
        self._friction = np.zeros(len(self._depth))
        self.memory = {"traction": np.zeros((*pads, 2, rows, columns), np.float32)}

    def reset(self, worlds: NDArray[np.int64], noise: dict[str, NDArray[np.float64]]) -> None:
        """Take over the friction of the worlds' pads, and how firmly they are pressed."""
        super().reset(worlds, noise)
        self._friction[worlds] = noise["pad_friction"]

    def draw(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """Make room; nothing is drawn."""
        self._last = {key: self._new(key, np.float32, worlds) for key in self._shapes}
        return {key: self._last[key] for key in self._keys}

    def measure(self, worlds: NDArray[np.int64]) -> None:
        """Fill the images."""
        rays, traction = self._rays, self.memory["traction"]
        self._cast(worlds)
        press_taxels(worlds, self._depth, self._profile.thickness, self._pressed)
        spread_forces(
            worlds,
            self._pressed,
            self._wrenches(),
            *rays.eyes(),
            *rays.extents[:2],
            self._friction,
            self._at_rest,
            traction,
            self._last["shear"],
        )
        if "markers" in self._keys:
            markers = self._last["markers"]
            move_markers(worlds, self._pressed, traction, *self._kernels, markers)
