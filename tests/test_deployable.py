from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sb3_contrib import TQC, RecurrentPPO
from stable_baselines3 import DDPG, PPO, SAC

from policies.deployable import (
    CONFIG_FILE,
    ENCODER_FOLDER,
    WEIGHTS_FILE,
    load_policy,
    save_policy,
)
from policies.features import Standardize, policy_kwargs
from policies.representations import encoder_representation, make_representation
from policies.vec_env import VTInsertVecEnv
from policies.worlds import settings_to_json
from representation import EncoderConfig, VisuotactileEncoder
from vtenv.tasks.insertion.config import InitialStateRanges
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig

SHORT = {"n_steps": 16, "batch_size": 16, "n_epochs": 1}
OFF_POLICY = {"learning_starts": 10, "buffer_size": 100}
SETTINGS = {
    "clearance_mm": 0.8,
    "initial_state": InitialStateRanges(socket_y_mm=(-1.0, 1.0)),
    "domain_randomization": DomainRandomizationConfig.only(pad_friction=(1.0, 2.0)),
    "max_episode_steps": 30,
}


def train(kind, policy, representation, steps=64, count=4, **arguments):
    """A model that has standardised inputs and taken steps, and the worlds it took them in."""
    sizes = {"image_size": 16, "contact_size": 12} if representation.pixels else {}
    envs = representation.make(count, num_threads=1, max_episode_steps=10, **sizes)
    venv = VTInsertVecEnv(envs)
    kwargs = policy_kwargs(representation) | arguments.pop("extra", {})
    model = kind(policy, venv, policy_kwargs=kwargs, seed=0, device="cpu", **arguments)
    torch.manual_seed(0)
    for module in model.policy.modules():
        if isinstance(module, Standardize):
            module.mean.normal_()
            module.std.uniform_(0.5, 2.0)
    if steps:
        model.learn(steps)
    return model, venv


