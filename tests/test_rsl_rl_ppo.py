"""PPO of rsl_rl trains a policy of Stable-Baselines3, and is a run like any other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from policies import cli
from policies.learners.algorithms import make_model
from policies.learners.record_episodes import RecordEpisodes
from policies.learners.train_config import TrainConfig
from policies.learners.training import train
from policies.representations import make_representation
from policies.vec_env import VTInsertVecEnv

pytest.importorskip("rsl_rl", reason="needs the extra rsl_rl")
from policies.learners.rsl_rl_ppo import RslRlPPO

WORLDS = 4
USB = {"connectors": ["usb"], "clearance_mm": 0.8, "max_episode_steps": 10}
NETWORK = {"policy_kwargs": {"net_arch": [16]}}
FEW = {"num_steps_per_env": 4, "num_mini_batches": 2, "num_learning_epochs": 1}


@pytest.fixture
def learner():
    """Makes a learner, its model and its worlds."""
    made = []

    def make(representation="state", observations="numpy", steps=32, **chosen):
        seen = make_representation(representation)
        settings = {"observations": observations, "num_threads": 1, **USB}
        envs = RecordEpisodes(seen.make(WORLDS, **settings))
        made.append(envs)
        small = NETWORK | {"n_steps": 4, "batch_size": 4, "n_epochs": 1}
        model = make_model("ppo", seen, VTInsertVecEnv(envs), small, seed=0, device="cpu")
        return RslRlPPO(model, envs, steps, FEW | chosen), model, envs

    yield make
    for envs in made:
        envs.close()


def learn(learner):
    learner.learn(lambda steps: False, lambda steps: True)
    return learner


@pytest.mark.parametrize("representation", ["state", "end-to-end"])
def test_its_networks_are_those_of_stable_baselines(representation, learner):
    made, model, envs = learner(representation)
    observation, _ = envs.reset(seed=1)
    ppo, seen = made._ppo, made._observed(observation)
    action = ppo.actor(seen, stochastic_output=True)
    tensors, _ = model.policy.obs_to_tensor(observation)
    value, log_prob, entropy = model.policy.evaluate_actions(tensors, action)
    torch.testing.assert_close(ppo.critic(seen), value)
    torch.testing.assert_close(ppo.actor.get_output_log_prob(action), log_prob)
    torch.testing.assert_close(ppo.actor.output_entropy, entropy)
    mean = model.policy.get_distribution(tensors).mode()
    torch.testing.assert_close(ppo.actor(seen), mean)
    # Each is learned, and by one optimizer once.
    learned = [id(p) for group in ppo.optimizer.param_groups for p in group["params"]]
    assert sorted(learned) == sorted(id(p) for p in model.policy.parameters())


def test_tensors_and_arrays_teach_the_same(learner):
    weights = []
    for observations in ("numpy", "torch"):
        made, model, _ = learner(observations=observations, schedule="fixed")
        before = {name: value.clone() for name, value in model.policy.state_dict().items()}
        measured = learn(made).measures()
        assert model.num_timesteps == 32
        assert {"train/value_loss", "train/learning_rate", "rollout_s"} <= measured.keys()
        weights.append(model.policy.state_dict())
        assert not torch.equal(before["log_std"], weights[-1]["log_std"])
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-5, rtol=1e-4)


def test_the_critic_learns_alone_at_first(learner):
    made, model, _ = learner(critic_warmup_steps=32)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    learn(made)
    changed = {n for n, value in model.policy.state_dict().items() if not value.equal(before[n])}
    # The update after the last rollout is of both.
    assert "action_net.weight" in changed
    made, model, _ = learner(critic_warmup_steps=33)
    learn(made)
    changed = {n for n, value in model.policy.state_dict().items() if not value.equal(before[n])}
    assert "value_net.weight" in changed and "action_net.weight" not in changed


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            {"schedule": "linear"},
            "schedule='linear' is not allowed; schedule must be one of adaptive",
        ),
        ({"num_mini_batches": 17}, "num_mini_batches=17 is not allowed; num_mini_batches must be"),
    ],
)
def test_what_is_wrong_is_said(chosen, message, learner):
    with pytest.raises(ValueError, match=message):
        learner(**chosen)


def test_a_run_goes_on_to_the_same_policy_and_is_evaluated(tmp_path, capsys):
    config = TrainConfig(
        algorithm="rsl-rl-ppo",
        hyperparameters=FEW | NETWORK,
        steps=80,
        num_envs=10,
        settings=USB,
        evaluate_every=40,
        evaluation_episodes=1,
        checkpoint_every=40,
        num_threads=1,
        filmed=0,
    )
    whole = train(config, tmp_path / "whole", progress=False)
    train(replace(config, steps=40), tmp_path / "run", progress=False)
    run = train(config, tmp_path / "run", progress=False)
    assert run.curve == whole.curve and [steps for steps, _ in run.curve] == [0, 40, 80]
    mine, theirs = (load_file(r.folder / "policy" / "policy.safetensors") for r in (run, whole))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)

    few = ["--episodes", "1", "--filmed", "0", "--num-threads", "1", "--conditions", "training"]
    output = ["--output", str(tmp_path / "evaluation")]
    assert cli.main(["evaluate", str(run.folder), *few, *output]) == 0
