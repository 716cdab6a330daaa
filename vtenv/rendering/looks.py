"""The scene as people see it, generated from the geoms of the scene and a connector's primitives.

The model has the joints and bodies of the physics model, so that a state is copied as it is, but
hides the physics' geoms. The near finger and the near half of the socket are glass, and the far
half is cut along the plug's axis, so that the insertion is seen.

Solids are convex hulls: the edge of a primitive, moved in by a radius, around which small spheres
make it round. MuJoCo makes the hulls' faces and normals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count, pairwise, product
from typing import Any

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vtenv.rendering.materials import add_lights, add_materials
from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.connectors import BACK_GAP, Connector
from vtenv.tasks.insertion.primitives import (
    ALONG_Y,
    CHAMFER_SLOPE,
    HOUSING_HALF_SIZE,
    Primitive,
    bounds,
    cylinder,
)

Points = NDArray[np.float64]
"""Points in rows, (N, 3), in [m]."""

_HIDDEN_GROUP = 5
"""Geom group of the connectors that are not shown."""
_EDGE = 0.00012
"""Radius of the lines along the edges of glass, in [m]."""
_RIM = 0.0016
"""Width of the rim around a socket's mouth, in [m]."""
_WIRES = ("red_wire", "yellow_wire", "green_wire", "blue_wire")
"""Materials of the wires of a plug whose body has several parts, in turn."""


def build_render_spec(config: scene.SceneConfig, connectors: Sequence[Connector]) -> mujoco.MjSpec:
    """Describe the scene as people see it, with all of some connectors at once.

    Args:
        config: What the scene is built from.
        connectors: The connectors in play. `show_connector` chooses the one that is seen.

    Returns:
        A specification whose model has the joints and the mocap body of `scene.build_spec`'s.
    """
    spec = scene.build_spec(config, connectors[0])
    add_materials(spec)
    add_lights(spec)
    _dress_hand(_Looks(spec))
    stand = _primitive(spec.geom("pedestal"))
    for connector in connectors:
        looks = _Looks(spec, connector.name)
        _dress_plug(looks, connector, config.connector_scale)
        _dress_socket(looks, connector, config)
        looks.solid("socket", "graphite", stand, 0.001)
    for geom in list(spec.geoms):
        if "/" in geom.name:
            continue
        if geom.parent.name in ("plug", "socket"):
            spec.delete(geom)  # each connector has its own
        else:
            geom.group = scene.COLLIDER_GROUP
    spec.worldbody.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[2.0, 2.0, 0.05],
        material="floor",
        group=scene.DECOR_GROUP,
        contype=0,
        conaffinity=0,
        castshadow=False,
    )
    return spec


def show_connector(model: mujoco.MjModel, name: str) -> None:
    """Show one of the connectors of a render model, and hide the others."""
    for index in range(model.ngeom):
        owner, slash, _ = model.geom(index).name.partition("/")
        if owner and slash:
            model.geom_group[index] = scene.DECOR_GROUP if owner == name else _HIDDEN_GROUP


class _Looks:
    """Adds to a specification what is seen and nothing else.

    Args:
        spec: The specification.
        owner: Whose it is: a connector's name, or nobody's.
    """

    def __init__(self, spec: mujoco.MjSpec, owner: str = "") -> None:
        self.spec = spec
        self._names = (f"{owner}/{number}" for number in count())

    def add(self, body: str, material: str, name: str = "", **geom: Any) -> None:
        """Add a geom, its edges as they are."""
        self.spec.body(body).add_geom(
            name=name or next(self._names),
            material=material,
            group=scene.DECOR_GROUP,
            mass=0.0,
            contype=0,
            conaffinity=0,
            castshadow=not material.startswith("glass"),
            **geom,
        )

    def mesh(self, body: str, material: str, points: Points, **faces: Any) -> None:
        """Add a mesh, the convex hull of its points unless it has faces."""
        name = next(self._names)
        shell = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
        self.spec.add_mesh(name=name, uservert=points.ravel(), inertia=shell, **faces)
        self.add(body, material, name, type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name)

    def solid(self, body: str, material: str, primitive: Primitive, edge: float) -> None:
        """Add a primitive with rounded edges."""
        self.mesh(body, material, rounded(primitive, edge))

    def skin(self, body: str, material: str, rings: Sequence[ArrayLike]) -> None:
        """Add an open skin over rings of points, (N, 3) each, seen from one side.

        Seen from there, the rings go to the right and follow each other upwards. Texture
        coordinates are x and z in [cm].
        """
        grid = np.asarray(rings, np.float64)
        across, n = grid.shape[:2]
        corner = np.arange(across * n).reshape(across, n)
        a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
        faces = np.stack([np.stack(half, -1) for half in ((a, b, c), (a, c, d))]).reshape(-1, 3)
        points = grid.reshape(-1, 3)
        p, q, r = points[faces].transpose(1, 0, 2)
        area = np.linalg.norm(np.cross(q - p, r - p), axis=1)
        corners = faces[area > 1e-14].ravel()  # MuJoCo refuses triangles without an area
        texcoords = (points[:, [0, 2]] * 100).ravel()
        self.mesh(
            body,
            material,
            points,
            userface=corners,
            usertexcoord=texcoords,
            userfacetexcoord=corners,
        )

    def line(self, body: str, material: str, path: ArrayLike, radius: float) -> None:
        """Add a round bar along a path of points, (N, 3)."""
        for start, end in pairwise(np.asarray(path, np.float64)):
            ends, size = [*start, *end], [radius, 0, 0]
            self.add(body, material, type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=ends, size=size)

    def box_edges(self, body: str, material: str, half_size: Points, centre: Points) -> None:
        """Add the edges of a box."""
        for axis, sides in product(range(3), product((-1.0, 1.0), repeat=2)):
            ends = np.array([np.insert(sides, axis, end) for end in (-1.0, 1.0)])
            self.line(body, material, centre + ends * half_size, _EDGE)


