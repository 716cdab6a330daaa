"""The connectors' dimensions, as they come out in the compiled scene."""

from __future__ import annotations

import itertools
import math

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.config import SceneConfig
from vtenv.tasks.insertion.connectors import (
    CONNECTOR_NAMES,
    CONNECTORS,
    HOUSING_HALF_SIZE,
    SLOTS,
    get_connector,
    quat_from_axes,
)

# Half-width and half-height of the part that is inserted, in [mm], from the standards: a pin,
# not the row, for the header.
HALF_SIZE_MM = {
    "aux": (3.5 / 2, 3.5 / 2),
    "pin": (0.635 / 2, 0.635 / 2),
    "usb": (12.0 / 2, 4.5 / 2),
    "stud": (6.0 / 2, 6.0 / 2),
}
TRAVEL_MM = {"aux": 14.0, "pin": 5.84, "usb": 11.75, "stud": 12.0}
BODY_MM = {
    "aux": (18.0, 9.0, 9.0),
    "pin": (14.0, 2.54, 4 * 2.54),
    "usb": (20.0, 16.0, 8.0),
    "stud": (20.0, 8.0, 8.0),
}
PIN_ROWS_MM = (-3.81, -1.27, 1.27, 3.81)
CHAMFER_SLOPE = 1.5  # depth of the chamfer over its width

every_connector = pytest.mark.parametrize("connector", CONNECTOR_NAMES)
every_fit = pytest.mark.parametrize(
    ("clearance_mm", "lead_in_mm"), list(itertools.product((0.1, 0.2, 0.4, 0.8, 2.0), (0.0, 1.0)))
)


def extent(model: mujoco.MjModel, prefixes: tuple[str, ...]) -> NDArray[np.float64]:
    """Bounds of the plug's used geoms of some roles, in its frame: (2, 3), in [mm]."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for index in range(model.ngeom):
        geom = model.geom(index)
        if not geom.name.startswith(prefixes) or geom.rgba[3] == 0:
            continue
        mat = np.empty(9)
        mujoco.mju_quat2Mat(mat, geom.quat)
        mat = mat.reshape(3, 3)
        size, axis = geom.size, np.abs(mat[:, 2])
        if geom.type[0] == mujoco.mjtGeom.mjGEOM_BOX:
            half = np.abs(mat) @ size
        elif geom.type[0] == mujoco.mjtGeom.mjGEOM_CAPSULE:
            half = axis * size[1] + size[0]
        else:  # a cylinder
            half = axis * size[1] + np.sqrt(1 - np.minimum(axis, 1) ** 2) * size[0]
        low, high = np.minimum(low, geom.pos - half), np.maximum(high, geom.pos + half)
    return np.stack([low, high]) * 1e3


class Hole:
    """A socket probed by rays, in its own frame and in [mm]."""

    mouth = np.array([0.3, 0.0, scene.HAND_HEIGHT])

    def __init__(self, connector: str, clearance_mm: float = 0.4, lead_in_mm: float = 1.0):
        config = SceneConfig(clearance_mm, lead_in_mm)
        self.model = scene.build_spec(config, connector).compile()
        self.data = mujoco.MjData(self.model)
        self.data.mocap_pos[0] = self.mouth
        mujoco.mj_forward(self.model, self.data)

    def probe(self, start: tuple[float, float, float], direction: object) -> tuple[float, str]:
        """Distance to the nearest collider, and its name."""
        groups = np.zeros(6, np.uint8)
        groups[scene.COLLIDER_GROUP] = 1
        hit = np.empty(1, np.int32)
        distance = mujoco.mj_ray(
            self.model,
            self.data,
            self.mouth + np.array(start) * 1e-3,
            np.array(direction, np.float64),
            groups,
            True,
            self.model.body("plug").id,
            hit,
        )
        return distance * 1e3, self.model.geom(hit[0]).name if hit[0] >= 0 else ""


def test_connectors_are_those_named_in_their_order():
    assert tuple(CONNECTORS) == CONNECTOR_NAMES == ("aux", "pin", "usb", "stud")
    for index, name in enumerate(CONNECTOR_NAMES):
        assert get_connector(name).name == name
        assert get_connector(name).id == index


@pytest.mark.parametrize("name", ["hdmi", "", "USB", None])
def test_an_unknown_connector_is_named_with_all_there_are(name):
    with pytest.raises(ValueError) as error:
        get_connector(name)
    assert repr(name) in str(error.value)
    assert all(known in str(error.value) for known in CONNECTOR_NAMES)


@every_connector
def test_plugs_have_the_dimensions_of_their_standards(connector):
    model = scene.build_spec(SceneConfig(), connector).compile()
    length, width, height = BODY_MM[connector]
    body = extent(model, ("body_boxes", "body_cylinder"))
    np.testing.assert_allclose(body[:, 0], [-length, 0.0], atol=1e-6)
    np.testing.assert_allclose(body[1, 1] - body[0, 1], width, atol=1e-6)
    # Ribs leave grooves above the outer pins' middle; the hull that is gripped is whole.
    gripped = extent(model, ("grip_box", "grip_capsule"))
    np.testing.assert_allclose(gripped[1] - gripped[0], [length, width, height], atol=1e-6)
    assert (body[0] >= gripped[0] - 1e-6).all()
    assert (body[1] <= gripped[1] + 1e-6).all()
    np.testing.assert_allclose(
        CONNECTORS[connector].body_size, np.array(BODY_MM[connector]) * 1e-3, atol=1e-12
    )

    inserted = extent(model, ("insert_box", "insert_capsules"))
    assert inserted[1, 0] == pytest.approx(TRAVEL_MM[connector], abs=1e-6)
    assert CONNECTORS[connector].travel == pytest.approx(TRAVEL_MM[connector] * 1e-3)
    # It begins in the body, so that no gap is left at the shoulder.
    assert inserted[0, 0] < 0.0
    half_width, half_height = HALF_SIZE_MM[connector]
    if connector == "pin":
        half_height += PIN_ROWS_MM[-1]
    expected = [[-half_width, -half_height], [half_width, half_height]]
    np.testing.assert_allclose(inserted[:, 1:], expected, atol=1e-6)


@every_connector
def test_dimensions_have_a_source(connector):
    assert len(CONNECTORS[connector].source) > 20


@every_connector
def test_plugs_have_the_mass_of_a_block_of_their_size(connector):
    """Inertia by adding up the block's small parts, and what the model took over."""
    chosen = CONNECTORS[connector]
    mass, centre, inertia = scene.plug_mass_properties(chosen)
    assert mass == chosen.mass
    np.testing.assert_allclose(centre, [-chosen.body_size[0] / 2, 0.0, 0.0])
    steps = 40
    axes = [(np.arange(steps) + 0.5) / steps * side - side / 2 for side in chosen.body_size]
    points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3) ** 2
    by_parts = mass * (points.sum(axis=1, keepdims=True) - points).mean(axis=0)
    np.testing.assert_allclose(inertia, by_parts, rtol=2e-3)
    body = scene.build_spec(SceneConfig(), connector).compile().body("plug")
    assert body.mass[0] == pytest.approx(mass)
    np.testing.assert_allclose(np.sort(body.inertia), np.sort(inertia))


