"""Sensors of the Warp engine: our kernels, on the device where the physics run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp

from vtenv.modalities import Modality
from vtenv.sensing import sensor_passes
from vtenv.sensing import warp_kernels as kernels
from vtenv.sensing.cameras import Poses, Rays
from vtenv.sensing.colour import GelColours
from vtenv.sensing.foundation import softness
from vtenv.sensing.images import CONTACT_THRESHOLD_MM, NOISE_SUM_DEVIATION
from vtenv.sensing.membrane import BLURS, Membrane
from vtenv.sensing.meshes import Meshes
from vtenv.sensing.pads import Pad, pad_friction, pads_world_model
from vtenv.sensing.photometry import MEMBRANE_MM
from vtenv.sensing.tractions import RAYS, marker_kernels
from vtenv.world_model import WorldModel


class WarpSensor(Protocol):
    """A sensor of the Warp engine.

    Its constructor takes the world model, the name of its camera, the keys to make, `Poses`, and
    a seed for each world's next image, (N,), int64, of torch, which stays in place.

    Attributes:
        images: Images (N, ..., H, W) by key, of torch, which stay in place.
        noise: The worlds' own settings, (N, ...) each, of torch, which stay in place; rows
            of `InitialPhysics.noise` are written to them.
        is_noisy: Whether it needs the seeds.
        memory: What of earlier images decides the next ones, (N, ...) each, of torch, which stays
            in place; cleared in the rows of worlds that are reset.
    """

    images: dict[str, torch.Tensor]
    noise: dict[str, torch.Tensor]
    is_noisy: bool
    memory: dict[str, torch.Tensor]

    def measure(self, worlds: torch.Tensor) -> None:
        """Fill the images of listed worlds, int64; captured as a CUDA graph.

        The first world may be listed again at the end.
        """


class RayCamera(Rays):
    """Cameras of a model that cast rays at its geoms; see `Rays`.

    Attributes:
        cameras: Ids of the model's cameras, of Warp.
        views: The geoms as the cameras of listed worlds see them, rectangles of pixels, and the
            depth of meshes, which has no pixels where there are none.
    """

    def __init__(self, world_model: WorldModel, camera: str, poses: Poses) -> None:
        super().__init__(world_model, camera, poses)
        self.cameras: Any = wp.array(self.ids, dtype=int)
        seen, meshes = self.seen, self.meshes
        self._seen = self._geoms(seen.ids, seen.types, seen.used)
        kinds = np.full(len(meshes.ids), mujoco.mjtGeom.mjGEOM_MESH)
        self._seen_meshes = self._geoms(meshes.ids, kinds, meshes.used)
        self._meshes = [[_mesh(meshes, *span) for span in spans] for spans in meshes.spans]
        ids = [[mesh.id if mesh else 0 for mesh in variant] for variant in self._meshes]
        self._mesh_ids: Any = wp.array(np.array(ids, np.uint64).reshape(meshes.used.shape))
        depth = wp.zeros(self.shape if meshes.ids.size else (1, 1, 1, 0), dtype=float)
        self.views = *self._seen[1], depth

    def _geoms(self, ids: Any, types: Any, used: Any) -> tuple[list[Any], list[Any]]:
        """What `prepare_views` takes of some geoms, and room for what it makes of them."""
        shape = (*self.shape[:2], len(ids))
        told: list[Any] = [
            wp.array(ids, dtype=int),
            wp.array(types, dtype=int),
            wp.array(used, dtype=wp.bool),
        ]
        return told, [wp.zeros(shape, dtype=kernels.View), wp.zeros(shape, dtype=wp.vec4i)]

    def prepare(self, worlds: torch.Tensor) -> None:
        """Turn the geoms that listed worlds' cameras can see into `views`."""
        listed, variant = wp.from_torch(worlds), wp.from_torch(self.poses.variant)
        self._prepare(listed, variant, *self._seen)
        if self.meshes.ids.size:
            self._prepare(listed, variant, *self._seen_meshes)
            wp.launch(
                kernels.cast_meshes,
                dim=(len(worlds), *self.shape[1:]),
                inputs=[listed, variant, self._mesh_ids, self._seen_meshes[1][0]],
                outputs=[self.views[2]],
            )

    def cast(self, worlds: Any, out: Any) -> None:
        """Fill `out` (N, C, H, W) with planar depth, [m], after `prepare`."""
        dim = (len(worlds), *self.shape[1:])
        wp.launch(kernels.cast_depth, dim=dim, inputs=[worlds, *self.views], outputs=[out])

    def _prepare(self, worlds: Any, variant: Any, geoms: list[Any], views: list[Any]) -> None:
        poses = self.poses
        wp.launch(
            kernels.prepare_views,
            dim=(len(worlds), *views[0].shape[1:]),
            inputs=[
                worlds,
                *geoms,
                variant,
                poses.geom_size,
                poses.geom_pos,
                poses.geom_mat,
                poses.cam_pos,
                poses.cam_mat,
                self.cameras,
                *self.extents,
                *self.camera.size,
            ],
            outputs=views,
        )


