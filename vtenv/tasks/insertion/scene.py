"""The simulated scene: table, gantry, hand, fingers, cameras, plug and socket.

The only module that knows model elements. Everything else uses the slices at its end, which
are the same for every connector, clearance and image size.

World frame: +x from the hand towards the socket, +z up, origin on the table below the hand's
nominal centre. The hand's frame has the same axes at zero yaw and pitch.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import mujoco
import numpy as np

from vtenv.sensing.pads import add_pad_wrench
from vtenv.sensing.profiles import SQUARE_24MM, SensorProfile
from vtenv.tasks.insertion.actions import HAND_STIFFNESS
from vtenv.tasks.insertion.connectors import (
    FINGER_OPEN,
    SHOULDER_IN_HAND,
    Connector,
    ConnectorError,
    Shape,
)
from vtenv.tasks.insertion.primitives import (
    HOUSING_HALF_SIZE,
    KINDS,
    Primitive,
    quat_from_axes,
)

TIMESTEP = 0.001
"""Physics timestep, in [s]."""
SUBSTEPS = 20
"""Physics steps in a control step; the control rate is 50 Hz."""
HAND_HEIGHT = 0.08
"""Nominal height of the hand's centre above the table, in [m]."""
GRIP_FORCE = 20.0
"""Force with which each finger closes, in [N]."""
GEL_SIZE = 0.024
"""Side of the square pad of a finger, in [m]; no sensor sees more."""
GEL_THICKNESS = 0.006
"""Thickness of the pad, in [m]."""
CABLE_INERTIA = np.array([0.0, 2e-6, 2e-6])
"""Moments that 35 mm of a stiff cable of 5 g add to a plug's, across its axis, in [kg m^2]."""
CONNECTOR_FRICTION, PAD_FRICTION = 0.2, 1.5
"""Sliding friction between plug and socket, and of the gel pads."""
CAMERA_HEIGHT = 0.35
"""Height of the overhead camera above the hand's nominal centre, in [m]."""
VIEW_HALF_EXTENT = 0.049
"""Half the side of the overhead view at the height of the housing's top, in [m]: the farthest
mouth and 5 mm of its housing, so 1.5 mm a pixel at 64 pixels."""

_PALM_HALF_SIZE = (0.029, 0.014, 0.010)
"""Long enough to hide the longest plug from the overhead camera; narrower than the housing."""
_PALM_HEIGHT = 0.034

# Collision bits: plugs touch pads, sockets and the table; pads touch the housing as well.
_PLUG, _PAD = 1, 2

# Geom groups. 0: people only. 1: people and the overhead camera. 2: as 1, and the finger
# cameras. 3: collisions only.
DECOR_GROUP, SCENE_GROUP, PLUG_GROUP, COLLIDER_GROUP = range(4)

IMPEDANCE = (0.9998, 0.9999)
"""Impedance of contacts between plug and socket, and of plug and table: MuJoCo's `d0` and
`d_width`. Under 30 N walls give less than a third of the tightest clearance."""
_RIGID = {
    "friction": [CONNECTOR_FRICTION, 0.005, 0.0001],
    "solref": [2 * TIMESTEP, 1.0],  # the fastest that MuJoCo integrates
    "solimp": [*IMPEDANCE, 0.0005, 0.5, 2.0],
}
_GEL = {
    "friction": [PAD_FRICTION, 0.02, 0.0001],
    "solref": [0.006, 1.0],
    "solimp": [0.9, 0.95, 0.001, 0.5, 2.0],
    "condim": 4,
    "priority": 1,
}
SPRING_FRICTION = 0.3
"""Sliding friction of plugs on the springs of sockets: typical of plated contacts."""
_SPRING = {**_RIGID, "friction": [SPRING_FRICTION, 0.005, 0.0001], "priority": 1}
GEOM_TYPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
}
"""MuJoCo's types of the kinds of primitive."""


