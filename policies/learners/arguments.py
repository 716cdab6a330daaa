"""Hyperparameters that each algorithm takes; Stable-Baselines3's without importing it."""

from __future__ import annotations

import inspect
from dataclasses import fields

from policies.learners.train_config import DISTILLATION, ROLLOUT_STEPS, RSL_RL
from vtenv.import_string import import_string

_ON_POLICY = (
    *("learning_rate", "n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range"),
    *("clip_range_vf", "normalize_advantage", "ent_coef", "vf_coef", "max_grad_norm", "target_kl"),
)
_OFF_POLICY = (
    *("learning_rate", "buffer_size", "learning_starts", "batch_size", "tau", "gamma"),
    *("train_freq", "gradient_steps", "action_noise", "replay_buffer_class"),
    *("replay_buffer_kwargs", "optimize_memory_usage", "n_steps", "ent_coef"),
    *("target_update_interval", "target_entropy"),
)
_ARGUMENTS = {
    "ppo": (*_ON_POLICY, "rollout_buffer_class", "rollout_buffer_kwargs"),
    "recurrent-ppo": _ON_POLICY,
    "sac": _OFF_POLICY,
    "tqc": (*_OFF_POLICY, "top_quantiles_to_drop_per_net"),
}
"""Those of the classes of Stable-Baselines3, by algorithm."""
_DECIDED = {
    *("policy", "env", "policy_kwargs", "tensorboard_log", "verbose", "seed", "device"),
    *("_init_setup_model", "stats_window_size"),
    # A policy with these cannot be exported to act with.
    *("use_sde", "sde_sample_freq", "use_sde_at_warmup"),
    # Of rsl_rl's PPO.
    *("actor", "critic", "storage", "rnd_cfg", "symmetry_cfg"),
    *("multi_gpu_cfg", "grad_reduce_bucket_mb"),
}
"""Arguments of a model that are no hyperparameters."""


def arguments(algorithm: str) -> tuple[str, ...]:
    """Names of an algorithm's hyperparameters, but for those of the policy's network.

    Raises:
        ValueError: If it is `MODULE:NAME`, and there is none.
        DependencyNotInstalled: If rsl_rl is asked for, and not there.
    """
    if algorithm == DISTILLATION:
        from policies.learners.dagger_config import DaggerConfig

        budget = ("steps", "seconds")
        return tuple(f.name for f in fields(DaggerConfig) if f.name not in budget)
    if algorithm in _ARGUMENTS:
        return _ARGUMENTS[algorithm]
    if algorithm == RSL_RL:
        from policies.learners.algorithms import ALGORITHMS  # imports torch

        return (ROLLOUT_STEPS, *arguments_of(ALGORITHMS[algorithm].model))
    return arguments_of(import_string(algorithm, "algorithm"))


def arguments_of(model: type) -> tuple[str, ...]:
    """Names of the hyperparameters that an algorithm's class is made with."""
    return tuple(name for name in inspect.signature(model).parameters if name not in _DECIDED)
