"""PPO on the device of the worlds learns what Stable-Baselines3's own learns."""

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.logger import Logger

from policies.features import policy_kwargs
from policies.learners.device_ppo import DevicePPO, DeviceRolloutBuffer
from policies.representations import make_representation
from policies.vec_env import VTInsertVecEnv

WORLDS, STEPS, EPISODE = 4, 12, 5


@pytest.fixture(params=["state", "end-to-end"])
def representation(request):
    return make_representation(request.param)


def learned(kind, representation, observations):
    """A model after two rollouts, in whose episodes some are cut off."""
    envs = representation.make(
        WORLDS,
        observations=observations,
        max_episode_steps=EPISODE,
        clearance_mm=1.0,
        num_threads=1,
    )
    venv = VTInsertVecEnv(envs)
    venv.seed(0)
    model = kind(
        "MultiInputPolicy" if representation.pixels else "MlpPolicy",
        venv,
        n_steps=STEPS,
        batch_size=16,
        n_epochs=2,
        learning_rate=0.1,
        # Adam would divide by a gradient's own size: one near zero turns rounding into a step.
        policy_kwargs=policy_kwargs(representation)
        | {"net_arch": [16], "optimizer_class": torch.optim.SGD, "optimizer_kwargs": {}},
        seed=0,
        device="cpu",
    )
    model.set_logger(Logger(None, []))
    model.learn(2 * STEPS * WORLDS)
    envs.close()
    return model


def test_rollouts_and_weights_are_those_of_stable_baselines(representation):
    theirs = learned(PPO, representation, "numpy")
    ours = learned(DevicePPO, representation, "torch")
    assert isinstance(ours.rollout_buffer, DeviceRolloutBuffer)
    assert ours.num_timesteps == theirs.num_timesteps
    for name in ("values", "returns"):
        # Theirs are flattened world by world once they were drawn from.
        found = getattr(ours.rollout_buffer, name).T.reshape(-1, 1)
        np.testing.assert_allclose(found, getattr(theirs.rollout_buffer, name), atol=1e-4)
    for name, value in theirs.policy.state_dict().items():
        torch.testing.assert_close(ours.policy.state_dict()[name], value, atol=1e-5, rtol=1e-4)


def test_a_saved_model_is_one_of_stable_baselines(tmp_path):
    state = make_representation("state")
    model = learned(DevicePPO, state, "torch")
    model.save(tmp_path / "model")
    again = PPO.load(tmp_path / "model", device="cpu")
    assert again.rollout_buffer_class is RolloutBuffer
    venv = VTInsertVecEnv(gymnasium.make_vec("VTInsertState-v0", WORLDS, autoreset_mode="SameStep"))
    again.set_env(venv)
    again.set_logger(Logger(None, []))
    again.learn(STEPS * WORLDS, reset_num_timesteps=False)
    assert again.num_timesteps == 3 * STEPS * WORLDS
