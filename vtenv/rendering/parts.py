"""The shapes that people see, generated from the geoms of the scene and a connector's primitives.

The near finger and the near half of the socket are glass, and the far half is cut along the
plug's axis, so that the insertion is seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vtenv.rendering.surfaces import (
    Surface,
    box_edges,
    flat,
    revolve,
    slab,
    solid,
    tube,
    turn,
)
from vtenv.tasks.insertion.connectors import BACK_GAP, Connector
from vtenv.tasks.insertion.primitives import (
    CHAMFER_SLOPE,
    HOUSING_HALF_SIZE,
    Primitive,
    bounds,
)

_EDGE = 0.00012
"""Half the width of the lines along the edges of glass, in [m]."""
_RIM = 0.0016
"""Width of the rim around a socket's mouth, in [m]."""
_WIRES = ("red_wire", "yellow_wire", "green_wire", "blue_wire")
"""Materials of the wires of a plug whose body has several parts, in turn."""


class Part(NamedTuple):
    """A surface, what it is made of (a material of `vtenv.rendering.decor`), and its body."""

    body: str
    material: str
    surface: Surface


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


def plug_parts(connector: Connector, scale: float) -> Iterator[Part]:
    """The plug and its cable, in the plug's frame."""
    for primitive in connector.body:
        yield Part("plug", connector.style.body, _solid(primitive, 0.0012))
    for primitive in connector.insert(scale):
        yield Part("plug", connector.style.insert, _solid(primitive, 0.0003))
    radius, back = connector.style.cable, -connector.body_size[0]
    if radius and len(connector.body) > 1:
        for index, primitive in enumerate(connector.body):
            wire = _cable(back + 0.001, radius, primitive.pos[2])
            yield Part("plug", _WIRES[index % len(_WIRES)], wire)
    elif radius:
        yield Part("plug", connector.style.body, _strain_relief(back + 0.0005, 0.010, 1.9 * radius))
        yield Part("plug", connector.style.body, _cable(back - 0.009, radius))


def _solid(primitive: Primitive, edge: float) -> Surface:
    mat = np.empty(9)
    mujoco.mju_quat2Mat(mat, np.array(primitive.quat))
    return solid(primitive.kind, primitive.size, edge).placed(mat.reshape(3, 3), primitive.pos)


def _cable(start: float, radius: float, z: float = 0.0) -> Surface:
    """Cable that leaves a plug's back at `start` and hangs."""
    t = np.linspace(0, 1, 16)
    path = np.column_stack([start - 0.09 * t, np.zeros(len(t)), z - 0.03 * t**2.2])
    return tube(path, radius)


def _strain_relief(end: float, length: float, radius: float) -> Surface:
    """Ribbed sleeve of a cable that ends inside the body at `end`."""
    profile = [(end - length, radius * 0.72)]
    pitch = length / 4.6
    for k in range(4):
        x = end - length + pitch * (k + 0.3)
        profile += [(x, radius * 0.95), (x + pitch * 0.55, radius)]
        profile += [(x + pitch * 0.6, radius * 0.8), (x + pitch * 0.95, radius * 0.8)]
    return revolve([*profile, (end, radius)])


def outline(
    primitives: Sequence[Primitive], angles: ArrayLike, margin: float
) -> NDArray[np.float64]:
    """Distance from the axis to the convex outline of primitives seen along x, grown by a margin.

    Args:
        primitives: The primitives, around the axis.
        angles: About the axis, from +y towards +z, (A,), in [rad].
        margin: By how much it is grown, in [m]; corners become round.
    """
    turns = np.arange(72) * 2 * math.pi / 72
    normals = np.column_stack([np.zeros(72), np.cos(turns), np.sin(turns)])
    reach = np.max([primitive.support(normals) for primitive in primitives], axis=0) + margin
    along = np.cos(np.asarray(angles)[:, None] - turns)
    return np.where(along > 1e-6, reach / np.maximum(along, 1e-6), np.inf).min(axis=1)


def socket_parts(
    spec: mujoco.MjSpec, connector: Connector, clearance: float, lead_in: float, scale: float
) -> Iterator[Part]:
    """The housing around a hole of the insert's outline, its near half of glass."""
    insert = connector.insert(scale)
    depth = connector.travel + BACK_GAP
    chamfer = min(CHAMFER_SLOPE * lead_in, depth / 2)
    half_x, half_y, half_z = HOUSING_HALF_SIZE
    end, quarter = 2 * half_x, math.pi / 2
    corner = math.atan2(half_z, half_y)
    for near in (False, True):
        middle = 2 * quarter if near else 0.0
        angles = np.sort([*np.linspace(-quarter, quarter, 73), -corner, corner]) + middle
        hole, mouth, rim = (
            outline(insert, angles, margin)
            for margin in (clearance, clearance + lead_in, clearance + lead_in + _RIM)
        )
        cos, sin = np.abs(np.cos(angles)), np.abs(np.sin(angles))
        side = np.minimum(half_y / np.maximum(cos, 1e-9), half_z / np.maximum(sin, 1e-9))
        point = np.full(len(angles), 1e-6)
        for material, profile in (
            ("block", [(0.0, rim), (0.0, side), (end, side), (end, point)]),
            (connector.style.insert, [(0.0, mouth), (0.0, rim)]),
            ("bore", [(depth, point), (depth, hole), (chamfer, hole), (0.0, mouth)]),
        ):
            yield Part("socket", "glass" if near else material, turn(profile, angles))
    sections = []
    for sign, angle in ((1, quarter), (-1, -quarter)):
        hole, mouth = (outline(insert, [angle], m)[0] for m in (clearance, clearance + lead_in))
        for a, b, low, high in (
            (0.0, chamfer, mouth, hole),
            (chamfer, depth, hole, hole),
            (depth, end, 0.0, 0.0),
        ):
            corners = [(a, 0, low), (b, 0, high), (b, 0, half_z), (a, 0, half_z)]
            sections.append([(x, y, sign * z) for x, y, z in corners][::sign])
    yield Part("socket", "cut", flat(sections))
    near_half = (half_x, half_y / 2, half_z)
    yield Part("socket", "glass_edge", box_edges(near_half, (half_x, -half_y / 2, 0), _EDGE))

    for wall in connector.shape(clearance, lead_in, scale).walls:
        low, high = bounds([wall])
        y, z = wall.pos[1:]
        if low[0] < depth / 2 and math.hypot(y, z) < outline(insert, [math.atan2(z, y)], 0.0)[0]:
            low[1] = 0.0  # what divides the hole, cut as its housing is
            size = ((high - low) / 2).tolist()
            divider = slab(size, ((high + low) / 2).tolist(), 0.9 * min(size))
            yield Part("socket", "black_plastic", divider)
    stand = spec.geom("pedestal")
    height = 0.04
    column = slab((stand.size[0], stand.size[1], height), (half_x, 0, -half_z - height), 0.001)
    yield Part("socket", "graphite", column)
