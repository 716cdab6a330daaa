"""What disturbs an insertion: grip, cable and tilt, drawn each episode and felt by the physics."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import make_simulation

from vtenv.tasks.insertion.connectors import CONNECTORS
from vtenv.tasks.insertion.disturbances import (
    NUM_DISTURBANCE_UNIFORMS,
    STEADY_PULL,
    DisturbanceConfig,
    cable_forces,
    draw_disturbances,
)
from vtenv.tasks.insertion.grasp_bank import take

WORLDS = 6
STILL = np.zeros((WORLDS, 5))


def simulated(engine="cpu", **settings):
    more = {"device": "cpu"} if engine == "warp" else {}
    given = {"modalities": ("state",), "connectors": ("usb",), **settings}
    simulation = make_simulation(WORLDS, engine, engine_settings=more, **given)
    worlds = np.arange(WORLDS)
    simulation.reset(worlds, [np.random.default_rng(i) for i in worlds])
    return simulation, worlds


def test_disturbances_are_within_their_ranges():
    config = DisturbanceConfig((5, 12), (2, 6), (-8, 8), (-1, 1))
    uniforms = np.random.default_rng(0).random((500, NUM_DISTURBANCE_UNIFORMS))
    drawn = draw_disturbances(uniforms, config)
    pull = np.linalg.norm(drawn.cable_force, axis=-1)
    for values, (low, high) in (
        (drawn.grip_force, (5, 12)),
        (pull, (2, 6)),
        (np.degrees(drawn.socket_pitch), (-8, 8)),
        (np.degrees(drawn.socket_roll), (-1, 1)),
    ):
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < values.max() <= high
    assert (drawn.cable_force[:, 0] < 0).all()
    usual = draw_disturbances(uniforms, DisturbanceConfig())
    assert usual.grip_force.min() >= 8 and usual.grip_force.max() <= 20
    assert not usual.cable_force.any() and not usual.socket_roll.any()


def test_the_cable_pulls_at_the_tail_in_tugs():
    simulation, _ = simulated(disturbances={"cable_force_n": (4, 4)})
    parameters = simulation.parameters
    length = np.full(WORLDS, CONNECTORS["usb"].body_size[0])
    steps = np.arange(200)
    course = np.stack(
        [
            cable_forces(
                simulation.state,
                np.full(WORLDS, step),
                parameters["cable_force"],
                parameters["tugs"],
                length,
            )
            for step in steps
        ]
    )
    force, torque = course[..., :3], course[..., 3:]
    pull = np.linalg.norm(force, axis=-1)
    assert pull.min() == pytest.approx(4 * STEADY_PULL, rel=0.02)
    assert pull.max() == pytest.approx(4.0, rel=0.01)
    arm = -simulation.state.plug_mat_w[:, :, 0] * length[:, None] / 2
    np.testing.assert_allclose(torque, np.cross(arm[None], force), atol=1e-12)
    simulation.close()


def test_a_held_plug_carries_the_pull_into_the_hand():
    simulation, worlds = simulated(disturbances={"cable_force_n": (6, 6)})
    free, _ = simulated()
    lags = []
    for _ in range(25):
        simulation.step(worlds, STILL)
        free.step(worlds, STILL)
        lags.append(np.abs(simulation.state.target - simulation.state.hand)[:, 2])
    # 2000 N/m, and in a tug 6 N, at least 0.7 of it up or down.
    assert (np.max(lags, axis=0) > 0.001).all()
    assert np.abs(free.state.target - free.state.hand)[:, 2].max() < 0.0001
    simulation.close()
    free.close()


def test_a_weak_grip_gives_where_a_firm_one_holds():
    moved = []
    for grip in (5.0, 25.0):
        simulation, worlds = simulated(
            disturbances={"grip_force_n": (grip, grip), "cable_force_n": (8, 8)}
        )
        before = simulation.measures.in_hand.copy()
        for _ in range(50):
            simulation.step(worlds, STILL)
        moved.append(np.abs(simulation.measures.in_hand - before).max(axis=0))
        simulation.close()
    assert (moved[0] > 1.5 * moved[1]).all()


def test_grasps_between_grip_forces_are_nearly_at_rest():
    simulation, _ = simulated(disturbances={"grip_force_n": (5, 12)})
    banks = simulation.task._banks
    assert [bank.grip_force for bank in banks] == [5.0, 8.0, 12.0]
    rows = np.arange(32)
    asked = np.zeros(32, np.int64), rows, np.ones(32)
    halfway = take(banks, *asked, np.full(32, 6.5))
    settled = banks[0].grasps[0, 0, rows]
    np.testing.assert_allclose(take(banks, *asked, np.full(32, 5.0)), settled)
    assert np.abs(halfway - settled)[:, :2].max() < 0.0002
    simulation.close()


def test_a_tilted_socket_is_where_it_was_drawn():
    simulation, _ = simulated(
        disturbances={"socket_pitch_deg": (8, 8), "socket_roll_deg": (-5, -5)},
        initial_state={"socket_yaw_deg": (0, 0)},
    )
    forward, left = (simulation.state.socket_mat_w[:, :, axis] for axis in (0, 1))
    np.testing.assert_allclose(np.degrees(np.arcsin(-forward[:, 2])), 8.0)
    np.testing.assert_allclose(
        np.degrees(np.arcsin(left[:, 2])), -5.0 * np.cos(np.radians(8)), atol=0.1
    )
    simulation.close()


@pytest.mark.slow
def test_engines_are_disturbed_alike():
    pytest.importorskip("mujoco_warp")
    disturbances = {"grip_force_n": (8, 12), "cable_force_n": (4, 6), "socket_pitch_deg": (-8, 8)}
    ended = []
    for engine in ("cpu", "warp"):
        simulation, worlds = simulated(engine, disturbances=disturbances)
        for _ in range(20):
            simulation.step(worlds, STILL)
        told = {"hand": simulation.state.hand, "socket": simulation.state.socket_mat_w}
        ended.append(simulation.fetch(told)[0])
        simulation.close()
    np.testing.assert_allclose(ended[0]["socket"], ended[1]["socket"], atol=1e-5)
    np.testing.assert_allclose(ended[0]["hand"], ended[1]["hand"], atol=2e-4)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"grip_force_n": (0, 5)}, "grip_force_n=.*1 <= low <= high <= 30"),
        ({"cable_force_n": None}, "cable_force_n=None.*0 <= low"),
        ({"socket_roll_deg": (0, 90)}, "socket_roll_deg=.*high <= 15"),
    ],
)
def test_a_range_that_is_not_allowed(given, wrong):
    with pytest.raises(ValueError, match=wrong):
        DisturbanceConfig(**given)
