"""The connectors' dimensions, as they come out in the compiled scene."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import pickle
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray
from worlds import UNDISTURBED, make_simulation, simulate

from vtenv.simulation import Simulation
from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.config import InitialStateRanges
from vtenv.tasks.insertion.connectors import (
    CONNECTOR_NAMES,
    CONNECTORS,
    POST_SIDE,
    Connector,
    ConnectorError,
    Fit,
    Mating,
)
from vtenv.tasks.insertion.generated import HELD_OUT, generated, require_trainable
from vtenv.tasks.insertion.named_connectors import get_connectors
from vtenv.tasks.insertion.primitives import (
    HOUSING_HALF_SIZE,
    Primitive,
    bounds,
    box,
    capsule,
    cylinder,
    quat_from_axes,
    rectangular_hole,
)
from vtenv.tasks.insertion.profiles import PROFILES, RectangularProfile
from vtenv.tasks.insertion.scene import SceneConfig

# Half-width and half-height of the part that is inserted, in [mm], from the standards: a pin,
# not the row, for the header.
HALF_SIZE_MM = {
    "aux": (3.5 / 2, 3.5 / 2),
    "pin": (0.64 / 2, 0.64 / 2),
    "usb": (12.0 / 2, 4.5 / 2),
    "stud": (6.0 / 2, 6.0 / 2),
}
SLACK_MM = {"usb": (0.115, 0.255)}
"""What the opening leaves more than the clearance, which is the tongue's."""
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

    def __init__(self, connector: str, clearance_mm: float | None = 0.4, lead_in_mm: float = 1.0):
        config = SceneConfig(clearance_mm, lead_in_mm)
        self.model = scene.build_spec(config, *get_connectors(connector)).compile()
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
    assert all(connector.name == name for name, connector in CONNECTORS.items())
    assert get_connectors(CONNECTOR_NAMES) == tuple(CONNECTORS.values())


@every_connector
def test_plugs_have_the_dimensions_of_their_standards(connector):
    model = scene.build_spec(SceneConfig(), CONNECTORS[connector]).compile()
    length, width, height = BODY_MM[connector]
    body = extent(model, ("body_",))
    np.testing.assert_allclose(body[:, 0], [-length, 0.0], atol=1e-6)
    np.testing.assert_allclose(body[1, 1] - body[0, 1], width, atol=1e-6)
    # Ribs leave grooves above the outer pins' middle; the hull that is gripped is whole.
    gripped = extent(model, ("grip_",))
    np.testing.assert_allclose(gripped[1] - gripped[0], [length, width, height], atol=1e-6)
    assert (body[0] >= gripped[0] - 1e-6).all()
    assert (body[1] <= gripped[1] + 1e-6).all()
    np.testing.assert_allclose(
        CONNECTORS[connector].body_size, np.array(BODY_MM[connector]) * 1e-3, atol=1e-12
    )

    inserted = extent(model, ("insert_",))
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
    np.testing.assert_allclose(inertia - scene.CABLE_INERTIA, by_parts, rtol=2e-3)
    body = scene.build_spec(SceneConfig(), CONNECTORS[connector]).compile().body("plug")
    assert body.mass[0] == pytest.approx(mass)
    np.testing.assert_allclose(np.sort(body.inertia), np.sort(inertia))


@every_connector
@every_fit
def test_the_hole_is_the_plug_and_its_clearance(connector, clearance_mm, lead_in_mm):
    hole = Hole(connector, clearance_mm, lead_in_mm)
    half_width, half_height = HALF_SIZE_MM[connector]
    slack_y, slack_z = SLACK_MM.get(connector, (0.0, 0.0))
    travel = TRAVEL_MM[connector]
    deep = 0.9 * travel
    rows = PIN_ROWS_MM if connector == "pin" else (0.0,)
    # Pins too near each other for a divider share one slot.
    divided = connector != "pin" or 2.54 - 2 * (half_width + clearance_mm) > 0.3
    for row in rows:
        for sign in (1.0, -1.0):
            across, _ = hole.probe((deep, 0.0, row), (0.0, sign, 0.0))
            assert across == pytest.approx(half_width + clearance_mm + slack_y, abs=1e-6)
            outermost = row == (rows[-1] if sign > 0 else rows[0])
            if divided or outermost:
                height = half_height + clearance_mm + slack_z
                if connector == "usb" and sign > 0 and 0.975 - clearance_mm > 0.15:
                    height = clearance_mm - 0.015  # up to the tongue
                up, _ = hole.probe((deep, 0.0, row), (0.0, 0.0, sign))
                assert up == pytest.approx(height, abs=1e-6)
        bottom, _ = hole.probe((0.5, 0.0, row), (1.0, 0.0, 0.0))
        assert bottom == pytest.approx(travel + 0.5 - 0.5, abs=1e-6)


