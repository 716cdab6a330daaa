"""The single environment against Gymnasium's contract and its own page."""

import copy
import dataclasses
import functools
import itertools
import pickle
import re
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import FlattenObservation, RecordEpisodeStatistics
from hypothesis import given, settings
from hypothesis import strategies as st

import vtenv
from vtenv.tasks.insertion import actions, measures
from vtenv.tasks.insertion.config import MODALITIES, InitialStateRanges, InsertionConfig
from vtenv.tasks.insertion.domain import NUM_DOMAIN_UNIFORMS, draw_domain
from vtenv.tasks.insertion.env import VTInsertEnv
from vtenv.tasks.insertion.modalities import STATE
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig

SUBSETS = [
    subset
    for size in range(1, len(MODALITIES) + 1)
    for subset in itertools.combinations(MODALITIES, size)
]


def play(env, steps, seed=0):
    """Every observation, reward, end and info of random actions from a seed."""
    generator = np.random.default_rng(seed)
    trace = [env.reset(seed=seed)]
    for _ in range(steps):
        result = env.step(generator.uniform(-1, 1, 5).astype(np.float32))
        trace.append(result)
        if result[2] or result[3]:
            trace.append(env.reset())
    return trace


def assert_same(left, right):
    """Bit for bit equality of nested results."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same(a, b)
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    else:
        assert left == right


@pytest.mark.parametrize("connector", vtenv.CONNECTOR_NAMES)
def test_gymnasium_check_env(connector):
    env = gymnasium.make("VTInsert-v0", connectors=(connector,), disable_env_checker=True)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


@pytest.mark.parametrize("modalities", SUBSETS, ids="-".join)
def test_checkers_pass_for_every_subset_of_modalities(modalities):
    # Stable-Baselines3 wants images in uint8 and takes float images as vectors: it says so in
    # a warning for depth and gel, and for those alone.
    from stable_baselines3.common.env_checker import check_env as check_env_sb3

    env = gymnasium.make("VTInsert-v0", modalities=modalities, disable_env_checker=True)
    check_env(env.unwrapped, skip_render_check=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env_sb3(env, warn=True, skip_render_check=True)
    messages = [str(w.message) for w in caught]
    unexpected = [m for m in messages if "image" not in m]
    assert not unexpected
    assert bool(messages) <= bool({"depth", "gel", "contact"} & set(modalities))
    env.close()


def test_import_registers_and_module_prefix_works():
    env = gymnasium.make("vtenv:VTInsert-v0", modalities=("proprio",))
    assert env.spec.id == "VTInsert-v0"
    assert env.spec.max_episode_steps == 100
    env.close()


def test_same_seed_same_episode_and_other_seed_another():
    env = gymnasium.make("VTInsert-v0")
    first, again, other = play(env, 120, 7), play(env, 120, 7), play(env, 120, 8)
    assert_same(first, again)
    assert not np.array_equal(first[0][0]["depth"], other[0][0]["depth"])
    env.close()


def test_spec_copies_and_pickles_to_the_same_environment():
    env = gymnasium.make("VTInsert-v0", connectors="aux", clearance_mm=0.8, depth_noise_mm=0)
    reference = play(env, 15, 3)
    for spec in (copy.deepcopy(env.spec), pickle.loads(pickle.dumps(env.spec))):
        other = gymnasium.make(spec)
        assert_same(reference, play(other, 15, 3))
        other.close()
    raw = pickle.loads(pickle.dumps(env.unwrapped))
    assert_same(reference[0], raw.reset(seed=3))
    raw.close()
    env.close()


def test_gymnasium_wrappers():
    env = RecordEpisodeStatistics(
        FlattenObservation(gymnasium.make("VTInsert-v0", modalities=("contact", "proprio")))
    )
    observation, _ = env.reset(seed=0)
    assert observation.shape == (2 * 64 * 64 + 12,)
    for _ in range(100):
        _, _, terminated, truncated, info = env.step(np.zeros(5, np.float32))
    assert truncated and not terminated
    assert info["episode"]["l"] == 100
    env.close()


def test_record_video(tmp_path):
    from gymnasium.wrappers import RecordVideo

    env = RecordVideo(
        gymnasium.make("VTInsert-v0", render_mode="sensors"),
        str(tmp_path / "videos"),
        disable_logger=True,
    )
    env.reset(seed=0)
    for _ in range(5):
        env.step(env.action_space.sample())
    env.close()
    assert [path.suffix for path in (tmp_path / "videos").iterdir()] == [".mp4"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_actions_that_are_not_finite_are_refused(bad):
    env = gymnasium.make("VTInsert-v0", modalities=("state",))
    before, _ = env.reset(seed=0)
    action = np.zeros(5, np.float32)
    action[2] = bad
    with pytest.raises(ValueError, match=r"not finite; send numbers in \[-1, 1\]"):
        env.step(action)
    after, *_ = env.step(np.zeros(5, np.float32))
    assert np.isfinite(after["state"]).all()
    assert np.abs(after["state"] - before["state"]).max() < 0.05
    env.close()


def test_action_of_another_shape_is_refused():
    env = VTInsertEnv(modalities=("state",))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(1, 4\); expected \(1, 5\)"):
        env.step(np.zeros(4, np.float32))
    env.close()


@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=5))
@settings(max_examples=30, deadline=None)
def test_actions_out_of_bounds_are_clipped(action):
    env = clipping_env()
    env.reset(seed=0)
    expected = env.step(np.clip(action, -1, 1))
    env.reset(seed=0)
    assert_same(expected, env.step(np.array(action)))


@functools.cache
def clipping_env():
    """Made once for all of hypothesis's examples."""
    return VTInsertEnv(modalities=("state",), connectors="usb")


