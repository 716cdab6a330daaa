"""The four connectors as data, and the primitives of each plug and socket.

All connectors fill the same *slots* (`SLOTS`: so many geoms of each type, in one order), so
that worlds with different connectors share one memory layout and step in one batch; slots a
connector does not need stay empty.

Frames: a plug's origin is its shoulder, the plane between the grasped body and the inserted
part, +x towards the tip. A socket's origin is the centre of its mouth, +x into the hole. A
fully inserted plug has the frame of its socket.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import ArrayLike

CONNECTOR_NAMES = ("aux", "pin", "usb", "stud")
"""The closed set of connectors, in the order of their integer ids (the paper's order)."""

SHOULDER_IN_HAND = 0.0165
"""Distance of a centred plug's shoulder ahead of the hand's centre, in [m]: far enough beyond
the gel (12 mm) that a plug held 3 mm back and 10 degrees tilted still goes in."""

HOUSING_HALF_SIZE = (0.012, 0.024, 0.012)
"""Half-extents of the block that carries the socket, in [m]: depth, width, height. Wider than
the palm, so that the overhead camera sees its flanks when the hand covers the mouth."""

PLUG_MASS = 0.014
"""Mass of a plug and the first centimetres of its cable, in [kg]."""

BACK_GAP = 0.0005
"""Room behind the tip of a fully inserted plug, in [m]."""

_RING_SECTORS = 12
"""Boxes around a round hole; it is 3.5% wider across its corners than across its flats."""

CHAMFER_SLOPE = 1.5
"""Chamfer depth over chamfer width. 34 degrees from the axis: far outside the friction cone
(11 degrees at a friction of 0.2), so plugs slide in rather than wedge."""

_MIN_DIVIDER = 0.0003
"""Dividers between pin holes thinner than this, in [m], are left out. The end walls still
hold the clearance, and so thin a sheet would be tunnelled through."""


class Primitive(NamedTuple):
    """One convex primitive in its owner's frame: `size` as MuJoCo's `geom_size`, in [m]."""

    size: tuple[float, ...]
    pos: tuple[float, float, float]
    quat: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0)


class Slot(NamedTuple):
    """Places for `number` geoms of one type in every connector's plug or socket."""

    owner: str  # "plug" or "socket"
    role: str  # key of `Connector.plug` or of the socket's dictionary
    geom_type: str  # "box", "capsule" or "cylinder"
    number: int
    collides: bool
    visible: bool  # to the sensors


SLOTS = (
    # What the gel pads press on: the convex hull of the body. The gel bridges the grooves of a
    # ribbed body, so the hull carries the load and the ribs make the imprint.
    Slot("plug", "grip_box", "box", 1, collides=True, visible=False),
    Slot("plug", "grip_capsule", "capsule", 1, collides=True, visible=False),
    Slot("plug", "body_boxes", "box", 4, collides=False, visible=True),
    Slot("plug", "body_cylinder", "cylinder", 1, collides=False, visible=True),
    Slot("plug", "insert_box", "box", 1, collides=True, visible=True),
    Slot("plug", "insert_capsules", "capsule", 4, collides=True, visible=True),
    Slot("socket", "walls", "box", 3 * _RING_SECTORS - 3, collides=True, visible=False),
    Slot("socket", "dividers", "capsule", 3, collides=True, visible=False),
)
"""Every plug's and socket's geoms, in model order."""

Shape = dict[str, list[Primitive]]
"""Primitives by the role of their slot."""


@dataclass(frozen=True)
class Connector:
    """A connector: what is grasped, what is inserted, and the hole it goes into.

    Attributes:
        name: One of `CONNECTOR_NAMES`.
        label: What people call it.
        source: Where the dimensions come from.
        travel: Length of the inserted part, from shoulder to tip, in [m].
        body_size: Length, width (along y, between the fingers) and height of the grasped
            body, in [m].
        mass: Mass of the plug and the first centimetres of its cable, in [kg].
        plug: The plug's primitives by slot.
        socket: Function of (clearance, lead_in), both in [m] per side, giving the socket's
            primitives by slot.
    """

    name: str
    label: str
    source: str
    travel: float
    body_size: tuple[float, float, float]
    mass: float
    plug: Shape
    socket: Callable[[float, float], Shape]

    @property
    def sizes(self) -> tuple[float, float, float, float]:
        """Width and height of what is inserted and of what is held, in [m]."""
        return (0.0, 0.0, *self.body_size[1:])

    @property
    def id(self) -> int:
        """Index in `CONNECTOR_NAMES`."""
        return CONNECTOR_NAMES.index(self.name)