@every_connector
@pytest.mark.parametrize("lead_in_mm", [0.5, 1.0, 2.0])
def test_the_chamfer_widens_the_mouth_by_the_lead_in(connector, lead_in_mm):
    clearance_mm = 0.4
    hole = Hole(connector, clearance_mm, lead_in_mm)
    half_width = HALF_SIZE_MM[connector][0] + clearance_mm + SLACK_MM.get(connector, (0.0,))[0]
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
            assert name.startswith("walls_")
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
    slack_y, slack_z = SLACK_MM.get(connector, (0.0, 0.0))
    half_width, half_height = half_width + slack_y, half_height + slack_z
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
        elif beyond < -reach - 0.01 and (connector != "pin" and (connector != "usb" or z < -0.1)):
            # Over the plug's own outline, but for a tongue, the way is free to the bottom.
            assert depth == pytest.approx(TRAVEL_MM[connector] + 0.5, abs=1e-6), (y, z)


# Made by anyone ------------------------------------------------------------------------------


def make(**changes: Any) -> Connector:
    """A connector that nobody would object to, but for the changes."""
    values: dict[str, Any] = {
        "name": "mine",
        "travel": 0.010,
        "body_size": (0.020, 0.014, 0.008),
        "profile": RectangularProfile(0.008, 0.004, nose=0.0005),
    }
    return Connector(**values | changes)


@dataclass(frozen=True)
class Custom:
    """A profile of the primitives that it is given, 8 x 4 mm otherwise."""

    inserted: tuple[Any, ...] = (box(-0.001, 0.010, 0.004, 0.002),)
    walls: tuple[Any, ...] = ()
    room: float = 0.0

    def insert(self, travel: float, scale: float) -> tuple[Any, ...]:
        return self.inserted

    def hole(
        self, depth: float, clearance: tuple[float, float], lead_in: float, scale: float
    ) -> list[Any]:
        room = min(clearance) + self.room
        return [*rectangular_hole(0.004 + room, 0.002 + room, depth, lead_in), *self.walls]


