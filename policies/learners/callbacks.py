"""What happens beside an algorithm of Stable-Baselines3 while it learns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy


class BetweenRollouts(BaseCallback):
    """Calls a function between rollouts, where weights, buffers and worlds agree.

    Args:
        pause: Called there with the number of steps so far; returns whether the worlds are to
            start anew.
        go_on: Called after every step with that number; returns whether to go on.
    """

    def __init__(self, pause: Callable[[int], bool], go_on: Callable[[int], bool]) -> None:
        super().__init__()
        self._pause, self._go_on = pause, go_on

    def _on_rollout_start(self) -> None:
        model = self.model
        if self._pause(model.num_timesteps):
            assert model.env is not None
            model._last_obs = model.env.reset()  # type: ignore[assignment]
            model._last_episode_starts = np.ones(model.env.num_envs, bool)

    def _on_step(self) -> bool:
        return self._go_on(self.model.num_timesteps)


class WarmUpCritic(BaseCallback):
    """Lets PPO change its critic alone for a while.

    A policy that comes from demonstrations is better than a new critic can tell, and advantages
    that are mistaken would undo it.

    Args:
        steps: Control steps until the actor learns too.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps

    def _on_rollout_start(self) -> None:
        policy = self.model.policy
        assert isinstance(policy, ActorCriticPolicy)
        both = self.model.num_timesteps >= self._steps
        policy.requires_grad_(both)
        for critic in (policy.mlp_extractor.value_net, policy.value_net):
            critic.requires_grad_(True)

    def _on_step(self) -> bool:
        return True