def get_connector(name: str, scale: float = 1.0) -> Connector:
    """Return the connector called `name`.

    Args:
        name: One of `CONNECTOR_NAMES`.
        scale: Size of what is inserted and of its hole, across the axis, in parts of the
            standard's. Lengths stay, so that a plug reaches as far ahead of the hand; so does
            the held body, and with it how a settled grasp holds and feels.

    Raises:
        ValueError: If there is no such connector; lists those there are.
    """
    if name not in CONNECTORS:
        raise ValueError(f"unknown connector {name!r}; choose one of {', '.join(CONNECTOR_NAMES)}")
    return _connectors(scale)[name]


def _box(
    start: float, end: float, half_y: float, half_z: float, *, y: float = 0.0, z: float = 0.0
) -> Primitive:
    """Axis-aligned box from `start` to `end` along x."""
    return Primitive(((end - start) / 2, half_y, half_z), ((start + end) / 2, y, z))


def _along_x(
    kind: str, radius: float, start: float, end: float, *, y: float = 0.0, z: float = 0.0
) -> Primitive:
    """Capsule or cylinder along x that reaches exactly from `start` to `end`."""
    half = (end - start) / 2 - (radius if kind == "capsule" else 0.0)
    s = math.sqrt(0.5)
    return Primitive((radius, half), ((start + end) / 2, y, z), (s, 0.0, s, 0.0))


def _point(vector: np.ndarray) -> tuple[float, float, float]:
    x, y, z = vector.tolist()
    return x, y, z


def quat_from_axes(x: ArrayLike, y: ArrayLike, z: ArrayLike) -> tuple[float, ...]:
    """Quaternion (wxyz) of the right-handed frame with these unit axes."""
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.column_stack([x, y, z]).astype(np.float64).ravel())
    return tuple(quat.tolist())


def _wall(
    distance: float, angle: float, half_width: float, depth: float, lead_in: float
) -> list[Primitive]:
    """One flat inner wall of a hole: a straight box, and the chamfer before it.

    The profile in the plane of the hole's axis (x) and the wall's outward direction (r) runs
    from (0, distance + lead_in) down to (chamfer depth, distance) and then straight to
    `depth`. The face around the mouth is the frame's.

    Args:
        distance: Distance of the straight wall from the hole's axis, in [m].
        angle: Direction of the wall seen from the axis, about x from +y towards +z, in [rad].
        half_width: Half the wall's width, in [m].
        depth: Depth of the hole, in [m].
        lead_in: Width of the chamfer at the mouth, in [m].
    """
    axis = np.array([1.0, 0.0, 0.0])
    outward = np.array([0.0, math.cos(angle), math.sin(angle)])
    along = np.cross(axis, outward)
    chamfer = min(CHAMFER_SLOPE * lead_in, depth / 2)
    half_thickness = max(lead_in, 0.002) / 2

    centre = axis * (chamfer + depth) / 2 + outward * (distance + half_thickness)
    size = ((depth - chamfer) / 2, half_thickness, half_width)
    walls = [Primitive(size, _point(centre), quat_from_axes(axis, outward, along))]
    if lead_in > 0:
        length = math.hypot(chamfer, lead_in)
        slope = (axis * chamfer - outward * lead_in) / length
        normal = np.cross(along, slope)  # into the wall
        half_height = chamfer * lead_in / length / 2  # fills the profile's triangle
        middle = axis * chamfer / 2 + outward * (distance + lead_in / 2)
        size = (length / 2, half_height, half_width)
        quat = quat_from_axes(slope, normal, along)
        walls.append(Primitive(size, _point(middle + normal * half_height), quat))
    return walls