SPHERE = Primitive("sphere", (0.002,), (0.0, 0.0, 0.0))
REFUSED = {
    "no name": ({"name": ""}, "name='' is not allowed.*letters, digits"),
    "a path": ({"name": "a/b"}, "name='a/b' is not allowed"),
    "a text": ({"travel": "long"}, "'mine': travel, mass and body_size must be positive numbers"),
    "no mass": ({"mass": 0.0}, "positive numbers"),
    "too deep": ({"travel": 0.030}, r"travel=0\.03.*0\.016 m: the housing is 0\.024 m deep"),
    "too short": ({"body_size": (0.008, 0.014, 0.008)}, "not within the hand's reach"),
    "too wide": ({"body_size": (0.02, 0.040, 0.008)}, "0.039 m wide: the fingers open no farther"),
    "too high": ({"body_size": (0.02, 0.014, 0.04)}, "0.032 m high: the palm is above it"),
    "two sizes": ({"body_size": (0.02, 0.014)}, "body_size=.*length, width and height"),
    "a sphere": (
        {"body": (SPHERE,)},
        r"body\[0\] is not allowed; its kind 'sphere' is not one of "
        "box, capsule, cylinder: contacts need convex",
    ),
    "two numbers": (
        {"grip": (Primitive("box", (0.01, 0.01), (0, 0, 0)),)},
        r"grip\[0\].*3 numbers",
    ),
    "flat": ({"body": (box(-0.02, 0.0, 0.0, 0.004),)}, r"body\[0\].*must be positive"),
    "not a rotation": (
        {"body": (Primitive("box", (0.01, 0.007, 0.004), (-0.01, 0, 0), (1, 1, 0, 0)),)},
        r"body\[0\].*must have length 1",
    ),
    "nowhere": (
        {"body": (Primitive("box", (0.01, 0.007, 0.004), (math.nan, 0, 0)),)},
        r"body\[0\].*finite numbers",
    ),
    "sticks out": ({"body": (box(-0.02, 0.0, 0.007, 0.005),)}, "body reaches beyond body_size"),
    "narrow grip": ({"grip": (box(-0.02, 0.0, 0.006, 0.004),)}, "grip is narrower than the body"),
    "no insert": ({"profile": Custom(inserted=())}, "insert has no primitives"),
    "not a primitive": ({"profile": Custom(inserted=("box",))}, r"insert\[0\].*not a Primitive"),
    "short insert": ({"profile": Custom((box(-0.001, 0.009, 0.004, 0.002),))}, "end at travel"),
    "gap": ({"profile": Custom((box(0.001, 0.010, 0.004, 0.002),))}, "begin at the shoulder"),
    "off its axis": (
        {"profile": Custom((box(-0.001, 0.010, 0.001, 0.002, y=0.002),))},
        "surround its axis",
    ),
    "out of the housing": (
        {"profile": Custom(walls=(box(0, 0.01, 0.001, 0.001, z=0.0115),))},
        r"walls\[13\], a box, reaches out of the housing",
    ),
    "not hashable": ({"profile": Custom(inserted=[box(-0.001, 0.01, 0.004, 0.002)])}, "frozen"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_used_is_refused_with_its_reason(case):
    changes, message = REFUSED[case]
    with pytest.raises(ConnectorError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    ("profile", "met"),
    [
        (Custom(room=-0.0006), "insert_box_0"),
        (Custom(walls=(box(0.004, 0.006, 0.0005, 0.0005),)), r"walls_box_13.*4\.\d mm in"),
    ],
    ids=["a hole too narrow", "a wall in the way"],
)
def test_a_plug_that_does_not_fit_its_own_hole_is_refused(profile, met):
    with pytest.raises(ConnectorError, match=f"'mine' does not fit its own hole: .*{met}"):
        scene.build_models(SceneConfig(), (make(profile=profile),))


def test_connectors_are_data():
    """Equal, hashable, and the same after pickling and JSON."""
    for connector in (*CONNECTORS.values(), make(), make(profile=Custom())):
        copy = pickle.loads(pickle.dumps(connector))
        assert copy == connector
        assert hash(copy) == hash(connector)
        with pytest.raises(dataclasses.FrozenInstanceError):
            connector.travel = 0.01
    for connector in (*CONNECTORS.values(), make()):
        assert Connector.from_mapping(json.loads(json.dumps(connector.to_dict()))) == connector
    with pytest.raises(ConnectorError, match="Custom cannot be written as JSON; of profiles, Rect"):
        make(profile=Custom()).to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"profile": {"kind": "hexagonal"}},
        {"colour": "red"},
        {"body": [{"size": 1}]},
        {"profile": 3},
    ],
    ids=str,
)
def test_a_mapping_of_something_else_is_refused(change):
    with pytest.raises(ConnectorError, match=r"describes no connector.*name, travel.*pin_row"):
        Connector.from_mapping(make().to_dict() | change)


def test_a_body_is_a_block_unless_given():
    connector = make()
    assert connector.body == connector.grip == (box(-0.020, 0.0, 0.007, 0.004),)
    assert connector.sizes() == pytest.approx((0.008, 0.004, 0.014, 0.008))
    assert connector.sizes(0.8)[:2] == pytest.approx((0.0064, 0.0032))