class Slots(NamedTuple):
    """Places for geoms of one role and kind in every plug or socket of a batch."""

    owner: str  # "plug" or "socket"
    role: str  # a field of `Shape`
    kind: str  # of `Primitive`
    number: int


_EMPTY = {
    "plug": ((1e-4, 1e-4, 1e-4), (-0.001, 0.0, 0.0)),
    "socket": ((1e-4, 1e-4, 1e-4), (2 * HOUSING_HALF_SIZE[0] - 0.001, 0.0, 0.0)),
}
"""Size and place of unused slots: tiny, and deep inside their owner, where nothing touches them."""
_OWNERS = {
    "grip": "plug",
    "body": "plug",
    "insert": "plug",
    "walls": "socket",
    "springs": "socket",
}
"""Roles in model order, and the bodies that they belong to."""
_COLLIDING, _VISIBLE = ("grip", "insert", "walls", "springs"), ("body", "insert")
"""Roles that touch other bodies, and those that the sensors see."""
_WIDEST_FITS = ((0.0001, 0.002), (0.002, 0.002), (0.0001, 0.0), (0.002, 0.0))
"""Clearances and lead-ins, in [m], at the limits: some hole there has the most primitives."""


@dataclass(frozen=True)
class SceneConfig:
    """What the scene is built from; an environment's configuration validates it.

    Pixels are square, and the longer side of an image spans the whole of what its sensor sees.

    Attributes:
        clearance_mm: Room between plug and socket on each side; None for each connector's own.
        lead_in_mm: Width of the chamfer around the socket's mouth, likewise.
        connector_scale: Size of what is inserted, as in `Connector.shape`.
        image_size: Rows and columns of the overhead depth image.
        contact_size: Rows and columns of each finger's gel and contact images.
        touch_sensor: What lies on the fingers' pads, whose middle its image shows.
        impedance: Impedance of contacts between plug and socket as they touch, and once they
            overlap by 0.5 mm: MuJoCo's `d0` and `d_width`.
        resistance: Force of the sockets' springs, in parts of `Mating.force`; 0 for none.
        grip_creep: How fast a plug under a load drifts between the fingers, in parts of the usual.
        pad_wrenches: Whether sensors read the wrench between each gel and the plug.
    """

    clearance_mm: float | None = None
    lead_in_mm: float | None = None
    connector_scale: float = 1.0
    image_size: tuple[int, int] = (64, 64)
    contact_size: tuple[int, int] = (64, 64)
    touch_sensor: SensorProfile = SQUARE_24MM
    impedance: tuple[float, float] = IMPEDANCE
    resistance: float = 0.0
    grip_creep: float = 1.0
    pad_wrenches: bool = False


@functools.lru_cache(maxsize=64)
def slots(connectors: tuple[Connector, ...], with_springs: bool = False) -> tuple[Slots, ...]:
    """Geoms that a world needs to hold any of some connectors, in model order.

    Worlds with different connectors share one memory layout and step in one batch: for each role
    and kind, the layout has as many geoms as the most demanding of the connectors in play.
    """
    most: Counter[tuple[str, str]] = Counter()
    for connector in connectors:
        for fit in _WIDEST_FITS:
            shape = connector.shape(*fit)
            if with_springs:
                shape = shape._replace(springs=connector.springs())
            for role in _OWNERS:
                most |= Counter((role, part.kind) for part in getattr(shape, role))
    return tuple(
        Slots(owner, role, kind, most[role, kind])
        for role, owner in _OWNERS.items()
        for kind in KINDS
        if most[role, kind]
    )


def plug_mass_properties(connector: Connector) -> tuple[float, np.ndarray, np.ndarray]:
    """Mass [kg], centre [m] and diagonal inertia [kg m^2] of a solid block, with its cable."""
    length, width, height = connector.body_size
    squares = np.array([length, width, height]) ** 2
    inertia = connector.mass / 12 * (squares.sum() - squares) + CABLE_INERTIA
    return connector.mass, np.array([-length / 2, 0.0, 0.0]), inertia