def rounded(primitive: Primitive, edge: float) -> Points:
    """Points whose convex hull is a primitive with rounded edges.

    Args:
        primitive: The primitive.
        edge: Radius of its edges, in [m], at most.
    """
    turns = np.arange(32) * math.pi / 16
    circle = np.column_stack([np.cos(turns), np.sin(turns), np.zeros(32)])
    rises = np.linspace(-math.pi / 2, math.pi / 2, 7)[:, None, None]
    ball = (np.cos(rises) * circle + np.sin(rises) * [0, 0, 1]).reshape(-1, 3)
    if primitive.kind == "capsule":
        radius, half = primitive.size
        core, edge = np.array([[0, 0, -half], [0, 0, half]]), radius
    else:
        edge = min(edge, 0.45 * min(primitive.size))
        if primitive.kind == "box":
            core = np.array(list(product((-1, 1), repeat=3))) * (np.array(primitive.size) - edge)
        else:
            radius, half = primitive.size
            core = np.concatenate([circle * (radius - edge) + [0, 0, z] for z in (-1, 1)])
            core[:, 2] *= half - edge
    points = (core[:, None] + ball * edge).reshape(-1, 3)
    mat = np.empty(9)
    mujoco.mju_quat2Mat(mat, np.array(primitive.quat))
    placed: Points = points @ mat.reshape(3, 3).T + primitive.pos
    return placed


def _primitive(geom: mujoco.MjsGeom) -> Primitive:
    """The box that a geom of the scene is."""
    return Primitive("box", tuple(geom.size), tuple(geom.pos))


def _dress_hand(looks: _Looks) -> None:
    """Palm and fingers, around the geoms of the scene; the near finger is of glass."""
    (half_x, half_y, half_z), (_, _, middle) = _primitive(looks.spec.geom("palm"))[1:3]
    band = 0.00175  # half the height of what shows of the dark box below
    shell = Primitive("box", (half_x, half_y, half_z - band), (0, 0, middle + band))
    base = Primitive(
        "box", (half_x - 0.0006, half_y - 0.0006, half_z / 2), (0, 0, middle - half_z / 2)
    )
    looks.solid("hand", "shell", shell, 0.0022)
    looks.solid("hand", "graphite", base, 0.0008)
    for x, y in product((-half_x + 0.006, half_x - 0.006), (-half_y, half_y)):
        screw = Primitive("cylinder", (0.0022, 0.0008), (x, y, middle + 0.003), ALONG_Y)
        looks.solid("hand", "screw", screw, 0.0004)
    top = middle + half_z
    for radius, height in ((0.0118, 0.0034), (0.009, 0.06)):
        flange = Primitive("cylinder", (radius, height / 2), (0, 0, top + height / 2))
        looks.solid("hand", "graphite", flange, 0.0006)
    for side, back_material, gel_material in (
        ("left", "graphite", "gel"),
        ("right", "glass", "glass_gel"),
    ):
        body = f"finger_{side}"
        back = _primitive(looks.spec.geom(f"finger_back_{side}"))
        looks.solid(body, back_material, back, 0.0012)
        looks.solid(body, gel_material, _primitive(looks.spec.geom(f"gel_{side}")), 0.001)
        if side == "right":
            looks.box_edges(body, "glass_edge", np.array(back.size), np.array(back.pos))


