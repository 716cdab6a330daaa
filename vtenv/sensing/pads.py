"""Tactile pads on anybody's model: what is added to it, and how it is simulated.

A pad is the face of a box, a geom or a site, with a gel as thick as the box. `add_pads` gives the
model what the sensors read: a camera behind each gel and a contact sensor of its wrench. Then
`PadSensors` senses from `MjData`, and `WarpPadSensors` from MuJoCo Warp, with the code that the
environments use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from vtenv.modalities import IMAGE_MODALITIES, Modality, choose_modalities
from vtenv.sensing import sensor_passes
from vtenv.sensing.cameras import Poses
from vtenv.sensing.images import CONTACT_THRESHOLD_MM
from vtenv.sensing.tractions import RAYS
from vtenv.validation import require
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

    Raises:
        ValueError: If there is no such face, or nothing to touch.
    """

    name: str
    face: str
    touches: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.face not in _FACES:
            raise ValueError(f"face={self.face!r}; it must be one of {', '.join(_FACES)}")
        if isinstance(self.touches, str) or not self.touches:
            raise ValueError(
                f"touches={self.touches!r}; it must be a tuple of one or more names of bodies"
            )

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
        pads: The pads, whose faces are of one size.

    Raises:
        ValueError: If a pad is no box of the model, touches what is not in it, or is of another
            size than the first; says what there is.
    """
    if not pads:
        raise ValueError("pads is empty; name at least one")
    first = _face_size(pads[0], _box_of(spec, pads[0])[0])
    for pad in pads:
        box, kind = _box_of(spec, pad)
        missing = [name for name in pad.touches if spec.body(name) is None]
        if missing:
            there = ", ".join(body.name for body in spec.bodies)
            raise ValueError(f"{missing[0]!r} is no body of the model; there are {there}")
        if not np.allclose(_face_size(pad, box), first):
            raise ValueError(
                f"pad {pad.name!r} measures {_face_size(pad, box)} (half width, half height and "
                f"thickness, [m]) and {pads[0].name!r} {first}; make them alike, or add them apart"
            )
        outwards, up = _axes(pad.face)
        back = -outwards
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, np.asarray(box.quat, np.float64))
        frame = turn.reshape(3, 3)
        pose = np.column_stack([np.cross(up, back), up, back])
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, (frame @ pose).ravel())
        depth = float(np.abs(outwards) @ np.asarray(box.size))
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


def _face_size(pad: Pad, box: Any) -> tuple[float, float, float]:
    """Half the width and height of a pad's face, and its thickness, [m]."""
    outwards, up = _axes(pad.face)
    size = np.asarray(box.size, np.float64)
    right = np.abs(np.cross(up, outwards))
    return float(right @ size), float(np.abs(up) @ size), float(2 * np.abs(outwards) @ size)


def pads_world_model(
    model: mujoco.MjModel,
    pads: Sequence[Pad],
    modalities: Sequence[str | Modality],
    *,
    rows: int = 64,
    taxel_size: tuple[int, int] = (16, 16),
    marker_size: tuple[int, int] = (9, 7),
    membrane_mm: float = 0.0,
    gel_modulus_mpa: float = 0.0,
    groups: tuple[int, ...] = _EVERY_GROUP,
) -> WorldModel:
    """What the engines' sensors read of a model with pads.

    Args:
        model: Compiled after `add_pads`.
        pads: As they were added.
        modalities: What to sense: images of touch of `vtenv.modalities.IMAGE_MODALITIES`.
        rows: Rows of the images of gels; as many columns as make pixels square.
        taxel_size: Rows and columns of taxels.
        marker_size: Rows and columns of markers.
        membrane_mm: How far the membrane of `gel` and `contact` bridges what does not touch it,
            [mm]: the standard deviation of the widest of its Gaussians; 0 for none.
        gel_modulus_mpa: Modulus of the gels in compression, [MPa]: forces press them in the deeper,
            the smaller the area; see `vtenv.sensing.foundation`. 0 for the rigid overlap.
        groups: Geom groups that gels see, such as visual or collision geoms alone: planes, boxes,
            spheres, capsules, cylinders and watertight meshes.

    Raises:
        ValueError: If the model lacks the pads, gels cannot see what they may touch, or a number is
            not allowed.
    """
    names = [model.camera(i).name for i in range(model.ncam)]
    missing = [pad.name for pad in pads if pad.camera not in names]
    if missing:
        raise ValueError(f"the model has no pad {missing[0]!r}; call add_pads before compiling")
    require(
        0 <= membrane_mm <= 2, "membrane_mm", membrane_mm, "a number of millimetres from 0 to 2"
    )
    require(
        0 <= gel_modulus_mpa <= 100,
        "gel_modulus_mpa",
        gel_modulus_mpa,
        "a number of megapascals from 0 to 100",
    )
    available = {key: m for key, m in IMAGE_MODALITIES.items() if m.is_touch}
    chosen = choose_modalities(tuple(modalities), available)
    kind = model.geom if _has_geom(model, pads[0].name) else model.site
    half_width, half_height, thickness = _face_size(pads[0], kind(pads[0].name))
    settings = {
        "thickness_mm": thickness * 1e3,
        "threshold_mm": CONTACT_THRESHOLD_MM,
        "membrane_mm": membrane_mm,
        "gel_modulus_mpa": gel_modulus_mpa,
        "marker_rows": marker_size[0],
        "marker_columns": marker_size[1],
    }
    size = rows, max(1, round(rows * half_width / half_height))
    bodies = tuple(dict.fromkeys(name for pad in pads for name in pad.touches))
    cameras = {
        name: Camera(
            tuple(pad.camera for pad in pads),
            groups,
            resolution,
            settings,
            (half_width, half_height),
            tuple(pad.wrench for pad in pads),
            bodies,
        )
        for name, resolution in (
            ("gel", size),
            ("taxels", (RAYS * taxel_size[0], RAYS * taxel_size[1])),
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
        friction: Of the pads; None for the first pad's own, of which a site has none.
        settings: More arguments of `pads_world_model`.

    Raises:
        ValueError: If the model lacks the pads, or gels cannot see what they may touch.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        pads: Sequence[Pad],
        modalities: Sequence[str | Modality],
        *,
        friction: float | None = None,
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
        settled = pad_friction(model, pads, friction)
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


def pad_friction(model: mujoco.MjModel, pads: Sequence[Pad], friction: float | None) -> float:
    """Sliding friction of pads: as given, or the first pad's own.

    Raises:
        ValueError: If it is not given and the pad is a site.
    """
    if friction is not None:
        return friction
    if not _has_geom(model, pads[0].name):
        raise ValueError(f"friction=None, but the pad {pads[0].name!r} is a site; give a number")
    return float(model.geom(pads[0].name).friction[0])
