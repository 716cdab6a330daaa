"""The task's functions on states made by hand, in NumPy and in torch."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vtenv.arrays import constant, leaves, rebuild
from vtenv.tasks.insertion import actions, measures
from vtenv.tasks.insertion.config import InitialStateRanges, InsertionConfig
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, CONNECTORS, SHOULDER_IN_HAND
from vtenv.tasks.insertion.initial import NUM_UNIFORMS, check_options, initial_state
from vtenv.tasks.insertion.modalities import PROPRIO, STATE
from vtenv.tasks.insertion.scene import HAND_HEIGHT
from vtenv.tasks.insertion.state import WorldState

CLEARANCE, LEAD_IN = 0.0004, 0.001
NAMES = InitialStateRanges.names()
LIMITS = {name: InitialStateRanges.limits(name) for name in NAMES}
(PROPRIO_SIZE,), (STATE_SIZE,) = PROPRIO.shape, STATE.shape
TRAVELS = np.array([CONNECTORS[name].travel for name in CONNECTOR_NAMES])


def geometry(state: WorldState) -> measures.Geometry:
    return measures.geometry(state, constant(tuple(TRAVELS.tolist()), state.hand)[state.connector])


def sizes(state: WorldState):
    of_each = tuple(CONNECTORS[name].sizes() for name in CONNECTOR_NAMES)
    return constant(of_each, state.hand)[state.connector]


def rotation(axis: str, angle: float) -> NDArray[np.float64]:
    """Right-handed rotation about a world axis."""
    c, s = math.cos(angle), math.sin(angle)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    mat = np.eye(3)
    mat[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
    return mat


def make_state(count: int = 1, **values: object) -> WorldState:
    """Worlds with the plug fully inserted and held; `values` replace fields, one or N each."""
    nominal = np.array([0.0, 0.0, HAND_HEIGHT])
    fields = {
        "connector": np.int64(0),
        "hand": np.zeros(5),
        "target": np.zeros(5),
        "fingers": np.full(2, 0.0155),
        "hand_pos_w": nominal - [SHOULDER_IN_HAND, 0.0, 0.0],
        "hand_mat_w": np.eye(3),
        "plug_pos_w": nominal,
        "plug_mat_w": np.eye(3),
        "socket_pos_w": nominal,
        "socket_mat_w": np.eye(3),
        "socket_force": 0.0,
        "touching": np.array([True, True]),
        "stable": np.True_,
    }
    state = {}
    for name, default in fields.items():
        default = np.asarray(default)
        value = np.asarray(values.get(name, default)).astype(default.dtype)
        state[name] = np.broadcast_to(value, (count, *default.shape)).copy()
    return WorldState(**state)


def random_state(count: int, seed: int = 0) -> WorldState:
    """States in no relation to each other, orientations included."""
    rng = np.random.default_rng(seed)

    def orientations() -> NDArray[np.float64]:
        mats = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
        return mats * np.sign(np.linalg.det(mats))[:, None, None]

    return WorldState(
        connector=rng.integers(0, len(CONNECTOR_NAMES), count),
        hand=rng.normal(size=(count, 5)) * 0.01,
        target=rng.normal(size=(count, 5)) * 0.01,
        fingers=rng.uniform(0, 0.02, (count, 2)),
        hand_pos_w=rng.normal(size=(count, 3)) * 0.02,
        hand_mat_w=orientations(),
        plug_pos_w=rng.normal(size=(count, 3)) * 0.02,
        plug_mat_w=orientations(),
        socket_pos_w=rng.normal(size=(count, 3)) * 0.02,
        socket_mat_w=orientations(),
        socket_force=rng.uniform(0, 150, count),
        touching=rng.random((count, 2)) < 0.7,
        stable=rng.random(count) < 0.9,
    )


def make_geometry(depth: object, lateral: object = 0.0, angle: object = 0.0, **values: object):
    """Geometry of USB plugs; only what success, failure and potentials read."""
    depth, lateral, angle = np.broadcast_arrays(*np.atleast_1d(depth, lateral, angle))
    depth, lateral, angle = (np.array(v, np.float64) for v in (depth, lateral, angle))
    zero = np.zeros_like(depth)
    fields = {
        "depth": depth,
        "tip": np.stack([lateral, zero], axis=-1),
        "lateral": lateral,
        "yaw": angle,
        "pitch": zero,
        "roll": zero,
        "angle": angle,
        "in_hand": np.zeros((len(depth), 3)),
        "travel": np.full_like(depth, CONNECTORS["usb"].travel),
    }
    return measures.Geometry(**fields | values)


# Initial states ------------------------------------------------------------------------------


def uniforms(count: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random((count, NUM_UNIFORMS))


def drawn(initial) -> dict[str, NDArray[np.float64]]:
    """An initial state's values by the names of their ranges, in their units."""
    socket = initial.socket_pos_w - [0.0, 0.0, HAND_HEIGHT]
    return {
        "in_hand_x_mm": initial.in_hand[:, 0] * 1e3,
        "in_hand_z_mm": initial.in_hand[:, 1] * 1e3,
        "in_hand_pitch_deg": np.degrees(initial.in_hand[:, 2]),
        "hand_y_mm": initial.hand[:, 1] * 1e3,
        "hand_z_mm": initial.hand[:, 2] * 1e3,
        "hand_yaw_deg": np.degrees(initial.hand[:, 3]),
        "socket_x_mm": socket[:, 0] * 1e3,
        "socket_y_mm": socket[:, 1] * 1e3,
        "socket_z_mm": socket[:, 2] * 1e3,
        "socket_yaw_deg": np.degrees(initial.socket_yaw),
    }