@every_connector
@every_fit
def test_the_hole_is_the_plug_and_its_clearance(connector, clearance_mm, lead_in_mm):
    hole = Hole(connector, clearance_mm, lead_in_mm)
    half_width, half_height = HALF_SIZE_MM[connector]
    travel = TRAVEL_MM[connector]
    deep = 0.9 * travel
    rows = PIN_ROWS_MM if connector == "pin" else (0.0,)
    # Pins too near each other for a divider share one slot.
    divided = connector != "pin" or 2.54 - 2 * (half_width + clearance_mm) > 0.3
    for row in rows:
        for sign in (1.0, -1.0):
            across, _ = hole.probe((deep, 0.0, row), (0.0, sign, 0.0))
            assert across == pytest.approx(half_width + clearance_mm, abs=1e-6)
            outermost = row == (rows[-1] if sign > 0 else rows[0])
            if divided or outermost:
                up, _ = hole.probe((deep, 0.0, row), (0.0, 0.0, sign))
                assert up == pytest.approx(half_height + clearance_mm, abs=1e-6)
        bottom, _ = hole.probe((0.5, 0.0, row), (1.0, 0.0, 0.0))
        assert bottom == pytest.approx(travel + 0.5 - 0.5, abs=1e-6)


@every_connector
@pytest.mark.parametrize("lead_in_mm", [0.5, 1.0, 2.0])
def test_the_chamfer_widens_the_mouth_by_the_lead_in(connector, lead_in_mm):
    clearance_mm = 0.4
    hole = Hole(connector, clearance_mm, lead_in_mm)
    half_width = HALF_SIZE_MM[connector][0] + clearance_mm
    row = PIN_ROWS_MM[0] if connector == "pin" else 0.0
    depth = min(CHAMFER_SLOPE * lead_in_mm, (TRAVEL_MM[connector] + 0.5) / 2)
    for part in (0.001, 0.25, 0.5, 0.75, 0.999, 1.1):
        across, _ = hole.probe((part * depth, 0.0, row), (0.0, 1.0, 0.0))
        expected = half_width + lead_in_mm * max(0.0, 1 - part)
        assert across == pytest.approx(expected, abs=1e-4)