def build_spec(
    config: SceneConfig,
    connector: Connector,
    in_play: Sequence[Connector] = (),
) -> mujoco.MjSpec:
    """Describe the scene with one connector.

    Args:
        config: What the scene is built from.
        connector: The connector.
        in_play: Connectors whose scenes compile to models of the same sizes and layout; none for
            this connector alone.

    Returns:
        The specification, ready to compile or to decorate.
    """
    shape = connector.shape(
        metres(config.clearance_mm), metres(config.lead_in_mm), config.connector_scale
    )
    if config.resistance:
        shape = shape._replace(springs=connector.springs(config.connector_scale))
    layout = slots(tuple(in_play) or (connector,), config.resistance > 0)
    spec = mujoco.MjSpec()
    spec.modelname = f"vtinsert_{connector.name}"
    spec.compiler.degree = False
    option = spec.option
    option.timestep = TIMESTEP
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # Elliptic cones and a stiff friction constraint: with pyramidal cones the plug creeps
    # through the fingers by 3 mm under 10 N for 0.1 s, with these by 0.1 mm.
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10.0 / config.grip_creep
    option.iterations, option.ls_iterations = 30, 50

    spec.worldbody.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[0.5, 0.5, 0.1],
        contype=0,
        conaffinity=_PLUG,
        group=SCENE_GROUP,
        **_RIGID,
    )
    fill = functools.partial(_fill_slots, config, connector, shape, layout)
    fill(_add_socket(spec))
    _add_hand(spec, config)
    fill(_add_plug(spec, connector))
    _add_contact_sensors(spec)
    if config.pad_wrenches:
        for side, name in zip(SIDES, PAD_WRENCHES, strict=True):
            add_pad_wrench(spec, name, f"gel_{side}", "plug")
    return spec


def build_models(
    config: SceneConfig,
    connectors: Sequence[Connector],
    clearances_mm: Sequence[float | None] = (),
) -> list[mujoco.MjModel]:
    """Compile one model for each connector, or one for each of its clearances.

    Args:
        config: What the scene is built from.
        connectors: The connectors in play.
        clearances_mm: Clearances in the place of the configuration's.

    Returns:
        The models, of one layout: all those of the first connector, then those of the next.

    Raises:
        ConnectorError: If a plug does not fit into its own hole; names what is in the way.
    """
    models = []
    for connector in connectors:
        for clearance_mm in clearances_mm or (config.clearance_mm,):
            fitted = replace(config, clearance_mm=clearance_mm)
            spec = build_spec(fitted, connector, connectors)
            spec.modelname = "vtinsert"  # of one length, too: models are written over another
            model = spec.compile()
            check_fit(model, connector)
            if config.resistance and connector.mating is not None:
                _load_springs(model, connector, config.resistance * connector.mating.force)
            models.append(model)
    return models


def check_fit(model: mujoco.MjModel, connector: Connector) -> None:
    """Refuse a plug that touches its hole while it goes straight in along the axis.

    Args:
        model: A scene of the connector.
        connector: The connector.

    Raises:
        ConnectorError: If it does; names the primitives that meet, and where.
    """
    data = mujoco.MjData(model)
    away = (0.3, 0.0, 0.0)  # from the hand
    data.mocap_pos[0] = away
    plug, socket = model.body("plug").id, model.body("socket").id
    for depth in np.linspace(0.0, connector.travel - 1e-5, 12):  # 10 um before the shoulder
        data.qpos[PLUG_POS] = [away[0] + depth - connector.travel, *away[1:]]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        for geoms in data.contact.geom:
            rigid = (model.geom_priority[geoms] == 0).all()
            if rigid and sorted(model.geom_bodyid[geoms]) == sorted((plug, socket)):
                names = " meets ".join(model.geom(geom).name for geom in geoms)
                raise ConnectorError(
                    f"connector {connector.name!r} does not fit its own hole: {names} with the "
                    f"tip {depth * 1e3:.1f} mm in, straight on the axis; make the hole wider than "
                    "what is inserted by the clearance on every side"
                )


