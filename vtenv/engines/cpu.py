"""The CPU engine: `mujoco.batch` for physics, compiled rays for the sensors, threads for both."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import mujoco
import numpy as np
from mujoco.batch import Batch
from numpy.typing import NDArray

from vtenv.sensing.images import depth_images, gel_images
from vtenv.sensing.raycast import Primitives, cast_depth
from vtenv.state import InitialState, PhysicsState, WorldState
from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.config import VTInsertConfig
from vtenv.tasks.insertion.connectors import CONNECTORS
from vtenv.tasks.insertion.domain import Domain, clearances
from vtenv.tasks.insertion.domain_fields import DomainFields
from vtenv.tasks.insertion.grasp_bank import BANK_SIZE, GraspBank
from vtenv.tasks.insertion.placement import place

_POSITION_STAGE = mujoco.mjtStage.mjSTAGE_POS
Key = TypeVar("Key", bound=Hashable)
R = TypeVar("R")
_OVERHEAD = slice(scene.OVERHEAD_CAMERA, scene.OVERHEAD_CAMERA + 1)


def available_cores() -> int:
    """Processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class CPUEngine:
    """N worlds in one `mujoco.batch.Batch`; implements `Engine`.

    Every connector has its model, compiled once; a world's connector is the model it runs on.
    With domain randomisation it has one for every clearance, and a world runs on a copy.

    Args:
        config: The environment's settings.
        num_worlds: Worlds to simulate.
        num_threads: Threads; None for one a core, but no more than worlds.

    Raises:
        ValueError: If a number is not positive.
    """

    def __init__(
        self, config: VTInsertConfig, num_worlds: int, num_threads: int | None = None
    ) -> None:
        if num_worlds < 1:
            raise ValueError(f"num_worlds={num_worlds} is not allowed; it must be at least 1")
        if num_threads is not None and num_threads < 1:
            raise ValueError(
                f"num_threads={num_threads} is not allowed; it must be at least 1, or None for "
                "one a core"
            )
        self.num_worlds = num_worlds
        self.num_threads = min(num_threads or available_cores(), num_worlds)
        self.bank_size = BANK_SIZE
        levels = clearances(config)
        self._num_levels = len(levels)
        self.models = scene.build_models(config.built, tuple(CONNECTORS.values()), levels)
        self._domain_fields = DomainFields(self.models)
        self._own_models: list[mujoco.MjModel] = []
        self._config = config
        ranges = config.domain_randomization
        self._bank = GraspBank.load(
            tuple(CONNECTORS.values()),
            config.initial_state,
            config.scene.connector_scale,
            (ranges and ranges.gel_stiffness) or (1.0, 1.0),
            available_cores(),
        )
        self._connector = np.zeros(num_worlds, np.int64)
        self._pool: ThreadPoolExecutor | None = None

        self._batch = Batch(self.models[0], num_worlds, self.num_threads)
        self._batch.set_models(self.models[0])
        # Bound before the first call: a field bound later is zero until the next one.
        n, batch = num_worlds, self._batch
        self._body_pos, self._body_mat = batch.xpos, batch.xmat.reshape(n, -1, 3, 3)
        self._geoms = batch.geom_xpos, batch.geom_xmat.reshape(n, -1, 9)
        self._cameras = batch.cam_xpos, batch.cam_xmat.reshape(n, -1, 9)
        self._sensors = batch.sensordata
        self._qpos, self._ctrl, self._warning = batch.qpos, batch.ctrl, batch.warning
        body = {name: self.models[0].body(name).id for name in ("hand", "plug", "socket")}
        self._hand, self._plug, self._socket = body["hand"], body["plug"], body["socket"]

        overhead_groups = (scene.SCENE_GROUP, scene.PLUG_GROUP)
        kinds = self.models[:: self._num_levels]  # what is seen does not depend on the clearance
        self._overhead = Primitives.from_models(kinds, overhead_groups)
        self._touchable = Primitives.from_models(kinds, (scene.PLUG_GROUP,))
        fovy = math.radians(self.models[0].cam_fovy[scene.OVERHEAD_CAMERA])
        self._overhead_extent = math.tan(fovy / 2)
        image, contact = config.scene.image_size, config.scene.contact_size
        self._depth = np.empty((num_worlds, 1, image, image), np.float32)
        self._gel = np.empty((num_worlds, 2, contact, contact), np.float32)
        self._pressed = np.empty_like(self._gel)
        self._seeds = np.zeros(num_worlds, np.uint64)
        self._noise_mm = np.full(num_worlds, config.depth_noise.noise_mm)
        self._images: dict[str, NDArray[Any]] = {}

    def asarray(self, values: Any) -> NDArray[Any]:
        """Values as a NumPy array."""
        return np.asarray(values)

    def copied(self, arrays: Mapping[Key, NDArray[Any]]) -> dict[Key, NDArray[Any]]:
        """Copies of arrays."""
        return {name: array.copy() for name, array in arrays.items()}

    def send(self, arrays: Mapping[Key, NDArray[Any]]) -> Callable[[], dict[Key, NDArray[Any]]]:
        """The arrays as they are, which is on the host."""
        return lambda: dict(arrays)

    def recorded(self, function: Callable[..., R]) -> Callable[..., R]:
        """The function as it is."""
        return function

    def reset(
        self, worlds: NDArray[np.int64], initial: InitialState, domain: Domain | None = None
    ) -> None:
        """Put worlds into their initial states, one row of `initial` and `domain` each."""
        if domain is not None:
            self._set_domain(worlds, initial.connector, domain)
        elif (self._connector[worlds] != initial.connector).any():
            self._connector[worlds] = initial.connector
            self._batch.set_models([self.models[c] for c in self._connector])

        batch = self._batch
        batch.reset(worlds, stage=mujoco.mjtStage.mjSTAGE_NONE)
        placed = place(initial, self._bank, domain)
        self._qpos[worlds], self._ctrl[worlds] = placed.qpos, placed.ctrl
        batch.mocap_pos[worlds, 0] = placed.socket_pos
        batch.mocap_quat[worlds, 0] = placed.socket_quat
        batch.forward(worlds)

    def step(self, worlds: NDArray[np.int64], target: NDArray[np.float64]) -> None:
        """Advance worlds by one control step, driving their hands to `target`, (N, 5)."""
        self._ctrl[worlds, scene.HAND_CTRL] = target[worlds]
        ids = None if len(worlds) == self.num_worlds else worlds
        self._batch.step(ids, nstep=scene.SUBSTEPS, stage=_POSITION_STAGE)

    def state(self) -> WorldState:
        """The state of all worlds; aliases the engine's memory until the next call."""
        xpos, xmat = self._body_pos, self._body_mat
        return WorldState(
            connector=self._connector,
            hand=self._qpos[:, scene.HAND_QPOS],
            target=self._ctrl[:, scene.HAND_CTRL],
            fingers=self._qpos[:, scene.FINGER_QPOS],
            hand_pos_w=xpos[:, self._hand],
            hand_mat_w=xmat[:, self._hand],
            plug_pos_w=xpos[:, self._plug],
            plug_mat_w=xmat[:, self._plug],
            socket_pos_w=xpos[:, self._socket],
            socket_mat_w=xmat[:, self._socket],
            socket_force=np.sqrt(np.sum(self._sensors[:, scene.SOCKET_FORCE] ** 2, axis=-1)),
            touching=self._sensors[:, scene.GEL_CONTACTS] > 0,
            stable=~self._warning[:, :, 1].any(axis=-1),
        )

    def sense(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """Sensor images of all worlds, new arrays; other worlds' are those last sensed."""
        wanted, noise = self._config.modalities, self._config.depth_noise
        every = len(worlds) == self.num_worlds

        def new(name: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
            known = not every and name in self._images
            return self._images[name].copy() if known else np.zeros(shape, dtype)

        images: dict[str, NDArray[Any]] = {}
        if "depth" in wanted:
            images["depth"] = new("depth", self._depth.shape, np.float32)
            for world in worlds:
                if self._noise_mm[world] > 0 or noise.dropout > 0:
                    self._seeds[world] = generators[world].bit_generator.random_raw()
        if "contact" in wanted or "gel" in wanted:
            # Fresh memory costs page faults: none for an image that nobody asked for.
            shape = self._gel.shape
            images["gel"] = new("gel", shape, np.float32) if "gel" in wanted else self._pressed
            images["contact"] = new("contact", shape, np.uint8)

        def sense_some(some: NDArray[np.int64]) -> None:
            if "depth" in images:
                self._cast(some, self._overhead, _OVERHEAD, self._depth)
                depth_images(
                    some,
                    self._depth[:, 0],
                    self._seeds,
                    self._noise_mm,
                    noise.dropout,
                    noise.quantization_mm,
                    images["depth"][:, 0],
                )
            if "gel" in images:
                self._cast(some, self._touchable, scene.GEL_CAMERAS, self._gel)
                gel_images(some, self._gel, images["gel"], images["contact"])

        if images:
            self._in_threads(sense_some, worlds)
        self._images = images
        return images

    def render_depth(self, world: int) -> NDArray[np.float32]:
        """Noise-free overhead depth of one world, (H, W), float32, [m]."""
        self._cast(np.array([world]), self._overhead, _OVERHEAD, self._depth)
        return self._depth[world, 0].copy()

    def physics(self, world: int) -> PhysicsState:
        """The state of one world, for drawing it."""
        batch = self._batch
        return PhysicsState(
            connector=int(self._connector[world]),
            qpos=self._qpos[world].copy(),
            mocap_pos=batch.mocap_pos[world].copy(),
            mocap_quat=batch.mocap_quat[world].copy(),
        )

    def close(self) -> None:
        """Release the threads; may be called twice."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _set_domain(
        self, worlds: NDArray[np.int64], connector: NDArray[np.int64], domain: Domain
    ) -> None:
        """Make the worlds' own models those of their connectors, clearances and domains."""
        if not self._own_models:
            self._own_models = [copy.copy(self.models[0]) for _ in range(self.num_worlds)]
            self._templates = Batch(self.models[0], len(self.models), 1)
            self._templates.set_models(self.models)
        self._connector[worlds] = connector
        self._noise_mm[worlds] = domain.depth_noise_mm
        variant = connector * self._num_levels + domain.clearance_level
        rows = self._domain_fields.rows(variant, domain)
        for row, world in enumerate(worlds):
            model = self._own_models[world]
            # Two hundred times faster than a copy, whose names Python would have to list again.
            self._templates.get_model(variant[row], model)
            for name, values in rows.items():
                getattr(model, name)[:] = values[row]
        self._batch.set_models(self._own_models)

    def _cast(
        self,
        worlds: NDArray[np.int64],
        primitives: Primitives,
        cameras: slice,
        out: NDArray[np.float32],
    ) -> None:
        """Fill `out` with what `cameras` see of `primitives`."""
        perspective = primitives is self._overhead
        cast_depth(
            worlds,
            self._connector,
            primitives.ids,
            primitives.types,
            primitives.sizes,
            primitives.used,
            *self._geoms,
            self._cameras[0][:, cameras],
            self._cameras[1][:, cameras],
            self._overhead_extent if perspective else scene.GEL_SIZE / 2,
            perspective,
            out,
        )

    def _in_threads(
        self, function: Callable[[NDArray[np.int64]], None], worlds: NDArray[np.int64]
    ) -> None:
        """Call `function` on parts of `worlds`, one part a thread, one of them the caller's."""
        threads = min(self.num_threads, len(worlds))
        if threads == 1:
            function(worlds)
            return
        mine, *others = np.array_split(worlds, threads)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.num_threads - 1, "vtinsert-sensors")
        waiting = [self._pool.submit(function, part) for part in others]
        function(mine)
        for future in waiting:
            future.result()