def test_names_objects_and_mappings_are_connectors():
    mine = make()
    assert get_connectors("usb") == (CONNECTORS["usb"],)
    assert get_connectors(mine) == (mine,)
    assert get_connectors(mine.to_dict()) == (mine,)
    assert get_connectors(["usb", mine]) == (CONNECTORS["usb"], mine)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "hdmi",
            "unknown connector 'hdmi'; choose of aux, pin, usb, stud and generated-0, ",
        ),
        (["USB"], "unknown connector 'USB'"),
        (None, "unknown connector None"),
        ([], "one or more"),
        (["usb", "usb"], r"\('usb', 'usb'\) is not allowed.*name of its own"),
        ([make(name="usb"), "usb"], "name of its own"),
    ],
    ids=str,
)
def test_what_is_no_connector_is_named_with_all_there_are(given, message):
    with pytest.raises(ConnectorError, match=message):
        get_connectors(given)


def test_generated_connectors_are_data_that_their_number_decides():
    """One of each kind to train on, and one that is held out; in one world with another."""
    numbers = (0, 1, 2, 3, HELD_OUT[0])
    made = get_connectors([f"generated-{number}" for number in numbers])
    assert made == tuple(generated(number) for number in numbers)
    assert len({connector.profile for connector in made}) == len(made)
    assert {type(connector.profile) for connector in made[:4]} < set(PROFILES.values())
    for connector in made[:4]:
        assert Connector.from_mapping(json.loads(json.dumps(connector.to_dict()))) == connector
    models = scene.build_models(SceneConfig(resistance=1.0), (CONNECTORS["usb"], *made[2:4]))
    assert len({model.ngeom for model in models}) == 1
    for name in ("generated-2000", "generated-01"):
        with pytest.raises(ConnectorError, match=name):
            get_connectors(name)


def test_nobody_is_trained_on_what_is_held_out():
    require_trainable(["usb", "generated-999", CONNECTORS["usb"], "my_module:CONNECTOR"])
    held_out = generated(1003)
    for given in ("generated-1003", ["usb", "generated-1003"], [held_out], [held_out.to_dict()]):
        with pytest.raises(ValueError, match="generated-1003 is held out"):
            require_trainable(given)


def test_the_hole_of_a_d_is_round_on_one_side():
    connector = generated(2)
    half_width, half_height = (size / 2 * 1e3 for size in connector.sizes()[:2])
    hole = Hole(connector.name, clearance_mm=0.2, lead_in_mm=0.4)
    deep = 0.8 * connector.travel * 1e3
    centre = half_width - half_height
    for turn in np.linspace(-math.pi / 2, math.pi / 2, 25):
        across = hole.probe((deep, centre, 0.0), (0.0, math.cos(turn), math.sin(turn)))[0]
        # Flat walls about the circle, farther away where two of them meet.
        assert half_height + 0.2 - 1e-6 <= across <= (half_height + 0.2) * 1.036
    for sign in (-1.0, 1.0):
        corner = hole.probe((deep, -half_width + 0.1, 0.0), (0.0, 0.0, sign))[0]
        assert corner == pytest.approx(half_height + 0.2, abs=1e-6)
        # Nothing is seen beside the mouth but the face.
        beside = (math.sin(turn) for turn in (0.3, 0.8, 1.3))
        for up in beside:
            out = half_height + 0.2 + 0.4 + 0.1
            y, z = centre + out * 1.04 * math.sqrt(1 - up**2), out * 1.04 * up * sign
            assert hole.probe((-5.0, y, z), (1.0, 0.0, 0.0))[0] == pytest.approx(5.0, abs=0.3)


def test_the_layout_is_what_the_connectors_in_play_need():
    usb, aux, mine = CONNECTORS["usb"], CONNECTORS["aux"], make(profile=Custom())

    def numbers(*connectors):
        return {(slot.role, slot.kind): slot.number for slot in scene.slots(connectors)}

    alone = {
        ("grip", "box"): 1,
        ("body", "box"): 1,
        ("insert", "box"): 4,
        ("insert", "capsule"): 5,
        ("walls", "box"): 14,
        ("walls", "capsule"): 1,
    }
    assert numbers(usb) == alone
    assert numbers(usb, mine) == alone
    assert numbers(aux, usb) == numbers(usb, aux)
    assert numbers(aux, usb)["walls", "box"] == 33
    models = scene.build_models(SceneConfig(), (usb, mine))
    assert models[0].ngeom == scene.build_spec(SceneConfig(), usb).compile().ngeom
    names = [[model.geom(i).name for i in range(model.ngeom)] for model in models]
    assert names[0] == names[1]