def metres(millimetres: float | None) -> float | None:
    """A length in [m], of one in [mm]; None, which stands for a connector's own, as it is."""
    return None if millimetres is None else millimetres * 1e-3


def _load_springs(model: mujoco.MjModel, connector: Connector, force: float) -> None:
    """Make springs as stiff as slides what is inserted along them with a force, in [N].

    Two equal contacts that squeeze a body between them press with
    `n m r / (d (1 - d) timeconst^2)`, where n is the contacts a side, m the body's mass, r the
    overlap and d the impedance: MuJoCo's soft contact, of which the inertia drops out.
    """
    mating = connector.mating
    assert mating is not None
    springs = [g for g in range(model.ngeom) if model.geom(g).name.startswith("springs_")]
    data = mujoco.MjData(model)
    data.mocap_pos[0] = (0.3, 0.0, 0.0)  # away from the hand
    data.qpos[PLUG_POS] = data.mocap_pos[0]
    mujoco.mj_kinematics(model, data)
    mujoco.mj_collision(model, data)
    on_springs = np.isin(data.contact.geom, springs).any(axis=-1)
    a_side = on_springs.sum() / 2
    inertia = a_side / model.body_invweight0[model.body("plug").id, 0]
    pressure = force / (2 * SPRING_FRICTION)
    needed = inertia * mating.deflection / pressure  # d (1 - d) timeconst^2
    impedance, timeconst = 0.95, math.sqrt(needed / (0.95 * 0.05))
    if timeconst < 2 * TIMESTEP:  # which MuJoCo does not go below
        timeconst = 2 * TIMESTEP
        impedance = (1 + math.sqrt(1 - 4 * needed / timeconst**2)) / 2
    model.geom_solref[springs] = timeconst, 1.0
    model.geom_solimp[springs, :2] = impedance


def _fill_slots(
    config: SceneConfig,
    connector: Connector,
    shape: Shape,
    layout: tuple[Slots, ...],
    body: mujoco.MjsBody,
) -> None:
    """Give `body` the geoms of all of its slots, empty ones where `shape` has no primitive."""
    owner = body.name
    rigid = {**_RIGID, "solimp": [*config.impedance, *_RIGID["solimp"][2:]]}
    for slot in (s for s in layout if s.owner == owner):
        primitives = [part for part in getattr(shape, slot.role) if part.kind == slot.kind]
        if len(primitives) > slot.number:
            raise ConnectorError(
                f"connector {connector.name!r} has {len(primitives)} {slot.kind} primitives of "
                f"role {slot.role} and room for {slot.number}, the most at the limits of clearance "
                "and lead-in of the connectors in play"
            )
        for index in range(slot.number):
            used = index < len(primitives)
            empty = Primitive(slot.kind, *_EMPTY[owner])
            primitive = primitives[index] if used else empty
            collides = _PLUG if slot.role in _COLLIDING else 0
            body.add_geom(
                name=f"{slot.role}_{slot.kind}_{index}",
                type=GEOM_TYPES[slot.kind],
                size=np.resize([*primitive.size, 0.0, 0.0], 3),
                pos=primitive.pos,
                quat=primitive.quat,
                mass=0.0,
                contype=collides if owner == "plug" else 0,
                conaffinity=collides if owner == "socket" else 0,
                group=PLUG_GROUP if slot.role in _VISIBLE else COLLIDER_GROUP,
                rgba=[0.5, 0.5, 0.5, 1.0 if used else 0.0],
                **(_SPRING if slot.role == "springs" else rigid),
            )


