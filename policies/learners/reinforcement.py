"""Reinforcement learning by Stable-Baselines3, and what happens beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy

Pause = Callable[[int], bool]
"""Called between rollouts with the steps so far; returns whether the worlds are to start anew."""
GoOn = Callable[[int], bool]
"""Called with the steps so far; returns whether to go on."""


class Learner(Protocol):
    """What trains a model in its loop."""

    def learn(self, pause: Pause, go_on: GoOn) -> None:
        """Learn until the budget is used up, or `go_on` says no."""

    def measures(self) -> dict[str, float]:
        """What was measured since the last call, for a table."""

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on, beside the model: tensors and numbers alone."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another stood, whose weights and steps the model has."""


class BetweenRollouts(BaseCallback):
    """Calls `pause` between rollouts, where all agree, and `go_on` after every step.

    Attributes:
        spent: Time of rollouts and of updates since it was last emptied, in [s].
    """

    def __init__(self, pause: Pause, go_on: GoOn) -> None:
        super().__init__()
        self._pause, self._go_on = pause, go_on
        self.spent = dict.fromkeys(("rollout_s", "update_s"), 0.0)
        self._begun: float | None = None

    def _on_rollout_start(self) -> None:
        self._passed("update_s")
        model = self.model
        if self._pause(model.num_timesteps):
            assert model.env is not None
            model._last_obs = model.env.reset()  # type: ignore[assignment]
            model._last_episode_starts = np.ones(model.env.num_envs, bool)
        self._begun = time.monotonic()

    def _on_rollout_end(self) -> None:
        self._passed("rollout_s")

    def _on_training_end(self) -> None:
        self._passed("update_s")

    def _passed(self, part: str) -> None:
        now = time.monotonic()
        if self._begun is not None:
            self.spent[part] += now - self._begun
        self._begun = now

    def _on_step(self) -> bool:
        return self._go_on(self.model.num_timesteps)


class WarmUpCritic(BaseCallback):
    """Lets PPO change its critic alone until so many control steps.

    A policy that comes from demonstrations is better than a new critic can tell, and advantages
    that are mistaken would undo it.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps

    def _on_rollout_start(self) -> None:
        policy = self.model.policy
        assert isinstance(policy, ActorCriticPolicy)
        learn_critic_alone(policy, self.model.num_timesteps < self._steps)

    def _on_step(self) -> bool:
        return True


def learn_critic_alone(policy: ActorCriticPolicy, alone: bool) -> None:
    """Let the critic of a policy learn alone, or everything."""
    policy.requires_grad_(not alone)
    for critic in (policy.mlp_extractor.value_net, policy.value_net):
        critic.requires_grad_(True)


class Reinforcement:
    """An algorithm of Stable-Baselines3 with its own loop; learns as `Dagger` does.

    Args:
        model: What is trained.
        steps: The budget, with the steps that it has made.
        critic_warmup: Steps until the actor learns, too.
    """

    def __init__(self, model: BaseAlgorithm, steps: int, critic_warmup: int) -> None:
        self._model, self._steps, self._critic_warmup = model, steps, critic_warmup
        self._spent: dict[str, float] = {}

    def learn(self, pause: Pause, go_on: GoOn) -> None:
        """Learn until the budget is used up, or `go_on` says no."""
        between = BetweenRollouts(pause, go_on)
        self._spent = between.spent
        callbacks: list[BaseCallback] = [between]
        if self._critic_warmup:
            callbacks.append(WarmUpCritic(self._critic_warmup))
        left = self._steps - self._model.num_timesteps
        if left > 0:
            # Our log replaces that of the algorithm.
            self._model.learn(
                left, callbacks, log_interval=cast(int, None), reset_num_timesteps=False
            )

    def measures(self) -> dict[str, float]:
        """What the algorithm recorded since the last call, and the time it took, in [s]."""
        logger = self._model.logger
        values = {name: float(value) for name, value in logger.name_to_value.items()}
        logger.dump(self._model.num_timesteps)  # it has nowhere to write, and forgets
        values |= self._spent
        self._spent.update(dict.fromkeys(self._spent, 0.0))
        return values

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the model has it all."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""