def _mesh(meshes: Meshes, first: int, end: int) -> wp.Mesh | None:
    """Warp's mesh of triangles of `Meshes`; None for none."""
    if first == end:
        return None
    corners = meshes.triangles[first:end].reshape(-1, 3)
    return wp.Mesh(wp.array(corners, dtype=wp.vec3), wp.array(np.arange(len(corners)), dtype=int))


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
        self._seen = wp.zeros(self._rays.shape, dtype=float)
        self.images = {key: wp.to_torch(self._seen)}
        self.noise = {"depth_noise_mm": torch.zeros(len(seeds), device=seeds.device)}
        self.is_noisy = True
        self.memory: dict[str, torch.Tensor] = {}
        self._seeds = seeds

    def measure(self, worlds: torch.Tensor) -> None:
        """Fill the images."""
        rays, settings = self._rays, self._rays.camera.settings
        listed = wp.from_torch(worlds)
        dim = (len(worlds), *rays.camera.size)
        rays.prepare(worlds)
        rays.cast(listed, self._true)
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
            outputs=[self._seen],
        )


class GelRays(RayCamera):
    """Cameras behind gels; pressed by forces, where the gels have a modulus.

    Attributes:
        shift: How far what they see has moved along their normals since the rays, (N, C), [m].
        at_rest: Normal force while a wrench reads nothing, (N, C), [N], of torch.
        noise: `at_rest` by name, where forces are read.
        first_reading: Where the wrenches begin in the readings.
    """

    def __init__(self, world_model: WorldModel, camera: str, poses: Poses) -> None:
        super().__init__(world_model, camera, poses)
        self.shift: Any = wp.zeros(self.shape[:2], dtype=float)
        self.at_rest = torch.zeros(self.shape[:2], device=poses.variant.device)
        self.noise: dict[str, torch.Tensor] = {}
        if self.camera.wrenches:
            self.noise["grip_n"] = self.at_rest
            self.first_reading = world_model.wrench_slice(camera).start
        self._softness = softness(self.profile, self.extents[:2], self.camera.size)
        if self._softness:
            self._distance = wp.zeros(self.shape, dtype=float)

    def prepare(self, worlds: torch.Tensor) -> None:
        """As a `RayCamera`; then find `shift`."""
        super().prepare(worlds)
        if not self._softness:
            return
        listed, poses = wp.from_torch(worlds), self.poses
        self.cast(listed, self._distance)
        wp.launch(
            kernels.press_gels,
            dim=(len(worlds), self.shape[1]),
            inputs=[
                listed,
                self._distance,
                self.profile.thickness,
                self._softness,
                poses.readings,
                self.first_reading,
                poses.cam_mat,
                self.cameras,
                wp.from_torch(self.at_rest),
            ],
            outputs=[self.shift],
        )