@every_connector
@every_fit
def test_the_hole_has_no_gaps(connector, clearance_mm, lead_in_mm):
    """From inside, every ray that does not leave through the mouth ends on a wall."""
    hole = Hole(connector, clearance_mm, lead_in_mm)
    depth = 0.6 * TRAVEL_MM[connector]
    rows = PIN_ROWS_MM if connector == "pin" else (0.0,)
    # Evenly over the sphere, golden angle apart.
    count = 300
    x = 1 - 2 * (np.arange(count) + 0.5) / count
    turn = np.arange(count) * math.pi * (3 - math.sqrt(5))
    ring = np.sqrt(1 - x**2)
    directions = np.stack([x, ring * np.cos(turn), ring * np.sin(turn)], axis=-1)
    half_width, half_height = HALF_SIZE_MM[connector]
    room = clearance_mm + lead_in_mm + 0.1
    widest = math.hypot(half_width * 1.04 + room, rows[-1] - rows[0] + half_height * 1.04 + room)
    for row in rows:
        for direction in directions:
            # Towards the mouth, if the ray is still within its reach there.
            if direction[0] < 0 and depth / -direction[0] * math.hypot(*direction[1:]) < widest:
                continue
            distance, name = hole.probe((depth, 0.0, row), direction)
            assert name.startswith(("walls", "dividers"))
            assert distance * math.hypot(*direction[1:]) < widest


@every_connector
@every_fit
def test_the_face_around_the_mouth_is_flat_and_closed(connector, clearance_mm, lead_in_mm):
    """Seen from the front: a flat face as large as the housing, and the mouth within it."""
    hole = Hole(connector, clearance_mm, lead_in_mm)
    _, half_y, half_z = np.array(HOUSING_HALF_SIZE) * 1e3
    half_width, half_height = HALF_SIZE_MM[connector]
    if connector == "pin":
        half_height += PIN_ROWS_MM[-1]
    reach = clearance_mm + lead_in_mm
    for y, z in itertools.product(np.linspace(-0.99, 0.99, 45), np.linspace(-0.99, 0.99, 31)):
        y, z = y * half_y, z * half_z
        depth = hole.probe((-5.0, y, z), (1.0, 0.0, 0.0))[0] - 5.0
        if connector in ("aux", "stud"):
            beyond = math.hypot(y, z) - (half_width + reach)
            # The mouth has twelve sides and the plates around it eight, which leaves shallow
            # grooves, wider and deeper for a larger mouth.
            grooved = beyond < 0.083 * (half_width + reach)
        else:
            beyond = max(abs(y) - half_width, abs(z) - half_height) - reach
            grooved = False
        if beyond > 0.01 and not grooved:
            assert depth == pytest.approx(0.0, abs=1e-6), (y, z)
        elif beyond > 0.036 * (half_width + reach):
            assert -1e-6 < depth < 0.3, (y, z)
        elif beyond < -reach - 0.01 and connector != "pin":
            # Over the plug's own outline the way is free to the bottom.
            assert depth == pytest.approx(TRAVEL_MM[connector] + 0.5, abs=1e-6), (y, z)


@every_connector
@every_fit
def test_every_primitive_has_a_slot(connector, clearance_mm, lead_in_mm):
    """And none is left out: a role without a slot would be dropped without a word."""
    chosen = CONNECTORS[connector]
    shapes = {
        "plug": chosen.plug,
        "socket": chosen.socket(clearance_mm * 1e-3, lead_in_mm * 1e-3),
    }
    for owner, shape in shapes.items():
        counts = {slot.role: slot.number for slot in SLOTS if slot.owner == owner}
        assert set(shape) <= set(counts)
        for role, primitives in shape.items():
            assert 0 < len(primitives) <= counts[role]
            for primitive in primitives:
                assert min(primitive.size) > 0
                assert math.hypot(*primitive.quat) == pytest.approx(1.0)
                reach = np.abs(primitive.pos) if owner == "socket" else np.zeros(3)
                assert (reach <= np.array([2, 1, 1]) * HOUSING_HALF_SIZE).all()


def test_too_many_primitives_for_a_slot_are_refused(monkeypatch):
    plug = CONNECTORS["usb"].plug
    monkeypatch.setitem(plug, "insert_capsules", plug["insert_capsules"] * 2)
    with pytest.raises(ValueError, match=r"8 primitives for the 4 of .*insert_capsules"):
        scene.build_spec(SceneConfig(), "usb")


@pytest.mark.parametrize("seed", range(5))
def test_quaternion_of_axes_turns_onto_them(seed):
    axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    axes *= np.sign(np.linalg.det(axes))
    quat = quat_from_axes(*axes.T)
    for unit, axis in zip(np.eye(3), axes.T, strict=True):
        turned = np.empty(3)
        mujoco.mju_rotVecQuat(turned, unit, np.array(quat))
        np.testing.assert_allclose(turned, axis, atol=1e-12)
