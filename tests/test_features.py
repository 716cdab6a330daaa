from __future__ import annotations

import copy

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TQC, RecurrentPPO
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack
from torch import nn

import vtenv  # noqa: F401 (registers the environments)
from policies.features import Standardize, VisuotactileCNN, calibrate, policy_kwargs
from policies.representations import make_representation
from policies.vec_env import VTInsertVecEnv

SHORT = {"n_steps": 16, "batch_size": 16, "n_epochs": 1}


@pytest.fixture(scope="module")
def state():
    venv = VTInsertVecEnv(make_representation("state").make(10, num_threads=1, connectors=("usb",)))
    yield venv
    venv.close()


@pytest.fixture(scope="module")
def images():
    representation = make_representation("end-to-end")
    sizes = {"image_size": 16, "contact_size": 12}
    venv = VTInsertVecEnv(representation.make(2, num_threads=1, max_episode_steps=5, **sizes))
    yield venv
    venv.close()


def make_model(kind, venv, representation="state", policy="MlpPolicy", **arguments):
    kwargs = policy_kwargs(make_representation(representation))
    return kind(policy, venv, policy_kwargs=kwargs, device="cpu", seed=0, **arguments)


def layers(policy):
    return [module for module in policy.modules() if isinstance(module, Standardize)]


def test_standardizing_by_hand():
    layer = Standardize(spaces.Box(-1, 1, (3,)))
    layer.mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    layer.std.copy_(torch.tensor([1.0, 0.5, 1e-3]))
    found = layer(torch.tensor([[2.0, 1.0, 4.0], [1.0, 2.0, 2.0]]))
    assert found.tolist() == [[1.0, -2.0, 8.0], [0.0, 0.0, -8.0]]
    assert not list(layer.parameters()) and set(layer.state_dict()) == {"mean", "std"}


def test_calibration_standardizes_what_behaviours_lead_to(state):
    model = make_model(PPO, state, **SHORT)
    calibrate(model.policy, state.envs, seed=0)
    (layer,) = layers(model.policy)
    # USB alone: its sizes never change, and are centred alone.
    constant = layer.std == 1.0
    assert constant[-4:].all() and constant.sum() < 8
    assert layer.mean[-4:].tolist() == pytest.approx([1.2, 0.45, 1.6, 0.8])
    other = make_model(PPO, state, **SHORT)
    calibrate(other.policy, state.envs, seed=1)
    (second,) = layers(other.policy)
    ratio = (second.std / layer.std)[~constant]
    assert ratio.min() > 0.3 and ratio.max() < 3.0, "another seed says much the same"
    assert not torch.equal(second.mean, layer.mean)
    calibrate(other.policy, state.envs, seed=0)
    assert torch.equal(second.mean, layer.mean) and torch.equal(second.std, layer.std)


def test_calibration_leaves_seeds_that_wait_for_the_reset(state):
    state.seed(5)
    expected = state.reset()
    model = make_model(PPO, state, **SHORT)
    state.seed(5)
    calibrate(model.policy, state.envs, seed=0)
    np.testing.assert_array_equal(state.reset(), expected)


def test_a_policy_of_another_make_cannot_be_calibrated(state):
    with pytest.raises(ValueError, match="policy_kwargs"):
        calibrate(PPO("MlpPolicy", state, device="cpu", **SHORT).policy, state.envs, seed=0)


@pytest.mark.parametrize("kind", [SAC, TQC, RecurrentPPO])
def test_every_network_of_a_policy_is_calibrated_and_training_leaves_it(kind, state):
    arguments = SHORT if kind is RecurrentPPO else {"learning_starts": 10, "buffer_size": 100}
    name = "MlpLstmPolicy" if kind is RecurrentPPO else "MlpPolicy"
    model = make_model(kind, state, policy=name, **arguments)
    calibrate(model.policy, state.envs, seed=0)
    found = layers(model.policy)
    assert len(found) == {SAC: 3, TQC: 3, RecurrentPPO: 1}[kind]
    before = copy.deepcopy(found[0].state_dict())
    model.learn(40)
    for layer in layers(model.policy):
        for key, value in layer.state_dict().items():
            assert torch.equal(value, before[key])


def test_end_to_end_is_a_cnn_that_learns_from_the_loss(images):
    model = make_model(PPO, images, "end-to-end", "MultiInputPolicy", **SHORT)
    extractor = model.policy.features_extractor
    assert isinstance(extractor, VisuotactileCNN)
    assert extractor is model.policy.pi_features_extractor is model.policy.vf_features_extractor
    shapes = []
    convolutions = [module for module in extractor.modules() if isinstance(module, nn.Conv2d)]
    assert [c.in_channels for c in convolutions if c.kernel_size == (5, 5)] == [1, 2]
    assert len(convolutions) == 8
    for tower in (extractor.depth, extractor.contact):
        tower[0].register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape[1:]))
    before = copy.deepcopy(extractor.state_dict())
    model.learn(64)
    # Images arrive as images: nothing has flattened them.
    assert set(shapes) == {(1, 16, 16), (2, 12, 12)}
    for name, value in extractor.state_dict().items():
        fixed = name.startswith("proprio.")
        assert torch.equal(value, before[name]) == fixed, name


def test_frames_of_raw_images_are_stacked_along_channels():
    env = DummyVecEnv([lambda: gymnasium.make("VTInsert-v0", image_size=16, contact_size=16)])
    kwargs = {"features_extractor_class": VisuotactileCNN}
    stacked = VecFrameStack(env, 3, channels_order="first")
    model = PPO("MultiInputPolicy", stacked, policy_kwargs=kwargs, device="cpu", **SHORT)
    extractor = model.policy.features_extractor
    assert extractor.depth[0].in_channels == 3 and extractor.contact[0].in_channels == 6
    model.learn(16)
    with pytest.warns(UserWarning, match=r'16 rows and 48 columns.*channels_order="first"'):
        VisuotactileCNN(VecFrameStack(env, 3).observation_space)
    env.close()


def test_every_size_of_image_fits():
    for depth, contact in ((8, 8), (33, 64), (96, 20)):
        space = spaces.Dict(
            depth=spaces.Box(0.0, 1.0, (1, depth, depth)),
            contact=spaces.Box(0, 1, (2, contact, contact), np.uint8),
            proprio=spaces.Box(-1.0, 1.0, (12,)),
        )
        network = VisuotactileCNN(space)
        batch = {key: torch.as_tensor(box.sample())[None].float() for key, box in space.items()}
        found = network(batch)
        assert found.shape == (1, network.features_dim) == (1, 268)
        assert found.isfinite().all()