def _add_socket(spec: mujoco.MjSpec) -> mujoco.MjsBody:
    """The socket on its pedestal, a mocap body posed at each reset."""
    socket = spec.worldbody.add_body(name="socket", mocap=True, pos=[0.04, 0, HAND_HEIGHT])
    half_x, _, half_z = HOUSING_HALF_SIZE
    socket.add_geom(
        name="housing",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=HOUSING_HALF_SIZE,
        pos=[half_x, 0, 0],
        contype=0,
        conaffinity=_PAD,
        group=SCENE_GROUP,
        **_RIGID,
    )
    half_stand = 0.025
    socket.add_geom(
        name="pedestal",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[half_x * 0.6, 0.012, half_stand],
        pos=[half_x, 0, -half_z - half_stand],
        contype=0,
        conaffinity=0,
        group=SCENE_GROUP,
    )
    return socket


def _add_hand(spec: mujoco.MjSpec, config: SceneConfig) -> None:
    """Gantry (x, y) with the overhead camera, hand (z, yaw, pitch), palm and fingers."""
    joint = mujoco.mjtJoint
    gantry = spec.worldbody.add_body(name="gantry", gravcomp=1.0)
    _set_inertia(gantry, 0.5, [0, 0, 0.2], [1e-3] * 3)
    gantry.add_joint(name="hand_x", type=joint.mjJNT_SLIDE, axis=[1, 0, 0])
    gantry.add_joint(name="hand_y", type=joint.mjJNT_SLIDE, axis=[0, 1, 0])
    top = CAMERA_HEIGHT - HOUSING_HALF_SIZE[2]
    resolution, upright = _resolution(config.image_size)
    gantry.add_camera(
        name="overhead",
        pos=[0, 0, HAND_HEIGHT + CAMERA_HEIGHT],
        quat=_camera_quat(right=[0, -1, 0], up=[1, 0, 0]),
        fovy=math.degrees(2 * math.atan(VIEW_HALF_EXTENT * upright / top)),
        resolution=resolution,
    )

    hand = gantry.add_body(name="hand", pos=[0, 0, HAND_HEIGHT], gravcomp=1.0)
    _set_inertia(hand, 0.5, [0, 0, 0.05], [1e-3] * 3)
    hand.add_joint(name="hand_z", type=joint.mjJNT_SLIDE, axis=[0, 0, 1])
    for name, axis in (("hand_yaw", [0, 0, 1]), ("hand_pitch", [0, 1, 0])):
        hand.add_joint(name=name, type=joint.mjJNT_HINGE, axis=axis, armature=0.002)
    hand.add_geom(
        name="palm",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=_PALM_HALF_SIZE,
        pos=[0, 0, _PALM_HEIGHT],
        mass=0.0,
        contype=0,
        conaffinity=0,
        group=SCENE_GROUP,
    )
    for side, sign in (("left", 1.0), ("right", -1.0)):
        _add_finger(hand, side, sign, config)

    for name in HAND_JOINTS:
        slide = name in ("hand_x", "hand_y", "hand_z")
        actuator = spec.add_actuator(
            name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT, ctrllimited=0
        )
        actuator.set_to_position(kp=HAND_STIFFNESS if slide else 20.0, dampratio=1.0)
    for name in FINGER_JOINTS:
        spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT).set_to_motor()


def _add_finger(hand: mujoco.MjsBody, side: str, sign: float, config: SceneConfig) -> None:
    """One finger: the gel pad, the camera behind it, and the back the overhead camera sees.

    The finger's frame lies on the gel's face, and its joint counts the distance closed.
    """
    finger = hand.add_body(name=f"finger_{side}", pos=[0, sign * FINGER_OPEN, 0], gravcomp=1.0)
    finger.add_joint(
        name=f"finger_{side}",
        type=mujoco.mjtJoint.mjJNT_SLIDE,
        axis=[0, -sign, 0],
        range=[0.0, FINGER_OPEN],
        limited=1,
        damping=10.0,
        armature=0.05,
    )
    half_gel, half_thickness = GEL_SIZE / 2, GEL_THICKNESS / 2
    finger.add_geom(
        name=f"gel_{side}",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[half_gel, half_thickness, half_gel],
        pos=[0, sign * half_thickness, 0],
        mass=0.05,
        contype=_PAD,
        conaffinity=_PLUG,
        group=COLLIDER_GROUP,
        **_GEL,
    )
    finger.add_geom(
        name=f"finger_back_{side}",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[half_gel + 0.001, 0.004, 0.0185],
        pos=[0, sign * (GEL_THICKNESS + 0.004), 0.0055],
        mass=0.0,
        contype=0,
        conaffinity=0,
        group=SCENE_GROUP,
    )
    camera = finger.add_camera(
        name=f"gel_{side}",
        pos=[0, sign * config.touch_sensor.thickness, 0],
        quat=_camera_quat(right=[-sign, 0, 0], up=[0, 0, 1]),
        fovy=2 * config.touch_sensor.half_extent_of(config.contact_size)[1],
        resolution=config.contact_size[::-1],
    )
    camera.proj = mujoco.mjtProjection.mjPROJ_ORTHOGRAPHIC


