"""What a task gives to an engine and gets back: models, names, and arrays by name.

Lengths are in [m], angles in [rad], forces in [N]; `_w` marks the world frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from vtenv.arrays import Array, leaves, rebuild
from vtenv.modalities import Modality
from vtenv.sensing.profiles import SensorProfile


@dataclass(frozen=True)
class Camera:
    """How a sensor sees the world.

    Attributes:
        names: Cameras of the model, one for each channel of its images.
        groups: Geom groups that they see.
        size: Rows and columns of an image.
        settings: Numbers that the sensor needs, by name.
        profile: The tactile sensor whose camera it is; None for another kind.
        half_extent: Half the width and height that it sees, [m]; None for what the model's camera
            sees, in pixels that are square.
        wrenches: Contact sensors of the model that read the force and torque of the pad before each
            camera on what it touches, and the point that these are about; next to each other.
        bodies: Bodies whose geoms it sees, with those that hang on them; none for every body.
    """

    names: tuple[str, ...]
    groups: tuple[int, ...]
    size: tuple[int, int]
    settings: Mapping[str, float] = field(default_factory=dict)
    profile: SensorProfile | None = None
    half_extent: tuple[float, float] | None = None
    wrenches: tuple[str, ...] = ()
    bodies: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class WorldModel:
    """Everything that an engine simulates worlds from.

    Attributes:
        models: Variants of one layout; a world runs on one of them, and a batch may mix them.
        substeps: Physics steps in a control step.
        joints: Names of joints by group, whose positions the task reads.
        actuators: Names of actuators by group, whose inputs it reads.
        driven: The group of actuators that actions drive.
        bodies: Bodies whose poses it reads.
        pushed: That of `bodies` on which it has forces act; None for none.
        sensors: Names of sensors by group, whose readings it reads one after the other.
        rest_readings: What a group of sensors reads after a reset, before the first step, where
            that is not zero.
        own_fields: Fields of the model of which every world may have its own.
        cameras: How sensors see the world, by the names that modalities use.
        modalities: What to observe; those without a sensor are left to the task.
    """

    models: list[mujoco.MjModel]
    substeps: int
    joints: Mapping[str, tuple[str, ...]]
    actuators: Mapping[str, tuple[str, ...]]
    driven: str
    bodies: tuple[str, ...]
    pushed: str | None
    sensors: Mapping[str, tuple[str, ...]]
    rest_readings: Mapping[str, float]
    own_fields: tuple[str, ...]
    cameras: Mapping[str, Camera]
    modalities: tuple[Modality, ...]

    def joint_slices(self) -> dict[str, slice]:
        """Where groups of joints are in `qpos`."""
        joint = self.models[0].joint
        return {
            group: _slice(names, [joint(name).qposadr[0] for name in names])
            for group, names in self.joints.items()
        }

    def actuator_slices(self) -> dict[str, slice]:
        """Where groups of actuators are in `ctrl`."""
        actuator = self.models[0].actuator
        return {
            group: _slice(names, [actuator(name).id for name in names])
            for group, names in self.actuators.items()
        }

    def sensor_slices(self) -> dict[str, slice]:
        """Where groups of sensors are in `sensordata`."""
        return {group: self._sensor_slice(names) for group, names in self.sensors.items()}

    def wrench_slice(self, camera: str) -> slice:
        """Where the wrenches of one of `cameras` are in `sensordata`."""
        return self._sensor_slice(self.cameras[camera].wrenches)

    def _sensor_slice(self, names: tuple[str, ...]) -> slice:
        sensor = self.models[0].sensor
        return _slice(names, [sensor(name).adr[0] for name in names], sensor(names[0]).dim[0])

    def body_ids(self) -> dict[str, int]:
        """Ids of the bodies, by name."""
        return {name: self.models[0].body(name).id for name in self.bodies}

    def camera_ids(self, camera: str) -> list[int]:
        """Ids of what one of `cameras` stands for."""
        return [self.models[0].camera(name).id for name in self.cameras[camera].names]


def _slice(names: tuple[str, ...], addresses: Sequence[int], width: int = 1) -> slice:
    """The slice that elements of one width at some addresses take.

    Raises:
        ValueError: If they do not stand together in this order in the model.
    """
    stop = int(addresses[0] + width * len(names))
    if list(addresses) != list(range(addresses[0], stop, width)):
        raise ValueError(f"{', '.join(names)} must stand together, in this order, in the model")
    return slice(int(addresses[0]), stop)


@dataclass(frozen=True)
class Frame:
    """Where a body is in each world.

    Attributes:
        pos_w: Position, (N, 3).
        mat_w: Orientation, (N, 3, 3).
    """

    pos_w: Array
    mat_w: Array


@dataclass(frozen=True)
class PhysicsState:
    """The state of N worlds after a control step, by the names of `WorldModel`.

    Attributes:
        variant: Index of each world's model, (N,), integer.
        joints: Positions of groups of joints, (N, n) each.
        controls: Inputs of groups of actuators, (N, n) each.
        frames: Where bodies are.
        readings: Readings of groups of sensors, (N, n) each.
        stable: Whether the physics engine reported no trouble so far, (N,), bool.
    """

    variant: Array
    joints: dict[str, Array]
    controls: dict[str, Array]
    frames: dict[str, Frame]
    readings: dict[str, Array]
    stable: Array


@dataclass(frozen=True)
class InitialPhysics:
    """Initial states of N worlds in the model's own coordinates, NumPy.

    Attributes:
        variant: Index of each world's model, (N,), int64.
        qpos: Joint positions, (N, nq).
        ctrl: Actuator inputs, (N, nu).
        mocap_pos: Positions of mocap bodies, (N, nmocap, 3).
        mocap_quat: Their orientations, wxyz, (N, nmocap, 4).
        fields: Each world's own fields of the model, (N, ...) each: all of
            `WorldModel.own_fields`.
        noise: Each world's settings of sensors, (N, ...) each, such as `depth_noise_mm`.
    """

    variant: NDArray[np.int64]
    qpos: NDArray[np.float64]
    ctrl: NDArray[np.float64]
    mocap_pos: NDArray[np.float64]
    mocap_quat: NDArray[np.float64]
    fields: dict[str, NDArray[np.float64]]
    noise: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Episodes:
    """How episodes start in N worlds, NumPy.

    Attributes:
        physics: The initial states.
        parameters: What the task's functions read besides the state, (N, ...) each.
        domain: What domain randomisation has drawn, for people, (N, ...) each.
    """

    physics: InitialPhysics
    parameters: dict[str, NDArray[Any]]
    domain: dict[str, NDArray[Any]]

    def rows(self, worlds: NDArray[np.int64]) -> Episodes:
        """Those of some worlds, one row each."""
        return rebuild(self, iter([array[worlds] for array in leaves(self)]))

    def write(self, worlds: NDArray[np.int64], episodes: Episodes) -> None:
        """Replace those of some worlds by others, one row each."""
        for own, new in zip(leaves(self), leaves(episodes), strict=True):
            own[worlds] = new

    def empty(self, num_worlds: int) -> Episodes:
        """Room for those of so many worlds."""
        shapes = (np.zeros((num_worlds, *a.shape[1:]), a.dtype) for a in leaves(self))
        return rebuild(self, shapes)


class Snapshot(NamedTuple):
    """The state of one world in the model's own coordinates, NumPy, for drawing it.

    Attributes:
        variant: Index of its model.
        qpos: Joint positions, (nq,).
        mocap_pos: Positions of mocap bodies, (nmocap, 3).
        mocap_quat: Their orientations, wxyz, (nmocap, 4).
        cam_pos: Positions of cameras in the world frame, (ncam, 3).
        cam_mat: Orientations of cameras in the world frame, (ncam, 9).
    """

    variant: int
    qpos: NDArray[np.float64]
    mocap_pos: NDArray[np.float64]
    mocap_quat: NDArray[np.float64]
    cam_pos: NDArray[np.float64]
    cam_mat: NDArray[np.float64]
