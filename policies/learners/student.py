"""The actor and the critic of Stable-Baselines3's PPO, as distillation uses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from policies.learners.demonstrations import Observation


class Student:
    """A policy's mean actions and values.

    The critic leaves alone what it shares with the actor: what the expert does is to shape it.

    Args:
        policy: The policy; it stays the caller's.

    Raises:
        ValueError: If it is of another kind; says what to change.
    """

    def __init__(self, policy: ActorCriticPolicy) -> None:
        recurrent = hasattr(policy, "lstm_actor")
        if recurrent or not isinstance(policy, ActorCriticPolicy):
            raise ValueError(
                f"the policy is a {type(policy).__name__}, but the expert is distilled into the "
                'ActorCriticPolicy of PPO: take algorithm "ppo", without a memory'
            )
        if not isinstance(policy.action_dist, DiagGaussianDistribution):
            raise ValueError(
                "the policy's exploration depends on the state; make it with use_sde=False"
            )
        self.policy, self.device = policy, policy.device
        # Convolutions gain from half the precision; small networks on embeddings do not.
        pixels = isinstance(policy.observation_space, spaces.Dict)
        self._half = pixels and self.device.type == "cuda"

    def parameters(self) -> list[nn.Parameter]:
        """What there is to learn: all but the deviation of the actions."""
        named = self.policy.named_parameters()
        return [value for name, value in named if name != "log_std"]

    def observed(self, observation: Any) -> Observation:
        """An environment's observation as tensors on the policy's device."""
        if isinstance(observation, Mapping):
            return {key: self.tensor(value) for key, value in observation.items()}
        return self.tensor(observation)

    def tensor(self, values: Any) -> Tensor:
        """An array or a tensor as a tensor on the policy's device."""
        return torch.as_tensor(values, device=self.device)

    @torch.no_grad()
    def act(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Mean actions within their bounds, (N, A), and values, (N,): float32."""
        with self._autocast():
            action, value, _ = self.policy(observation, deterministic=True)
        return action.float().clamp(-1.0, 1.0), value[:, 0].float()

    def action(self, observation: Observation) -> Tensor:
        """Mean actions, (B, A), as the network gives them, to learn from."""
        with self._autocast():
            mean: Tensor = self.policy.get_distribution(observation).mode()
        return mean.float()

    def value(self, observation: Observation) -> Tensor:
        """Values, (B,), to learn from; a features extractor that is shared learns nothing."""
        policy = self.policy
        with self._autocast():
            if policy.share_features_extractor:
                with torch.no_grad():
                    features: Any = policy.extract_features(observation)
                value = policy.value_net(policy.mlp_extractor.forward_critic(features))
            else:
                value = policy.predict_values(observation)
        return value[:, 0].float()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._half)