def _frame(half_y: float, half_z: float, depth: float) -> list[Primitive]:
    """The housing around a rectangular opening: four boxes with the face, and the back."""
    half_x, width, height = HOUSING_HALF_SIZE
    side_y, side_z = (width - half_y) / 2, (height - half_z) / 2
    bottom = 2 * half_x
    return [
        _box(0, bottom, side_y, height, y=half_y + side_y),
        _box(0, bottom, side_y, height, y=-half_y - side_y),
        _box(0, bottom, half_y, side_z, z=half_z + side_z),
        _box(0, bottom, half_y, side_z, z=-half_z - side_z),
        _box(depth, bottom, half_y, half_z),
    ]


def _rectangular_hole(half_y: float, half_z: float, travel: float, lead_in: float) -> Shape:
    """A rectangular hole of the given half-extents, clearance included."""
    depth = travel + BACK_GAP
    walls = _frame(half_y + lead_in, half_z + lead_in, depth)
    for angle, distance, across in (
        (0.0, half_y, half_z),
        (math.pi, half_y, half_z),
        (math.pi / 2, half_z, half_y),
        (-math.pi / 2, half_z, half_y),
    ):
        walls += _wall(distance, angle, across + lead_in, depth, lead_in)
    return {"walls": walls}


def _round_hole(radius: float, travel: float, lead_in: float) -> Shape:
    """A round hole as a ring of boxes: flats at `radius`, clearance included."""
    depth = travel + BACK_GAP
    mouth = radius + lead_in
    walls = _frame(mouth, mouth, depth)
    corner = mouth * 0.5  # fills the frame's square corners outside the octagon
    for angle in np.arange(4) * math.pi / 2 + math.pi / 4:
        y, z = (mouth + corner / 2) * math.cos(angle), (mouth + corner / 2) * math.sin(angle)
        quat = (math.cos(angle / 2), math.sin(angle / 2), 0.0, 0.0)
        size = (depth / 2, corner / 2, mouth * 0.45)
        walls.append(Primitive(size, (depth / 2, y, z), quat))
    half_width = (mouth + 0.001) * math.tan(math.pi / _RING_SECTORS)
    for angle in np.arange(_RING_SECTORS) * 2 * math.pi / _RING_SECTORS:
        walls += _wall(radius, float(angle), half_width, depth, lead_in)
    return {"walls": walls}


# --- USB-A ------------------------------------------------------------------------------------
_USB_SHELL = (0.0120, 0.0045)
_USB_TRAVEL = 0.01175
_USB_NOSE = 0.0010


def _usb_plug(scale: float) -> Shape:
    half_y, half_z = (side / 2 * scale for side in _USB_SHELL)
    nose = _USB_NOSE * scale
    rim_x, rim_y, rim_z = _USB_TRAVEL - nose, half_y - nose, half_z - nose
    s = math.sqrt(0.5)
    rim = [Primitive((nose, rim_y), (rim_x, 0.0, z), (s, s, 0.0, 0.0)) for z in (rim_z, -rim_z)]
    rim += [Primitive((nose, rim_z), (rim_x, y, 0.0)) for y in (rim_y, -rim_y)]
    body = _box(-0.020, 0.0, 0.008, 0.004)
    shell = _box(-0.001, rim_x, half_y, half_z)
    return {
        "grip_box": [body],
        "body_boxes": [body],
        "insert_box": [shell],
        "insert_capsules": rim,
    }


def _usb_socket(scale: float, clearance: float, lead_in: float) -> Shape:
    half_y, half_z = (side / 2 * scale + clearance for side in _USB_SHELL)
    return _rectangular_hole(half_y, half_z, _USB_TRAVEL, lead_in)


# --- pin header -------------------------------------------------------------------------------
_PIN_COUNT = 4
_PIN_PITCH = 0.00254
_PIN_RADIUS = 0.000635 / 2
_PIN_TRAVEL = 0.00584
_PIN_BODY = (0.0140, 0.00254, _PIN_COUNT * _PIN_PITCH)
_PIN_ROWS = (np.arange(_PIN_COUNT) - (_PIN_COUNT - 1) / 2) * _PIN_PITCH


def _pin_plug(scale: float) -> Shape:
    length, width, height = _PIN_BODY
    radius, rows = _PIN_RADIUS * scale, _PIN_ROWS * scale
    return {
        "grip_box": [_box(-length, 0.0, width / 2, height / 2)],
        "body_boxes": [_box(-length, 0.0, width / 2, 0.00085, z=float(z)) for z in _PIN_ROWS],
        "insert_capsules": [
            _along_x("capsule", radius, -0.002, _PIN_TRAVEL, z=float(z)) for z in rows
        ],
    }


