"""The GPU engine: MuJoCo Warp for physics, our kernels for the sensors, all on one device.

Its arrays are torch tensors on that device, and its work is queued on torch's current stream:
nothing waits for the device but `send`. Connectors are mixed by giving every world its own copy
of the fields in which they differ.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp
from numpy.typing import NDArray

from vtenv.engines import warp_kernels as kernels
from vtenv.engines.cuda_graph import copied, recorded
from vtenv.sensing.images import CONTACT_THRESHOLD_MM, NOISE_SUM_DEVIATION
from vtenv.sensing.raycast import Primitives
from vtenv.state import Array, InitialState, PhysicsState, WorldState
from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.config import VTInsertConfig
from vtenv.tasks.insertion.connectors import CONNECTORS
from vtenv.tasks.insertion.domain import Domain, clearances
from vtenv.tasks.insertion.domain_fields import DOMAIN_FIELDS, DomainFields
from vtenv.tasks.insertion.grasp_bank import BANK_SIZE, GraspBank
from vtenv.tasks.insertion.placement import device_rows, padded

CONTACTS_PER_WORLD = 48
"""Room for contacts, as a mean over worlds; 9 were seen, and 30 with plugs pressed home."""
CONVEX_PAIRS_PER_WORLD = 16
"""Room for touching pairs with a cylinder, as a mean over worlds: what takes most memory."""
CONSTRAINTS_PER_WORLD = 256
"""Room for constraint rows in every world; 70 were seen, and 104 in a plug pressed home."""
SPARE_CONTACTS = 32
"""Room for contacts on top, so that few worlds may have more than the mean."""

_CONTACT_MATCHES = 48
"""Contacts that one contact sensor may count."""
_FULL = mjw.OverflowType
_NO_ROOM = int(_FULL.NEFC | _FULL.BROADPHASE | _FULL.NARROWPHASE | _FULL.CCD | _FULL.CONTACT_MATCH)
"""Overflows that lose contacts."""
_FEW = 0.01
"""Part of the worlds that may lose contacts at once, as one does whose physics went wrong."""

_PHYSICS_BYTES = 96 << 10
"""Memory of a world's physics apart from convex pairs."""
_PAIR_BYTES = 14 << 10
"""Memory of a convex pair: 7 KiB in each of two graphs."""

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

_log = logging.getLogger(__name__)
wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)  # no line for every kernel it loads

Key = TypeVar("Key", bound=Hashable)
R = TypeVar("R")


class BufferOverflowError(RuntimeError):
    """A world had more contacts or constraints than there is room for."""


