"""The shapes that people see, finer than the physics' primitives but of the same dimensions.

The near finger and the near half of the socket are glass, and the far half is cut along the
plug's axis, so that the insertion is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from vtenv.rendering.surfaces import (
    Opening,
    Surface,
    box_edges,
    extrude,
    revolve,
    rounded_rectangle,
    section,
    slab,
    thread,
    tube,
    turn,
)
from vtenv.tasks.insertion.connectors import (
    BACK_GAP,
    CHAMFER_SLOPE,
    HOUSING_HALF_SIZE,
    Connector,
)

_EDGE = 0.00012
"""Half the width of the lines along the edges of glass, in [m]."""
_COLLARS = {"aux": "gold", "pin": "black_plastic", "usb": "steel", "stud": "steel"}
"""What the rim of each connector's socket is made of."""


class Part(NamedTuple):
    """A surface, what it is made of (a material of `vtenv.rendering.decor`), and its body."""

    body: str
    material: str
    surface: Surface


# --- hand -------------------------------------------------------------------------------------
def hand_parts(spec: mujoco.MjSpec) -> Iterator[Part]:
    """Palm and fingers, around the geoms of the scene; the near finger is of glass."""
    palm = spec.geom("palm")
    half_x, half_y, half_z = palm.size
    _, _, middle = palm.pos
    band, top = 0.0035, middle + half_z
    for material, low, high, inset, edge in (
        ("shell", middle - half_z + band, top, 0.0, 0.0022),
        ("graphite", middle - half_z, middle, 0.0006, 0.0008),
    ):
        size = (half_x - inset, half_y - inset, (high - low) / 2)
        yield Part("hand", material, slab(size, (0, 0, (high + low) / 2), edge))
    for x in (-half_x + 0.006, half_x - 0.006):
        for sign in (1, -1):
            head = revolve([(0.0, 0.0), (0.0, 0.0022), (0.0006, 0.0022), (0.0009, 0.0018)], 16)
            at = np.array([x, sign * (half_y - 0.0001), middle + 0.003])
            yield Part("hand", "screw", _along(head, (0, sign, 0), at))
    flange = [(-0.001, 0.0118), (0.0028, 0.0118), (0.0034, 0.0112), (0.0034, 0.009), (0.06, 0.009)]
    yield Part("hand", "graphite", _along(revolve(flange), (0, 0, 1), np.array([0, 0, top])))
    for side in ("left", "right"):
        near = side == "right"
        body = f"finger_{side}"
        back, gel = spec.geom(f"finger_back_{side}"), spec.geom(f"gel_{side}")
        yield Part(body, "glass" if near else "graphite", slab(back.size, back.pos, 0.0012))
        yield Part(body, "glass_gel" if near else "gel", slab(gel.size, gel.pos, 0.0010))
        if near:
            yield Part(body, "glass_edge", box_edges(back.size, back.pos, _EDGE))


def _along(surface: Surface, axis: Sequence[float], at: NDArray[np.float64]) -> Surface:
    """The surface with its x axis along the y or z axis, moved to `at`."""
    x = np.asarray(axis, np.float64)
    y = np.array([1.0, 0.0, 0.0])
    return surface.placed(np.column_stack([x, y, np.cross(x, y)]), at)


# --- plugs ------------------------------------------------------------------------------------
def plug_parts(connector: Connector) -> Iterator[Part]:
    """The plug, its cable, and what it is inserted with, in the plug's frame."""
    yield from _PLUGS[connector.name](connector)


def _cable(start: float, radius: float, z: float = 0.0) -> Surface:
    """Cable that leaves a plug's back at `start` and hangs."""
    t = np.linspace(0, 1, 16)
    path = np.column_stack([start - 0.09 * t, np.zeros(len(t)), z - 0.03 * t**2.2])
    return tube(path, radius)


def _boot(end: float, length: float, radius: float) -> Surface:
    """Ribbed strain relief that ends inside the body at `end`."""
    profile = [(end - length, radius * 0.72)]
    pitch = length / 4.6
    for k in range(4):
        x = end - length + pitch * (k + 0.3)
        profile += [(x, radius * 0.95), (x + pitch * 0.55, radius)]
        profile += [(x + pitch * 0.6, radius * 0.8), (x + pitch * 0.95, radius * 0.8)]
    return revolve([*profile, (end, radius)])