def _pin_socket(scale: float, clearance: float, lead_in: float) -> Shape:
    rows = _PIN_ROWS * scale
    half_y = _PIN_RADIUS * scale + clearance
    half_z = float(rows[-1]) + half_y
    shape = _rectangular_hole(half_y, half_z, _PIN_TRAVEL, lead_in)
    half_divider = _PIN_PITCH * scale / 2 - half_y
    if half_divider * 2 < _MIN_DIVIDER:
        return shape
    # A divider's nose is round: the widest lead-in that the pitch leaves room for.
    depth = _PIN_TRAVEL + BACK_GAP
    middles = (rows[1:] + rows[:-1]) / 2
    shape["walls"] += [
        _box(half_divider, depth, half_y + lead_in, half_divider, z=float(z)) for z in middles
    ]
    s = math.sqrt(0.5)
    shape["dividers"] = [
        Primitive((half_divider, half_y + lead_in), (half_divider, 0.0, float(z)), (s, s, 0.0, 0.0))
        for z in middles
    ]
    return shape


# --- round connectors -------------------------------------------------------------------------
def _round_plug(insert_radius: float, travel: float, body_radius: float, length: float) -> Shape:
    return {
        "grip_capsule": [_along_x("capsule", body_radius, -length, 0.0)],
        "body_cylinder": [_along_x("cylinder", body_radius, -length, 0.0)],
        "insert_capsules": [_along_x("capsule", insert_radius, -2 * insert_radius, travel)],
    }


@functools.cache
def _connectors(scale: float) -> dict[str, Connector]:
    """The connectors by name, in the order of `CONNECTOR_NAMES`, at a scale."""
    connectors = (
        Connector(
            name="aux",
            label="3.5 mm audio plug",
            source="3.5 mm three-pole plug, diameter 3.5 mm, length 14.0 mm: IEC 60603-11 and "
            "JEITA RC-5325A. Moulded barrel, 9 mm across and 18 mm long: typical.",
            travel=0.0140,
            body_size=(0.018, 0.009, 0.009),
            mass=PLUG_MASS,
            plug=_round_plug(0.00175 * scale, 0.0140, 0.0045, 0.018),
            socket=lambda c, lead: _round_hole(0.00175 * scale + c, 0.0140, lead),
        ),
        Connector(
            name="pin",
            label="2.54 mm pin header",
            source="1 x 4 header: 0.635 mm (0.025 in) square posts on a 2.54 mm grid, mating "
            "length 5.84 mm: Samtec TSW series. Crimp housing 14.0 mm long, 2.54 mm a "
            "position: typical of 2.54 mm wire housings.",
            travel=_PIN_TRAVEL,
            body_size=_PIN_BODY,
            mass=PLUG_MASS,
            plug=_pin_plug(scale),
            socket=functools.partial(_pin_socket, scale),
        ),
        Connector(
            name="usb",
            label="USB-A plug",
            source="USB-A plug, shell 12.0 x 4.5 mm, 11.75 mm long, overmould at most 16 x 8 "
            "mm: USB 2.0 specification, section 6.5. Overmould 20 mm long: typical.",
            travel=_USB_TRAVEL,
            body_size=(0.020, 0.016, 0.008),
            mass=PLUG_MASS,
            plug=_usb_plug(scale),
            socket=functools.partial(_usb_socket, scale),
        ),
        Connector(
            name="stud",
            label="M6 stud",
            source="M6 thread, major diameter 6.0 mm: ISO 261; 12 mm long: ISO 888, in a plain "
            "clearance hole as ISO 273. Shank 8 mm across and 20 mm long: ours.",
            travel=0.0120,
            body_size=(0.020, 0.008, 0.008),
            mass=PLUG_MASS,
            plug=_round_plug(0.0030 * scale, 0.0120, 0.0040, 0.020),
            socket=lambda c, lead: _round_hole(0.0030 * scale + c, 0.0120, lead),
        ),
    )
    return {connector.name: connector for connector in connectors}


CONNECTORS = _connectors(1.0)
"""The connectors by name, in the order of `CONNECTOR_NAMES`."""