def rollout(model, venv, steps=15):
    """Observations on the way of a policy, with the flags of those that an episode starts at."""
    observation, starts = venv.reset(), np.ones(venv.num_envs, bool)
    state = None
    for _ in range(steps):
        action, state = model.predict(
            observation, state=state, episode_start=starts, deterministic=True
        )
        yield observation, starts, action
        observation, _, starts, _ = venv.step(action)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A policy of PPO on the state, where it is saved, and worlds."""
    representation = make_representation("state")
    model, venv = train(PPO, "MlpPolicy", representation, **SHORT)
    folder = tmp_path_factory.mktemp("saved") / "policy"
    save_policy(folder, model.policy, representation, SETTINGS, algorithm="ppo", steps=64)
    yield SimpleNamespace(folder=folder, model=model, venv=venv)
    venv.close()


@pytest.fixture
def damaged(saved, tmp_path):
    """A copy of the policy, to be damaged."""
    return shutil.copytree(saved.folder, tmp_path / "policy")


@pytest.fixture
def tiny(tmp_path):
    """Folder of a small encoder."""
    config = EncoderConfig(
        backbone="test_resnet",
        images={"depth": (1, 32, 32), "contact": (2, 32, 32)},
        embedding_dim=8,
    )
    folder = tmp_path / "tiny"
    VisuotactileEncoder(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "name", "policy", "arguments"),
    [
        (PPO, "state", "MlpPolicy", {**SHORT, "extra": {"net_arch": [32], "log_std_init": 1.0}}),
        (PPO, "end-to-end", "MultiInputPolicy", SHORT),
        (SAC, "state", "MlpPolicy", OFF_POLICY),
        (TQC, "proprio", "MlpPolicy", {**OFF_POLICY, "extra": {"activation_fn": torch.nn.ReLU}}),
        (RecurrentPPO, "proprio", "MlpLstmPolicy", {**SHORT, "extra": {"lstm_hidden_size": 16}}),
    ],
    ids=["ppo", "ppo-pixels", "sac", "tqc", "recurrent-ppo"],
)
def test_it_acts_as_the_policy_it_was_saved_from_to_the_bit(
    kind, name, policy, arguments, tmp_path
):
    representation = make_representation(name)
    model, venv = train(kind, policy, representation, **arguments)
    save_policy(tmp_path, model.policy, representation, {})
    loaded = load_policy(tmp_path)
    assert loaded.recurrent == (kind is RecurrentPPO)
    assert loaded.representation.name == name
    actions = []
    for observation, starts, expected in rollout(model, venv):
        loaded.reset(starts)
        found = loaded(observation)
        assert found.dtype == np.float32 and np.abs(found).max() <= 1.0
        np.testing.assert_array_equal(found, expected)
        actions.append(found)
    assert np.std(actions, axis=0).max() > 0
    venv.close()


def test_memory_is_each_worlds_own(tmp_path):
    representation = make_representation("proprio")
    model, venv = train(RecurrentPPO, "MlpLstmPolicy", representation, **SHORT)
    save_policy(tmp_path, model.policy, representation, {})
    loaded = load_policy(tmp_path)
    observation = venv.reset()
    fresh, second = loaded(observation), loaded(observation)
    assert not np.array_equal(fresh, second)
    loaded.reset(np.array([True, False, True, False]))
    third = loaded(observation)
    np.testing.assert_allclose(third[[0, 2]], fresh[[0, 2]], atol=1e-6)
    assert not np.allclose(third[[1, 3]], fresh[[1, 3]], atol=1e-6)
    loaded.reset()
    np.testing.assert_array_equal(loaded(observation), fresh)
    np.testing.assert_allclose(loaded(observation[:2]), fresh[:2], atol=1e-6)
    venv.close()


def test_a_folder_of_safetensors_and_json(saved):
    assert {path.name for path in saved.folder.iterdir()} == {CONFIG_FILE, WEIGHTS_FILE}
    weights = load_file(saved.folder / WEIGHTS_FILE)
    assert not any("value" in name or "log_std" in name for name in weights), "the actor alone"
    document = json.loads((saved.folder / CONFIG_FILE).read_text())
    assert document["representation"] == "state" and document["encoder_digest"] == ""
    loaded = load_policy(saved.folder)
    assert loaded.settings == settings_to_json(SETTINGS)
    assert loaded.provenance == {"algorithm": "ppo", "steps": 64}
    envs = loaded.representation.make(2, num_threads=1, **loaded.settings)
    observation, _ = envs.reset(seed=0)
    assert loaded(observation).shape == (2, 5)
    envs.close()


def test_tensors_in_tensors_out(saved):
    loaded = load_policy(saved.folder)
    observation = saved.venv.reset()
    found = loaded(torch.from_numpy(observation))
    assert isinstance(found, torch.Tensor) and not found.is_inference()
    np.testing.assert_array_equal(found.numpy(), loaded(observation))


def test_saving_and_loading_draw_from_nobodys_generator(saved, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    save_policy(tmp_path, saved.model.policy, make_representation("state"), {})
    load_policy(tmp_path)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("part", ["", ":touch"])
def test_an_encoder_that_is_known_nowhere_else_comes_along(part, tiny, tmp_path):
    representation = make_representation(f"{tiny}{part}")
    model, venv = train(PPO, "MlpPolicy", representation, steps=0, **SHORT)
    folder = tmp_path / "policy"
    save_policy(folder, model.policy, representation, {})
    before = (folder / ENCODER_FOLDER / "model.safetensors").stat().st_mtime_ns
    save_policy(folder, model.policy, representation, {}, steps=2)
    assert (folder / ENCODER_FOLDER / "model.safetensors").stat().st_mtime_ns == before
    shutil.rmtree(tiny)
    loaded = load_policy(folder)
    assert loaded.representation.name == f"{tiny}{part}"
    assert loaded.representation.digest == representation.digest
    observation = venv.reset()
    expected, _ = model.predict(observation, deterministic=True)
    np.testing.assert_array_equal(loaded(observation), expected)
    venv.close()


@pytest.mark.parametrize("name", ["resnet-pose", "resnet-pose:vision", "random"])
def test_a_policy_sees_with_the_very_same_encoder(name, tmp_path):
    representation = make_representation(name)
    model, venv = train(PPO, "MlpPolicy", representation, steps=0, **SHORT)
    venv.close()
    save_policy(tmp_path, model.policy, representation, {})
    # A bundled encoder is had by its name; weights drawn from a seed, only by the same PyTorch.
    assert (tmp_path / ENCODER_FOLDER).is_dir() == (name == "random")
    found = load_policy(tmp_path).representation
    assert found.digest == representation.digest and found.name == name


def test_another_encoder_is_refused(tiny, tmp_path):
    representation = make_representation(str(tiny))
    model, venv = train(PPO, "MlpPolicy", representation, steps=0, **SHORT)
    venv.close()
    folder = tmp_path / "policy"
    save_policy(folder, model.policy, representation, {})
    assert load_policy(folder, representation=representation).representation is representation
    other = VisuotactileEncoder(representation.encoder.config)
    with pytest.raises(ValueError, match=r"trained on .*tiny.* but 'other' has the encoder"):
        load_policy(folder, representation=encoder_representation("other", other))
    with pytest.raises(ValueError, match="but 'state' has the encoder none"):
        load_policy(folder, representation=make_representation("state"))
    other.save_pretrained(folder / ENCODER_FOLDER)
    with pytest.raises(ValueError, match="means nothing to it"):
        load_policy(folder)
    shutil.rmtree(folder / ENCODER_FOLDER)
    shutil.rmtree(tiny)
    with pytest.raises(ValueError, match="sees with cannot be loaded"):
        load_policy(folder)


def test_observations_of_another_environment_are_refused(saved):
    loaded = load_policy(saved.folder)
    with pytest.raises(ValueError, match=r"'state' takes observations of shape \(N, 31\).*12"):
        loaded(np.zeros((4, 12), np.float32))
    with pytest.raises(ValueError, match=r"got depth \(4, 1, 64, 64\).*perceive"):
        loaded({"depth": np.zeros((4, 1, 64, 64), np.float32)})


def test_what_is_missing_is_named(damaged, tmp_path):
    with pytest.raises(ValueError, match="neither a bundled policy nor a folder"):
        load_policy(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no policy\.json; it has policies in policy: name one"):
        load_policy(tmp_path)
    (damaged / WEIGHTS_FILE).unlink()
    with pytest.raises(ValueError, match=r"there is no policy\.safetensors"):
        load_policy(damaged)


def test_damaged_files_are_named(damaged):
    path = damaged / WEIGHTS_FILE
    weights = {name: value.clone() for name, value in load_file(path).items()}
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="truncated or not a safetensors file"):
        load_policy(damaged)
    diverged = weights | {"mean.bias": torch.full_like(weights["mean.bias"], torch.nan)}
    save_file(diverged, path)
    with pytest.raises(ValueError, match=r"not finite: mean\.bias; its training has diverged"):
        load_policy(damaged)
    del weights["mean.bias"]
    save_file(weights, path)
    with pytest.raises(ValueError, match=r"does not fit its policy\.json.*mean\.bias"):
        load_policy(damaged)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "not a policy of VTInsert"),
        ({"version": 2}, "has version 2, and this VTInsert reads version 1"),
        ({"actor": {}}, "does not describe a policy"),
        (
            {"settings": {"initial_state": {"up": 1}}},
            "is of no world.*socket_yaw_deg",
        ),
        ({"task": "VTInsrt-v0"}, "Did you mean: `VTInsert`"),
        ({"settings": [1]}, "does not describe a policy"),
        ({"actor": {"hidden": "wide"}}, "does not describe a policy"),
        ({"representation": "stat"}, "unknown representation 'stat'; did you mean"),
    ],
)
def test_a_foreign_configuration_is_refused(damaged, changes, message):
    path = damaged / CONFIG_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ValueError, match=message):
        load_policy(damaged)


def test_a_configuration_that_is_not_json(damaged):
    (damaged / CONFIG_FILE).write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        load_policy(damaged)


@pytest.mark.parametrize(
    ("kind", "extra", "message"),
    [
        (PPO, None, "features extractor FlattenExtractor"),
        (PPO, {"activation_fn": torch.nn.SiLU}, "activation SiLU.*ELU, ReLU, Tanh"),
        (SAC, {"use_sde": True}, "use_sde=True cannot be exported"),
        (DDPG, {}, "TD3Policy cannot be exported"),
    ],
)
def test_policies_that_cannot_be_exported(kind, extra, message, saved, tmp_path):
    representation = make_representation("state")
    arguments = {**(SHORT if kind is PPO else {"buffer_size": 10})}
    if extra is not None and "use_sde" in extra:
        arguments |= extra
    kwargs = None if extra is None else policy_kwargs(representation) | extra
    model = kind("MlpPolicy", saved.venv, policy_kwargs=kwargs, device="cpu", **arguments)
    with pytest.raises(ValueError, match=message):
        save_policy(tmp_path / "policy", model.policy, representation, {})
    assert not (tmp_path / "policy").exists()
