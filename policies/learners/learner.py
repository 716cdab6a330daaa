"""What learns: reinforcement learning by Stable-Baselines3, or distillation of the expert."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy

from policies.learners.callbacks import BetweenRollouts, WarmUpCritic
from policies.learners.dagger import Dagger
from policies.learners.dagger_config import DaggerConfig, DaggerRound
from policies.learners.train_config import CRITIC_WARMUP, DISTILLATION, TrainConfig

Pause = Callable[[int], bool]
"""Called between rollouts with the steps so far; returns whether the worlds are to start anew."""
GoOn = Callable[[int], bool]
"""Called with the steps so far; returns whether to go on."""


class Learner(Protocol):
    """Changes a model's policy."""

    def learn(self, pause: Pause, go_on: GoOn) -> None:
        """Learn until the budget is used up, or `go_on` says no."""

    def measures(self) -> dict[str, float]:
        """What it says of its learning since it was last asked, by name."""

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, beside the model."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another stood."""


class Reinforcement:
    """An algorithm of Stable-Baselines3 with its own loop.

    Args:
        model: What is trained.
        config: The run's resolved configuration.
    """

    def __init__(self, model: BaseAlgorithm, config: TrainConfig) -> None:
        self._model, self._config = model, config

    def learn(self, pause: Pause, go_on: GoOn) -> None:
        """As `Learner.learn`."""
        callbacks: list[BaseCallback] = [BetweenRollouts(pause, go_on)]
        if warmup := self._config.hyperparameters.get(CRITIC_WARMUP, 0):
            callbacks.append(WarmUpCritic(warmup))
        assert self._config.steps is not None
        left = self._config.steps - self._model.num_timesteps
        if left > 0:
            # Our log replaces that of the algorithm.
            self._model.learn(
                left, callbacks, log_interval=cast(int, None), reset_num_timesteps=False
            )

    def measures(self) -> dict[str, float]:
        """As `Learner.measures`."""
        logger = self._model.logger
        values = {name: float(value) for name, value in logger.name_to_value.items()}
        logger.dump(self._model.num_timesteps)  # it has nowhere to write, and forgets
        return values

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the model has it all."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


class Distillation:
    """DAgger on the scripted expert, for a model of PPO that can go on from there.

    Args:
        model: What is trained.
        envs: Where it acts.
        config: The run's resolved configuration.
    """

    def __init__(
        self, model: BaseAlgorithm, envs: VectorEnv[Any, Any, Any], config: TrainConfig
    ) -> None:
        assert isinstance(model.policy, ActorCriticPolicy)
        seconds = None if config.max_minutes is None else 60 * config.max_minutes
        chosen = {k: v for k, v in config.hyperparameters.items() if k != "policy_kwargs"}
        budget = DaggerConfig(steps=config.steps, seconds=seconds, **chosen)
        self._model = model
        self._dagger = Dagger(model.policy, envs, budget, seed=config.seed)
        self._rounds: list[DaggerRound] = []
        self.state_dict = self._dagger.state_dict
        self.load_state_dict = self._dagger.load_state_dict

    def learn(self, pause: Pause, go_on: GoOn) -> None:
        """As `Learner.learn`."""
        while self._dagger.used < 1 and go_on(self._model.num_timesteps):
            pause(self._model.num_timesteps)
            self._rounds.append(self._dagger.round())
            self._model.num_timesteps = self._dagger.steps
        go_on(self._model.num_timesteps)  # which shows how far it is

    def measures(self) -> dict[str, float]:
        """As `Learner.measures`; success is of episodes in which the student alone had acted."""
        rounds, self._rounds = self._rounds, []
        row = {
            f"train/{name}": sum(getattr(r, name) for r in rounds) / len(rounds)
            for name in (
                *("imitation_error", "loss", "value_loss", "explained_variance"),
                *("expert_chance", "learning_rate"),
            )
        }
        episodes = sum(r.episodes for r in rounds)
        return row | {"success": sum(r.successes for r in rounds) / episodes if episodes else 0.0}


def make_learner(
    model: BaseAlgorithm, envs: VectorEnv[Any, Any, Any], config: TrainConfig
) -> Learner:
    """What trains a model, by the configuration's algorithm."""
    if config.algorithm == DISTILLATION:
        return Distillation(model, envs, config)
    return Reinforcement(model, config)