class GelSensor:
    """Cameras behind gels; see `vtenv.sensing.images`, `vtenv.sensing.membrane` and `colour`."""

    def __init__(
        self,
        world_model: WorldModel,
        camera: str,
        keys: tuple[str, ...],
        poses: Poses,
        seeds: torch.Tensor,
    ) -> None:
        self._rays = GelRays(world_model, camera, poses)
        shape, widest = self._rays.shape, self._rays.profile.membrane_mm
        self._keeps_gel = "gel" in keys or "rgb" in keys or widest > 0
        self._contact = wp.zeros(shape, dtype=wp.uint8)
        self._gel = wp.zeros(shape if self._keeps_gel else (1, 1, 1, 1), dtype=float)
        made = {"gel": wp.to_torch(self._gel), "contact": wp.to_torch(self._contact)}
        pixel_mm = 2e3 * self._rays.extents[1] / shape[2]
        self._surfaces: Any = ()
        if "rgb" in keys or widest:
            self._surfaces = wp.zeros(shape, dtype=float), wp.zeros(shape, dtype=float)
        self._membrane = _membrane(widest, shape, pixel_mm) if widest else None
        self._colours: GelColours | None = None
        if "rgb" in keys:
            self._colours = colours = GelColours.of(self._rays.profile, shape[2:], pixel_mm)
            self._fitted_membrane = _membrane(MEMBRANE_MM[0], shape, pixel_mm)
            self._polynomials: Any = wp.array(colours.coefficients, dtype=float)
            self._background: Any = wp.array(colours.background)
            self._rgb, made["rgb"] = _components((*shape[:2], 3, *shape[2:]), wp.uint8)
        self.images = {key: made[key] for key in keys}
        self.noise = self._rays.noise
        self.is_noisy = False
        self.memory: dict[str, torch.Tensor] = {}

    def measure(self, worlds: torch.Tensor) -> None:
        """Fill the images."""
        rays = self._rays
        rays.prepare(worlds)
        wp.launch(
            kernels.cast_gel,
            dim=(len(worlds), *rays.shape[1:]),
            inputs=[
                wp.from_torch(worlds),
                *rays.views,
                rays.shift,
                rays.profile.thickness_mm,
                CONTACT_THRESHOLD_MM,
                self._keeps_gel,
            ],
            outputs=[self._gel, self._contact],
        )
        listed, dim = wp.from_torch(worlds), (len(worlds), *rays.shape[1:])
        if self._colours is not None:
            colours = self._colours
            wp.launch(
                kernels.colour_gel,
                dim=dim,
                inputs=[
                    listed,
                    self._stretched(listed, dim, self._fitted_membrane),
                    0.5 / colours.pixel_mm,
                    colours.steepest,
                    colours.deepest_mm,
                    self._polynomials,
                    self._background,
                ],
                outputs=[self._rgb],
            )
        if self._membrane is not None:
            surface = self._stretched(listed, dim, self._membrane)
            wp.launch(
                kernels.take_membrane,
                dim=dim,
                inputs=[listed, surface, CONTACT_THRESHOLD_MM],
                outputs=[self._gel, self._contact],
            )

    def _stretched(self, worlds: Any, dim: tuple[int, ...], membrane: list[Any]) -> Any:
        """Depth of the membranes of listed worlds, which the next call overwrites."""
        surface, across = self._surfaces
        source = self._gel
        for blur in range(BLURS):
            restores = blur < BLURS - 1
            for along_rows, read, write in ((False, source, across), (True, across, surface)):
                wp.launch(
                    kernels.blur_gel,
                    dim=dim,
                    inputs=[worlds, self._gel, read, *membrane, blur, along_rows],
                    outputs=[restores and along_rows, write],
                )
            source = surface
        return surface


def _membrane(widest_mm: float, shape: tuple[int, ...], pixel_mm: float) -> list[Any]:
    """Warp's arrays of a `Membrane`."""
    taps, radii = Membrane.of(widest_mm, (shape[2], shape[3]), pixel_mm)
    return [wp.array(taps, dtype=float), wp.array(radii)]


def _components(shape: tuple[int, ...], dtype: Any = float) -> tuple[Any, torch.Tensor]:
    """Room for images of pads, (N, P, components, H, W).

    Warp's arrays have four axes: pads and components are one there, component by component.
    """
    array = wp.zeros((shape[0], shape[1] * shape[2], *shape[3:]), dtype=dtype)
    return array, wp.to_torch(array).view(shape)


