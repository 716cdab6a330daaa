"""Tactile pads on anybody's model: what is added to it, and how it is simulated.

A pad is the face of a box, a geom or a site, in the middle of which a tactile sensor lies.
`add_pads` gives the model what the sensors read: a camera behind each gel and a contact sensor of
its wrench. Then `PadSensors` senses from `MjData`, and `WarpPadSensors` from MuJoCo Warp, with the
code that the environments use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from vtenv.modalities import IMAGE_MODALITIES, Modality, choose_modalities
from vtenv.sensing import sensor_passes
from vtenv.sensing.cameras import Poses
from vtenv.sensing.profiles import SensorProfile, get_sensor_profile
from vtenv.sensing.tractions import RAYS
from vtenv.world_model import Camera, WorldModel

_FACES = tuple(f"{sign}{axis}" for axis in "xyz" for sign in "+-")
_FIELDS = (
    mujoco.mjtConDataField.mjCONDATA_FORCE,
    mujoco.mjtConDataField.mjCONDATA_TORQUE,
    mujoco.mjtConDataField.mjCONDATA_POS,
)
_NET = 3  # all contacts as one wrench about their middle
_EVERY_GROUP = tuple(range(mujoco.mjNGROUP))


@dataclass(frozen=True)
class Pad:
    """A face that feels.

    Attributes:
        name: A box of the model: a geom, or a site if there is no such geom.
        face: The side of it that touches, in its own frame, such as "+z".
        touches: Bodies that it may touch, each with what hangs on it. The force is of the contacts
            with that body, and with several of all contacts.
        sensor: What lies on it, the middle of its image on the middle of the face: a name of
            `vtenv.sensing.profiles.SENSOR_PROFILES`, or whatever `get_sensor_profile` takes.

    Raises:
        ValueError: If there is no such face, nothing to touch, or no such sensor.
    """

    name: str
    face: str
    touches: tuple[str, ...]
    sensor: str | SensorProfile | Mapping[str, Any] = "gelsight-mini"

    def __post_init__(self) -> None:
        if self.face not in _FACES:
            raise ValueError(f"face={self.face!r}; it must be one of {', '.join(_FACES)}")
        if isinstance(self.touches, str) or not self.touches:
            raise ValueError(
                f"touches={self.touches!r}; it must be a tuple of one or more names of bodies"
            )
        object.__setattr__(self, "sensor", get_sensor_profile(self.sensor))

    @property
    def profile(self) -> SensorProfile:
        """The sensor."""
        return get_sensor_profile(self.sensor)

    @property
    def camera(self) -> str:
        """Name of the camera behind its gel."""
        return f"pad_{self.name}"

    @property
    def wrench(self) -> str:
        """Name of the sensor of its wrench."""
        return f"wrench_{self.name}"


def add_pad_wrench(
    spec: mujoco.MjSpec,
    name: str,
    pad: str,
    body: str | None,
    kind: mujoco.mjtObj = mujoco.mjtObj.mjOBJ_GEOM,
) -> None:
    """Add a contact sensor of the wrench of a pad on what it touches.

    Args:
        spec: The model's description.
        name: Of the sensor.
        pad: The pad's geom or site.
        body: What it may touch: a body and those that hang on it; None for anything.
        kind: Whether the pad is a geom or a site.
    """
    touched = {} if body is None else {"reftype": mujoco.mjtObj.mjOBJ_XBODY, "refname": body}
    spec.add_sensor(
        name=name,
        type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=kind,
        objname=pad,
        intprm=[sum(1 << int(field) for field in _FIELDS), _NET, 1],
        **touched,
    )


def add_pads(spec: mujoco.MjSpec, pads: Sequence[Pad]) -> None:
    """Give a model the cameras and contact sensors of pads.

    Args:
        spec: The model's description, to be compiled afterwards.
        pads: The pads, all with one sensor.

    Raises:
        ValueError: If a pad is no box of the model, touches what is not in it, or has another
            sensor than the first; says what there is.
    """
    _one_sensor(pads)
    for pad in pads:
        box, kind = _box_of(spec, pad)
        missing = [name for name in pad.touches if spec.body(name) is None]
        if missing:
            there = ", ".join(body.name for body in spec.bodies)
            raise ValueError(f"{missing[0]!r} is no body of the model; there are {there}")
        outwards, up = _axes(pad.face)
        back = -outwards
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, np.asarray(box.quat, np.float64))
        frame = turn.reshape(3, 3)
        pose = np.column_stack([np.cross(up, back), up, back])
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, (frame @ pose).ravel())
        depth = pad.profile.thickness - float(np.abs(outwards) @ np.asarray(box.size))
        box.parent.add_camera(
            name=pad.camera, pos=np.asarray(box.pos) + frame @ (back * depth), quat=quat
        )
        add_pad_wrench(
            spec, pad.wrench, pad.name, pad.touches[0] if len(pad.touches) == 1 else None, kind
        )


def _box_of(spec: mujoco.MjSpec, pad: Pad) -> tuple[Any, mujoco.mjtObj]:
    found = spec.geom(pad.name), mujoco.mjtObj.mjOBJ_GEOM
    if found[0] is None:
        found = spec.site(pad.name), mujoco.mjtObj.mjOBJ_SITE
    if found[0] is None or found[0].type != mujoco.mjtGeom.mjGEOM_BOX:
        boxes = [
            item.name
            for item in (*spec.geoms, *spec.sites)
            if item.type == mujoco.mjtGeom.mjGEOM_BOX and item.name
        ]
        raise ValueError(
            f"pad {pad.name!r} is no box of the model; name one of its geoms or sites that is, "
            f"such as {', '.join(boxes) or 'a site of type box on the finger'}"
        )
    return found


def _axes(face: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions of a box's frame: out of the face, and up in the image."""
    axis = "xyz".index(face[1])
    outwards = np.eye(3)[axis] * (1.0 if face[0] == "+" else -1.0)
    return outwards, np.eye(3)[1 if axis == 2 else 2]


