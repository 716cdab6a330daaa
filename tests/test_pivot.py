"""The pivoting task: solvable, not by chance, blind to vision, and the same on every engine."""

import dataclasses
import math
import re
import warnings

import gymnasium
import numpy as np
import pytest
import worlds
from gymnasium.utils.env_checker import check_env
from worlds import expert, page_rows, steady

import vtenv
from vtenv.arrays import leaves, rebuild
from vtenv.collection.experience import Experience, record
from vtenv.rendering.panel import PANEL_SIZE, draw_panel
from vtenv.simulation import Simulation
from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.config import InsertionConfig
from vtenv.tasks.insertion.measures import FAILURES, MAX_SOCKET_FORCE
from vtenv.tasks.pivot import goal as goals
from vtenv.tasks.pivot import measures
from vtenv.tasks.pivot.config import (
    GRIP_FORCE,
    MODALITIES,
    PivotConfig,
    PivotInitialStateRanges,
    PivotMixture,
)
from vtenv.tasks.pivot.env import VTPivotEnv
from vtenv.tasks.pivot.task import PivotTask

STEPS = 150


def make_vec(num_envs, **settings):
    return gymnasium.make_vec(
        "VTPivot-v0", num_envs, vectorization_mode="vector_entry_point", **settings
    )


def simulate(num_worlds, seed=0, engine="cpu", engine_settings=None, **settings):
    """Worlds after their first reset; world i is seeded with `seed + i`."""
    config = PivotConfig.from_settings("VTPivot-v0", {"modalities": ("state",), **settings})
    simulation = Simulation(PivotTask(config), num_worlds, engine, **(engine_settings or {}))
    worlds = np.arange(num_worlds)
    simulation.reset(worlds, [np.random.default_rng(seed + i) for i in worlds])
    return simulation


def episodes(policy, connectors, num):
    """Success and return of seeded episodes under `policy(simulation, step)`."""
    envs = make_vec(num, connectors=connectors, modalities=("proprio",), autoreset_mode="Disabled")
    assert envs.max_episode_steps == STEPS
    return worlds.episodes(envs, policy, STEPS)


def to_and_fro(simulation, step):
    """Turns as the expert does, and goes back from the edge, again and again."""
    action = simulation.expert_action()
    return action if step // 25 % 2 == 0 else steady(-1, 0, 0, 0, 0)(simulation, step)


# Contract -------------------------------------------------------------------------------------


