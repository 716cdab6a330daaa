"""PPO of rsl_rl: rollouts and updates stay on the device of the worlds.

Source: Schwarke et al. 2025 ("RSL-RL: A Learning Library for Robotics Research").
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import create_empty_array
from rsl_rl.algorithms import PPO
from rsl_rl.models import MLPModel
from rsl_rl.modules.distribution import GaussianDistribution
from rsl_rl.storage import RolloutStorage
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from tensordict import TensorDict
from torch import Tensor, nn

from policies.learners.ranks import Ranks
from policies.learners.reinforcement import GoOn, Pause, learn_critic_alone
from policies.learners.train_config import CRITIC_WARMUP, ROLLOUT_STEPS
from vtenv.validation import require

_SCHEDULES = ("adaptive", "fixed")
_SOLE = "observation"
"""Key of an observation that is not a dictionary."""


class RslRlPPO:
    """PPO of rsl_rl on the policy of a model of Stable-Baselines3; learns as `Reinforcement` does.

    The networks are those of the model, changed in place: it is saved, evaluated and started from
    like any other. With observations that are tensors on the policy's device, nothing of a rollout
    is copied to the host.

    Args:
        model: A model of Stable-Baselines3's PPO; its `num_timesteps` is what is counted.
        envs: Its worlds, with `AutoresetMode.SAME_STEP`.
        steps: The budget, with the steps that it has made.
        hyperparameters: Arguments of rsl_rl's PPO, `num_steps_per_env`, and `critic_warmup_steps`.
        ranks: The processes that learn together, each in worlds of its own: rank 0 gives the
            weights, all average their gradients. `pause` and `go_on` must answer alike on all.

    Raises:
        ValueError: If a hyperparameter has no such value.
    """

    def __init__(
        self,
        model: BaseAlgorithm,
        envs: VectorEnv[Any, Any, Any],
        steps: int,
        hyperparameters: Mapping[str, Any],
        ranks: Ranks = Ranks(),  # noqa: B008 (it is frozen)
    ) -> None:
        chosen = dict(hyperparameters)
        policy: Any = model.policy
        self._model, self._envs, self._steps, self._ranks = model, envs, steps, ranks
        self._policy: ActorCriticPolicy = policy
        self._rollout_steps = chosen.pop(ROLLOUT_STEPS)
        self._critic_warmup = chosen.pop(CRITIC_WARMUP, 0)
        self._measured: dict[str, float] = {}
        self._spent = dict.fromkeys(("rollout_s", "update_s"), 0.0)
        bounds: Any = model.action_space
        self._low, self._high = map(self._tensor, (bounds.low, bounds.high))
        storage = RolloutStorage(
            *("rl", envs.num_envs, self._rollout_steps),
            self._observed(create_empty_array(envs.single_observation_space, envs.num_envs)),
            list(bounds.shape),
            str(model.device),
        )
        features = policy.pi_features_extractor, policy.vf_features_extractor
        actor = _Network(features[0], policy.mlp_extractor.policy_net, policy.action_net)
        actor.add_module("features", features[0])
        actor.distribution = _deviation(policy.log_std)
        critic = _Network(features[1], policy.mlp_extractor.value_net, policy.value_net)
        if features[1] is not features[0]:  # an optimizer takes a parameter once
            critic.add_module("features", features[1])
        try:
            self._ppo = PPO(
                actor,
                critic,
                storage,
                device=str(model.device),
                multi_gpu_cfg=self._multi_gpu,
                **chosen,
            )
        except TypeError as error:
            raise ValueError(f"PPO of rsl_rl takes no such hyperparameters: {error}") from error
        schedule, minibatches = self._ppo.schedule, self._ppo.num_mini_batches
        require(schedule in _SCHEDULES, "schedule", schedule, f"one of {', '.join(_SCHEDULES)}")
        rows = envs.num_envs * self._rollout_steps
        allowed = f"from 1 to the {rows} rows of a rollout"
        require(1 <= minibatches <= rows, "num_mini_batches", minibatches, allowed)

    def learn(self, pause: Pause, go_on: GoOn) -> None:
        """Learn until the budget is used up, or `go_on` says no."""
        model, restart = self._model, True
        if self._ranks.size > 1:
            self._ppo.broadcast_parameters()
        while model.num_timesteps < self._steps:
            if pause(model.num_timesteps) or restart:
                assert model.env is not None
                observation, restart = self._observed(model.env.reset()), False
            begun = time.monotonic()
            following = self._roll_out(observation, go_on)
            if following is None:
                return
            observation, ended = following, time.monotonic()
            self._spent["rollout_s"] += ended - begun
            if self._critic_warmup:
                learn_critic_alone(self._policy, model.num_timesteps < self._critic_warmup)
            self._measured = self._ppo.update()
            self._spent["update_s"] += time.monotonic() - ended

    def measures(self) -> dict[str, float]:
        """Means over the last update, and the time since the last call, in [s]."""
        names = {"value": "value_loss", "surrogate": "policy_gradient_loss", "entropy": "entropy"}
        values = {f"train/{names[name]}": value for name, value in self._measured.items()}
        if values:
            values["train/learning_rate"] = self._ppo.learning_rate
            values["train/std"] = float(self._policy.log_std.detach().exp().mean())
        values |= self._spent
        self._spent = dict.fromkeys(self._spent, 0.0)
        return values

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on, beside the model."""
        return {"optimizer": self._ppo.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another stood, whose weights and steps the model has."""
        self._ppo.optimizer.load_state_dict(state["optimizer"])
        self._ppo.learning_rate = state["optimizer"]["param_groups"][0]["lr"]

    @torch.no_grad()
    def _roll_out(self, observation: TensorDict, go_on: GoOn) -> TensorDict | None:
        """Act in the worlds, and fill the buffer; what follows, or None if `go_on` says no."""
        ppo, model = self._ppo, self._model
        ppo.storage.clear()  # of a rollout that was broken off
        for _ in range(self._rollout_steps):
            action: Any = ppo.act(observation).clamp(self._low, self._high)
            if not self._tensors:
                action = action.cpu().numpy()
            seen, reward, terminated, truncated, _ = self._envs.step(action)
            model.num_timesteps += self._envs.num_envs * self._ranks.size
            if not go_on(model.num_timesteps):
                return None
            observation = self._observed(seen)
            ended, cut = self._tensor(terminated), self._tensor(truncated)
            extras = {"time_outs": cut & ~ended}
            reward = self._tensor(reward).float()
            ppo.process_env_step(observation, reward, ended | cut, extras)
        ppo.compute_returns(observation)
        return observation

    @property
    def _multi_gpu(self) -> dict[str, int] | None:
        """What rsl_rl is told of the processes."""
        ranks = self._ranks
        told = {"global_rank": ranks.rank, "local_rank": ranks.local, "world_size": ranks.size}
        return told if ranks.size > 1 else None

    @property
    def _tensors(self) -> bool:
        """Whether the worlds give tensors, and take them."""
        return bool(getattr(self._envs.unwrapped, "tensors", False))

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(values, device=self._model.device)

    def _observed(self, observation: Any) -> TensorDict:
        """An observation on the policy's device, as rsl_rl takes it."""
        group = observation if isinstance(observation, Mapping) else {_SOLE: observation}
        tensors = {key: self._tensor(value) for key, value in group.items()}
        return TensorDict(tensors, batch_size=self._envs.num_envs)


class _Network(MLPModel):
    """The actor or the critic of a policy of Stable-Baselines3, as rsl_rl's.

    Args:
        features: What the hidden layers see of an observation; not a part of this module.
        hidden: Hidden layers.
        last: The last layer.
    """

    def __init__(self, features: nn.Module, hidden: nn.Module, last: nn.Module) -> None:
        nn.Module.__init__(self)  # rsl_rl's own would make another network
        self.obs_normalization = False
        self.distribution: GaussianDistribution | None = None
        self.mlp = nn.Sequential(hidden, last)
        self._see = features.forward

    def get_latent(self, obs: TensorDict, masks: Any = None, hidden_state: Any = None) -> Tensor:
        """What the hidden layers see of observations, (B, D)."""
        seen = {key: value.float() for key, value in obs.items()}
        latent: Tensor = self._see(seen.get(_SOLE, seen))
        return latent


def _deviation(log_std: nn.Parameter) -> GaussianDistribution:
    """Actions' deviation, of a parameter (A,)."""
    (actions,) = log_std.shape
    distribution = GaussianDistribution(actions, std_type="log")
    distribution.log_std_param = log_std
    return distribution