def test_observations_and_infos_are_new_objects_within_their_spaces():
    env = VTInsertEnv(modalities=MODALITIES, depth_dropout=0.5, depth_quantization_mm=2)
    observation, info = env.reset(seed=0)
    generator = np.random.default_rng(0)
    for _ in range(30):
        assert env.observation_space.contains(observation)
        following, _, _, _, following_info = env.step(generator.uniform(-1, 1, 5))
        assert following_info is not info
        for name, value in observation.items():
            assert not np.shares_memory(value, following[name])
        observation, info = following, following_info
    env.close()


def test_contact_is_the_gel_over_the_threshold():
    env = VTInsertEnv(modalities=("contact", "gel"))
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observation["contact"], observation["gel"] > 0.05)
    assert 0.01 < observation["contact"].mean() < 0.9
    env.close()


def test_info_has_the_rewards_terms_and_they_add_up():
    env = gymnasium.make("VTInsert-v0", modalities=("state",))
    env.reset(seed=1)
    for _ in range(20):
        _, reward, _, _, info = env.step(env.action_space.sample())
        terms = {key: value for key, value in info.items() if key.startswith("reward_")}
        assert set(terms) == {f"reward_{name}" for name in measures.REWARD_WEIGHTS}
        assert reward == pytest.approx(sum(terms.values()), abs=1e-12)
        assert {key: type(value) for key, value in info.items() if key not in terms} == {
            "is_success": bool,
            "connector": str,
            "insertion_depth": float,
            "lateral_error": float,
            "angular_error": float,
            "contact_force": float,
            "failure": str,
        }
    env.close()


def test_sparse_reward_is_the_success():
    env = gymnasium.make("VTInsert-v0", modalities=("state",), reward="sparse", connectors="usb")
    env.reset(seed=0)
    simulation, total, steps = env.unwrapped.simulation, 0.0, 0
    while True:
        action = simulation.expert_action()[0]
        _, reward, terminated, truncated, info = env.step(action.astype(np.float32))
        total, steps = total + reward, steps + 1
        if terminated or truncated:
            break
    assert terminated and info["is_success"] and total == 1.0 and steps < 60
    env.close()


def test_reset_options_fix_what_they_name():
    env = gymnasium.make("VTInsert-v0", modalities=("state",))
    options = {
        "connector": "stud",
        "in_hand_x_mm": -2.0,
        "in_hand_z_mm": 1.5,
        "in_hand_pitch_deg": 6.0,
        "hand_y_mm": 0.0,
        "hand_z_mm": 0.0,
        "hand_yaw_deg": 0.0,
        "socket_x_mm": 40.0,
        "socket_y_mm": -7.0,
        "socket_z_mm": 1.0,
        "socket_yaw_deg": 5.0,
    }
    observation, info = env.reset(seed=0, options=options)
    state = observation["state"]
    assert info["connector"] == "stud"
    np.testing.assert_allclose(state[12:14] * 10, [-2.0, 1.5], atol=0.2)
    np.testing.assert_allclose(np.degrees(state[14]), 6.0, atol=0.5)
    np.testing.assert_allclose(state[21:24] * 10, [40.0, -7.0, 1.0], atol=0.02)
    np.testing.assert_allclose(np.degrees(state[24]), 5.0, atol=0.02)
    env.close()


def test_reset_options_are_checked():
    env = gymnasium.make("VTInsert-v0", modalities=("state",), connectors="usb")
    with pytest.raises(ValueError, match="unknown reset option 'socket_x'; choose from connector"):
        env.reset(options={"socket_x": 3})
    with pytest.raises(ValueError, match="must be a number from 36 to 60"):
        env.reset(options={"socket_x_mm": 3})
    with pytest.raises(ValueError, match="this environment was made for usb"):
        env.reset(options={"connector": "aux"})
    env.close()


