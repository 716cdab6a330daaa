"""The CPU engine: `mujoco.batch` for physics, compiled rays for the sensors, threads for both."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch
from numpy.typing import NDArray

from vtenv.arrays import Array, NumpyBackend
from vtenv.provenance import cores
from vtenv.sensing import memory_of, sensor_passes
from vtenv.sensing.cameras import Poses
from vtenv.sensing.cpu import CPUSensor
from vtenv.validation import checked_count
from vtenv.world_model import Frame, InitialPhysics, PhysicsState, Snapshot, WorldModel

_POSITION_STAGE = mujoco.mjtStage.mjSTAGE_POS


class CPUEngine:
    """N worlds in one `mujoco.batch.Batch`; implements `Engine`.

    A world's variant is the model it runs on; where worlds have fields of their own, each runs
    on a copy.

    Args:
        world_model: What to simulate.
        num_worlds: Worlds to simulate.
        num_threads: Threads; None for one a core, but no more than worlds.

    Raises:
        ValueError: If a number is not positive.
    """

    device_is_ahead = False

    def __init__(
        self, world_model: WorldModel, num_worlds: int, num_threads: int | None = None
    ) -> None:
        self.num_worlds = num_worlds = checked_count("num_worlds", num_worlds)
        if num_threads is not None:
            num_threads = checked_count("num_threads", num_threads)
        self.num_threads = min(num_threads or cores(), num_worlds)
        self._process = os.getpid()
        self.arrays = NumpyBackend()
        self._world_model = world_model
        self._models = models = world_model.models
        self._own_models: list[mujoco.MjModel] = []
        self._variant = np.zeros(num_worlds, np.int64)
        self._pool: ThreadPoolExecutor | None = None

        self._batch = Batch(models[0], num_worlds, self.num_threads)
        self._batch.set_models(models[0])
        # Bound before the first call: a field bound later is zero until the next one.
        n, batch = num_worlds, self._batch
        self._body_pos, self._body_mat = batch.xpos, batch.xmat.reshape(n, -1, 3, 3)
        self._poses = Poses(
            self._variant,
            batch.geom_xpos,
            batch.geom_xmat.reshape(n, -1, 9),
            batch.cam_xpos,
            batch.cam_xmat.reshape(n, -1, 9),
            readings=np.zeros_like(batch.sensordata),
        )
        self._sensordata = batch.sensordata
        # Contact forces follow from the step that led to a state, not from the state: worlds that
        # were put into one keep reading what they read there until they move.
        self._unmoved = np.zeros(n, bool)
        self._kept_readings = np.zeros_like(batch.sensordata)
        self._kept_stable = np.ones(n, bool)
        self._noise: dict[str, NDArray[np.float64]] = {}
        self._images: dict[str, NDArray[Any]] = {}
        self._qpos, self._ctrl, self._warning = batch.qpos, batch.ctrl, batch.warning
        self._wrenches = batch.xfrc_applied
        self._mocap = batch.mocap_pos, batch.mocap_quat
        self._joints = world_model.joint_slices()
        self._actuators = world_model.actuator_slices()
        self._readings = world_model.sensor_slices()
        self._bodies = world_model.body_ids()
        self._driven = self._actuators[world_model.driven]
        self._sensors: list[CPUSensor] = [
            sensor.implementation("cpu")(world_model, camera, keys, self._poses)
            for sensor, camera, keys in sensor_passes(world_model.modalities)
        ]
        self._memory = memory_of(self._sensors)

    def reset(self, worlds: NDArray[np.int64], initial: InitialPhysics) -> None:
        """Put worlds into their initial states, one row each."""
        self._check_process()
        self._set_models(worlds, initial.variant, initial.fields)
        self._set_noise(worlds, initial.noise)
        for values in self._memory.values():
            values[worlds] = 0
        batch = self._batch
        batch.reset(worlds, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self._qpos[worlds], self._ctrl[worlds] = initial.qpos, initial.ctrl
        self._mocap[0][worlds], self._mocap[1][worlds] = initial.mocap_pos, initial.mocap_quat
        batch.forward(worlds)
        # As on an engine that computes no forces before the first step.
        self._poses.readings[worlds] = 0.0
        self._unmoved[worlds] = False

    def step(
        self,
        worlds: NDArray[np.int64],
        controls: NDArray[np.float64],
        forces: NDArray[np.float64] | None = None,
    ) -> None:
        """Advance worlds by one control step; see `Engine.step`."""
        self._check_process()
        self._ctrl[worlds, self._driven] = controls[worlds]
        if forces is not None:
            self._wrenches[worlds, self._bodies[self._world_model.pushed or ""]] = forces[worlds]
        ids = None if len(worlds) == self.num_worlds else worlds
        self._batch.step(ids, nstep=self._world_model.substeps, stage=_POSITION_STAGE)
        self._poses.readings[worlds] = self._sensordata[worlds]
        self._unmoved[worlds] = False

    def state(self) -> PhysicsState:
        """The state of all worlds; aliases the engine's memory until the next call."""
        pos, mat = self._body_pos, self._body_mat
        readings, stable = self._read()
        return PhysicsState(
            variant=self._variant,
            joints={group: self._qpos[:, part] for group, part in self._joints.items()},
            controls={group: self._ctrl[:, part] for group, part in self._actuators.items()},
            frames={name: Frame(pos[:, i], mat[:, i]) for name, i in self._bodies.items()},
            readings={group: readings[:, part] for group, part in self._readings.items()},
            stable=stable,
        )

    def sense(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, Array]:
        """Sensor images of all worlds, new arrays; other worlds' are those last sensed."""
        images: dict[str, Array] = {}
        for sensor in self._sensors:
            images |= sensor.draw(worlds, generators)
        if images:
            self._measure(worlds)
        self._images = images
        return images

    def snapshot(self, world: int) -> Snapshot:
        """The state of one world, for drawing it."""
        poses = self._poses
        return Snapshot(
            int(self._variant[world]),
            self._qpos[world].copy(),
            self._mocap[0][world].copy(),
            self._mocap[1][world].copy(),
            poses.cam_pos[world].copy(),
            poses.cam_mat[world].copy(),
        )

    def get_state(self) -> dict[str, Any]:
        """Everything that decides what the worlds do next, as NumPy arrays, copied."""
        readings, stable = self._read()
        return {
            "variant": self._variant.copy(),
            "integration": self._batch.state.copy(),
            "readings": readings.copy(),
            "stable": stable.copy(),
            "fields": {
                name: np.stack([getattr(model, name) for model in self._own_models])
                for name in (self._world_model.own_fields if self._own_models else ())
            },
            "noise": {name: values.copy() for name, values in self._noise.items()},
            "images": {key: image.copy() for key, image in self._images.items()},
            "memory": {name: values.copy() for name, values in self._memory.items()},
        }

    def set_state(self, state: dict[str, Any]) -> dict[str, Array]:
        """Put all worlds into a state from `get_state`; returns the images last sensed."""
        self._check_process()
        every = np.arange(self.num_worlds)
        self._set_models(every, state["variant"], state["fields"])
        self._set_noise(every, state["noise"])
        self._batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE)  # warnings
        self._batch.state[:] = state["integration"]
        self._batch.forward(stage=_POSITION_STAGE)
        self._unmoved[:] = True
        self._kept_readings[:], self._kept_stable[:] = state["readings"], state["stable"]
        for name, values in self._memory.items():
            values[:] = state["memory"][name]
        self._images = {}
        if state["images"]:
            for sensor in self._sensors:  # nothing is drawn for no worlds
                self._images |= sensor.draw(every[:0], ())
            for key, image in self._images.items():
                image[:] = state["images"][key]
        return self._images

    def close(self) -> None:
        """Release the threads; may be called twice."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _read(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Readings of all sensors, (N, n), and who is stable, (N,)."""
        readings, stable = self._sensordata, ~self._warning[:, :, 1].any(axis=-1)
        if not self._unmoved.any():
            return readings, stable
        unmoved = self._unmoved
        return (
            np.where(unmoved[:, None], self._kept_readings, readings),
            np.where(unmoved, self._kept_stable, stable),
        )

    def _set_models(
        self,
        worlds: NDArray[np.int64],
        variant: NDArray[np.int64],
        fields: Mapping[str, NDArray[np.float64]],
    ) -> None:
        """Put worlds on the models of their variants, or on their own with fields of their own."""
        changed = (self._variant[worlds] != variant).any()
        self._variant[worlds] = variant
        if not self._world_model.own_fields:
            if changed:
                self._batch.set_models([self._models[v] for v in self._variant])
            return
        if not self._own_models:
            self._own_models = [copy.copy(self._models[0]) for _ in range(self.num_worlds)]
            self._templates = Batch(self._models[0], len(self._models), 1)
            self._templates.set_models(self._models)
        for row, world in enumerate(worlds):
            model = self._own_models[world]
            # Two hundred times faster than a copy, whose names Python would have to list again.
            self._templates.get_model(variant[row], model)
            for name, values in fields.items():
                getattr(model, name)[:] = values[row]
        self._batch.set_models(self._own_models)

    def _set_noise(
        self, worlds: NDArray[np.int64], noise: Mapping[str, NDArray[np.float64]]
    ) -> None:
        for name, values in noise.items():
            shape = (self.num_worlds, *values.shape[1:])
            self._noise.setdefault(name, np.zeros(shape))[worlds] = values
        for sensor in self._sensors:
            sensor.reset(worlds, dict(noise))

    def _check_process(self) -> None:
        """Refuse to wait for threads that a fork has not copied.

        Raises:
            RuntimeError: If the process was forked from the one that has them.
        """
        if self.num_threads > 1 and os.getpid() != self._process:
            raise RuntimeError(
                "this environment's threads are in the process that made it, and this one was "
                'forked from it: make the environment in here, start workers with "spawn" '
                'instead of "fork", or make it with num_threads=1'
            )

    def _measure(self, worlds: NDArray[np.int64]) -> None:
        """Fill the images of worlds, in as many threads as there are."""

        def measure(some: NDArray[np.int64]) -> None:
            for sensor in self._sensors:
                sensor.measure(some)

        threads = min(self.num_threads, len(worlds))
        if threads == 1:
            measure(worlds)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.num_threads, "vtinsert-sensors")
        for _ in self._pool.map(measure, np.array_split(worlds, threads)):
            pass  # raises what a thread raised