class PadSensor:
    """Forces on taxels, and markers; see `vtenv.sensing.tractions`."""

    def __init__(
        self,
        world_model: WorldModel,
        camera: str,
        keys: tuple[str, ...],
        poses: Poses,
        seeds: torch.Tensor,
    ) -> None:
        self._rays = GelRays(world_model, camera, poses)
        pads = self._rays.shape[:2]
        rows, columns = (side // RAYS for side in self._rays.shape[2:])
        self._pressed = wp.zeros((*pads, rows, columns), dtype=float)
        self._traction, traction = _components((*pads, 2, rows, columns))
        self.memory = {"traction": traction}
        markers = (*pads, 2, *self._rays.profile.marker_size)
        shapes = {"shear": (*pads, 3, rows, columns), "markers": markers}
        made = {k: _components(whole if k in keys else (1,) * 5) for k, whole in shapes.items()}
        self._shear = made["shear"][0]
        self._markers = made["markers"][0] if "markers" in keys else None
        self._kernels: Any = [
            wp.array(kernel, dtype=float)
            for kernel in marker_kernels((rows, columns), self._rays.profile)
        ]
        self.images = {key: made[key][1] for key in keys}
        self._friction = torch.zeros(len(seeds), device=seeds.device)
        self.noise = {"pad_friction": self._friction, **self._rays.noise}
        self.is_noisy = False

    def measure(self, worlds: torch.Tensor) -> None:
        """Fill the images."""
        rays, poses, listed = self._rays, self._rays.poses, wp.from_torch(worlds)
        rays.prepare(worlds)
        wp.launch(
            kernels.cast_taxels,
            dim=(len(worlds), *self._pressed.shape[1:]),
            inputs=[listed, *rays.views, rays.shift, rays.profile.thickness],
            outputs=[self._pressed],
        )
        wp.launch(
            kernels.spread_forces,
            dim=(len(worlds), rays.shape[1]),
            inputs=[
                listed,
                self._pressed,
                poses.readings,
                rays.first_reading,
                poses.cam_pos,
                poses.cam_mat,
                rays.cameras,
                *rays.extents[:2],
                wp.from_torch(self._friction),
                wp.from_torch(rays.at_rest),
            ],
            outputs=[self._traction, self._shear],
        )
        if self._markers is not None:
            wp.launch(
                kernels.move_markers,
                dim=(len(worlds), rays.shape[1], *self._markers.shape[2:]),
                inputs=[listed, self._pressed, self._traction, *self._kernels],
                outputs=[self._markers],
            )


class WarpPadSensors:
    """Senses pads from MuJoCo Warp's data, where it lies; see `vtenv.sensing.pads.PadSensors`.

    Args:
        model: Compiled after `vtenv.sensing.pads.add_pads`.
        m: MuJoCo Warp's model of it.
        d: MuJoCo Warp's data, of any number of worlds.
        pads: As they were added.
        modalities: Keys of what to sense, such as ("contact", "markers").
        settings: More arguments of `vtenv.sensing.pads.pads_world_model`.

    Raises:
        ValueError: If the model lacks the pads, or gels cannot see what they may touch.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        m: mjw.Model,
        d: mjw.Data,
        pads: Sequence[Pad],
        modalities: Sequence[str | Modality],
        **settings: Any,
    ) -> None:
        world_model = pads_world_model(model, pads, modalities, **settings)
        device = torch.device(wp.device_to_torch(d.geom_xpos.device))
        self._device = d.geom_xpos.device
        self._worlds = torch.arange(d.nworld, device=device)
        poses = Poses(
            torch.zeros_like(self._worlds),
            d.geom_xpos,
            d.geom_xmat,
            d.cam_xpos,
            d.cam_xmat,
            m.geom_size,
            d.sensordata,
        )
        seeds = torch.zeros_like(self._worlds)
        with wp.ScopedDevice(self._device):
            self._sensors: list[WarpSensor] = [
                sensor.implementation("warp")(world_model, camera, keys, poses, seeds)
                for sensor, camera, keys in sensor_passes(world_model.modalities)
            ]
        for sensor in self._sensors:
            if "pad_friction" in sensor.noise:
                sensor.noise["pad_friction"].fill_(pad_friction(model, pads))

    def reset(self, worlds: torch.Tensor | None = None) -> None:
        """Forget what has stuck and slipped, in worlds of these indices; in all by default."""
        for sensor in self._sensors:
            for values in sensor.memory.values():
                values.index_fill_(0, self._worlds if worlds is None else worlds, 0)

    def read(self) -> dict[str, torch.Tensor]:
        """Sense the states that the data hold, without waiting for the device.

        Returns:
            Images by key, (N, pads, ...), which the next call overwrites.
        """
        with wp.ScopedDevice(self._device):
            for sensor in self._sensors:
                sensor.measure(self._worlds)
        return {key: image for sensor in self._sensors for key, image in sensor.images.items()}