def test_uniforms_map_to_the_whole_of_each_range():
    config = InsertionConfig()
    # An option for the plug in the hand makes its values visible; it fixes only itself.
    options = {"in_hand_x_mm": 1.5}
    ends = np.zeros((3, NUM_UNIFORMS))
    ends[1], ends[2] = 0.5, np.nextafter(1.0, 0.0)
    values = drawn(initial_state(ends, config, 256, options))
    for name in NAMES:
        low, high = getattr(config.initial_state, name)
        expected = [1.5] * 3 if name == "in_hand_x_mm" else [low, (low + high) / 2, high]
        np.testing.assert_allclose(values[name], expected, atol=1e-9)


def test_each_value_has_its_own_uniform():
    """Moving one uniform moves one value, so that no two are drawn together."""
    base = np.full((1, NUM_UNIFORMS), 0.25)
    # So that in-hand values are shown whichever uniform moves.
    config, options = InsertionConfig(), {"in_hand_z_mm": 0.0}
    before = initial_state(base, config, 256, options)
    before_values = drawn(before)
    moved_by = {}
    for column in range(NUM_UNIFORMS):
        changed = base.copy()
        changed[0, column] = 0.75
        after = initial_state(changed, config, 256, options)
        values = drawn(after)
        moved = {name for name in NAMES if values[name][0] != before_values[name][0]}
        moved |= {n for n in ("connector", "grasp") if getattr(after, n) != getattr(before, n)}
        moved_by[column] = moved
    assert [sorted(moved) for moved in moved_by.values()] == [
        ["connector"],
        ["grasp"],
        *[[] if name == "in_hand_z_mm" else [name] for name in NAMES],
    ]


def test_connectors_and_grasps_are_drawn_evenly():
    count, bank_size = 20_000, 16
    initial = initial_state(uniforms(count), InsertionConfig(), bank_size, {})
    for values, size in ((initial.connector, len(CONNECTOR_NAMES)), (initial.grasp, bank_size)):
        shares = np.bincount(values, minlength=size) / count
        assert len(shares) == size
        p = 1 / size
        assert np.abs(shares - p).max() < 4.5 * math.sqrt(p * (1 - p) / count)


def test_the_largest_uniform_is_still_a_connector_and_a_grasp():
    largest = np.full((1, NUM_UNIFORMS), np.nextafter(1.0, 0.0))
    initial = initial_state(largest, InsertionConfig(), 256, {})
    assert initial.connector.tolist() == [len(CONNECTOR_NAMES) - 1]
    assert initial.grasp.tolist() == [255]


@pytest.mark.parametrize("name", CONNECTOR_NAMES)
def test_a_connector_is_fixed_by_the_configuration_or_an_option(name):
    index = CONNECTOR_NAMES.index(name)
    numbers = uniforms(50)
    config = InsertionConfig(connectors=name)
    by_config = initial_state(numbers, config, 256, {})
    by_option = initial_state(numbers, InsertionConfig(), 256, {"connector": name})
    assert [c.name for c in config.connectors] == [name]
    assert (by_config.connector == 0).all()
    assert (by_option.connector == index).all()
    # The rest is drawn as ever.
    np.testing.assert_array_equal(by_option.socket_pos_w, by_config.socket_pos_w)