def _aux_plug(connector: Connector) -> Iterator[Part]:
    length, diameter, _ = connector.body_size
    body, travel = diameter / 2, connector.travel
    barrel = [
        (-length, body * 0.80),
        (-length + 0.0005, body * 0.90),
        (-length + 0.0040, body * 0.98),
        (-length + 0.0041, body * 0.93),
        (-length + 0.0047, body * 0.93),
        (-length + 0.0048, body),
        (-0.0009, body),
        (-0.0003, body * 0.95),
        (0.0, body * 0.86),
    ]
    yield Part("plug", "black_plastic", revolve(barrel))
    yield Part("plug", "black_plastic", _boot(-length + 0.0005, 0.010, 0.0030))
    yield Part("plug", "black_plastic", _cable(-length - 0.009, 0.0016))
    (insert,) = connector.plug["insert_capsules"]
    radius = insert.size[0]
    # Sleeve, ring and tip, with the neck that the jack's spring holds.
    yield Part("plug", "gold", revolve([(-0.0005, radius), (travel - 0.0092, radius)]))
    yield Part("plug", "gold", revolve([(travel - 0.0084, radius), (travel - 0.0054, radius)]))
    tip = [(0.0046, 1), (0.0036, 1), (0.0030, 0.68), (0.0026, 0.64), (0.0019, 0.92)]
    tip += [(0.0014, 0.92), (0.0004, 0.40), (0.0, 0.12)]
    yield Part("plug", "gold", revolve([(travel - x, radius * r) for x, r in tip]))
    insulation = [(travel - 0.0094, radius * 0.97), (travel - 0.0044, radius * 0.97)]
    yield Part("plug", "black_plastic", revolve(insulation))


def _pin_plug(connector: Connector) -> Iterator[Part]:
    length, width, height = connector.body_size
    ribs, posts = connector.plug["body_boxes"], connector.plug["insert_capsules"]
    wires = ("red_wire", "yellow_wire", "green_wire", "blue_wire")
    half = height / len(posts) / 2
    for rib, post, wire in zip(ribs, posts, wires, strict=True):
        z, post_z, side = rib.pos[2], post.pos[2], post.size[0]
        housing = slab((length / 2, width / 2, half - 0.00006), (-length / 2, 0, z), 0.0003)
        yield Part("plug", "black_plastic", housing)
        window = slab((0.0014, 0.00004, 0.00035), (-0.0045, -width / 2, z), 0.00003)
        yield Part("plug", "gold", window)
        square = rounded_rectangle(side, side, side * 0.15, 1)
        stations = ((-0.002, 1.0), (connector.travel - 0.0009, 1.0), (connector.travel, 0.35))
        shape = extrude([(x, square * scale + [0, post_z]) for x, scale in stations])
        yield Part("plug", "gold", shape)
        yield Part("plug", wire, _cable(-length + 0.001, 0.0007, z))


def _usb_plug(connector: Connector) -> Iterator[Part]:
    length, width, height = connector.body_size
    body = slab((length / 2, width / 2, height / 2), (-length / 2, 0, 0), 0.0012, 0.0018)
    yield Part("plug", "white_plastic", body)
    yield Part("plug", "white_plastic", _boot(-length + 0.0005, 0.0105, 0.0033))
    yield Part("plug", "white_plastic", _cable(-length - 0.009, 0.0019))
    (shell,) = connector.plug["insert_box"]
    _, half_y, half_z = shell.size
    start, end = -0.0005, connector.travel
    shape = slab(((end - start) / 2, half_y, half_z), ((end + start) / 2, 0, 0), 0.0006, 0.0005)
    yield Part("plug", "steel", shape)
    for z in (half_z, -half_z):
        for y in (-0.0025, 0.0025):
            hole = slab((0.00115, 0.00115, 0.00006), (0.0062, y, z), 0.00004)
            yield Part("plug", "black_plastic", hole)
    seam = slab((end / 2 - 0.0005, 0.00008, 0.00004), (end / 2, 0, -half_z), 0.00003)
    yield Part("plug", "black_plastic", seam)