def _dress_plug(looks: _Looks, connector: Connector, scale: float) -> None:
    """The plug and its cable, in the plug's frame."""
    style, back = connector.style, -connector.body_size[0]
    for primitive in connector.body:
        looks.solid("plug", style.body, primitive, 0.0012)
    for primitive in connector.insert(scale):
        looks.solid("plug", style.insert, primitive, 0.0003)
    if not style.cable:
        return
    t = np.linspace(0, 1, 16)[:, None]
    hanging = t * [-0.09, 0.0, 0.0] + t**2.2 * [0.0, 0.0, -0.03]
    if len(connector.body) > 1:
        for index, primitive in enumerate(connector.body):
            leaves = np.array([back + 0.001, 0.0, primitive.pos[2]])
            looks.line("plug", _WIRES[index % len(_WIRES)], leaves + hanging, style.cable)
        return
    leaves = np.array([back - 0.009, 0.0, 0.0])
    looks.line("plug", style.body, leaves + hanging, style.cable)
    looks.line("plug", style.body, np.array([[back, 0.0, 0.0], leaves]), 1.5 * style.cable)
    for rib in range(4):  # of the sleeve that relieves the cable of strain
        start = back - 0.0024 * (rib + 1)
        looks.solid("plug", style.body, cylinder(start, start + 0.0016, 1.9 * style.cable), 0.0006)


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


def _dress_socket(looks: _Looks, connector: Connector, config: scene.SceneConfig) -> None:
    """The housing around a hole of the insert's outline: the far half, cut, and a glass half.

    What an opening leaves more than the clearance is not drawn.
    """
    clearance = min(connector.clearance(scene.metres(config.clearance_mm)))
    lead_in = connector.lead_in(scene.metres(config.lead_in_mm))
    insert = connector.insert(config.connector_scale)
    depth = connector.travel + BACK_GAP
    chamfer = min(CHAMFER_SLOPE * lead_in, depth / 2)
    half_x, half_y, half_z = HOUSING_HALF_SIZE
    end, corner = 2 * half_x, math.atan2(half_z, half_y)

    angles = np.sort([*np.linspace(-math.pi / 2, math.pi / 2, 73), -corner, corner])
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    side = np.minimum(
        half_y / np.maximum(circle[:, 0], 1e-9), half_z / np.maximum(np.abs(circle[:, 1]), 1e-9)
    )
    hole, mouth, rim = (
        outline(insert, angles, margin)
        for margin in (clearance, clearance + lead_in, clearance + lead_in + _RIM)
    )

    def ring(x: float, radius: ArrayLike) -> Points:
        return np.insert(circle * np.reshape(radius, (-1, 1)), 0, x, axis=1)

    axis = np.full(len(angles), 1e-6)
    for material, *profile in (
        ("block", (0.0, rim), (0.0, side), (end, side), (end, axis)),
        (connector.style.insert, (0.0, mouth), (0.0, rim)),
        ("bore", (depth, axis), (depth, hole), (chamfer, hole), (0.0, mouth)),
    ):
        for pair in pairwise(ring(x, radius) for x, radius in profile):  # sharp edges between
            looks.skin("socket", material, pair)
    for last in (0, -1):  # below and above the hole
        up = math.copysign(1.0, angles[last])
        inner = [
            (0.0, mouth[last]),
            (chamfer, hole[last]),
            (depth, hole[last]),
            (depth, 0),
            (end, 0),
        ]
        edges = [[(x, 0, up * z) for x, z in inner], [(x, 0, up * half_z) for x, _ in inner]]
        looks.skin("socket", "cut", edges if up > 0 else edges[::-1])

    glass, middle = np.array([half_x, half_y / 2, half_z]), np.array([half_x, -half_y / 2, 0])
    box = mujoco.mjtGeom.mjGEOM_BOX
    looks.add("socket", "glass", type=box, size=glass, pos=middle)
    looks.box_edges("socket", "glass_edge", glass, middle)

    for wall in connector.shape(clearance, lead_in, config.connector_scale).walls:
        low, high = bounds([wall])
        y, z = wall.pos[1:]
        if low[0] < depth / 2 and math.hypot(y, z) < outline(insert, [math.atan2(z, y)], 0.0)[0]:
            low[1] = 0.0  # what divides the hole, cut as its housing is
            size = tuple((high - low) / 2)
            divider = Primitive("box", size, tuple((high + low) / 2))
            looks.solid("socket", "black_plastic", divider, 0.45 * min(size))