@pytest.mark.parametrize("modalities", [("depth", "contact", "proprio"), ("gel", "state")], ids=str)
def test_checkers_pass(modalities):
    from stable_baselines3.common.env_checker import check_env as check_env_sb3

    env = gymnasium.make("VTPivot-v0", modalities=modalities, disable_env_checker=True)
    check_env(env.unwrapped, skip_render_check=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env_sb3(env, warn=True, skip_render_check=True)
    # It wants images in uint8 and takes float images as vectors: it says so, and nothing else.
    assert not [w for w in caught if "image" not in str(w.message)]
    env.close()


@pytest.mark.parametrize("modalities", ["contact", ("state",), tuple(MODALITIES)], ids=str)
def test_the_goal_is_always_observed_and_within_its_space(modalities):
    env = gymnasium.make("VTPivot-v0", modalities=modalities)
    simulation = env.unwrapped.simulation
    for seed in range(10):
        observation, info = env.reset(seed=seed)
        assert env.observation_space.contains(observation)
        x_cm, pitch = observation["goal"]
        assert x_cm / 100 == pytest.approx(info["in_hand_x"] + info["place_error"], abs=1e-7)
        assert pitch == pytest.approx(info["in_hand_pitch"] + info["pitch_error"], abs=1e-6)
        np.testing.assert_allclose(simulation.parameters["goal"][0], [x_cm / 100, pitch], atol=1e-6)
        assert np.abs(observation["goal"]).max() > 0.05
    env.close()


def test_goals_are_a_turn_and_a_shift_away_from_the_start():
    simulation = simulate(200)
    measured = simulation.measures
    turn, shift = np.degrees(measured.pitch_error), measured.place_error * 1e3
    pitch = np.degrees(simulation.parameters["goal"][:, 1])
    low, high = goals.GOAL_SHIFT_MM
    assert (np.abs(turn) > goals.MIN_TURN_DEG - 0.01).all() and (turn > 0).mean() == (
        pytest.approx(0.5, abs=0.15)
    )
    assert (low - 0.01 < shift).all() and (shift < high + 0.01).all()
    low, high = goals.GOAL_PITCH_DEG
    assert (low <= pitch).all() and (pitch <= high).all() and np.ptp(pitch) > 0.8 * (high - low)
    simulation.close()


def test_goals_cover_the_range_evenly_without_what_is_near_the_start():
    uniforms = np.stack([np.full(4001, 0.5), np.linspace(0, 1, 4001, endpoint=False)], axis=-1)
    simulation = simulate(1)
    qpos = simulation.task.draw(np.full((1, simulation.task.num_uniforms), 0.5), {}).physics.qpos
    _, (first,) = goals.initial_in_hand(qpos)
    drawn = np.degrees(goals.draw_goals(uniforms, np.repeat(qpos, 4001, axis=0), {})[:, 1])
    low, high = goals.GOAL_PITCH_DEG
    first = math.degrees(first)
    assert drawn.min() == pytest.approx(low) and drawn.max() == pytest.approx(high, abs=0.01)
    assert np.abs(drawn - first).min() == pytest.approx(goals.MIN_TURN_DEG, abs=0.01)
    # Even: steps are as small everywhere, but for the one across the start.
    steps = np.sort(np.diff(np.sort(drawn)))
    assert steps[-1] == pytest.approx(2 * goals.MIN_TURN_DEG, abs=0.02)
    assert steps[-2] == pytest.approx(steps[0], abs=1e-6)
    simulation.close()


def test_reset_options_fix_the_goal_and_the_start():
    env = gymnasium.make("VTPivot-v0", modalities=("state",))
    options = {"connector": "stud", "goal_pitch_deg": -12.0, "goal_x_mm": -3.0, "in_hand_x_mm": 2.0}
    observation, info = env.reset(seed=0, options=options)
    np.testing.assert_allclose(observation["goal"], [-0.3, math.radians(-12)], atol=1e-6)
    assert info["connector"] == "stud"
    assert info["in_hand_x"] == pytest.approx(0.002, abs=2e-4)
    with pytest.raises(ValueError, match=r"goal_pitch_deg=40 is not allowed.*from -25 to 25"):
        env.reset(options={"goal_pitch_deg": 40})
    with pytest.raises(ValueError, match=r"choose from connector, .*goal_x_mm, goal_pitch_deg"):
        env.reset(options={"goal": 3})
    env.close()


def test_default_ranges_may_be_replaced_by_a_mapping():
    env = gymnasium.make("VTPivot-v0", initial_state={"hand_y_mm": (1, 1)})
    ranges = env.unwrapped.simulation.task.config.initial_state
    assert ranges == PivotInitialStateRanges(hand_y_mm=(1, 1))
    env.close()
    with pytest.raises(ValueError, match="a PivotInitialStateRanges, or a mapping of"):
        gymnasium.make("VTPivot-v0", initial_state=vtenv.InitialStateRanges())


def test_a_curriculum_narrows_the_fixture_and_keeps_grasps():
    task = PivotTask(PivotConfig())
    narrow = task.narrowed(0.0)
    assert narrow.config.initial_state.socket_y_mm == (0.0, 0.0)
    assert narrow.config.initial_state.in_hand_x_mm == (0.0, 3.0)
    uniforms = np.random.default_rng(0).random((8, task.num_uniforms))
    goal, same = (each.draw(uniforms, {}).parameters["goal"] for each in (task, narrow))
    np.testing.assert_allclose(goal, same, atol=1e-12)


# The task -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("connector", vtenv.CONNECTOR_NAMES)
def test_expert_brings_every_connector_to_its_goal(connector):
    success, returns = episodes(expert, (connector,), 100)
    assert success.mean() >= 0.95
    assert returns[success].min() > 5


@pytest.mark.slow
def test_chance_hardly_ever_does():
    rng = np.random.default_rng(0)
    success, _ = episodes(
        lambda simulation, step: rng.uniform(-1, 1, (simulation.num_worlds, 5)),
        vtenv.CONNECTOR_NAMES,
        200,
    )
    assert success.mean() <= 0.02


@pytest.mark.parametrize("connector", vtenv.CONNECTOR_NAMES)
def test_expert_brings_a_few_of_every_connector_to_their_goals(connector):
    success, _ = episodes(expert, (connector,), 8)
    assert success.sum() >= 7


@pytest.mark.parametrize(
    "policy",
    [steady(0, 0, 0, 0, 0), steady(1, 0, 0, 0, 0), to_and_fro],
    ids=["standing still", "pushing on", "to and fro"],
)
def test_reward_cannot_be_farmed(policy):
    success, returns = episodes(policy, vtenv.CONNECTOR_NAMES, 12)
    # All that the potentials give is less than success alone does.
    assert (returns[~success] < measures.REWARD_WEIGHTS["success"]).all()
    assert (~success).any()


def test_no_cycle_of_states_earns_anything():
    simulation = simulate(4)
    task, now = simulation.task, simulation.evaluation
    there = dataclasses.replace(
        now, potentials={name: value + 0.3 for name, value in now.potentials.items()}
    )
    there_and_back = [task.reward(now.potentials, there), task.reward(there.potentials, now)]
    for name in measures.POTENTIALS:
        np.testing.assert_allclose(sum(terms[name] for terms in there_and_back), 0, atol=1e-12)
    weights = measures.REWARD_WEIGHTS
    assert -weights["failure"] > -weights["time"] * STEPS
    simulation.close()


def test_potentials_rise_as_the_goal_comes_nearer():
    geom = simulate(1).measures
    errors = np.linspace(0, 0.02, 50)
    for name, field, scale in (("pitch", "pitch_error", 20), ("place", "place_error", 1)):
        for sign in (-1, 1):
            values = [
                measures.potentials(
                    dataclasses.replace(geom, **{field: np.array([sign * scale * error])})
                )[name].item()
                for error in errors
            ]
            assert values[0] == 1 and (np.diff(values) < 0).all()


SUCCESS = {
    "turned too little": ({"pitch_error": math.radians(3.1)}, {}),
    "turned too far": ({"pitch_error": -math.radians(3.1)}, {}),
    "not back enough": ({"place_error": -0.0011}, {}),
    "too far back": ({"place_error": 0.0011}, {}),
    "still pressed": ({}, {"socket_force": 0.6}),
    "held by one finger": ({}, {"touching": (True, False)}),
}


def at_goal(geometry=None, state=None):
    """A world at its goal, but for what is given."""
    simulation = simulate(1)
    found, physical = simulation.measures, simulation.state
    simulation.close()
    geom = {"pitch_error": math.radians(2.9), "place_error": -0.0009, **(geometry or {})}
    geom = {name: np.array([value], float) for name, value in geom.items()}
    state = {name: np.array([value]) for name, value in (state or {}).items()}
    return dataclasses.replace(physical, **state), dataclasses.replace(found, **geom)


def test_success_is_to_be_there_and_held_by_the_fingers_alone():
    assert measures.is_success(*at_goal()).all()


@pytest.mark.parametrize("case", SUCCESS)
def test_anything_else_is_no_success(case):
    assert not measures.is_success(*at_goal(*SUCCESS[case])).any()


@pytest.mark.parametrize(
    ("name", "geometry", "state"),
    [
        ("", {}, {}),
        ("", {}, {"touching": (False, False)}),  # a knock, in a light grip
        ("dropped", {}, {"fingers": (0.0197, 0.0197)}),
        ("slipped", {"in_hand": (-0.0121, 0.0, 0.0)}, {}),
        ("slipped", {"in_hand": (0.0, 0.0131, 0.0)}, {}),
        ("slipped", {"in_hand": (0.0, 0.0, -0.61)}, {}),
        ("force", {}, {"socket_force": 60.1}),
        ("unstable", {}, {"stable": False}),
    ],
)
def test_failures(name, geometry, state):
    assert FAILURES[measures.failure(*at_goal(geometry, state)).item()] == name


def test_privileged_state_is_insertions_and_what_is_missing():
    simulation = simulate(4)
    state = simulation.observe(np.arange(4))["state"]
    measured = simulation.measures
    assert state.shape == (4, *MODALITIES["state"].shape)
    np.testing.assert_allclose(state[:, 12:14] * 0.01, measured.in_hand[:, :2], atol=1e-7)
    np.testing.assert_allclose(state[:, 31] * 0.01, measured.place_error, atol=1e-7)
    np.testing.assert_allclose(state[:, 32], measured.pitch_error, atol=1e-6)
    simulation.close()


@pytest.mark.parametrize("connector", vtenv.CONNECTOR_NAMES)
def test_vision_is_blind_to_the_plug_in_the_hand(connector):
    env = gymnasium.make(
        "VTPivot-v0", connectors=(connector,), modalities=("depth", "contact"), depth_noise_mm=0
    )
    fixed = {
        name: 0.0 for name in PivotInitialStateRanges.names() if not name.startswith("in_hand")
    } | {"socket_x_mm": 40.0}
    seen = []
    for x, z, pitch in [(0, 0, 0), (3, 1.5, 8), (-5.5, -1.5, -18), (-5.5, 1.5, 18), (3, 0, -18)]:
        in_hand = {"in_hand_x_mm": x, "in_hand_z_mm": z, "in_hand_pitch_deg": pitch}
        seen.append(env.reset(seed=0, options=fixed | in_hand)[0])
    for other in seen[1:]:
        assert (other["depth"] != seen[0]["depth"]).sum() == 0
        assert (other["contact"] != seen[0]["contact"]).sum() > 20
    env.close()


def overhead_camera_of(groups, num_worlds):
    """Worlds whose overhead camera sees these geom groups, after their first reset."""
    settings = {"modalities": ("depth",), "depth_noise_mm": 0}
    task = PivotTask(PivotConfig.from_settings("VTPivot-v0", settings))
    model = task.world_model
    camera = dataclasses.replace(model.cameras["overhead"], groups=groups)
    cameras = {**model.cameras, "overhead": camera}
    task.__dict__["world_model"] = dataclasses.replace(model, cameras=cameras)
    simulation = Simulation(task, num_worlds)
    worlds = np.arange(num_worlds)
    simulation.reset(worlds, [np.random.default_rng(i) for i in worlds])
    return simulation


def test_vision_sees_nothing_of_the_plug_while_the_expert_works():
    live = np.arange(12)
    plug_alone = overhead_camera_of((scene.PLUG_GROUP,), 12)
    assert (plug_alone.observe(live)["depth"] > 0).any((1, 2, 3)).all()
    both = overhead_camera_of((scene.SCENE_GROUP, scene.PLUG_GROUP), 12)
    without = overhead_camera_of((scene.SCENE_GROUP,), 12)
    for _ in range(STEPS):
        if not live.size:
            break
        action = both.expert_action()
        ended = both.step(live, action).terminated
        without.step(live, action)
        depths = (simulation.observe(live)["depth"] for simulation in (both, without))
        np.testing.assert_array_equal(*depths)
        live = live[~ended[live]]
    for simulation in (plug_alone, both, without):
        simulation.close()


# Learning from it -----------------------------------------------------------------------------


def test_experience_has_the_tasks_labels_and_regions():
    experience = Experience(6, task="VTPivot-v0", num_threads=1, mixture=PivotMixture(1, 1, 0))
    rows = record(experience.rows(0), 70)
    task = experience.task
    assert rows["pose"].shape[1:] == (len(task.pose_labels),)
    regions = task.regions(rows)
    assert tuple(regions) == ("pressed", "finishing")
    assert 0.02 < regions["pressed"].mean() < 0.9
    assert not (regions["finishing"] & ~regions["pressed"]).any()
    experience.close()


@pytest.mark.parametrize("kind", PivotMixture().names)
def test_behaviours_are_what_they_are_called(kind):
    simulation = simulate(6)
    mixture = PivotMixture(**dict.fromkeys(PivotMixture().names, 0.0) | {kind: 1.0})
    behaviours = simulation.task.behaviours(6, mixture, np.random.default_rng(0))
    behaviours.start(np.ones(6, bool))
    action = behaviours.act(simulation.evaluation)
    assert action.shape == (6, 5) and np.abs(action).max() <= 1
    same = np.allclose(action, simulation.expert_action())
    assert same == (kind == "expert")
    simulation.close()


def test_numpy_and_torch_agree():
    torch = pytest.importorskip("torch")
    simulation = simulate(16, connectors=("usb", "aux"))
    task = simulation.task
    for _ in range(40):
        simulation.step(np.arange(16), simulation.expert_action())
    physics = simulation.engine.state()
    parameters = simulation.parameters
    now = task.evaluate(physics, parameters)
    tensors = rebuild(physics, iter([torch.as_tensor(np.array(a)) for a in leaves(physics)]))
    goal = {name: torch.as_tensor(value) for name, value in parameters.items()}
    other = task.evaluate(tensors, goal)
    pairs = [
        *zip(leaves(now), leaves(other), strict=True),
        *zip(
            leaves(task.reward(now.potentials, now)),
            leaves(task.reward(other.potentials, other)),
            strict=True,
        ),
        *zip(leaves(task.vectors(now, parameters)), leaves(task.vectors(other, goal)), strict=True),
        (task.expert_action(now, parameters), task.expert_action(other, goal)),
        (task.poses(now), task.poses(other)),
        *zip(leaves(task.labels(now)), leaves(task.labels(other)), strict=True),
        *zip(
            leaves(task.regions(task.labels(now))),
            leaves(task.regions(task.labels(other))),
            strict=True,
        ),
    ]
    assert len(pairs) > 30
    for array, tensor in pairs:
        np.testing.assert_allclose(array, tensor.numpy(), atol=1e-9)
    simulation.close()


@pytest.mark.slow
def test_engines_agree(warp_device):
    both = [
        simulate(8, engine=engine, engine_settings=settings)
        for engine, settings in (("cpu", {}), ("warp", {"device": warp_device}))
    ]
    worlds = np.arange(8)
    for _ in range(29):  # in the last of them most are pressed on the housing
        action = both[0].expert_action()
        for simulation in both:
            simulation.step(worlds, action).wait()
    assert (both[0].state.socket_force > 1).any()
    infos = [simulation.decode(simulation.fetch(simulation.info())[0]) for simulation in both]
    states = [simulation.fetch(simulation.observe(worlds))[0] for simulation in both]
    np.testing.assert_allclose(states[0]["goal"], states[1]["goal"], atol=1e-5)
    assert np.abs(infos[0]["in_hand_x"] - infos[1]["in_hand_x"]).max() < 1e-4
    assert np.degrees(np.abs(infos[0]["in_hand_pitch"] - infos[1]["in_hand_pitch"])).max() < 0.2
    for simulation in both:
        simulation.close()


# Pictures and the page ------------------------------------------------------------------------


def test_panel_shows_pitch_and_place_and_their_goals():
    env = gymnasium.make("VTPivot-v0", modalities=("depth", "contact", "proprio"))
    observation, info = env.reset(seed=0)
    task = env.unwrapped.simulation.task
    text = task.panel(info)
    pitch, place, force = text.bars
    degrees = math.degrees(info["in_hand_pitch"])
    goal = degrees + math.degrees(info["pitch_error"])
    assert pitch.text == f"{degrees:.1f}\u00b0, goal {goal:.1f}\u00b0"
    assert pitch.mark == pytest.approx((goal + 25) / 50)
    assert place.text.startswith(f"{info['in_hand_x'] * 1e3:.1f} mm, goal ")
    assert force.text == "0.0 N"
    drawn = draw_panel(observation, info, task.config.modalities, text)
    assert drawn.shape == (PANEL_SIZE[1], PANEL_SIZE[0], 3)
    assert task.panel({}).bars == ()
    env.close()


def test_page_agrees_with_the_spaces():
    env = VTPivotEnv(modalities=tuple(MODALITIES), image_size=48, contact_size=32)
    space = f"`{env.action_space!r}`".replace("-1.0", "-1").replace("1.0", "1")
    assert space in VTPivotEnv.__doc__
    listed = page_rows(VTPivotEnv, "Observation Space")
    table = {row[0].strip("`"): row[1].strip("`") for row in listed[1 : 1 + len(MODALITIES)]}
    assert tuple(table) == tuple(MODALITIES)
    for name, space in env.observation_space.items():
        assert table[name].replace("S, S", "48, 48").replace("C, C", "32, 32") == repr(space)
    numbered = [row[0] for row in listed[1 + len(MODALITIES) :] if re.match(r"\d", row[0])]
    assert numbered == ["0", "1", "0-30", "31", "32"]
    env.close()


def test_page_agrees_with_rewards_ranges_goals_and_arguments():
    page = re.sub(r"\s+", " ", VTPivotEnv.__doc__)
    weights = {row[0].strip("`"): float(row[1]) for row in page_rows(VTPivotEnv, "Rewards")[1:]}
    assert weights == measures.REWARD_WEIGHTS
    defaults = PivotInitialStateRanges()
    shown = {row[0].strip("`"): row[1] for row in page_rows(VTPivotEnv, "Starting State")[1:]}
    assert shown == {
        name: "{:g} to {:g}".format(*getattr(defaults, name)) for name in defaults.names()
    }
    low, high = goals.GOAL_PITCH_DEG
    assert f"uniformly from {low:g} to {high:g} degrees without what is within" in page
    assert f"within {goals.MIN_TURN_DEG:g} degrees of the first pitch" in page
    far, near = goals.GOAL_SHIFT_MM
    assert f"from {-near:g} to {-far:g} mm behind the first one" in page
    pitch, place = math.degrees(measures.PITCH_TOLERANCE), measures.PLACE_TOLERANCE * 1e3
    assert f"the pitch is within {pitch:g} degrees and the place within {place:g} mm" in page
    assert f"with less than {measures.MAX_UNLOADED_FORCE:g} N" in page
    assert f"over {MAX_SOCKET_FORCE:g} N between plug and housing" in page
    x, z, turn = measures.MAX_SLIP
    assert f"over {x * 1e3:g} mm along, {z * 1e3:g} mm across or {turn:g} rad" in page
    assert f"hold the plug with {GRIP_FORCE:g} N" in page
    pairs = zip(*(vars(config()).items() for config in (PivotConfig, InsertionConfig)), strict=True)
    arguments = [row[0].strip("`") for row in page_rows(VTPivotEnv, "Arguments")[1:]]
    assert arguments == [name for (name, ours), (_, other) in pairs if ours != other]