def _stud_plug(connector: Connector) -> Iterator[Part]:
    length, diameter, _ = connector.body_size
    radius = diameter / 2
    bevel = radius * 0.14
    shank = [(-length, radius - bevel), (-length + bevel, radius), (-bevel, radius)]
    shank += [(0.0, radius - bevel)]
    yield Part("plug", "dark_steel", revolve(shank))
    (insert,) = connector.plug["insert_capsules"]
    major, pitch = insert.size[0], 0.001  # M6, ISO 261
    spiral = thread(-0.0005, connector.travel, major, major - 0.61 * pitch, pitch)
    yield Part("plug", "steel", spiral)


_PLUGS: dict[str, Callable[[Connector], Iterator[Part]]] = {
    "aux": _aux_plug,
    "pin": _pin_plug,
    "usb": _usb_plug,
    "stud": _stud_plug,
}


# --- socket -----------------------------------------------------------------------------------
def opening(connector: Connector, clearance: float) -> Opening:
    """Outline of a socket's hole behind its lead-in: what is inserted, and the clearance."""
    if "insert_box" in connector.plug:
        _, half_y, half_z = connector.plug["insert_box"][0].size
        return Opening(half_y + clearance, half_z + clearance)
    inserts = connector.plug["insert_capsules"]
    half_y, half_z = (max(abs(p.pos[a]) + p.size[0] for p in inserts) for a in (1, 2))
    return Opening(half_y + clearance, half_z + clearance, round=len(inserts) == 1)


def socket_parts(
    spec: mujoco.MjSpec, connector: Connector, clearance: float, lead_in: float
) -> Iterator[Part]:
    """The housing around its hole, its near half of glass."""
    hole = opening(connector, clearance)
    mouth = hole.grown(lead_in)
    collar = mouth.grown(0.0016)
    depth = connector.travel + BACK_GAP
    chamfer = min(CHAMFER_SLOPE * lead_in, depth / 2)
    half_x, half_y, half_z = HOUSING_HALF_SIZE
    end, edge = 2 * half_x, 0.0010
    outside, point = Opening(half_y, half_z), Opening(1e-6, 1e-6, hole.round)
    bevel = [(edge, 0.0), (edge * 0.3, edge * 0.3), (0.0, edge)]
    shell = [(0.0, collar)]
    shell += [(x, outside.grown(-inset)) for x, inset in reversed(bevel)]
    shell += [(end - x, outside.grown(-inset)) for x, inset in bevel]
    shell += [(end, point)]
    bore = [(depth, point), (depth, hole), (chamfer, hole)]
    if lead_in > 0:
        bore.append((0.0, mouth))
    quarter = math.pi / 2
    for near, start, stop in ((False, -quarter, quarter), (True, quarter, 3 * quarter)):
        for profile, material in (
            (shell, "block"),
            ([(0.0, mouth), (0.0, collar)], _COLLARS[connector.name]),
            (bore, "bore"),
        ):
            yield Part("socket", "glass" if near else material, turn(profile, start, stop))
    lower = [(x, outline.half_z) for x, outline in reversed(bore)] + [(end, 1e-6)]
    upper = [(x, outline.half_z) for x, outline in shell[1:-1]]
    yield Part("socket", "cut", section(lower, upper))
    near_half = (half_x, half_y / 2, half_z)
    yield Part("socket", "glass_edge", box_edges(near_half, (half_x, -half_y / 2, 0), _EDGE))

    for divider in connector.socket(clearance, lead_in).get("dividers", []):
        radius, width = divider.size[0], mouth.half_y / 2
        shape = slab((depth / 2, width, radius), (depth / 2, width, divider.pos[2]), radius * 0.9)
        yield Part("socket", "black_plastic", shape)
    stand = spec.geom("pedestal")
    height = 0.04
    column = slab((stand.size[0], stand.size[1], height), (half_x, 0, -half_z - height), 0.001)
    yield Part("socket", "graphite", column)