@every_connector
@every_fit
def test_every_fit_has_room_in_the_layout_and_in_the_housing(connector, clearance_mm, lead_in_mm):
    """And is made of sound primitives."""
    chosen = CONNECTORS[connector]
    room = {(slot.role, slot.kind): slot.number for slot in scene.slots((chosen,))}
    shape = chosen.shape(clearance_mm * 1e-3, lead_in_mm * 1e-3)
    counts = Counter((r, part.kind) for r in shape._fields for part in getattr(shape, r))
    assert all(number <= room[slot] for slot, number in counts.items())
    assert all(part.check() is None for role in shape for part in role)
    low, high = bounds(shape.walls)
    np.testing.assert_allclose(low, [0.0, *-np.array(HOUSING_HALF_SIZE[1:])], atol=1e-9)
    np.testing.assert_allclose(high, [2 * HOUSING_HALF_SIZE[0], *HOUSING_HALF_SIZE[1:]], atol=1e-9)


def test_more_primitives_than_at_the_limits_are_refused():
    with pytest.raises(ConnectorError, match=r"2 box primitives of role insert and room"):
        crowded = Custom((box(-0.001, 0.010, 0.004, 0.002), box(-0.001, 0.009, 0.004, 0.002)))
        scene.build_spec(SceneConfig(), make(profile=crowded), (make(name="another"),))


