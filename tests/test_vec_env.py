from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize

from policies.representations import (
    Representation,
    encoder_representation,
    make_representation,
)
from policies.vec_env import VTInsertVecEnv
from representation import EncoderConfig, VisuotactileEncoder
from vtenv.tasks.insertion.measures import REWARD_WEIGHTS
from vtenv.transform_observation import VectorTransformObservation

AHEAD = np.array([1.0, 0.0, 0.0, 0.0, 0.0], np.float32)
TOLD = {
    *("is_success", "failure", "connector", "insertion_depth", "lateral_error", "angular_error"),
    *("contact_force", "terminal_observation", "TimeLimit.truncated"),
    *(f"reward_{name}" for name in REWARD_WEIGHTS),
}


@pytest.fixture(scope="module")
def tiny() -> Representation:
    config = EncoderConfig(
        backbone="test_resnet",
        images={"depth": (1, 32, 32), "contact": (2, 32, 32)},
        embedding_dim=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return encoder_representation("tiny", VisuotactileEncoder(config).eval())


def make(representation="state", count=3, **arguments):
    if isinstance(representation, str):
        representation = make_representation(representation)
    if arguments.get("engine", "cpu") == "cpu":
        arguments["num_threads"] = 1
    return VTInsertVecEnv(representation.make(count, **arguments))


def entries(observation):
    return observation if isinstance(observation, dict) else {"": observation}


def assert_equal(found, expected, atol=0.0):
    found, expected = entries(found), entries(expected)
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=atol, rtol=0)


@pytest.mark.parametrize("name", ["state", "tiny", "end-to-end"])
def test_it_steps_as_the_vector_environment_does(name, tiny):
    representation = tiny if name == "tiny" else make_representation(name)
    settings = {"max_episode_steps": 4}
    venv = make(representation, **settings)
    envs = representation.make(3, num_threads=1, **settings)
    names = envs.unwrapped.simulation.task.code_names
    venv.seed(7)
    assert_equal(venv.reset(), envs.reset(seed=7)[0])
    rng = np.random.default_rng(0)
    for step in range(1, 10):
        actions = rng.uniform(-1, 1, (3, 5)).astype(np.float32)
        found, rewards, done, infos = venv.step(actions)
        expected, reward, terminated, truncated, info = envs.step(actions)
        assert_equal(found, expected)
        np.testing.assert_array_equal(rewards, reward.astype(np.float32))
        np.testing.assert_array_equal(done, terminated | truncated)
        assert done.all() == (step % 4 == 0)
        for world in range(3):
            if not done[world]:
                assert infos[world] == {}
                continue
            assert set(infos[world]) == TOLD
            assert infos[world]["TimeLimit.truncated"] == (not terminated[world])
            assert_equal(infos[world]["terminal_observation"], info["final_obs"][world])
            for key in TOLD & set(info["final_info"]):
                expected_info = info["final_info"][key][world]
                if key in names:
                    expected_info = names[key][expected_info]
                assert infos[world][key] == expected_info
    venv.close()
    envs.close()


def test_a_success_is_told_and_is_no_time_limit():
    venv = make(count=4, connectors=("usb",))
    simulation = venv.envs.unwrapped.simulation
    venv.seed(0)
    venv.reset()
    last = []
    while len(last) < 4:
        *_, infos = venv.step(simulation.expert_action())
        last += [info for info in infos if info]
    for info in last:
        assert info["is_success"] is True and info["TimeLimit.truncated"] is False
        assert info["connector"] == "usb" and info["failure"] == ""
        assert type(info["contact_force"]) is float
    venv.close()


def test_seeds_and_options_are_for_the_next_reset_alone():
    venv = make()
    assert venv.seed(3) == [3, 4, 5]
    first = venv.reset()
    second = venv.reset()
    venv.seed(3)
    assert_equal(venv.reset(), first)
    assert not np.array_equal(first, second)
    venv.set_options({"connector": "aux"})
    venv.reset()
    assert (venv.envs.unwrapped.simulation.state.connector == 0).all()
    venv.set_options([{"connector": "aux"}, {}, {}])
    with pytest.raises(ValueError, match="one dict for all"):
        venv.reset()
    venv.close()


