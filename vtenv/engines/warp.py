"""The GPU engine: MuJoCo Warp for physics, our kernels for the sensors, all on one device.

Physics and images stay on the device; the task's numbers, 60 a world, cross to the host once a
step. Connectors are mixed by giving every world its own copy of the fields in which they differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp
from numpy.typing import NDArray

from vtenv import scene
from vtenv.config import VTInsertConfig
from vtenv.connectors import CONNECTOR_NAMES
from vtenv.engines import warp_kernels as kernels
from vtenv.engines.placement import place
from vtenv.grasp_bank import BANK_SIZE, load_bank
from vtenv.raycast import Primitives
from vtenv.sensors import CONTACT_THRESHOLD_MM, NOISE_SUM_DEVIATION
from vtenv.state import InitialState, PhysicsState, WorldState

CONTACTS_PER_WORLD = 40
"""Room for contacts, as a mean over worlds."""
CONSTRAINTS_PER_WORLD = 200
"""Room for constraint rows in every world."""

_PER_WORLD_FIELDS = (
    "geom_size",
    "geom_pos",
    "geom_quat",
    "geom_aabb",
    "geom_rbound",
    "body_mass",
    "body_subtreemass",
    "body_inertia",
    "body_ipos",
    "body_iquat",
    "body_invweight0",
    "dof_invweight0",
)
"""Fields of the model in which connectors differ."""

_GEL_DEPTH_MM = scene.GEL_THICKNESS * 1e3
_SEED_STEP = -0x61C8864680B583EB  # 2^64 over the golden ratio, as a signed number


class BufferOverflowError(RuntimeError):
    """A world had more contacts or constraints than there is room for."""


class WarpEngine:
    """N worlds on one device; implements `Engine`.

    A world's noise is drawn from its generator when it is reset, and follows from there on the
    device: the same seeds give the same noise here, and other noise than on the CPU engine.

    Args:
        config: The environment's settings.
        num_worlds: Worlds to simulate.
        device: A CUDA device, such as "cuda:0", or "cpu", which is for tests: slow.
        tensors: Whether `sense` returns torch tensors that share the device's memory, valid
            until the next call, instead of NumPy arrays.

    Raises:
        ValueError: If a number is not positive, or there is no such device.
    """

    def __init__(
        self,
        config: VTInsertConfig,
        num_worlds: int,
        device: str = "cuda:0",
        tensors: bool = False,
    ) -> None:
        if num_worlds < 1:
            raise ValueError(f"num_worlds={num_worlds} is not allowed; it must be at least 1")
        wp.init()
        try:
            self._device = wp.get_device(device)
        except (ValueError, RuntimeError) as error:
            there = ", ".join(d.alias for d in wp.get_devices())
            raise ValueError(f"there is no device {device!r}; choose one of {there}") from error
        self.num_worlds = num_worlds
        self.bank_size = BANK_SIZE
        self._config, self._tensors = config, tensors
        self._bank = load_bank(config.initial_state)
        self._connector = np.zeros(num_worlds, np.int64)
        self._new_seed = np.ones(num_worlds, bool)
        self._graphs: dict[str, Any] = {}

        models = scene.build_models(config.scene, CONNECTOR_NAMES)
        self._bodies = [models[0].body(name).id for name in ("hand", "plug", "socket")]
        fovy = math.radians(models[0].cam_fovy[scene.OVERHEAD_CAMERA])
        self._extents = (math.tan(fovy / 2), scene.GEL_SIZE / 2)
        with wp.ScopedDevice(self._device):
            self._make_physics(models)
            self._make_sensors(models)
        self._state: WorldState | None = None

    def reset(self, worlds: NDArray[np.int64], initial: InitialState) -> None:
        """Put worlds into their initial states, one row of `initial` each."""
        placed = place(initial, self._bank)
        index = self._to_device(worlds, torch.int64)
        self._connector[worlds] = initial.connector
        connector = self._to_device(initial.connector, torch.int64)
        self._connectors[index] = connector.to(torch.int32)
        for name, field in self._fields.items():
            field[index] = self._tables[name][connector]
        self._qpos[index] = self._to_device(placed.qpos)
        self._ctrl[index] = self._to_device(placed.ctrl)
        self._mocap_pos[index, 0] = self._to_device(placed.socket_pos)
        self._mocap_quat[index, 0] = self._to_device(placed.socket_quat)
        for field in (self._qvel, self._warmstart, self._sensors, self._overflow):
            field[index] = 0
        self._sensors[index, scene.GEL_CONTACTS] = 1.0
        self._new_seed[worlds] = True
        self._run("poses", self._pose)
        self._state = None

    def step(self, worlds: NDArray[np.int64], target: NDArray[np.float64]) -> None:
        """Advance worlds by one control step, driving the hand to `target`, (K, 5)."""
        index = self._to_device(worlds, torch.int64)
        self._ctrl[index, scene.HAND_CTRL] = self._to_device(target)
        resting = np.setdiff1d(np.arange(self.num_worlds), worlds)
        moving = (self._qpos, self._qvel, self._warmstart, self._sensors)
        others = self._to_device(resting, torch.int64)
        kept = [field[others].clone() for field in moving] if resting.size else []
        self._run("step", self._step)
        for field, rows in zip(moving, kept, strict=False):
            field[others] = rows
        if kept:
            self._run("poses", self._pose)
        self._state = None

    def state(self) -> WorldState:
        """The state of all worlds, on the host.

        Raises:
            BufferOverflowError: If a world had more contacts than there is room for.
        """
        if self._state is None:
            self._state = self._fetch_state()
        return self._state

    def sense(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, Any]:
        """Sensor images of all worlds, as the constructor's `tensors` says."""
        fresh = np.intersect1d(np.flatnonzero(self._new_seed), worlds)
        self._seeds += _SEED_STEP
        if fresh.size:
            drawn = [generators[world].bit_generator.random_raw() for world in fresh]
            seeds = np.array(drawn, np.uint64).view(np.int64)
            self._seeds[self._to_device(fresh, torch.int64)] = self._to_device(seeds, torch.int64)
            self._new_seed[fresh] = False
        self._run("sense", self._sense)
        images = {"depth": self._depth, "contact": self._contact, "gel": self._gel}
        images = {name: image for name, image in images.items() if name in self._config.modalities}
        if self._tensors:
            return images
        return {name: image.cpu().numpy().copy() for name, image in images.items()}

    def as_observation(self, values: NDArray[np.float32]) -> Any:
        """Numbers from the host as the images are: tensors on the device, or NumPy arrays."""
        return self._to_device(values) if self._tensors else values

    def render_depth(self, world: int) -> NDArray[np.float32]:
        """Noise-free overhead depth of one world, (H, W), float32, [m]."""
        self._run("sense", self._sense)
        return self._true_depth[world, 0].cpu().numpy().copy()

    def physics(self, world: int) -> PhysicsState:
        """The state of one world, for drawing it."""
        return PhysicsState(
            connector=int(self._connector[world]),
            qpos=self._qpos[world].cpu().numpy().astype(np.float64),
            mocap_pos=self._mocap_pos[world].cpu().numpy().astype(np.float64),
            mocap_quat=self._mocap_quat[world].cpu().numpy().astype(np.float64),
        )

    def close(self) -> None:
        """Release the recorded graphs; may be called twice."""
        self._graphs.clear()

    def _make_physics(self, models: list[mujoco.MjModel]) -> None:
        data = mujoco.MjData(models[0])
        mujoco.mj_forward(models[0], data)
        self._m = mjw.put_model(models[0])
        self._m.opt.warn_overflow = False  # reported by `state`
        self._d = mjw.put_data(
            models[0],
            data,
            nworld=self.num_worlds,
            nconmax=CONTACTS_PER_WORLD,
            njmax=CONSTRAINTS_PER_WORLD,
        )
        self._tables: dict[str, torch.Tensor] = {}
        self._fields: dict[str, torch.Tensor] = {}
        for name in _PER_WORLD_FIELDS:
            shared = getattr(self._m, name)
            table = np.stack([getattr(m, name) for m in models]).astype(np.float32)
            shape = (*shared.shape[1:], *getattr(shared.dtype, "_shape_", ()))
            rows = np.repeat(table[:1].reshape(1, *shape), self.num_worlds, axis=0)
            own: Any = wp.array(rows, dtype=shared.dtype)
            setattr(self._m, name, own)
            self._fields[name] = wp.to_torch(own)
            self._tables[name] = self._to_device(table.reshape(len(models), *shape))
        d = self._d
        self._qpos, self._qvel, self._ctrl = map(wp.to_torch, (d.qpos, d.qvel, d.ctrl))
        self._warmstart, self._sensors = map(wp.to_torch, (d.qacc_warmstart, d.sensordata))
        self._mocap_pos, self._mocap_quat = map(wp.to_torch, (d.mocap_pos, d.mocap_quat))
        self._xpos, self._xmat = map(wp.to_torch, (d.xpos, d.xmat))
        self._overflow = wp.to_torch(d.overflow)

    def _make_sensors(self, models: list[mujoco.MjModel]) -> None:
        n = self.num_worlds
        groups = ((scene.SCENE_GROUP, scene.PLUG_GROUP), (scene.PLUG_GROUP,))
        seen = [Primitives.from_models(models, g) for g in groups]
        self._seen: list[tuple[Any, ...]] = [
            (
                wp.array(p.ids, dtype=int),
                wp.array(p.types, dtype=int),
                wp.array(p.used, dtype=wp.bool),
            )
            for p in seen
        ]
        self._views = [
            wp.zeros((n, cameras, len(p.ids)), dtype=kernels.View)
            for cameras, p in zip((1, 2), seen, strict=True)
        ]
        image, contact = self._config.scene.image_size, self._config.scene.contact_size
        self._arrays = {
            "true_depth": wp.zeros((n, 1, image, image), dtype=float),
            "depth": wp.zeros((n, 1, image, image), dtype=float),
            "gel": wp.zeros(
                (n, 2, contact, contact) if "gel" in self._config.modalities else (1, 1, 1, 1),
                dtype=float,
            ),
            "contact": wp.zeros((n, 2, contact, contact), dtype=wp.uint8),
            "seeds": wp.zeros(n, dtype=wp.uint64),
            "connectors": wp.zeros(n, dtype=wp.int32),
        }
        tensors = {name: wp.to_torch(array) for name, array in self._arrays.items()}
        self._true_depth, self._depth = tensors["true_depth"], tensors["depth"]
        self._gel, self._contact = tensors["gel"], tensors["contact"]
        self._connectors = tensors["connectors"]
        self._seeds = tensors["seeds"].view(torch.int64)

    def _run(self, name: str, work: Callable[[], None]) -> None:
        """Do `work` on the device; recorded as a CUDA graph the first time."""
        with wp.ScopedDevice(self._device):
            if not self._device.is_cuda:
                work()
                return
            torch.cuda.current_stream(wp.device_to_torch(self._device)).synchronize()
            if name not in self._graphs:
                work()  # compiles what the recording may not
                with wp.ScopedCapture() as capture:
                    work()
                self._graphs[name] = capture.graph
            else:
                wp.capture_launch(self._graphs[name])
            wp.synchronize_stream()

    def _step(self) -> None:
        for _ in range(scene.SUBSTEPS):
            mjw.step(self._m, self._d)
        self._pose()

    def _pose(self) -> None:
        mjw.kinematics(self._m, self._d)
        mjw.camlight(self._m, self._d)

    def _sense(self) -> None:
        d, noise, arrays = self._d, self._config.depth_noise, self._arrays
        image, contact = self._config.scene.image_size, self._config.scene.contact_size
        wanted = self._config.modalities
        cameras = ((scene.OVERHEAD_CAMERA, True, image), (scene.GEL_CAMERAS.start, False, contact))
        for k, (first, perspective, size) in enumerate(cameras):
            wp.launch(
                kernels.prepare_views,
                dim=self._views[k].shape,
                inputs=[
                    *self._seen[k],
                    arrays["connectors"],
                    self._m.geom_size,
                    d.geom_xpos,
                    d.geom_xmat,
                    d.cam_xpos,
                    d.cam_xmat,
                    first,
                    self._extents[k],
                    perspective,
                    size,
                    size,
                ],
                outputs=[self._views[k]],
            )
        pixels = (self.num_worlds, image, image)
        wp.launch(
            kernels.cast_depth,
            dim=pixels,
            inputs=[self._views[0]],
            outputs=[arrays["true_depth"]],
        )
        wp.launch(
            kernels.add_noise,
            dim=pixels,
            inputs=[
                arrays["true_depth"],
                arrays["seeds"],
                noise.noise_mm * 1e-3 / scene.CAMERA_HEIGHT**2 / NOISE_SUM_DEVIATION,
                noise.dropout,
                noise.quantization_mm * 1e-3,
            ],
            outputs=[arrays["depth"]],
        )
        if "gel" in wanted or "contact" in wanted:
            wp.launch(
                kernels.cast_gel,
                dim=(self.num_worlds, 2, contact, contact),
                inputs=[self._views[1], _GEL_DEPTH_MM, CONTACT_THRESHOLD_MM, "gel" in wanted],
                outputs=[arrays["gel"], arrays["contact"]],
            )

    def _fetch_state(self) -> WorldState:
        """Gather what the task needs into one block, and bring it to the host."""
        n = self.num_worlds
        parts = [
            self._qpos,
            self._ctrl[:, scene.HAND_CTRL],
            self._xpos[:, self._bodies].reshape(n, -1),
            self._xmat[:, self._bodies].reshape(n, -1),
            self._sensors,
            self._overflow[:, None].float(),
        ]
        block = torch.cat(parts, dim=-1).cpu().numpy().astype(np.float64)
        finite = np.isfinite(block).all(axis=-1)
        block[~finite] = 0.0  # a world that went wrong ends its episode, and spoils no sum
        ends = np.cumsum([part.shape[-1] for part in parts])[:-1]
        qpos, target, xpos, xmat, sensors, overflow = np.split(block, ends, axis=-1)
        if overflow.any():
            raise BufferOverflowError(
                f"{int((overflow != 0).sum())} of {n} worlds had more contacts than there is room "
                "for; raise CONTACTS_PER_WORLD or CONSTRAINTS_PER_WORLD in vtenv.engines.warp"
            )
        xpos, xmat = xpos.reshape(n, 3, 3), xmat.reshape(n, 3, 3, 3)
        return WorldState(
            connector=self._connector,
            hand=qpos[:, scene.HAND_QPOS],
            target=target,
            fingers=qpos[:, scene.FINGER_QPOS],
            hand_pos_w=xpos[:, 0],
            hand_mat_w=xmat[:, 0],
            plug_pos_w=xpos[:, 1],
            plug_mat_w=xmat[:, 1],
            socket_pos_w=xpos[:, 2],
            socket_mat_w=xmat[:, 2],
            socket_force=np.sqrt(np.sum(sensors[:, scene.SOCKET_FORCE] ** 2, axis=-1)),
            touching=sensors[:, scene.GEL_CONTACTS] > 0,
            stable=finite,
        )

    def _to_device(self, values: NDArray[Any], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        device = wp.device_to_torch(self._device)
        return torch.as_tensor(np.ascontiguousarray(values), dtype=dtype, device=device)