# The documentation ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def documented() -> dict[str, Connector]:
    """The connectors that the documentation makes, by name."""
    page = (Path(__file__).parents[1] / "docs" / "connectors.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"__name__": __name__}
    for block in blocks:
        if "Connector(" in block:
            exec(block, names)
    made = [value for value in names.values() if isinstance(value, Connector)]
    return {connector.name: connector for connector in made}


def test_the_documented_connectors_share_a_world_with_the_others(documented):
    assert set(documented) == {"barrel", "hdmi"}
    in_play = (*CONNECTORS.values(), *documented.values())
    models = scene.build_models(SceneConfig(), in_play, (0.1, 0.4, 2.0))
    assert len(models) == 3 * len(in_play)
    assert len({model.ngeom for model in models}) == 1
    assert documented["hdmi"].sizes() == pytest.approx((0.0139, 0.00445, 0.018, 0.009))


@pytest.mark.parametrize("name", ["barrel", "hdmi"])
def test_the_expert_inserts_the_documented_connectors(documented, name):
    envs = gymnasium.make_vec(
        "VTInsert-v0",
        num_envs=20,
        vectorization_mode="vector_entry_point",
        connectors=("usb", documented[name]),
        modalities=("proprio",),
    )
    envs.reset(seed=0, options={"connector": name})
    ended, succeeded = np.zeros(20, bool), np.zeros(20, bool)
    while not ended.all():
        action = envs.unwrapped.simulation.expert_action().astype(np.float32)
        _, _, terminated, truncated, info = envs.step(action)
        succeeded |= info["is_success"] & ~ended
        ended |= terminated | truncated
    envs.close()
    assert succeeded.sum() >= 18


# Primitives ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "primitive",
    [
        box(-0.01, 0.02, 0.003, 0.004, y=0.001, z=-0.002),
        capsule(-0.01, 0.02, 0.003, y=0.001),
        cylinder(-0.01, 0.02, 0.003, z=0.004),
        Primitive("cylinder", (0.003, 0.006), (0, 0, 0.001), (0.8, 0.36, 0.48, 0.0)),
        Primitive("box", (0.003, 0.006, 0.001), (0, 0, 0.001), (0.8, 0.36, 0.48, 0.0)),
    ],
    ids=lambda primitive: primitive.kind,
)
def test_support_is_the_farthest_point(primitive):
    """Held against points all over the primitive."""
    rng = np.random.default_rng(0)
    if primitive.kind == "box":
        local = rng.choice([-1.0, 1.0], (4000, 3)) * primitive.size
    else:
        radius, half = primitive.size
        turn = rng.uniform(0, 2 * math.pi, 400_000)
        end = np.where(rng.random(len(turn)) < 0.5, -half, half)
        sphere = np.arccos(rng.uniform(-1, 1, len(turn)))
        around = radius * (np.sin(sphere) if primitive.kind == "capsule" else np.ones(len(turn)))
        beyond = radius * np.cos(sphere) if primitive.kind == "capsule" else 0.0
        local = np.stack([around * np.cos(turn), around * np.sin(turn), end + beyond], axis=-1)
    mat = np.empty(9)
    mujoco.mju_quat2Mat(mat, np.array(primitive.quat))
    points = local @ mat.reshape(3, 3).T + primitive.pos
    directions = rng.normal(size=(20, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    farthest = (directions @ points.T).max(axis=1)
    np.testing.assert_allclose(primitive.support(directions), farthest, atol=2e-6)
    low, high = bounds([primitive])
    np.testing.assert_allclose(low, points.min(axis=0), atol=2e-6)
    np.testing.assert_allclose(high, points.max(axis=0), atol=2e-6)


@pytest.mark.parametrize("seed", range(5))
def test_quaternion_of_axes_turns_onto_them(seed):
    axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    axes *= np.sign(np.linalg.det(axes))
    quat = quat_from_axes(*axes.T)
    for unit, axis in zip(np.eye(3), axes.T, strict=True):
        turned = np.empty(3)
        mujoco.mju_rotVecQuat(turned, unit, np.array(quat))
        np.testing.assert_allclose(turned, axis, atol=1e-12)


@pytest.mark.parametrize("connector", CONNECTOR_NAMES)
def test_a_connector_has_a_fit_and_springs_of_its_own(connector):
    known = CONNECTORS[connector]
    assert known.fit.source and known.mating.source
    own = known.shape()
    assert own == known.shape(None, None)
    if len(set(known.fit.clearance)) == 1:
        assert own == known.shape(known.fit.clearance[0], known.fit.lead_in)
    assert Connector.from_mapping(json.loads(json.dumps(known.to_dict()))) == known


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"fit": Fit((0.0, 0.0004))}, r"fit=.*two numbers from 3e-05 to 0\.002 m"),
        ({"fit": Fit((0.0004, 0.0004), 0.01)}, "its lead-in one from 0"),
        ({"mating": Mating(-1.0, 0.004, 0.0003)}, "mating=.*positive numbers"),
        ({"mating": Mating(5.0, 0.010, 0.0003)}, "its depth less than travel"),
        ({"mating": Mating(5.0, 0.004, 0.0003, span=0.0)}, "span must be positive"),
        ({"mating": Mating(5.0, 0.004, 0.002)}, "its deflection must be less than 0.002 m"),
    ],
)
def test_a_fit_that_is_not_allowed(given, wrong):
    with pytest.raises(ConnectorError, match=wrong):
        make(**given)


