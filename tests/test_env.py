"""The single environment against Gymnasium's contract and its own page."""

import copy
import dataclasses
import functools
import inspect
import itertools
import pickle
import re
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import FlattenObservation, RecordEpisodeStatistics
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import assert_same, page_rows

import vtenv
from vtenv.modalities import IMAGE_MODALITIES
from vtenv.tasks.insertion import actions, measures
from vtenv.tasks.insertion.config import MODALITIES, InitialStateRanges, InsertionConfig
from vtenv.tasks.insertion.connectors import CONNECTORS
from vtenv.tasks.insertion.domain import NUM_DOMAIN_UNIFORMS, draw_domain
from vtenv.tasks.insertion.env import VTInsertEnv, VTInsertVectorEnv
from vtenv.tasks.insertion.modalities import STATE
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig

SUBSETS = [
    *[(key,) for key in MODALITIES],
    *itertools.pairwise(MODALITIES),
    tuple(MODALITIES),
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


@pytest.mark.parametrize("modalities", SUBSETS, ids="-".join)
def test_checkers_pass_for_every_subset_of_modalities(modalities):
    # Stable-Baselines3 wants images in uint8 and takes float images as vectors: it says so in
    # a warning for images of other types, and for those alone.
    from stable_baselines3.common.env_checker import check_env as check_env_sb3

    env = gymnasium.make("VTInsert-v0", modalities=modalities, disable_env_checker=True)
    check_env(env.unwrapped, skip_render_check=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env_sb3(env, warn=True, skip_render_check=True)
    messages = [str(w.message) for w in caught]
    unexpected = [m for m in messages if "image" not in m]  # "... neither an image, nor ..."
    assert not unexpected
    assert bool(messages) <= bool(set(IMAGE_MODALITIES) & set(modalities))
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
    with pytest.raises(ValueError, match=r"shape \(4,\); expected \(5,\)"):
        env.step(np.zeros(4, np.float32))
    env.close()


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros(5, complex),
        np.zeros(5, "datetime64[s]"),
        np.ma.masked_array(np.zeros(5), [0, 1, 0, 0, 0]),
        np.array(["0"] * 5),
        [0, 0, None, 0, 0],
        [0, [0, 1], 0, 0, 0],
        None,
    ],
    ids=["complex", "datetime", "masked", "text", "none in it", "ragged", "none"],
)
def test_actions_that_are_not_numbers_are_refused(bad):
    env = VTInsertEnv(modalities=("proprio",))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="an action is an array of"):
        env.step(bad)
    env.close()


@pytest.mark.parametrize("kind", ["list", "float64", "int64", "bool", "a tensor"])
def test_actions_of_any_real_numbers_do_the_same(kind):
    torch = pytest.importorskip("torch")
    ones = {"list": [1.0] * 5, "a tensor": torch.ones(5, requires_grad=True)}
    env = VTInsertEnv(modalities=("state",), connectors="usb")
    env.reset(seed=0)
    expected = env.step(np.ones(5, np.float32))
    env.reset(seed=0)
    assert_same(expected, env.step(ones[kind] if kind in ones else np.ones(5, kind)))
    env.close()


def test_steps_out_of_order_are_refused():
    env = VTInsertEnv(modalities=("proprio",), connectors="usb")
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before the first step"):
        env.step(np.zeros(5))
    env.reset(seed=0)
    terminated = False
    while not terminated:
        *_, terminated, _, info = env.step(env.simulation.expert_action()[0])
    assert info["is_success"]
    with pytest.raises(ResetNeeded, match="has terminated; call reset"):
        env.step(np.zeros(5))
    env.reset()
    env.step(np.zeros(5))
    env.close()
    env.close()
    for use in (env.reset, lambda: env.step(np.zeros(5)), env.get_state):
        with pytest.raises(ClosedEnvironmentError, match="was closed; make a new one"):
            use()


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), np.array(3)])
def test_seeds_may_be_numpys(seed):
    env = VTInsertEnv(modalities=("state",))
    assert_same(env.reset(seed=3), env.reset(seed=seed))
    assert env.np_random_seed == 3
    env.close()


@pytest.mark.parametrize("seed", [-1, 2.5, "3", True])
def test_other_seeds_are_refused(seed):
    env = VTInsertEnv(modalities=("state",))
    with pytest.raises(ValueError, match=r"seed=.* is not allowed; seed must be a whole number"):
        env.reset(seed=seed)
    env.close()


@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=5))
@settings(max_examples=30)
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
    with pytest.raises(ValueError, match=r"options='abc' is not allowed; options must be a map"):
        env.reset(options="abc")
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


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.array])
def test_reset_options_may_be_numpys(kind):
    env = VTInsertEnv(modalities=("state",))
    expected = env.reset(seed=0, options={"socket_y_mm": 1.0})
    assert_same(expected, env.reset(seed=0, options={"socket_y_mm": kind(1)}))
    env.close()


def test_signature_lists_every_setting_with_its_default():
    shown = inspect.signature(VTInsertEnv).parameters
    fields = {field.name: field.default for field in dataclasses.fields(InsertionConfig)}
    own = {"render_mode": None, "picture": "scene", "width": 640, "height": 480}
    own |= {"engine": "cpu", "device": None}
    assert {name: parameter.default for name, parameter in shown.items()} == own | fields
    assert set(fields) < set(inspect.signature(VTInsertVectorEnv).parameters)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("initial_state", InitialStateRanges(hand_y_mm=(0.0, 0.0))),
        ("domain_randomization", DomainRandomizationConfig.only(plug_mass_g=(11, 12))),
        ("image_size", (48, 32)),
        ("image_size", (np.int64(48), 32)),
        ("clearance_mm", np.float32(0.5)),
        ("connectors", np.array(["aux", "usb"])),
        ("connectors", ("aux", "usb")),
        ("connectors", (CONNECTORS["usb"], replace(CONNECTORS["pin"], name="heavy", mass=0.03))),
    ],
)
def test_a_spec_survives_json(name, value):
    env = gymnasium.make("VTInsert-v0", **{name: value})
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.config == env.unwrapped.config
    assert again.unwrapped.config != InsertionConfig()
    env.close()
    again.close()