class WarpEngine:
    """N worlds on one device; implements `PreparingEngine`.

    A world's noise is drawn from its generator when it is first sensed after a reset, and
    follows from there on the device: the same seeds give the same noise here, and other noise
    than on the CPU engine.

    On Warp's CPU device the same calls give the same bits. On a GPU they do not: MuJoCo Warp
    adds up in the order in which threads come, and its switch for another order,
    `opt.deterministic`, does not yet order contacts.

    Args:
        config: The environment's settings.
        num_worlds: Worlds to simulate.
        device: A CUDA device, such as "cuda:0", or "cpu", which is for tests: slow.

    Raises:
        ValueError: If a number is not positive, there is no such device, or it has not the
            memory for as many worlds.
    """

    def __init__(self, config: VTInsertConfig, num_worlds: int, device: str = "cuda:0") -> None:
        if num_worlds < 1:
            raise ValueError(f"num_worlds={num_worlds} is not allowed; it must be at least 1")
        wp.init()
        try:
            self._device = wp.get_device(device)
        except (ValueError, RuntimeError) as error:
            there = ", ".join(d.alias for d in wp.get_devices())
            raise ValueError(f"there is no device {device!r}; choose one of {there}") from error
        self._torch_device = torch.device(wp.device_to_torch(self._device))
        self._tell_of_compilation()
        self.num_worlds = num_worlds
        self.bank_size = BANK_SIZE
        self._config = config
        self._check_memory()
        ranges = config.domain_randomization
        self._bank = GraspBank.load(
            tuple(CONNECTORS.values()),
            config.initial_state,
            config.scene.connector_scale,
            (ranges and ranges.gel_stiffness) or (1.0, 1.0),
        )
        self._new_seed = np.ones(num_worlds, bool)
        self._graphs: dict[str, Any] = {}

        levels = clearances(config)
        self._num_levels = len(levels)
        models = scene.build_models(config.built, tuple(CONNECTORS.values()), levels)
        self._domain_fields = DomainFields(models)
        self._bodies = self.asarray(
            np.array([models[0].body(name).id for name in ("hand", "plug", "socket")])
        )
        fovy = math.radians(models[0].cam_fovy[scene.OVERHEAD_CAMERA])
        self._extents = (math.tan(fovy / 2), scene.GEL_SIZE / 2)
        with self._memory_explained(), wp.ScopedDevice(self._device):
            self._make_physics(models)
            self._make_sensors(models)
        self._place = self.recorded(self._placed)

    def asarray(self, values: Array) -> torch.Tensor:
        """Values on the device, float64 as float32; does not wait for the device."""
        if not isinstance(values, torch.Tensor):
            values = torch.from_numpy(np.require(values, requirements=["C", "W"]))
        if values.dtype == torch.float64:
            values = values.to(torch.float32)
        if self._device.is_cuda and not values.is_cuda:
            values = values.pin_memory()
        return values.to(self._torch_device, non_blocking=True)

    def copied(self, arrays: Mapping[Key, Array]) -> dict[Key, Array]:
        """Copies of tensors of one shape, those of a dtype in one operation."""
        return copied(arrays)

    def send(self, arrays: Mapping[Key, Array]) -> Callable[[], dict[Key, NDArray[Any]]]:
        """Start to copy tensors to the host: images each, numbers in one block.

        Returns:
            Waits for them, and returns them as NumPy arrays.

        Raises:
            BufferOverflowError: From the returned function, if many worlds have had more contacts
                than there is room for since they were reset. Of few it warns, and their episodes
                end as unstable.
        """
        numbers = {name: array for name, array in arrays.items() if array.ndim < 4}
        overflow = ((self._overflow & _NO_ROOM) != 0).sum()
        parts = [*numbers.values(), overflow]
        block = torch.cat([part.reshape(-1).to(torch.float32) for part in parts])
        host = self._to_host(block)
        images = {name: self._to_host(a) for name, a in arrays.items() if name not in numbers}
        arrived = torch.cuda.Event() if self._device.is_cuda else None
        if arrived is not None:
            arrived.record(torch.cuda.current_stream(self._torch_device))

        def wait() -> dict[Key, NDArray[Any]]:
            if arrived is not None:
                arrived.synchronize()
            *sent, overflown = torch.split(host, [part.numel() for part in parts])
            if overflown > 0:
                self._tell_of_overflow(int(overflown))
            there: dict[Key, NDArray[Any]] = {}
            for name, array in arrays.items():
                if name in numbers:
                    part = sent.pop(0).to(array.dtype, copy=True)
                    there[name] = part.reshape(array.shape).numpy()
                else:
                    there[name] = images[name].numpy()
            return there

        return wait

    def _tell_of_compilation(self) -> None:
        """Say that it takes a while if no kernel was compiled for such a device before."""
        kind = f"sm{self._device.arch}" if self._device.is_cuda else "cpu"
        cache = Path(str(wp.config.kernel_cache_dir))
        if not any(cache.glob(f"wp_mujoco_warp*/*.{kind}*")):
            _log.warning("compiling kernels for %s: about two minutes, once", self._device.alias)

    def _tell_of_overflow(self, worlds: int) -> None:
        """Warn of worlds that had more contacts than there is room for; many are an error."""
        text = (
            f"{worlds} of {self.num_worlds} worlds had more contacts than there is room for; raise "
            "CONTACTS_PER_WORLD, CONVEX_PAIRS_PER_WORLD or CONSTRAINTS_PER_WORLD in "
            "vtenv.engines.warp"
        )
        if worlds > 1 + _FEW * self.num_worlds:
            raise BufferOverflowError(text)
        warnings.warn(f"{text}. Their episodes end as unstable", stacklevel=2)

    def recorded(self, function: Callable[..., R]) -> Callable[..., R]:
        """The function as a CUDA graph; on Warp's CPU device the function as it is."""
        return recorded(function, self._torch_device) if self._device.is_cuda else function

    def reset(
        self, worlds: NDArray[np.int64], initial: InitialState, domain: Domain | None = None
    ) -> None:
        """Put worlds into their initial states, one row of `initial` and `domain` each."""
        self.reset_prepared(worlds, self.prepare(initial, domain))

    def prepare(self, initial: InitialState, domain: Domain | None) -> NDArray[np.float32]:
        """The part of `reset` that is the host's: a row for each initial state."""
        return device_rows(initial, self._bank, self._num_levels, self._domain_fields, domain)

    def reset_prepared(self, worlds: NDArray[np.int64], rows: NDArray[np.float32]) -> None:
        """Put worlds into initial states that were prepared, one row each."""
        listed = np.column_stack([worlds.astype(np.float32), rows])
        self._place(self.asarray(listed[padded(len(worlds), self.num_worlds)]))
        self._new_seed[worlds] = True
        self._run("poses", self._pose)

    def step(self, worlds: NDArray[np.int64], target: torch.Tensor) -> None:
        """Advance worlds by one control step, driving their hands to `target`, (N, 5)."""
        moving = (self._ctrl, self._qpos, self._qvel, self._warmstart, self._sensors)
        kept: list[torch.Tensor] = []
        if len(worlds) < self.num_worlds:
            others = self.asarray(np.setdiff1d(np.arange(self.num_worlds), worlds))
            kept = [field[others] for field in moving]
        self._ctrl[:, scene.HAND_CTRL] = target
        for _ in range(scene.SUBSTEPS - 1):
            self._run("substep", self._substep)
        self._run("last substep", self._last_substep)
        if kept:
            for field, rows in zip(moving, kept, strict=True):
                field[others] = rows
            self._run("poses", self._pose)

    def state(self) -> WorldState:
        """The state of all worlds, in tensors of its own."""
        n = self.num_worlds
        parts = [
            self._qpos,
            self._ctrl[:, scene.HAND_CTRL],
            self._xpos.index_select(1, self._bodies).reshape(n, -1),
            self._xmat.index_select(1, self._bodies).reshape(n, -1),
            self._sensors,
        ]
        block = torch.cat(parts, dim=-1)
        finite = torch.isfinite(block).all(dim=-1)
        complete = (self._overflow & _NO_ROOM) == 0
        # A world that went wrong ends its episode, and spoils no sum.
        block = torch.where(finite[:, None], block, 0.0)
        widths = [part.shape[-1] for part in parts]
        qpos, target, xpos, xmat, sensors = torch.split(block, widths, dim=-1)
        pos, mat = xpos.reshape(n, 3, 3), xmat.reshape(n, 3, 3, 3)
        return WorldState(
            connector=self._connectors.clone(),
            hand=qpos[:, scene.HAND_QPOS],
            target=target,
            fingers=qpos[:, scene.FINGER_QPOS],
            hand_pos_w=pos[:, 0],
            hand_mat_w=mat[:, 0],
            plug_pos_w=pos[:, 1],
            plug_mat_w=mat[:, 1],
            socket_pos_w=pos[:, 2],
            socket_mat_w=mat[:, 2],
            socket_force=torch.linalg.vector_norm(sensors[:, scene.SOCKET_FORCE], dim=-1),
            touching=sensors[:, scene.GEL_CONTACTS] > 0,
            stable=finite & complete,
        )

    def sense(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, torch.Tensor]:
        """Sensor images of all worlds, new tensors; other worlds' are those last sensed."""
        if not self._images:
            return {}
        index, name = self._every, "sense"
        if len(worlds) < self.num_worlds:
            rows = padded(len(worlds), self.num_worlds)
            if len(rows) not in self._some:
                self._some[len(rows)] = torch.zeros_like(self._every[: len(rows)])
            index = self._some[len(rows)]
            index.copy_(self.asarray(worlds[rows]))
            name = f"sense {len(rows)}"
        if "depth" in self._images:
            self._draw_noise(worlds, index, generators)
        self._run(name, lambda: self._sense(index))
        return {
            name: wp.to_torch(self._images[name]).clone()
            for name in self._images
            if name in self._config.modalities
        }

    def render_depth(self, world: int) -> NDArray[np.float32]:
        """Noise-free overhead depth of one world, (H, W), float32, [m]."""
        size = self._config.scene.image_size
        with self._queue():
            image = wp.empty((1, 1, size, size), dtype=float)
            self._cast_depth(self.asarray(np.array([world])), self.asarray(np.array([0])), image)
        return wp.to_torch(image)[0, 0].cpu().numpy()

    def physics(self, world: int) -> PhysicsState:
        """The state of one world, for drawing it."""
        qpos, pos, quat = (
            field[world].cpu().numpy().astype(np.float64)
            for field in (self._qpos, self._mocap_pos, self._mocap_quat)
        )
        return PhysicsState(int(self._connectors[world]), qpos, pos, quat)

    def close(self) -> None:
        """Release the recorded graphs; may be called twice."""
        self._graphs.clear()

    def _placed(self, rows: torch.Tensor) -> tuple[()]:
        """Write initial states, some of them twice.

        A row is a world and its row of `device_rows`.
        """
        index, connector, variant = (rows[:, k].to(torch.int64) for k in range(3))
        self._connectors[index] = connector
        for name, table in self._tables.items():
            self._fields[name][index] = table[variant]
        fields = [self._qpos, self._ctrl, self._mocap_pos[:, 0], self._mocap_quat[:, 0]]
        if self._config.domain_randomization is not None:
            fields += [*(self._fields[name] for name in DOMAIN_FIELDS), self._noise_mm]
        widths = [field[0].numel() for field in fields]
        for field, part in zip(fields, torch.split(rows[:, 3:], widths, dim=-1), strict=True):
            field[index] = part.reshape(-1, *field.shape[1:])
        for field in (self._qvel, self._warmstart, self._sensors, self._overflow):
            field.index_fill_(0, index, 0)
        self._sensors[:, scene.GEL_CONTACTS].index_fill_(0, index, 1.0)
        return ()

    def _to_host(self, tensor: torch.Tensor) -> torch.Tensor:
        """Start to copy a tensor to the host, where memory once locked is used again."""
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=self._device.is_cuda)
        return host.copy_(tensor, non_blocking=True)

    def _make_physics(self, models: list[mujoco.MjModel]) -> None:
        n = self.num_worlds
        data = mujoco.MjData(models[0])
        mujoco.mj_forward(models[0], data)
        self._m = mjw.put_model(models[0])
        self._m.opt.warn_overflow = 0  # reported by `send`
        # Boxes collide as in MuJoCo on the CPU, which the convex collider does only nearly.
        self._m.opt.disableflags |= mjw.DisableBit.NATIVECCD
        self._m.opt.contact_sensor_maxmatch = _CONTACT_MATCHES
        self._d = mjw.put_data(
            models[0],
            data,
            nworld=n,
            naconmax=n * CONTACTS_PER_WORLD + SPARE_CONTACTS,
            naccdmax=n * CONVEX_PAIRS_PER_WORLD + SPARE_CONTACTS,
            njmax=CONSTRAINTS_PER_WORLD,
        )
        self._tables: dict[str, torch.Tensor] = {}
        self._fields: dict[str, torch.Tensor] = {}
        randomised = DOMAIN_FIELDS if self._config.domain_randomization is not None else ()
        for name in dict.fromkeys((*_PER_WORLD_FIELDS, *randomised)):
            shared = getattr(self._m, name)
            table = np.stack([getattr(m, name) for m in models]).astype(np.float32)
            shape = (*shared.shape[1:], *getattr(shared.dtype, "_shape_", ()))
            rows = np.repeat(table[:1].reshape(1, *shape), n, axis=0)
            own: Any = wp.array(rows, dtype=shared.dtype)
            setattr(self._m, name, own)
            self._fields[name] = wp.to_torch(own)
            if name not in randomised:  # what is comes whole with the domain
                self._tables[name] = self.asarray(table.reshape(len(models), *shape))
        d = self._d
        self._qpos, self._qvel, self._ctrl = map(wp.to_torch, (d.qpos, d.qvel, d.ctrl))
        self._warmstart, self._sensors = map(wp.to_torch, (d.qacc_warmstart, d.sensordata))
        self._mocap_pos, self._mocap_quat = map(wp.to_torch, (d.mocap_pos, d.mocap_quat))
        self._xpos, self._xmat = map(wp.to_torch, (d.xpos, d.xmat))
        self._overflow = wp.to_torch(d.overflow)

    def _make_sensors(self, models: list[mujoco.MjModel]) -> None:
        n, wanted = self.num_worlds, self._config.modalities
        groups = ((scene.SCENE_GROUP, scene.PLUG_GROUP), (scene.PLUG_GROUP,))
        kinds = models[:: self._num_levels]  # what is seen does not depend on the clearance
        seen = [Primitives.from_models(kinds, g) for g in groups]
        self._seen: list[tuple[Any, ...]] = [
            (
                wp.array(p.ids, dtype=int),
                wp.array(p.types, dtype=int),
                wp.array(p.used, dtype=wp.bool),
            )
            for p in seen
        ]
        self._views = [
            (wp.zeros(shape, dtype=kernels.View), wp.zeros(shape, dtype=wp.vec4i))
            for shape in ((n, cameras, len(p.ids)) for cameras, p in zip((1, 2), seen, strict=True))
        ]
        image, contact = self._config.scene.image_size, self._config.scene.contact_size
        self._images: dict[str, Any] = {}
        if "depth" in wanted:
            self._images["depth"] = wp.zeros((n, 1, image, image), dtype=float)
            self._images["true depth"] = wp.zeros((n, 1, image, image), dtype=float)
        if "contact" in wanted or "gel" in wanted:
            self._images["contact"] = wp.zeros((n, 2, contact, contact), dtype=wp.uint8)
            gel = (n, 2, contact, contact) if "gel" in wanted else (1, 1, 1, 1)
            self._images["gel"] = wp.zeros(gel, dtype=float)
        self._every = self.asarray(np.arange(n))
        self._some: dict[int, torch.Tensor] = {}  # lists of worlds, by length, which stay in place
        self._connectors = torch.zeros(n, dtype=torch.int64, device=self._torch_device)
        self._seeds = torch.zeros(n, dtype=torch.int64, device=self._torch_device)
        self._noise_mm = self.asarray(np.full(n, self._config.depth_noise.noise_mm))

    @contextmanager
    def _queue(self) -> Iterator[Any]:
        """Queue Warp's work on torch's current stream of this device."""
        with ExitStack() as scopes:
            scopes.enter_context(wp.ScopedDevice(self._device))
            stream = wp.stream_from_torch(self._torch_device) if self._device.is_cuda else None
            if stream is not None:
                scopes.enter_context(wp.ScopedStream(stream, sync_enter=False))
            yield stream

    def _run(self, name: str, work: Callable[[], None]) -> None:
        """Do `work` on the device; recorded as a CUDA graph the first time."""
        with self._memory_explained():
            if not self._device.is_cuda:
                with wp.ScopedDevice(self._device):
                    work()
            elif name in self._graphs:
                with self._queue() as stream:
                    wp.capture_launch(self._graphs[name], stream)
            else:
                self._graphs[name] = self._record(work)

    def _record(self, work: Callable[[], None]) -> Any:
        """Do `work`, and record it: on Warp's own stream, as torch's default one may not."""
        torch.cuda.synchronize(self._torch_device)
        with wp.ScopedDevice(self._device):
            work()  # compiles what the recording may not
            with wp.ScopedCapture() as capture:
                work()
            wp.synchronize_device()
        return capture.graph

    def _substep(self) -> None:
        """A physics step without sensors, which only the last one of a control step needs."""
        option = self._m.opt
        flags = option.disableflags
        option.disableflags = flags | mjw.DisableBit.SENSOR
        mjw.step(self._m, self._d)
        option.disableflags = flags

    def _last_substep(self) -> None:
        mjw.step(self._m, self._d)
        self._pose()

    def _pose(self) -> None:
        mjw.kinematics(self._m, self._d)
        mjw.camlight(self._m, self._d)

    def _draw_noise(
        self,
        worlds: NDArray[np.int64],
        index: torch.Tensor,
        generators: Sequence[np.random.Generator],
    ) -> None:
        """Seeds of the worlds' next images."""
        if len(worlds) == self.num_worlds:
            self._seeds += _SEED_STEP
        else:
            self._seeds[index] += _SEED_STEP
        fresh = worlds[self._new_seed[worlds]]
        if fresh.size:
            drawn = [generators[world].bit_generator.random_raw() for world in fresh]
            seeds = np.array(drawn, np.uint64).view(np.int64)
            rows, values = self.asarray(np.stack([fresh, seeds]))
            self._seeds[rows] = values
            self._new_seed[fresh] = False

    def _sense(self, worlds: torch.Tensor) -> None:
        """Fill the images of `worlds`."""
        noise, images = self._config.depth_noise, self._images
        image, contact = self._config.scene.image_size, self._config.scene.contact_size
        listed = wp.from_torch(worlds)
        if "depth" in images:
            self._cast_depth(worlds, worlds, images["true depth"])
            wp.launch(
                kernels.add_noise,
                dim=(len(worlds), image, image),
                inputs=[
                    listed,
                    images["true depth"],
                    wp.from_torch(self._seeds, dtype=wp.uint64),
                    wp.from_torch(self._noise_mm),
                    1e-3 / scene.CAMERA_HEIGHT**2 / NOISE_SUM_DEVIATION,
                    noise.dropout,
                    noise.quantization_mm * 1e-3,
                ],
                outputs=[images["depth"]],
            )
        if "contact" in images:
            self._prepare_views(worlds, 1, scene.GEL_CAMERAS.start, False, contact)
            wp.launch(
                kernels.cast_gel,
                dim=(len(worlds), 2, contact, contact),
                inputs=[
                    listed,
                    *self._views[1],
                    _GEL_DEPTH_MM,
                    CONTACT_THRESHOLD_MM,
                    "gel" in self._config.modalities,
                ],
                outputs=[images["gel"], images["contact"]],
            )

    def _cast_depth(self, worlds: torch.Tensor, rows: torch.Tensor, image: Any) -> None:
        """Fill rows of `image` with the noise-free overhead depth of `worlds`."""
        size = self._config.scene.image_size
        self._prepare_views(worlds, 0, scene.OVERHEAD_CAMERA, True, size)
        wp.launch(
            kernels.cast_depth,
            dim=(len(worlds), size, size),
            inputs=[wp.from_torch(rows), *self._views[0]],
            outputs=[image],
        )

    def _prepare_views(
        self, worlds: torch.Tensor, kind: int, camera: int, perspective: bool, size: int
    ) -> None:
        d = self._d
        wp.launch(
            kernels.prepare_views,
            dim=(len(worlds), *self._views[kind][0].shape[1:]),
            inputs=[
                wp.from_torch(worlds),
                *self._seen[kind],
                wp.from_torch(self._connectors),
                self._m.geom_size,
                d.geom_xpos,
                d.geom_xmat,
                d.cam_xpos,
                d.cam_xmat,
                camera,
                self._extents[kind],
                perspective,
                size,
                size,
            ],
            outputs=list(self._views[kind]),
        )

    def _check_memory(self) -> None:
        """Refuse more worlds than the device has room for.

        Raises:
            ValueError: If it has not; says how many it has room for.
        """
        if not self._device.is_cuda:
            return
        size, wanted = self._config.scene, self._config.modalities
        depth, gel = 4 * size.image_size**2, 2 * size.contact_size**2
        # Each image the engine's, the environment's, and those of the step before.
        images = {"depth": 4 * depth, "contact": 3 * gel, "gel": 12 * gel}
        each = _PHYSICS_BYTES + CONVEX_PAIRS_PER_WORLD * _PAIR_BYTES
        each += sum(images.get(name, 0) for name in wanted)
        free = self._device.free_memory
        if self.num_worlds * each > free:
            raise ValueError(
                f"num_worlds={self.num_worlds} need about {self.num_worlds * each / 2**30:.1f} GiB "
                f"and {self._device.alias} has {free / 2**30:.1f} GiB free; make at most "
                f"{int(free // each)}, smaller images, or fewer modalities"
            )

    @contextmanager
    def _memory_explained(self) -> Iterator[None]:
        """Say what to do when the device runs out of memory."""
        try:
            yield
        except RuntimeError as error:
            text = str(error).lower()
            if "out of memory" not in text and "failed to allocate" not in text:
                raise
            raise RuntimeError(
                f"{self._device.alias} ran out of memory for {self.num_worlds} worlds; make fewer, "
                "with smaller images or fewer modalities, or free what else is on the device"
            ) from error
