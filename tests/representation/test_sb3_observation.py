from __future__ import annotations

import copy
import doctest
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv, VecFrameStack

import representation.wrappers.sb3
import vtenv
from representation import (
    EncodeObservation,
    EncoderConfig,
    VecEncodeObservation,
    VisuotactileEncoder,
)

SIZES = {"image_size": 32, "contact_size": 32}


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VisuotactileEncoder(
            EncoderConfig(
                backbone="test_resnet",
                embedding_dim=8,
                images={"depth": (1, 32, 32), "contact": (2, 32, 32)},
            )
        )


def make_venv(count=2, steps=100, **arguments):
    return make_vec_env(
        vtenv.ENV_ID,
        n_envs=count,
        seed=0,
        env_kwargs={**SIZES, "max_episode_steps": steps},
        **arguments,
    )


def by_hand(encoder, *observations):
    encoder.eval()
    with torch.inference_mode():
        batch = {
            key: torch.from_numpy(np.stack([one[key] for one in observations]))
            for key in ("depth", "contact")
        }
        return encoder(batch).numpy()


def test_doctests():
    assert doctest.testmod(representation.wrappers.sb3).failed == 0


@pytest.mark.parametrize("flat", [False, True])
def test_stable_baselines_finds_nothing_to_complain_of(encoder, flat):
    env = gymnasium.make(vtenv.ENV_ID, **SIZES)
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        check_env(EncodeObservation(env, encoder, flat=flat))


@pytest.mark.parametrize("flat", [False, True])
def test_observations_and_terminal_observations_are_encoded(encoder, flat):
    raw, venv = make_venv(steps=2), VecEncodeObservation(make_venv(steps=2), encoder, flat=flat)
    actions = np.full((2, 5), 0.3, np.float32)

    def embedding(observation):
        return observation[..., :16] if flat else observation["embedding"]

    before, found = raw.reset(), venv.reset()
    for step in (1, 2):
        expected = by_hand(encoder, *({k: v[i] for k, v in before.items()} for i in range(2)))
        np.testing.assert_allclose(embedding(found), expected, atol=1e-5)
        before, _, done, raw_infos = raw.step(actions)
        found, _, same, infos = venv.step(actions)
        assert (done == same).all() and done.all() == (step == 2)
    for raw_info, info in zip(raw_infos, infos, strict=True):
        last = info["terminal_observation"]
        assert last in venv.observation_space
        expected = by_hand(encoder, raw_info["terminal_observation"])[0]
        np.testing.assert_allclose(embedding(last), expected, atol=1e-5)
        assert info["TimeLimit.truncated"]


def test_a_policy_learns_and_the_encoder_does_not(encoder):
    mine = copy.deepcopy(encoder).train()
    venv = VecEncodeObservation(make_venv(steps=20), mine)
    frozen = venv.transform.encoder.module
    state = [copy.deepcopy(module.state_dict()) for module in (mine, frozen)]
    model = PPO(
        "MultiInputPolicy", venv, n_steps=64, batch_size=32, n_epochs=2, seed=0, device="cpu"
    )
    model.learn(256)
    for module, before in zip((mine, frozen), state, strict=True):
        after = module.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())
    parameters = {id(p) for p in (*mine.parameters(), *frozen.parameters())}
    assert parameters.isdisjoint(id(p) for p in model.policy.parameters())


def test_frames_are_stacked_after(encoder):
    venv = VecFrameStack(VecEncodeObservation(make_venv(), encoder), 3)
    venv.reset()
    observation = venv.step(np.zeros((2, 5), np.float32))[0]
    assert observation["embedding"].shape == (2, 3 * 16)
    assert venv.observation_space["proprio"].shape == (3 * 12,)
    with pytest.raises(ValueError, match="stack frames along an axis of their own"):
        VecEncodeObservation(VecFrameStack(make_venv(), 3, channels_order="first"), encoder)


def test_worker_processes(encoder):
    inside = make_venv(
        vec_env_cls=SubprocVecEnv,
        vec_env_kwargs={"start_method": "fork"},
        wrapper_class=EncodeObservation,
        wrapper_kwargs={"encoder": encoder},
    )
    outside = VecEncodeObservation(make_venv(), encoder)
    try:
        expected = outside.reset()
        for key, value in inside.reset().items():
            np.testing.assert_allclose(value, expected[key], atol=1e-5)
    finally:
        inside.close()