def slide(connector: Connector) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Depths, in [m], and contact forces, in [N], as a plug goes straight in at 20 mm/s."""
    simulation = make_simulation(
        1,
        connectors=(connector,),
        modalities=("state",),
        **UNDISTURBED,
    )
    straight = dict.fromkeys(InitialStateRanges.names(), 0.0) | {"socket_x_mm": 37.0}
    world = np.zeros(1, np.int64)
    simulation.reset(world, [np.random.default_rng(0)], straight)
    forces = []
    for _ in range(200):
        action = simulation.expert_action()
        action[:, 0] = 0.1
        simulation.step(world, action)
        depth = simulation.measures.depth[0]
        if depth > connector.travel - 0.0003:
            break
        forces.append((depth, simulation.state.socket_force[0]))
    simulation.close()
    depth, force = np.array(forces).T
    return depth, force


@pytest.mark.parametrize(
    ("connector", "within", "peak"),
    [
        (CONNECTORS["aux"], 0.25, 2.0),
        (CONNECTORS["pin"], 0.35, 2.0),  # contacts of a flat post are softer
        (CONNECTORS["usb"], 0.25, 2.2),  # a sheet's edge is steeper than a nose
        (CONNECTORS["stud"], 0.25, 2.0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_sliding_along_springs_takes_their_force(connector, within, peak):
    mating = connector.mating
    depth, force = slide(connector)
    past = mating.depth + 0.003 if connector.travel > 0.006 else 0.0045
    assert np.median(force[depth > past]) == pytest.approx(mating.force, rel=within)
    assert force.max() < peak * mating.force
    assert force[depth < mating.depth - 0.002].max() < 0.5


def test_square_posts_fill_their_corners():
    """All the way to their tips, at the fit and in the holes of a header's."""
    known = CONNECTORS["pin"]
    hole = Hole(known.name, clearance_mm=0.1, lead_in_mm=0.3)
    posts = [part for part in known.insert() if part.kind == "box"]
    np.testing.assert_allclose([part.pos[2] for part in posts], np.array(PIN_ROWS_MM) * 1e-3)
    for part in posts:
        assert part.size[1:] == (POST_SIDE / 2, POST_SIDE / 2)
        assert bounds([part])[1, 0] == pytest.approx(known.travel - POST_SIDE / 2)
    assert bounds(known.insert())[1, 0] == pytest.approx(known.travel)
    for y, z in itertools.product((-0.41, 0.41), repeat=2):  # the corners of a hole
        free, _ = hole.probe((3.0, y, PIN_ROWS_MM[1] + z), (1.0, 0.0, 0.0))
        assert free == pytest.approx(TRAVEL_MM["pin"] + 0.5 - 3.0, abs=1e-6)


def test_the_receptacle_is_the_standards():
    """At its own fit: USB 2.0, figure 6-7, and USB 1.1 for where the tongue begins."""
    fit = CONNECTORS["usb"].fit
    shape = CONNECTORS["usb"].shape()
    low, high = bounds([part for part in shape.walls if part.kind == "capsule"])
    np.testing.assert_allclose(high[1:] - low[1:], (11.10e-3, 1.84e-3))
    assert low[0] == pytest.approx(0.5e-3)
    top, *sides, base = (bounds([part]) for part in shape.insert if part.kind == "box")
    room = top[0, 2] - high[2], low[2] - base[1, 2], max(part[0, 1] for part in sides) - high[1]
    np.testing.assert_allclose(room, (fit.clearance[1], fit.clearance[1], fit.clearance[0]))
    hole = Hole("usb", clearance_mm=None, lead_in_mm=0.5)
    width = sum(hole.probe((6.0, 0.0, -1.0), (0.0, sign, 0.0))[0] for sign in (1.0, -1.0))
    down, _ = hole.probe((6.0, 0.0, -1.0), (0.0, 0.0, -1.0))
    up, _ = hole.probe((6.0, 5.8, -1.0), (0.0, 0.0, 1.0))
    assert (width, down + up) == pytest.approx((12.50, 5.12))


def inserted(simulation: Simulation) -> NDArray[np.bool_]:
    """Which worlds the expert inserts in, in 100 steps."""
    live, success = np.arange(simulation.num_worlds), np.zeros(simulation.num_worlds, bool)
    for _ in range(100):
        result = simulation.step(live, simulation.expert_action())
        success[live] = simulation.info()["is_success"][live]
        live = live[~result.terminated[live]]
        if not live.size:
            break
    return success


def test_upside_down_a_plug_does_not_go_in_where_there_is_a_tongue():
    block = dataclasses.replace(
        CONNECTORS["usb"], name="block", profile=RectangularProfile(0.012, 0.0045, 0.001)
    )
    simulation = simulate(12, connectors=("usb", block))
    quat = simulation.engine._batch.qpos[:, scene.PLUG_QUAT]
    w, x, y, z = quat.T.copy()
    quat[:] = np.stack([-x, w, z, -y], axis=-1)  # turned by 180 degrees about its axis
    success, usb = inserted(simulation), simulation.state.connector == 0
    np.testing.assert_allclose(np.abs(simulation.measures.roll), math.pi, atol=0.2)
    assert success[~usb].all() and not success[usb].any()
    assert simulation.measures.depth[usb].max() < 0.001
    simulation.close()