@pytest.mark.parametrize("name", NAMES)
def test_an_option_fixes_its_value_and_no_other(name):
    low, high = InitialStateRanges.limits(name)
    value = low + 0.9 * (high - low)  # beyond the default range: options reach to the limits
    numbers = uniforms(10)
    config = InsertionConfig()
    fixed = drawn(initial_state(numbers, config, 256, {name: value}))
    np.testing.assert_allclose(fixed[name], value, atol=1e-9)
    # Asked for by another in-hand option, to see those that are drawn.
    free = drawn(initial_state(numbers, config, 256, {"in_hand_x_mm": 0.0}))
    for other in set(NAMES) - {name, "in_hand_x_mm"}:
        if other.startswith("in_hand") and not name.startswith("in_hand"):
            assert np.isnan(fixed[other]).all()
            continue
        np.testing.assert_array_equal(fixed[other], free[other])


def test_the_grasp_is_the_banks_unless_an_option_places_the_plug():
    free = initial_state(uniforms(5), InsertionConfig(), 256, {"hand_y_mm": 1.0})
    assert np.isnan(free.in_hand).all()
    for name in ("in_hand_x_mm", "in_hand_z_mm", "in_hand_pitch_deg"):
        placed = initial_state(uniforms(5), InsertionConfig(), 256, {name: 0.0})
        assert np.isfinite(placed.in_hand).all()


def test_equal_bounds_fix_a_value():
    config = InsertionConfig(initial_state=InitialStateRanges(socket_y_mm=(3.0, 3.0)))
    values = drawn(initial_state(uniforms(20), config, 256, {}))
    np.testing.assert_allclose(values["socket_y_mm"], 3.0, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"hand_y": 1.0},
        {"connector": "hdmi"},
        {"connector": None},
        {"connector": 2},
        {"hand_y_mm": 10.01},
        {"hand_y_mm": math.nan},
        {"hand_y_mm": math.inf},
        {"hand_y_mm": "1"},
        {"hand_y_mm": None},
        {"hand_y_mm": (0.0, 1.0)},
        {"hand_y_mm": True},
    ],
    ids=str,
)
def test_wrong_reset_options_are_named_with_what_is_allowed(options):
    (name,) = options
    allowed = {"connector": CONNECTOR_NAMES, "hand_y_mm": ("-10", "10")}
    with pytest.raises(ValueError) as error:
        check_options(options, CONNECTOR_NAMES, LIMITS)
    assert name in str(error.value)
    # An unknown name gets the list of names, a wrong value what the value may be.
    assert all(word in str(error.value) for word in allowed.get(name, ("connector", *NAMES)))


def test_a_connector_the_environment_was_not_made_for_is_refused():
    with pytest.raises(ValueError, match=r"connector='usb'.*made for aux$"):
        check_options({"connector": "usb"}, ("aux",), LIMITS)


def test_good_reset_options_are_copied():
    options = {"connector": "usb", "hand_y_mm": 10, "socket_yaw_deg": -30.0}
    checked = check_options(options, CONNECTOR_NAMES, LIMITS)
    assert checked == options
    assert checked is not options
    assert check_options(None, CONNECTOR_NAMES, LIMITS) == {}


# Targets -------------------------------------------------------------------------------------

SCALE, LEASH = np.array(actions.ACTION_SCALE), np.array(actions.target_leash())
LOWEST, HIGHEST = np.array(actions.WORKSPACE).T


@given(st.integers(0, 2**32 - 1))
def test_the_target_moves_by_the_action_within_its_bounds(seed):
    rng = np.random.default_rng(seed)
    hand = rng.uniform(LOWEST, HIGHEST, (6, 5))
    target = np.clip(hand + rng.uniform(-1, 1, (6, 5)) * LEASH, LOWEST, HIGHEST)
    action = rng.uniform(-3, 3, (6, 5))
    moved = actions.next_target(target, hand, action)
    wanted = target + np.clip(action, -1, 1) * SCALE
    low, high = np.maximum(hand - LEASH, LOWEST), np.minimum(hand + LEASH, HIGHEST)
    np.testing.assert_allclose(moved, np.clip(wanted, low, high), atol=1e-15)


def test_a_full_action_moves_the_target_by_its_scale():
    hand = np.zeros((1, 5))
    np.testing.assert_allclose(actions.next_target(hand, hand, np.ones((1, 5)))[0], SCALE)
    np.testing.assert_allclose(actions.next_target(hand, hand, np.full((1, 5), -7.0))[0], -SCALE)