def _one_sensor(pads: Sequence[Pad]) -> SensorProfile:
    """The sensor of pads.

    Raises:
        ValueError: If there is no pad, or they have several.
    """
    if not pads:
        raise ValueError("pads is empty; name at least one")
    for pad in pads:
        if pad.profile != pads[0].profile:
            raise ValueError(
                f"the pads {pads[0].name!r} and {pad.name!r} have two sensors; give all of them "
                "one, or add and read them apart"
            )
    return pads[0].profile


def pads_world_model(
    model: mujoco.MjModel,
    pads: Sequence[Pad],
    modalities: Sequence[str | Modality],
    *,
    image_size: tuple[int, int] | None = None,
    taxel_size: tuple[int, int] = (16, 16),
    groups: tuple[int, ...] = _EVERY_GROUP,
) -> WorldModel:
    """What the engines' sensors read of a model with pads.

    Args:
        model: Compiled after `add_pads`.
        pads: As they were added.
        modalities: What to sense: images of touch of `vtenv.modalities.IMAGE_MODALITIES`.
        image_size: Rows and columns of the images of gels, whose pixels are square; None for the
            sensor's own.
        taxel_size: Rows and columns of taxels, which span the field of view.
        groups: Geom groups that gels see, such as visual or collision geoms alone: planes, boxes,
            spheres, capsules, cylinders and watertight meshes.

    Raises:
        ValueError: If the model lacks the pads, or gels cannot see what they may touch.
    """
    profile = _one_sensor(pads)
    names = [model.camera(i).name for i in range(model.ncam)]
    missing = [pad.name for pad in pads if pad.camera not in names]
    if missing:
        raise ValueError(f"the model has no pad {missing[0]!r}; call add_pads before compiling")
    available = {key: m for key, m in IMAGE_MODALITIES.items() if m.is_touch}
    chosen = choose_modalities(tuple(modalities), available)
    size = image_size or profile.image_size
    bodies = tuple(dict.fromkeys(name for pad in pads for name in pad.touches))
    cameras = {
        name: Camera(
            tuple(pad.camera for pad in pads),
            groups,
            resolution,
            profile=profile,
            half_extent=half_extent,
            wrenches=tuple(pad.wrench for pad in pads),
            bodies=bodies,
        )
        for name, resolution, half_extent in (
            ("gel", size, profile.half_extent_of(size)),
            ("taxels", (RAYS * taxel_size[0], RAYS * taxel_size[1]), profile.half_extent),
        )
    }
    return WorldModel(
        models=[model],
        substeps=1,
        joints={},
        actuators={},
        driven="",
        bodies=(),
        pushed=None,
        sensors={},
        rest_readings={},
        own_fields=(),
        cameras=cameras,
        modalities=chosen,
    )