def test_ranges_of_the_initial_state_are_kept():
    ranges = InitialStateRanges(socket_y_mm=(5, 6), socket_yaw_deg=(-1, -1), hand_yaw_deg=(0, 0))
    env = gymnasium.make("VTInsert-v0", modalities=("state",), initial_state=ranges)
    for seed in range(20):
        state = env.reset(seed=seed)[0]["state"]
        hand_y = state[1]
        assert 0.5 - 1e-6 <= state[22] + hand_y <= 0.6 + 1e-6
        assert np.degrees(state[24]) == pytest.approx(-1, abs=0.02)
    env.close()


def test_random_connector_draws_all_four_about_equally():
    env = VTInsertEnv(modalities=("proprio",))
    env.reset(seed=0)
    names = [env.reset()[1]["connector"] for _ in range(200)]
    counts = [names.count(name) for name in vtenv.CONNECTOR_NAMES]
    assert min(counts) > 30
    env.close()


def test_close_twice_is_fine():
    env = VTInsertEnv()
    env.reset(seed=0)
    env.close()
    env.close()


def rows(section):
    """Rows of a section's table of the class docstring."""
    text = VTInsertEnv.__doc__.split(f"## {section}")[1].split("\n    ## ")[0]
    cells = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
        if line.strip().startswith("|") and "---" not in line
    ]
    return cells


def test_page_agrees_with_the_action_space():
    env = VTInsertEnv(modalities=("proprio",))
    assert f"`{env.action_space!r}`".replace("-1.0", "-1").replace("1.0", "1") in (
        VTInsertEnv.__doc__
    )
    table = rows("Action Space")[1:]
    assert [int(row[0]) for row in table] == list(range(5))
    for row, scale in zip(table, actions.ACTION_SCALE, strict=True):
        value, unit = row[4].split()
        assert float(value) * (1e-3 if unit == "(mm)" else 1) == pytest.approx(scale)
    env.close()


def test_page_agrees_with_the_observation_space():
    env = VTInsertEnv(modalities=MODALITIES, image_size=48, contact_size=32)
    table = {row[0].strip("`"): row[1].strip("`") for row in rows("Observation Space")[1:6]}
    assert tuple(table) == tuple(MODALITIES)
    for name, space in env.observation_space.items():
        shown = table[name].replace("S, S", "48, 48").replace("C, C", "32, 32")
        assert shown == repr(space)
    numbered = [row[0] for row in rows("Observation Space")[6:] if re.match(r"\d", row[0])]
    covered = [n for row in numbered for n in span(row)]
    assert covered == list(range(*STATE.shape))
    env.close()


def span(text):
    low, _, high = text.partition("-")
    return range(int(low), int(high or low) + 1)


def test_page_agrees_with_the_domains():
    table = {row[0].strip("`"): row[1:3] for row in rows("Domain Randomization")[1:]}
    ranges = DomainRandomizationConfig()
    assert tuple(table) == ranges.names()
    nominal = draw_domain(np.zeros((1, NUM_DOMAIN_UNIFORMS)), InsertionConfig())
    units = {"_mm": 1e3, "_g": 1e3, "_deg": 180 / np.pi}
    for name, (shown, without) in table.items():
        assert shown == "{:g} to {:g}".format(*getattr(ranges, name))
        suffix = next((unit for unit in units if name.endswith(unit)), "")
        if hasattr(nominal, name):
            assert float(without) == getattr(nominal, name)[0]
        else:
            value = getattr(nominal, name.removesuffix(suffix)).max() * units[suffix]
            assert float(without) == pytest.approx(value)


def test_page_agrees_with_rewards_ranges_and_arguments():
    weights = {row[0].strip("`"): float(row[1]) for row in rows("Rewards")[1:]}
    assert weights == measures.REWARD_WEIGHTS
    defaults = InitialStateRanges()
    shown = {row[0].strip("`"): row[1] for row in rows("Starting State")[1:]}
    assert shown == {
        name: "{:g} to {:g}".format(*getattr(defaults, name)) for name in defaults.names()
    }
    arguments = [row[0].strip("`") for row in rows("Arguments")[1:]]
    assert arguments == [
        *(field.name for field in dataclasses.fields(InsertionConfig)),
        "render_mode",
        "engine",
        "device",
    ]
    assert f"over {measures.MAX_SOCKET_FORCE:g} N between plug and socket" in VTInsertEnv.__doc__
    assert f"{measures.SUCCESS_FRACTION:.0%} of the plug's travel" in VTInsertEnv.__doc__