def test_a_target_left_behind_is_pulled_along():
    """A hand that was pushed away takes its target with it, whatever the action."""
    hand = np.array([[0.03, 0.03, 0.02, 0.4, 0.4]])
    moved = actions.next_target(np.zeros((1, 5)), hand, np.zeros((1, 5)))
    np.testing.assert_allclose(moved, hand - LEASH)


@pytest.mark.parametrize("side", [-1.0, 1.0], ids=["low", "high"])
@pytest.mark.parametrize("beyond", [0.5, 3.0], ids=["within the leash", "beyond the leash"])
def test_a_hand_out_of_the_workspace_is_drawn_back_no_harder_than_elsewhere(side, beyond):
    """The leash bounds the hand's force, so it holds wherever the hand has been pushed."""
    bound = HIGHEST if side > 0 else LOWEST
    hand = (bound + side * beyond * LEASH)[None]
    moved = actions.next_target(hand, hand, np.full((1, 5), side))
    np.testing.assert_allclose(moved, hand - side * min(beyond, 1.0) * LEASH, atol=1e-15)


def test_every_goal_is_within_the_workspace():
    """Wherever an option may put socket and plug, the hand can follow, and push a little."""
    push = 0.002
    names = ("socket_x_mm", "socket_y_mm", "socket_z_mm", "socket_yaw_deg")
    names += ("in_hand_x_mm", "in_hand_z_mm", "in_hand_pitch_deg")
    for x, y, z, yaw, *in_hand in itertools.product(*map(InitialStateRanges.limits, names)):
        yaw, pitch = math.radians(yaw), -math.radians(in_hand[2])
        turn = rotation("z", yaw) @ rotation("y", pitch)
        shoulder = np.array([SHOULDER_IN_HAND + in_hand[0] * 1e-3, 0.0, in_hand[1] * 1e-3])
        hand = np.array([x, y, z]) * 1e-3 - turn @ shoulder
        hand += push * rotation("z", yaw)[:, 0]
        goal = np.array([*hand, yaw, pitch])
        assert (goal >= LOWEST).all(), goal
        assert (goal <= HIGHEST).all(), goal


# Geometry ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONNECTOR_NAMES)
def test_geometry_of_an_inserted_plug(name):
    geom = geometry(make_state(connector=CONNECTOR_NAMES.index(name)))
    travel = CONNECTORS[name].travel
    assert geom.depth == pytest.approx(travel)
    assert geom.travel == pytest.approx(travel)
    for value in (geom.tip, geom.lateral, geom.yaw, geom.pitch, geom.roll, geom.angle):
        np.testing.assert_allclose(value, 0.0, atol=1e-12)
    np.testing.assert_allclose(geom.in_hand, 0.0, atol=1e-12)


def test_depth_counts_from_the_mouth_and_tip_is_across():
    state = make_state(plug_pos_w=[-0.030, 0.003, HAND_HEIGHT - 0.004])
    geom = geometry(state)
    assert geom.depth == pytest.approx(TRAVELS[0] - 0.030)
    np.testing.assert_allclose(geom.tip, [[0.003, -0.004]], atol=1e-12)
    assert geom.lateral == pytest.approx(0.005)


@pytest.mark.parametrize("angle", [0.2, -0.3])
def test_signs_of_the_plugs_angles(angle):
    """Yaw to the left, pitch nose-down, roll right-handed about the axis."""
    for axis, name in (("z", "yaw"), ("y", "pitch"), ("x", "roll")):
        geom = geometry(make_state(plug_mat_w=rotation(axis, angle)))
        for other in ("yaw", "pitch", "roll"):
            expected = angle if other == name else 0.0
            assert getattr(geom, other) == pytest.approx(expected, abs=1e-12)
        assert geom.angle == pytest.approx(0.0 if name == "roll" else abs(angle))
    # What the words mean, on the tip: left is +y, down is -z.
    travel = TRAVELS[0]
    left = geometry(make_state(plug_mat_w=rotation("z", 0.2)))
    np.testing.assert_allclose(left.tip, [[travel * math.sin(0.2), 0.0]], atol=1e-12)
    down = geometry(make_state(plug_mat_w=rotation("y", 0.2)))
    np.testing.assert_allclose(down.tip, [[0.0, -travel * math.sin(0.2)]], atol=1e-12)
    assert down.depth == pytest.approx(travel * math.cos(0.2))