def test_worlds_are_not_mixed_up_by_what_is_written_into_them():
    venv = make(max_episode_steps=2)
    venv.reset()
    _, rewards, _, infos = venv.step(np.zeros((3, 5), np.float32))
    infos[0]["mine"] = True
    rewards += 100.0
    assert infos[1] == {}
    _, rewards, _, infos = venv.step(np.zeros((3, 5), np.float32))
    assert not any("mine" in info for info in infos) and (rewards < 50).all()
    venv.close()


def test_wrappers_of_stable_baselines():
    venv = VecMonitor(VecNormalize(VecFrameStack(make(max_episode_steps=3), 2)))
    model = PPO("MlpPolicy", venv, n_steps=8, batch_size=8, n_epochs=1, device="cpu", seed=0)
    model.learn(48)
    assert len(model.ep_info_buffer) == 15 and model.ep_info_buffer[0]["l"] == 3
    assert len(model.ep_success_buffer) == 15
    evaluate_policy(model, venv, n_eval_episodes=3)
    venv.close()


def test_attributes_and_methods_are_the_vector_environments():
    venv = make(render_mode="rgb_array", picture="sensors")
    assert venv.render_mode == "rgb_array" and venv.num_envs == 3
    assert venv.get_attr("max_episode_steps") == [100] * 3
    assert venv.get_attr("num_envs", indices=[0, 2]) == [3, 3]
    venv.set_attr("max_episode_steps", 2)
    venv.reset()
    for _ in range(2):
        done = venv.step(np.zeros((3, 5), np.float32))[2]
    assert done.all()
    assert not venv.has_attr("nothing_of_the_kind")
    assert venv.env_is_wrapped(VectorTransformObservation) == [True] * 3
    assert venv.env_is_wrapped(Monitor, indices=0) == [False]
    frames = venv.get_images()
    assert len(frames) == 3 and frames[0].ndim == 3
    assert len(venv.env_method("render", indices=1)[0]) == 3
    venv.close()


def test_episodes_must_restart_within_a_step():
    envs = make_representation("state").make(1, num_threads=1, autoreset_mode="NextStep")
    with pytest.raises(ValueError, match=r"NEXT_STEP.*SAME_STEP"):
        VTInsertVecEnv(envs)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    envs.close()


@pytest.mark.slow  # Warp compiles for half a minute for a new device, then it is cached
@pytest.mark.parametrize("name", ["tiny", "end-to-end"])
def test_tensors_on_a_device_say_the_same_as_arrays(name, warp_device, tiny):
    representation = tiny if name == "tiny" else make_representation(name)
    steps = 3
    arrays, tensors = (
        make(
            representation,
            4,
            engine="warp",
            device=warp_device,
            observations=kind,
            max_episode_steps=steps,
        )
        for kind in ("numpy", "torch")
    )
    for venv in (arrays, tensors):
        venv.seed(0)
    assert_equal(tensors.reset(), arrays.reset(), atol=1e-3)
    for step in range(1, 2 * steps + 1):
        actions = np.tile(AHEAD * 0.5, (4, 1))
        expected, reward, done, told = arrays.step(actions)
        found, rewards, dones, infos = tensors.step(actions)
        assert all(isinstance(value, np.ndarray) for value in entries(found).values())
        assert_equal(found, expected, atol=1e-3)
        np.testing.assert_allclose(rewards, reward, atol=1e-2)
        np.testing.assert_array_equal(dones, done)
        assert done.all() == (step % steps == 0)
        for world, (info, other) in enumerate(zip(infos, told, strict=True)):
            assert set(info) == set(other) == (TOLD if done.all() else set())
            if info:
                last = info.pop("terminal_observation")
                assert_equal(last, other.pop("terminal_observation"), atol=1e-3)
                # Not what the next episode begins with.
                assert not all(
                    np.array_equal(value, entries(found)[key][world])
                    for key, value in entries(last).items()
                )
                for key, value in other.items():
                    assert type(info[key]) is type(value)
                    assert info[key] == pytest.approx(value, abs=1e-3)
    arrays.close()
    tensors.close()