def test_the_state_alone_is_an_id_of_its_own():
    flat = gymnasium.make("VTInsertState-v0", connectors="usb", disable_env_checker=True)
    check_env(flat.unwrapped, skip_render_check=True)
    assert flat.observation_space == STATE.space()
    assert flat.spec.max_episode_steps == 100
    dicts = gymnasium.make("VTInsert-v0", modalities=("state",), connectors="usb")
    for one, other in zip(play(flat, 10), play(dicts, 10), strict=True):
        assert_same(one[0], other[0]["state"])
        assert_same(one[1:], other[1:])
    with pytest.raises(TypeError, match=r"keyword argument 'modalities'; it has modalities="):
        gymnasium.make("VTInsertState-v0", modalities=("depth",))
    flat.close()
    dicts.close()


def test_text_in_info_passes_conversion_to_tensors():
    pytest.importorskip("torch")
    from gymnasium.wrappers import NumpyToTorch

    env = NumpyToTorch(gymnasium.make("VTInsert-v0", connectors="usb"))
    _, info = env.reset(seed=0)
    assert (info["connector"], info["failure"]) == ("usb", "")
    env.close()


def test_keys_to_play_with_are_actions():
    env = gymnasium.make("VTInsert-v0", modalities=("proprio",), render_mode="rgb_array")
    keys = env.get_wrapper_attr("get_keys_to_action")()
    assert all(action in env.action_space for action in keys.values())
    assert keys["w",].tolist() == [1, 0, 0, 0, 0]
    assert keys["s", "d"].tolist() == [-1, -1, 0, 0, 0]
    assert len({tuple(sorted(pressed)) for pressed in keys}) == len(keys)
    env.close()


def test_page_agrees_with_the_action_space():
    env = VTInsertEnv(modalities=("proprio",))
    assert f"`{env.action_space!r}`".replace("-1.0", "-1").replace("1.0", "1") in (
        VTInsertEnv.__doc__
    )
    table = page_rows(VTInsertEnv, "Action Space")[1:]
    assert [int(row[0]) for row in table] == list(range(5))
    for row, scale in zip(table, actions.ACTION_SCALE, strict=True):
        value, unit = row[4].split()
        assert float(value) * (1e-3 if unit == "(mm)" else 1) == pytest.approx(scale)
    env.close()


def test_page_agrees_with_the_observation_space():
    env = VTInsertEnv(modalities=MODALITIES, image_size=48, contact_size=32)
    listed, there = page_rows(VTInsertEnv, "Observation Space"), 1 + len(MODALITIES)
    table = {row[0].strip("`"): row[1].strip("`") for row in listed[1:there]}
    assert tuple(table) == tuple(MODALITIES)
    for name, space in env.observation_space.items():
        shown = table[name].replace("S, S", "48, 48").replace("C, C", "32, 32")
        assert shown == repr(space)
    numbered = [row[0] for row in listed[there:] if re.match(r"\d", row[0])]
    covered = [n for row in numbered for n in span(row)]
    assert covered == list(range(*STATE.shape))
    env.close()


def span(text):
    low, _, high = text.partition("-")
    return range(int(low), int(high or low) + 1)


def test_page_agrees_with_the_domains():
    table = {
        row[0].strip("`"): row[1:3] for row in page_rows(VTInsertEnv, "Domain Randomization")[1:]
    }
    ranges = DomainRandomizationConfig()
    assert tuple(table) == ranges.names()
    nominal = draw_domain(np.zeros((1, NUM_DOMAIN_UNIFORMS)), InsertionConfig())
    units = {"_mm": 1e3, "_g": 1e3, "_deg": 180 / np.pi}
    for name, (shown, without) in table.items():
        assert shown == "{:g} to {:g}".format(*getattr(ranges, name))
        suffix = next((unit for unit in units if name.endswith(unit)), "")
        if without == "own fit":
            assert InsertionConfig().clearance_mm is None
        elif hasattr(nominal, name):
            assert float(without) == getattr(nominal, name)[0]
        else:
            value = getattr(nominal, name.removesuffix(suffix)).max() * units[suffix]
            assert float(without) == pytest.approx(value)


def test_page_agrees_with_rewards_ranges_and_arguments():
    weights = {row[0].strip("`"): float(row[1]) for row in page_rows(VTInsertEnv, "Rewards")[1:]}
    assert weights == measures.REWARD_WEIGHTS
    defaults = InitialStateRanges()
    shown = {row[0].strip("`"): row[1] for row in page_rows(VTInsertEnv, "Starting State")[1:]}
    assert shown == {
        name: "{:g} to {:g}".format(*getattr(defaults, name)) for name in defaults.names()
    }
    arguments = [row[0].strip("`") for row in page_rows(VTInsertEnv, "Arguments")[1:]]
    assert arguments == [
        *(field.name for field in dataclasses.fields(InsertionConfig)),
        "render_mode",
        "picture",
        "width",
        "height",
        "engine",
        "device",
    ]
    assert f"over {measures.MAX_SOCKET_FORCE:g} N between plug and socket" in VTInsertEnv.__doc__
    assert f"{measures.SUCCESS_FRACTION:.0%} of the plug's travel" in VTInsertEnv.__doc__