def _add_plug(spec: mujoco.MjSpec, connector: Connector) -> mujoco.MjsBody:
    """The plug, free to move: only friction holds it in the hand."""
    plug = spec.worldbody.add_body(name="plug", pos=[SHOULDER_IN_HAND, 0, HAND_HEIGHT])
    plug.add_freejoint(name="plug")
    _set_inertia(plug, *plug_mass_properties(connector))
    plug.add_site(name="tip", pos=[connector.travel, 0, 0], group=COLLIDER_GROUP)
    return plug


def _add_contact_sensors(spec: mujoco.MjSpec) -> None:
    """Net force of the socket on the plug, and the number of contacts with each gel."""
    field = mujoco.mjtConDataField
    found, force = (1 << int(f) for f in (field.mjCONDATA_FOUND, field.mjCONDATA_FORCE))
    spec.add_sensor(
        name="socket_force",
        type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        objname="plug",
        reftype=mujoco.mjtObj.mjOBJ_BODY,
        refname="socket",
        intprm=[force, 3, 1],  # reduced to the net force
    )
    for side in ("left", "right"):
        spec.add_sensor(
            name=f"gel_{side}",
            type=mujoco.mjtSensor.mjSENS_CONTACT,
            objtype=mujoco.mjtObj.mjOBJ_GEOM,
            objname=f"gel_{side}",
            reftype=mujoco.mjtObj.mjOBJ_BODY,
            refname="plug",
            intprm=[found, 0, 1],
        )


def _set_inertia(body: mujoco.MjsBody, mass: float, centre: object, inertia: object) -> None:
    body.mass, body.ipos, body.inertia = mass, centre, inertia
    body.explicitinertial = True


def _resolution(size: tuple[int, int]) -> tuple[list[int], float]:
    """Columns and rows of a camera's image, and its height in parts of its longer side."""
    rows, columns = (size, size) if isinstance(size, int) else size
    return [columns, rows], rows / max(rows, columns)


def _camera_quat(right: list[float], up: list[float]) -> tuple[float, ...]:
    """Quaternion of a camera whose image axes are these directions of its body."""
    return quat_from_axes(right, up, np.cross(right, up))


SIDES = ("left", "right")
PAD_WRENCHES = ("wrench_left", "wrench_right")
"""Sensors of the wrench of each gel on the plug, in models that have them."""
HAND_JOINTS = ("hand_x", "hand_y", "hand_z", "hand_yaw", "hand_pitch")
"""The actuated joints of the hand, in the order of actions."""
FINGER_JOINTS = ("finger_left", "finger_right")


# Where things are in the arrays of any of the scene's models; a test holds these against the
# names of a compiled model.
HAND_QPOS = HAND_QVEL = HAND_CTRL = slice(0, 5)
FINGER_QPOS = FINGER_CTRL = slice(5, 7)
PLUG_POS, PLUG_QUAT, PLUG_QVEL = slice(7, 10), slice(10, 14), slice(7, 13)
SOCKET_FORCE, GEL_CONTACTS = slice(0, 3), slice(3, 5)
OVERHEAD_CAMERA, GEL_CAMERAS = 0, slice(1, 3)
