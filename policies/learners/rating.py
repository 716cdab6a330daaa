"""How good a policy is while it learns: the same episodes every time."""

from __future__ import annotations

import statistics

from stable_baselines3.common.policies import BasePolicy

from policies.actor import actor_of
from policies.deployable import DeployablePolicy
from policies.evaluation.conditions import condition
from policies.evaluation.episodes import episode_seeds, play
from policies.evaluation.players import player_of
from policies.learners.train_config import TrainConfig
from policies.representations import Representation

_MOST_WORLDS = {"cpu": 32, "warp": 1024}
"""Worlds played at once, by engine."""


class Rating:
    """Plays fixed episodes in the settings of training, at the full ranges of initial states.

    Args:
        config: The run's resolved configuration.
        representation: What the policy sees.
    """

    def __init__(self, config: TrainConfig, representation: Representation) -> None:
        self._config, self._representation = config, representation
        number = min(config.evaluation_episodes or 1, _MOST_WORLDS[config.engine])
        self._envs = representation.make(number, autoreset_mode="NextStep", **config.worlds)

    def rate(self, policy: BasePolicy) -> dict[str, float]:
        """Play the episodes that select the best policy, with a policy's mean actions.

        Returns:
            Numbers by name; "success" among them.
        """
        config = self._config
        acting = DeployablePolicy(actor_of(policy), self._representation, config.settings)
        player = player_of(acting.to(config.torch_device))
        assert config.evaluation_episodes is not None
        task = player.played(condition("training"))
        seeds = episode_seeds(task, config.evaluation_episodes, "checkpoint")
        records = list(play(self._envs, player.act, seeds))
        summary: dict[str, float] = {
            "episodes": len(records),
            "success": statistics.fmean(record.success for record in records),
            "episode_length": statistics.fmean(record.steps for record in records),
            "progress": statistics.fmean(record.progress for record in records),
            "peak_force_n": statistics.fmean(record.peak_force for record in records),
        }
        for connector in dict.fromkeys(record.connector for record in records):
            of_it = [record.success for record in records if record.connector == connector]
            summary[f"success_{connector}"] = statistics.fmean(of_it)
        return summary

    def close(self) -> None:
        """Release the worlds."""
        self._envs.close()
