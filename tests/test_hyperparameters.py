from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import gymnasium
import pytest
import yaml

import vtenv
from policies.hyperparameters import FOLDER, VARIANTS, merge, preset
from policies.learners.algorithms import ALGORITHMS
from policies.learners.train_config import DISTILLATION, RSL_RL, TrainConfig
from vtenv.json_document import from_document

RL_ZOO_NAMES = {"ppo": "ppo", "sac": "sac", "tqc": "tqc", "recurrent-ppo": "ppo_lstm"}


def path(algorithm: str) -> Path:
    return FOLDER / f"{algorithm.replace('-', '_')}.yml"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("engine", ["cpu", "warp"])
@pytest.mark.parametrize("representation", ["state", "end-to-end"])
@pytest.mark.parametrize("start", [None, "a-run"])
def test_every_preset_is_of_known_hyperparameters(algorithm, engine, representation, start):
    if algorithm == RSL_RL:
        pytest.importorskip("rsl_rl", reason="needs the extra rsl_rl")
    config = TrainConfig(
        representation=representation, algorithm=algorithm, engine=engine, start=start
    ).resolved()
    assert config.steps > 0 and config.num_envs > 0
    # Everything is said, and saying it again changes nothing.
    assert config.resolved() == config
    assert from_document(TrainConfig, config.as_json()) == config


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_files_hold_no_other_entries(algorithm):
    entries = yaml.safe_load(path(algorithm).read_text())
    allowed = {vtenv.ENV_ID, *(f"{vtenv.ENV_ID}-{variant}" for variant in VARIANTS)}
    assert set(entries) <= allowed


def test_what_is_given_overrides_the_preset_in_dictionaries_too():
    over = {"gamma": 0.9, "policy_kwargs": {"log_std_init": -3.0}}
    chosen = TrainConfig(hyperparameters=over).resolved().hyperparameters
    assert chosen["gamma"] == 0.9
    assert chosen["policy_kwargs"] == preset("ppo", {})["policy_kwargs"] | over["policy_kwargs"]
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}


@pytest.mark.parametrize("algorithm", RL_ZOO_NAMES)
def test_rl_zoo_trains_with_them(algorithm, tmp_path, monkeypatch):
    """As `python -m rl_zoo3.train --gym-packages vtenv --conf-file FILE`."""
    # Importing it puts another TimeLimit in Gymnasium, which is taken out again afterwards.
    for owner in (gymnasium.wrappers, gymnasium.wrappers.common, gymnasium.envs.registration):
        monkeypatch.setattr(owner, "TimeLimit", gymnasium.wrappers.TimeLimit, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        from rl_zoo3.exp_manager import ExperimentManager

        small = {
            "ppo": {"n_steps": 8, "batch_size": 16},
            "recurrent-ppo": {"n_steps": 8, "batch_size": 16},
        }.get(algorithm, {"learning_starts": 8, "gradient_steps": 1, "buffer_size": 100})
        manager = ExperimentManager(
            argparse.Namespace(),
            RL_ZOO_NAMES[algorithm],
            vtenv.ENV_ID,
            str(tmp_path),
            n_timesteps=16,
            eval_freq=-1,
            hyperparams={"n_envs": 2, **small},
            config=str(path(algorithm)),
            verbose=0,
            log_interval=-1,
            device="cpu",
        )
        model, _ = manager.setup_experiment()
        # The encoder is in front of the policy, and the buffer holds its embeddings.
        assert model.observation_space.shape == (256 + 12,)
        manager.learn(model)
    assert model.num_timesteps >= 16


def test_rl_zoo_knows_all_but_distillation_and_rsl_rl():
    assert set(RL_ZOO_NAMES) == set(ALGORITHMS) - {DISTILLATION, RSL_RL}
