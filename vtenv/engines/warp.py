"""The GPU engine: MuJoCo Warp for physics, our kernels for the sensors, all on one device.

Its arrays are torch tensors on that device, and its work is queued on torch's current stream:
nothing waits for the device but `TorchBackend.to_host`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, reduce
from operator import or_
from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp
from numpy.typing import NDArray

from vtenv.engines.compilation import compile_kernels
from vtenv.engines.cuda_graph import no_collection
from vtenv.engines.torch_arrays import TorchBackend
from vtenv.sensing import memory_of, sensor_passes
from vtenv.sensing.cameras import Poses
from vtenv.sensing.warp import WarpSensor
from vtenv.validation import checked_count
from vtenv.world_model import Frame, InitialPhysics, PhysicsState, Snapshot, WorldModel

CONTACTS_PER_WORLD = 48
"""Room for contacts, as a mean over worlds; 9 were seen, and 30 with plugs pressed home."""
CONVEX_PAIRS_PER_WORLD = 16
"""Room for touching pairs with a cylinder, as a mean over worlds: what takes most memory."""
CONSTRAINTS_PER_WORLD = 256
"""Room for constraint rows in every world; 70 were seen, and 104 in a plug pressed home."""
SPARE_CONTACTS = 32
"""Room for contacts on top, so that few worlds may have more than the mean."""

_CONTACT_MATCHES = 96
"""Contacts that one contact sensor may count; 32 were seen, of a pin header in its socket."""
_FULL = mjw.OverflowType
_ROOM = {
    _FULL.NEFC: "CONSTRAINTS_PER_WORLD",
    _FULL.BROADPHASE | _FULL.NARROWPHASE: "CONTACTS_PER_WORLD",
    _FULL.CCD: "CONVEX_PAIRS_PER_WORLD",
    _FULL.CONTACT_MATCH: "_CONTACT_MATCHES",
}
"""What gives more room, by the overflow that loses contacts."""
_NO_ROOM = int(reduce(or_, _ROOM))
_FEW = 0.01
"""Part of the worlds that may lose contacts at once, as one does whose physics went wrong."""

_PHYSICS_BYTES = 96 << 10
"""Memory of a world's physics apart from convex pairs."""
_PAIR_BYTES = 14 << 10
"""Memory of a convex pair: 7 KiB in each of two graphs."""

_OF_NO_CONSEQUENCE = ("names", "paths", "dof_length", "geom_rgba", "site_pos")
"""Fields of the model in which variants may differ: names, the length by which sleeping is decided
(nothing sleeps), and what neither physics nor our sensors read."""
_SEED_STEP = -0x61C8864680B583EB  # 2^64 over the golden ratio, as a signed number

wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)  # no line for every kernel it loads


class BufferOverflowError(RuntimeError):
    """A world had more contacts or constraints than there is room for."""