def test_a_turned_socket_turns_the_plugs_angles_back():
    turned = rotation("z", 0.25)
    geom = geometry(make_state(socket_mat_w=turned))
    assert geom.yaw == pytest.approx(-0.25)
    aligned = geometry(make_state(socket_mat_w=turned, plug_mat_w=turned))
    assert aligned.depth == pytest.approx(TRAVELS[0])
    assert aligned.angle == pytest.approx(0.0, abs=1e-12)


def test_signs_of_the_plug_in_the_hand():
    """Forward, upward, and nose-down, in the hand's frame and wherever the hand is."""
    offset = np.array([0.002, 0.001, -0.003])
    for turn in (np.eye(3), rotation("z", 0.4), rotation("y", -0.3)):
        hand_pos = np.array([0.01, -0.02, 0.07])
        state = make_state(
            hand_pos_w=hand_pos,
            hand_mat_w=turn,
            plug_pos_w=hand_pos + turn @ (np.array([SHOULDER_IN_HAND, 0.0, 0.0]) + offset),
            plug_mat_w=turn @ rotation("y", 0.15),
        )
        in_hand = geometry(state).in_hand
        np.testing.assert_allclose(in_hand, [[0.002, -0.003, 0.15]], atol=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_geometry_does_not_depend_on_the_world_frame(seed):
    """All bodies moved together: relative quantities stay."""
    rng = np.random.default_rng(seed)
    state = random_state(4, seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    shift = rng.normal(size=3)
    moved = {}
    for name, value in vars(state).items():
        if name.endswith("_pos_w"):
            moved[name] = value @ turn.T + shift
        elif name.endswith("_mat_w"):
            moved[name] = turn @ value
    one, other = geometry(state), geometry(dataclasses.replace(state, **moved))
    for name, value in vars(one).items():
        np.testing.assert_allclose(getattr(other, name), value, atol=1e-9, err_msg=name)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_angle_is_between_the_axes(seed):
    state = random_state(8, seed)
    axes = state.plug_mat_w[:, :, 0], state.socket_mat_w[:, :, 0]
    expected = np.arccos(np.clip((axes[0] * axes[1]).sum(axis=-1), -1, 1))
    np.testing.assert_allclose(geometry(state).angle, expected, atol=1e-6)


# Success and failure -------------------------------------------------------------------------

TRAVEL = CONNECTORS["usb"].travel
DEEP = measures.SUCCESS_FRACTION * TRAVEL
ROOM = math.sqrt(2) * CLEARANCE + 0.0002
CONE = math.atan(2 * ROOM / DEEP)
HAIR = 1e-9


@pytest.mark.parametrize(
    ("depth", "lateral", "angle", "expected"),
    [
        (TRAVEL, 0.0, 0.0, True),
        (DEEP, 0.0, 0.0, True),
        (DEEP - HAIR, 0.0, 0.0, False),
        (DEEP, ROOM - HAIR, 0.0, True),
        (DEEP, ROOM + HAIR, 0.0, False),
        (DEEP, 0.0, CONE - HAIR, True),
        (DEEP, 0.0, CONE + HAIR, False),
        # Beyond the travel, by what contacts give.
        (TRAVEL + 0.0005, 0.0, 0.0, True),
        # The other way round beside the socket.
        (DEEP, 0.0, math.pi, False),
        (-DEEP, 0.0, 0.0, False),
        (math.nan, math.nan, math.nan, False),
    ],
)
def test_success_is_deep_and_aligned(depth, lateral, angle, expected):
    geom = make_geometry(depth, lateral, angle)
    assert measures.is_success(make_state(), geom, CLEARANCE).tolist() == [expected]


@pytest.mark.parametrize("touching", list(itertools.product([True, False], repeat=2)))
def test_success_needs_the_plug_held_by_both_fingers(touching):
    expected = all(touching)
    state = make_state(touching=touching)
    assert measures.is_success(state, make_geometry(TRAVEL), CLEARANCE).tolist() == [expected]


def test_a_wider_hole_allows_more():
    geom = make_geometry(DEEP, lateral=0.001)
    assert not measures.is_success(make_state(), geom, 0.0004)[0]
    assert measures.is_success(make_state(), geom, 0.0008)[0]


SLIP_X, SLIP_Z, SLIP_PITCH = measures.MAX_SLIP


@pytest.mark.parametrize(
    ("in_hand", "expected"),
    [
        ((0.0, 0.0, 0.0), ""),
        ((SLIP_X - HAIR, 0.0, 0.0), ""),
        ((-SLIP_X + HAIR, SLIP_Z - HAIR, -SLIP_PITCH + HAIR), ""),
        ((SLIP_X + HAIR, 0.0, 0.0), "slipped"),
        ((-SLIP_X - HAIR, 0.0, 0.0), "slipped"),
        ((0.0, SLIP_Z + HAIR, 0.0), "slipped"),
        ((0.0, 0.0, -SLIP_PITCH - HAIR), "slipped"),
    ],
)
def test_a_slip_is_a_failure(in_hand, expected):
    geom = make_geometry(0.0, in_hand=np.array([in_hand]))
    assert measures.FAILURES[int(measures.failure(make_state(), geom)[0])] == expected


@pytest.mark.parametrize(
    ("force", "expected"),
    [(measures.MAX_SOCKET_FORCE, ""), (measures.MAX_SOCKET_FORCE + HAIR, "force")],
)
def test_too_much_force_is_a_failure(force, expected):
    state = make_state(socket_force=force)
    code = measures.failure(state, make_geometry(0.0))[0]
    assert measures.FAILURES[int(code)] == expected


def test_failures_take_precedence_from_the_most_basic():
    """Unstable physics explains all else; a dropped plug, its slip; a slip, its force."""
    slipped = make_geometry(0.0, in_hand=np.array([[1.0, 0.0, 0.0]]))
    causes = {"socket_force": 1e3, "touching": (False, False), "stable": False}
    states = {
        "force": (make_state(socket_force=1e3), make_geometry(0.0)),
        "slipped": (make_state(socket_force=1e3), slipped),
        "dropped": (make_state(socket_force=1e3, touching=(False, False)), slipped),
        "unstable": (make_state(**causes), slipped),
    }
    for name, (state, geom) in states.items():
        assert measures.FAILURES[int(measures.failure(state, geom)[0])] == name


def test_worlds_are_judged_one_by_one():
    state = make_state(
        5,
        socket_force=[0.0, 1e3, 0.0, 0.0, 0.0],
        touching=[[True, True]] * 2 + [[False, False]] + [[True, False]] * 2,
        stable=[True, True, True, False, True],
    )
    geom = make_geometry(np.full(5, TRAVEL))
    assert measures.failure(state, geom).tolist() == [0, 3, 1, 4, 0]
    assert measures.is_success(state, geom, CLEARANCE).tolist() == [True, True, False, False, False]


# Rewards -------------------------------------------------------------------------------------


def potentials(*args: object) -> dict[str, NDArray[np.float64]]:
    return measures.potentials(make_geometry(*args), CLEARANCE, LEAD_IN)


depths = st.floats(-0.06, 0.02)
laterals = st.floats(0, 0.05)
angles = st.floats(0, math.pi)


@given(depths, laterals, angles)
def test_potentials_are_within_bounds(depth, lateral, angle):
    values = potentials(depth, lateral, angle)
    assert tuple(values) == measures.POTENTIALS
    for value in values.values():
        assert 0.0 <= value[0] <= 1.0


@given(st.tuples(depths, depths).map(sorted), laterals, angles)
def test_going_in_never_lowers_a_potential(pair, lateral, angle):
    values = potentials(np.array(pair), lateral, angle)
    assert all(value[1] >= value[0] for value in values.values())


@given(depths, st.tuples(laterals, laterals).map(sorted), angles)
def test_going_off_the_axis_never_raises_a_potential(depth, pair, angle):
    values = potentials(depth, np.array(pair), angle)
    assert all(value[1] <= value[0] for value in values.values())


@given(depths, laterals, st.tuples(angles, angles).map(sorted))
def test_tilting_never_raises_a_potential(depth, lateral, pair):
    values = potentials(depth, lateral, np.array(pair))
    assert all(value[1] <= value[0] for value in values.values())


def test_potentials_rise_strictly_where_it_matters():
    """Between the start and the goal, each step nearer is worth something."""
    before_mouth, inside = np.linspace(-0.04, 0.0, 20), np.linspace(0.0, DEEP, 20)
    assert (np.diff(potentials(before_mouth)["approach"]) > 0).all()
    assert (np.diff(potentials(inside)["insertion"]) > 0).all()
    assert (np.diff(potentials(0.0, np.linspace(0, 0.02, 20))["lateral"]) < 0).all()
    assert (np.diff(potentials(0.0, 0.0, np.linspace(0, 0.5, 20))["angular"]) < 0).all()


def test_potentials_are_full_at_the_goal():
    values = potentials(TRAVEL)
    assert {name: float(value[0]) for name, value in values.items()} == dict.fromkeys(
        measures.POTENTIALS, 1.0
    )


def test_insertion_counts_only_in_the_mouth():
    """Past the socket's face but beside it is no insertion."""
    opening = CLEARANCE + LEAD_IN + 0.0002
    assert potentials(DEEP, opening - HAIR)["insertion"] == pytest.approx(1.0)
    assert potentials(DEEP, opening + HAIR)["insertion"] == 0.0


def reward_terms(before, after, *, success=False, failed=False, force=0.0):
    count = len(before["lateral"])
    return measures.dense_reward(
        before,
        after,
        np.full(count, success),
        np.full(count, failed),
        np.full(count, force),
    )


@settings(max_examples=50)
@given(st.lists(st.tuples(depths, laterals, angles), min_size=1, max_size=8))
def test_no_cycle_of_states_earns_anything(states):
    """The shaping terms telescope: back where it began, their sum is zero."""
    values = [potentials(*state) for state in [*states, states[0]]]
    total = dict.fromkeys(measures.POTENTIALS, 0.0)
    for before, after in itertools.pairwise(values):
        terms = reward_terms(before, after)
        for name in total:
            total[name] += float(terms[name][0])
    assert total == pytest.approx(dict.fromkeys(measures.POTENTIALS, 0.0), abs=1e-9)


def test_terms_of_the_dense_reward():
    before, after = potentials(-0.01, 0.002, 0.1), potentials(0.002, 0.001, 0.05)
    terms = reward_terms(before, after, success=True, failed=True, force=40.0)
    assert tuple(terms) == tuple(measures.REWARD_WEIGHTS)
    for name in measures.POTENTIALS:
        expected = measures.REWARD_WEIGHTS[name] * (after[name] - before[name])
        np.testing.assert_allclose(terms[name], expected)
        assert terms[name][0] > 0
    assert terms["success"] == measures.REWARD_WEIGHTS["success"] > 0
    assert terms["failure"] == measures.REWARD_WEIGHTS["failure"] < 0
    assert terms["force"] == pytest.approx(3 * measures.REWARD_WEIGHTS["force"])
    assert terms["time"] == measures.REWARD_WEIGHTS["time"] < 0


def test_standing_still_costs_time_and_nothing_else():
    here = potentials(-0.01, 0.002, 0.1)
    terms = reward_terms(here, here)
    assert {name: float(term[0]) for name, term in terms.items() if term[0]} == {
        "time": measures.REWARD_WEIGHTS["time"]
    }


@pytest.mark.parametrize(
    ("force", "cost"), [(0.0, 0.0), (10.0, 0.0), (20.0, 1.0), (60.0, 5.0), (1e4, 5.0)]
)
def test_force_costs_from_ten_newtons_to_a_limit(force, cost):
    here = potentials(0.0)
    term = reward_terms(here, here, force=force)["force"]
    np.testing.assert_allclose(term, cost * measures.REWARD_WEIGHTS["force"], atol=1e-15)


def test_the_goal_is_worth_more_than_any_other_end():
    """From the farthest start: inserting beats failing at the best spot, and staying."""
    start = potentials(-0.04, 0.015, 0.4)
    goal = sum(reward_terms(start, potentials(DEEP), success=True).values())
    best_failure = sum(reward_terms(start, potentials(DEEP), failed=True).values())
    hundred_steps = 100 * measures.REWARD_WEIGHTS["time"]
    assert goal[0] + hundred_steps > best_failure[0]
    assert goal[0] + hundred_steps > 0.0
    # Failing at once to save time must not pay either.
    fail_now = sum(reward_terms(start, start, failed=True).values())
    assert fail_now[0] < hundred_steps


# Observations --------------------------------------------------------------------------------


def test_proprioception_is_the_hand_its_lag_and_the_fingers():
    hand = np.array([0.01, 0.02, 0.03, 0.4, 0.5])
    state = make_state(hand=hand, target=hand * 1.1, fingers=0.012)
    expected = [1, 2, 3, 0.4, 0.5, 0.1, 0.2, 0.3, 0.04, 0.05, 1.2, 1.2]
    np.testing.assert_allclose(measures.proprio(state), [expected], atol=1e-12)
    assert len(expected) == PROPRIO_SIZE


def test_privileged_state_holds_what_insertion_needs():
    state = make_state(
        connector=2,
        plug_pos_w=[-0.02, 0.003, HAND_HEIGHT],
        socket_mat_w=rotation("z", 0.1),
        socket_force=25.0,
    )
    geom = geometry(state)
    full = measures.privileged(state, geom, sizes(state))
    assert full.shape == (1, STATE_SIZE)
    own = full[0, PROPRIO_SIZE:]
    np.testing.assert_array_equal(full[:, :PROPRIO_SIZE], measures.proprio(state))
    np.testing.assert_allclose(own[:3], geom.in_hand[0] * [100, 100, 1])
    np.testing.assert_allclose(own[3:6], [geom.depth[0] * 100, *geom.tip[0] * 100])
    np.testing.assert_allclose(own[6:9], [geom.yaw[0], geom.pitch[0], geom.roll[0]])
    np.testing.assert_allclose(own[9:13], [SHOULDER_IN_HAND * 100, 0.0, 0.0, 0.1], atol=1e-12)
    np.testing.assert_allclose(own[13:15], [TRAVELS[2] * 100, 2.5])
    np.testing.assert_allclose(own[15:], np.array(CONNECTORS[CONNECTOR_NAMES[2]].sizes()) * 100)


# NumPy and torch -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch_gives_the_same_results(dtype):
    """Written once for both libraries: every function, to the precision of the type."""
    import torch

    count = 64
    numpy_state = random_state(count)
    # Near the goal too, where success and the mouth are decided.
    near = make_state(count, connector=numpy_state.connector)
    rng = np.random.default_rng(1)
    shaken = near.plug_pos_w + rng.normal(size=(count, 3)) * 3e-4
    near = dataclasses.replace(near, plug_pos_w=shaken)
    tolerance = {"float64": 1e-12, "float32": 2e-5}[dtype]

    def to_torch(array):
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.to(getattr(torch, dtype)) if tensor.is_floating_point() else tensor

    def assert_same(tensor, array, name):
        assert isinstance(tensor, torch.Tensor), name
        assert tuple(tensor.shape) == array.shape, name
        if array.dtype.kind == "f":
            assert tensor.dtype == getattr(torch, dtype), name
            np.testing.assert_allclose(
                tensor.numpy(), array, rtol=tolerance, atol=tolerance, err_msg=name
            )
        else:
            np.testing.assert_array_equal(tensor.numpy(), array, err_msg=name)

    for state in (numpy_state, near):
        torch_state = rebuild(state, map(to_torch, leaves(state)))
        geom, torch_geom = geometry(state), geometry(torch_state)
        for name, value in vars(geom).items():
            assert_same(getattr(torch_geom, name), value, name)
        # From here on the same geometry, so that no threshold is decided by rounding.
        torch_geom = measures.Geometry(**{name: to_torch(v) for name, v in vars(geom).items()})
        success = measures.is_success(state, geom, CLEARANCE)
        failed = measures.failure(state, geom)
        assert_same(measures.is_success(torch_state, torch_geom, CLEARANCE), success, "success")
        assert_same(measures.failure(torch_state, torch_geom), failed, "failure")
        assert_same(measures.proprio(torch_state), measures.proprio(state), "proprio")
        assert_same(
            measures.privileged(torch_state, torch_geom, sizes(torch_state)),
            measures.privileged(state, geom, sizes(state)),
            "privileged",
        )
        before = measures.potentials(geom, CLEARANCE, LEAD_IN)
        torch_before = measures.potentials(torch_geom, CLEARANCE, LEAD_IN)
        for name, value in before.items():
            assert_same(torch_before[name], value, name)
        after = {name: value[::-1].copy() for name, value in before.items()}
        torch_after = {name: to_torch(value) for name, value in after.items()}
        terms = measures.dense_reward(before, after, success, failed > 0, state.socket_force)
        torch_terms = measures.dense_reward(
            torch_before,
            torch_after,
            to_torch(success),
            to_torch(failed) > 0,
            torch_state.socket_force,
        )
        for name, value in terms.items():
            assert_same(torch_terms[name], value, name)
        action = rng.uniform(-2, 2, (count, 5))
        assert_same(
            actions.next_target(torch_state.target, torch_state.hand, to_torch(action)),
            actions.next_target(state.target, state.hand, action),
            "target",
        )


@pytest.mark.parametrize("options", [{}, {"in_hand_z_mm": 1.0, "connector": "usb"}], ids=str)
def test_torch_draws_the_same_initial_states(options):
    import torch

    numbers = uniforms(64)
    config = InsertionConfig()
    one = initial_state(numbers, config, 256, options)
    other = initial_state(torch.from_numpy(numbers), config, 256, options)
    for name, value in vars(one).items():
        tensor = getattr(other, name)
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_allclose(tensor.numpy(), value, atol=1e-12, err_msg=name)