def _has_geom(model: mujoco.MjModel, name: str) -> bool:
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, name) >= 0


class PadSensors:
    """Senses pads from `MjData`.

    Args:
        model: Compiled after `add_pads`.
        pads: As they were added.
        modalities: Keys of what to sense, such as ("contact", "markers").
        settings: More arguments of `pads_world_model`.

    Raises:
        ValueError: If the model lacks the pads, or gels cannot see what they may touch.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        pads: Sequence[Pad],
        modalities: Sequence[str | Modality],
        **settings: Any,
    ) -> None:
        world_model = pads_world_model(model, pads, modalities, **settings)
        self._world = np.zeros(1, np.int64)
        # Rows of their own, which hold the present values of whichever data is read.
        self._poses = Poses(
            self._world,
            np.zeros((1, model.ngeom, 3)),
            np.zeros((1, model.ngeom, 9)),
            np.zeros((1, model.ncam, 3)),
            np.zeros((1, model.ncam, 9)),
            readings=np.zeros((1, model.nsensordata)),
        )
        self._sensors = [
            sensor.implementation("cpu")(world_model, camera, keys, self._poses)
            for sensor, camera, keys in sensor_passes(world_model.modalities)
        ]
        settled = pad_friction(model, pads)
        for sensor in self._sensors:
            sensor.reset(
                self._world, {"pad_friction": np.array([settled]), "grip_n": np.zeros(len(pads))}
            )

    def reset(self) -> None:
        """Forget what has stuck and slipped."""
        for sensor in self._sensors:
            for values in sensor.memory.values():
                values[:] = 0

    def read(self, data: mujoco.MjData) -> dict[str, NDArray[Any]]:
        """Sense a state.

        Forces are those of the last step, or of the last `mj_forward`. Call it at a constant rate:
        what sticks and slips between two calls is told from their two wrenches.

        Args:
            data: The state.

        Returns:
            New images by key, of the shapes that the modalities have, pads first.
        """
        now = data.geom_xpos, data.geom_xmat, data.cam_xpos, data.cam_xmat, data.sensordata
        for row, value in zip((*self._poses[1:5], self._poses.readings), now, strict=True):
            row[0] = value
        told: dict[str, NDArray[Any]] = {}
        for sensor in self._sensors:
            images = sensor.draw(self._world, ())
            sensor.measure(self._world)
            told |= {key: image[0].copy() for key, image in images.items()}
        return told


def pad_friction(model: mujoco.MjModel, pads: Sequence[Pad]) -> float:
    """Sliding friction of pads: the sensor's, or the first pad's own.

    Raises:
        ValueError: If the sensor has none and the pad is a site.
    """
    own = pads[0].profile.friction
    if own is not None:
        return own
    if not _has_geom(model, pads[0].name):
        raise ValueError(
            f"friction=None, but the pad {pads[0].name!r} is a site, which has none either; give "
            "its sensor a number"
        )
    return float(model.geom(pads[0].name).friction[0])