class WarpEngine:
    """N worlds on one device; implements `Engine`.

    A world's noise is drawn from its generator when it is first sensed after a reset, and
    follows from there on the device: the same seeds give the same noise here, and other noise
    than on the CPU engine. Variants are mixed by giving every world its own copy of the fields in
    which they differ.

    On Warp's CPU device the same calls give the same bits. On a GPU they do not: MuJoCo Warp
    adds up in the order in which threads come, and its switch for another order,
    `opt.deterministic`, does not yet order contacts.

    Args:
        world_model: What to simulate.
        num_worlds: Worlds to simulate.
        device: A CUDA device, such as "cuda:0", or "cpu", which is for tests: slow.

    Raises:
        ValueError: If a number is not positive, there is no such device, or it has not the
            memory for as many worlds.
    """

    device_is_ahead = True

    def __init__(self, world_model: WorldModel, num_worlds: int, device: str = "cuda:0") -> None:
        num_worlds = checked_count("num_worlds", num_worlds)
        wp.init()
        try:
            self._device = wp.get_device(device)
        except (ValueError, RuntimeError) as error:
            there = ", ".join(d.alias for d in wp.get_devices())
            raise ValueError(f"there is no device {device!r}; choose one of {there}") from error
        self._torch_device = torch.device(wp.device_to_torch(self._device))
        self.num_worlds = num_worlds
        self.arrays = TorchBackend(
            self._torch_device, self._count_overflows, self._tell_of_overflow
        )
        self._world_model = world_model
        self._check_memory()
        self._fresh = np.ones(num_worlds, bool)
        """Worlds that were not sensed since their reset."""
        self._graphs: dict[str, Any] = {}
        self._joints = world_model.joint_slices()
        self._actuators = world_model.actuator_slices()
        self._readings = world_model.sensor_slices()
        bodies = world_model.body_ids()
        self._bodies = self.arrays.asarray(np.array(list(bodies.values())))
        with self._memory_explained(), wp.ScopedDevice(self._device):
            self._make_physics()
            self._make_sensors()
            one_world = partial(mjw.make_data, world_model.models[0], njmax=CONSTRAINTS_PER_WORLD)
            compile_kernels(self._m, one_world, self._device)
        self._place = self.arrays.capture(self._placed)

    def _count_overflows(self) -> torch.Tensor:
        return ((self._overflow & _NO_ROOM) != 0).sum()

    def _tell_of_overflow(self, worlds: int) -> None:
        """Warn of worlds that had more contacts than there is room for.

        Raises:
            BufferOverflowError: If they are many; the episodes of few end as unstable.
        """
        lost = [name for kind, name in _ROOM.items() if (self._overflow & int(kind)).any()]
        text = (
            f"{worlds} of {self.num_worlds} worlds had more contacts than there is room for; raise "
            f"{' and '.join(lost) or ', '.join(_ROOM.values())} in vtenv.engines.warp"
        )
        if worlds > 1 + _FEW * self.num_worlds:
            raise BufferOverflowError(text)
        warnings.warn(f"{text}. Their episodes end as unstable", stacklevel=2)

    def reset(self, worlds: NDArray[np.int64], initial: InitialPhysics) -> None:
        """Put worlds into their initial states, one row each."""
        parts: list[NDArray[Any]] = [worlds, initial.variant, initial.qpos, initial.ctrl]
        parts += [initial.mocap_pos, initial.mocap_quat]
        parts += [initial.fields[name] for name in self._world_model.own_fields]
        parts += [initial.noise[name] for name, _ in self._noise]
        rows = np.column_stack([part.reshape(len(worlds), -1) for part in parts])
        padding = padded(len(worlds), self.num_worlds)
        self._place(self.arrays.asarray(rows.astype(np.float32)[padding]))
        self._fresh[worlds] = True
        self._run("poses", self._pose)

    def step(
        self,
        worlds: NDArray[np.int64],
        controls: torch.Tensor,
        forces: torch.Tensor | None = None,
    ) -> None:
        """Advance worlds by one control step."""
        moving = (self._ctrl, self._qpos, self._qvel, self._warmstart, self._sensordata)
        kept: list[torch.Tensor] = []
        if len(worlds) < self.num_worlds:
            others = self.arrays.asarray(np.setdiff1d(np.arange(self.num_worlds), worlds))
            kept = [field[others] for field in moving]
        self._ctrl[:, self._actuators[self._world_model.driven]] = controls
        if forces is not None:
            self._wrenches[:, self._pushed] = forces
        for _ in range(self._world_model.substeps - 1):
            self._run("substep", self._substep)
        self._run("last substep", self._last_substep)
        if kept:
            for field, rows in zip(moving, kept, strict=True):
                field[others] = rows
            self._run("poses", self._pose)

    def state(self) -> PhysicsState:
        """The state of all worlds, in tensors of its own."""
        n, bodies = self.num_worlds, self._world_model.bodies
        parts = [
            self._qpos,
            self._ctrl,
            self._xpos.index_select(1, self._bodies).reshape(n, -1),
            self._xmat.index_select(1, self._bodies).reshape(n, -1),
            self._sensordata,
        ]
        block = torch.cat(parts, dim=-1)
        finite = torch.isfinite(block).all(dim=-1)
        complete = (self._overflow & _NO_ROOM) == 0
        # A world that went wrong ends its episode, and spoils no sum.
        block = torch.where(finite[:, None], block, 0.0)
        widths = [part.shape[-1] for part in parts]
        qpos, ctrl, xpos, xmat, readings = torch.split(block, widths, dim=-1)
        pos, mat = xpos.reshape(n, -1, 3), xmat.reshape(n, -1, 3, 3)
        return PhysicsState(
            variant=self._variant.clone(),
            joints={group: qpos[:, part] for group, part in self._joints.items()},
            controls={group: ctrl[:, part] for group, part in self._actuators.items()},
            frames={name: Frame(pos[:, i], mat[:, i]) for i, name in enumerate(bodies)},
            readings={group: readings[:, part] for group, part in self._readings.items()},
            stable=finite & complete,
        )

    def sense(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, torch.Tensor]:
        """Sensor images of all worlds, new tensors; other worlds' are those last sensed."""
        if not self._sensors:
            return {}
        index, name = self._every, "sense"
        if len(worlds) < self.num_worlds:
            rows = padded(len(worlds), self.num_worlds)
            if len(rows) not in self._some:
                self._some[len(rows)] = torch.zeros_like(self._every[: len(rows)])
            index = self._some[len(rows)]
            index.copy_(self.arrays.asarray(worlds[rows]))
            name = f"sense {len(rows)}"
        self._draw_noise(worlds, index, generators)

        def measure() -> None:
            for sensor in self._sensors:
                sensor.measure(index)

        self._run(name, measure)
        return self._copied_images()

    def snapshot(self, world: int) -> Snapshot:
        """The state of one world, for drawing it."""
        fields = (
            self._qpos,
            self._mocap_pos,
            self._mocap_quat,
            wp.to_torch(self._d.cam_xpos),
            wp.to_torch(self._d.cam_xmat).reshape(self.num_worlds, -1, 9),
        )
        values = (field[world].cpu().numpy().astype(np.float64) for field in fields)
        return Snapshot(int(self._variant[world]), *values)

    def get_state(self) -> dict[str, Any]:
        """Everything that decides what the worlds do next, as NumPy arrays, copied."""
        return {
            "fresh": self._fresh.copy(),
            "tensors": {name: t.cpu().numpy().copy() for name, t in self._tensors().items()},
        }

    def set_state(self, state: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Put all worlds into a state from `get_state`; returns the images last sensed."""
        self._fresh[:] = state["fresh"]
        for name, tensor in self._tensors().items():
            tensor.copy_(torch.from_numpy(state["tensors"][name]))
        self._run("poses", self._pose)
        return self._copied_images()

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Memory of the device that decides what the worlds do next, by name."""
        tensors = {
            "variant": self._variant,
            "seeds": self._seeds,
            "qpos": self._qpos,
            "qvel": self._qvel,
            "ctrl": self._ctrl,
            "time": wp.to_torch(self._d.time),
            "warmstart": self._warmstart,
            "sensordata": self._sensordata,
            "mocap_pos": self._mocap_pos,
            "mocap_quat": self._mocap_quat,
            "overflow": self._overflow,
        }
        tensors |= {f"field {name}": field for name, field in self._fields.items()}
        tensors |= {f"noise {k} {name}": v for k, (name, v) in enumerate(self._noise)}
        tensors |= {f"memory {name}": values for name, values in self._memory.items()}
        for sensor in self._sensors:
            tensors |= {f"image {key}": image for key, image in sensor.images.items()}
        if self._d.act.shape[1]:
            tensors["act"] = wp.to_torch(self._d.act)
        return tensors

    def _copied_images(self) -> dict[str, torch.Tensor]:
        return {k: image.clone() for sensor in self._sensors for k, image in sensor.images.items()}

    def close(self) -> None:
        """Release the captured graphs; may be called twice."""
        self._graphs.clear()

    def _placed(self, rows: torch.Tensor) -> tuple[()]:
        """Write initial states, some of them twice.

        A row is a world, its variant, and its values of what `reset` lists.
        """
        index, variant = (rows[:, k].to(torch.int64) for k in range(2))
        self._variant[index] = variant
        for name, table in self._tables.items():
            self._fields[name][index] = table[variant]
        fields = [self._qpos, self._ctrl, self._mocap_pos, self._mocap_quat]
        fields += [self._fields[name] for name in self._world_model.own_fields]
        fields += [values for _, values in self._noise]
        widths = [field[0].numel() for field in fields]
        for field, part in zip(fields, torch.split(rows[:, 2:], widths, dim=-1), strict=True):
            field[index] = part.reshape(-1, *field.shape[1:])
        cleared = self._qvel, self._warmstart, self._sensordata, self._overflow
        for field in (*cleared, *self._memory.values()):
            field.index_fill_(0, index, 0)
        for group, reading in self._world_model.rest_readings.items():
            self._sensordata[:, self._readings[group]].index_fill_(0, index, reading)
        return ()

    def _make_physics(self) -> None:
        n, models = self.num_worlds, self._world_model.models
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
        own_fields = self._world_model.own_fields
        for name in dict.fromkeys((*_fields_that_differ(models, self._m), *own_fields)):
            shared = getattr(self._m, name)
            table = np.stack([getattr(m, name) for m in models]).astype(np.float32)
            shape = (*shared.shape[1:], *getattr(shared.dtype, "_shape_", ()))
            rows = np.repeat(table[:1].reshape(1, *shape), n, axis=0)
            own: Any = wp.array(rows, dtype=shared.dtype)
            setattr(self._m, name, own)
            self._fields[name] = wp.to_torch(own)
            if name not in own_fields:  # those come whole with each reset
                self._tables[name] = self.arrays.asarray(table.reshape(len(models), *shape))
        d = self._d
        self._qpos, self._qvel, self._ctrl = map(wp.to_torch, (d.qpos, d.qvel, d.ctrl))
        self._warmstart, self._sensordata = map(wp.to_torch, (d.qacc_warmstart, d.sensordata))
        self._mocap_pos, self._mocap_quat = map(wp.to_torch, (d.mocap_pos, d.mocap_quat))
        self._wrenches = wp.to_torch(d.xfrc_applied)
        self._pushed = self._world_model.body_ids().get(self._world_model.pushed or "")
        self._xpos, self._xmat = map(wp.to_torch, (d.xpos, d.xmat))
        self._overflow = wp.to_torch(d.overflow)

    def _make_sensors(self) -> None:
        n, d = self.num_worlds, self._d
        self._every = self.arrays.asarray(np.arange(n))
        self._some: dict[int, torch.Tensor] = {}  # lists of worlds, by length, which stay in place
        self._variant = torch.zeros(n, dtype=torch.int64, device=self._torch_device)
        self._seeds = torch.zeros(n, dtype=torch.int64, device=self._torch_device)
        poses = Poses(
            self._variant,
            d.geom_xpos,
            d.geom_xmat,
            d.cam_xpos,
            d.cam_xmat,
            self._m.geom_size,
            d.sensordata,
        )
        self._sensors: list[WarpSensor] = [
            sensor.implementation("warp")(self._world_model, camera, keys, poses, self._seeds)
            for sensor, camera, keys in sensor_passes(self._world_model.modalities)
        ]
        self._noise = [setting for sensor in self._sensors for setting in sensor.noise.items()]
        self._memory = memory_of(self._sensors)
        self._noisy = any(sensor.is_noisy for sensor in self._sensors)

    def _run(self, name: str, work: Callable[[], None]) -> None:
        """Do `work` on the device; captured as a CUDA graph the first time.

        The graph is queued on torch's current stream of this device.
        """
        with self._memory_explained(), wp.ScopedDevice(self._device):
            if not self._device.is_cuda:
                work()
            elif name in self._graphs:
                stream = wp.stream_from_torch(self._torch_device)
                with wp.ScopedStream(stream, sync_enter=False):
                    wp.capture_launch(self._graphs[name], stream)
            else:
                self._graphs[name] = self._capture(work)

    def _capture(self, work: Callable[[], None]) -> Any:
        """Do `work`, and capture it: on Warp's own stream, as torch's default one may not."""
        torch.cuda.synchronize(self._torch_device)
        work()  # compiles what the capture may not
        with no_collection(), wp.ScopedCapture() as capture:
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
        if not self._noisy:
            return
        if len(worlds) == self.num_worlds:
            self._seeds += _SEED_STEP
        else:
            self._seeds[index] += _SEED_STEP
        fresh = worlds[self._fresh[worlds]]
        if fresh.size:
            drawn = [generators[world].bit_generator.random_raw() for world in fresh]
            seeds = np.array(drawn, np.uint64).view(np.int64)
            rows, values = self.arrays.asarray(np.stack([fresh, seeds]))
            self._seeds[rows] = values
            self._fresh[fresh] = False

    def _check_memory(self) -> None:
        """Refuse more worlds than the device has room for.

        Raises:
            ValueError: If it has not; says how many it has room for.
        """
        if not self._device.is_cuda:
            return
        each = _PHYSICS_BYTES + CONVEX_PAIRS_PER_WORLD * _PAIR_BYTES
        # Each image the engine's, the environment's, and those of the step before; depth without
        # noise besides.
        for modality in self._world_model.modalities:
            if modality.camera is not None:
                size = self._world_model.cameras[modality.camera].size
                each += 4 * math.prod((*modality.shape, *size)) * np.dtype(modality.dtype).itemsize
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


def padded(count: int, most: int) -> NDArray[np.int64]:
    """Rows 0 to `count`, and the first again up to one of few lengths, each captured once.

    Args:
        count: Rows.
        most: The largest length.
    """
    length = min(max(16, 1 << (count - 1).bit_length()), most)
    rows = np.arange(length)
    rows[count:] = 0
    return rows


def _fields_that_differ(models: list[mujoco.MjModel], model: Any) -> list[str]:
    """Fields of MuJoCo Warp's model in which variants differ.

    Raises:
        ValueError: If they differ in one that MuJoCo Warp does not keep for each world.
    """
    names = []
    for name in dir(models[0]):
        first = getattr(models[0], name)
        if not isinstance(first, np.ndarray) or name in _OF_NO_CONSEQUENCE:
            continue
        if all(np.array_equal(first, getattr(other, name)) for other in models[1:]):
            continue
        own = getattr(model, name, None)
        if own is None:
            continue  # made use of by the compiler alone
        if own.shape[0] != 1 or own.ndim < 2:
            raise ValueError(
                f"variants differ in {name}, which is the same in all worlds of MuJoCo Warp; make "
                "them alike in it, or use engine='cpu'"
            )
        names.append(name)
    return names
