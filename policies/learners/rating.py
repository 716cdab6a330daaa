"""How good a policy is while it learns: the same episodes every time."""

from __future__ import annotations

import statistics

from stable_baselines3.common.policies import BasePolicy

from policies.actor import actor_of
from policies.deployable import DeployablePolicy
from policies.evaluation.episodes import episode_seeds, play
from policies.evaluation.players import player_of
from policies.evaluation.summary import ALL, by_connector
from policies.learners.train_config import TrainConfig
from policies.representations import Representation
from policies.worlds import simulation_of

_MOST_WORLDS = {"cpu": 32, "warp": 1024}
"""Worlds played at once, by engine."""


class Rating:
    """Plays fixed episodes in the settings of training, at the full ranges of initial states.

    Args:
        config: The run's resolved configuration.
        representation: What the policy sees.
    """

    def __init__(self, config: TrainConfig, representation: Representation) -> None:
        assert config.evaluation_episodes
        number = min(config.evaluation_episodes, _MOST_WORLDS[config.engine])
        self._envs = representation.make(number, autoreset_mode="NextStep", **config.worlds)
        task = simulation_of(self._envs).task
        self._seeds = episode_seeds(task, config.evaluation_episodes, "checkpoint")
        self._representation, self._device = representation, config.torch_device

    def rate(self, policy: BasePolicy) -> dict[str, float]:
        """Play the episodes that select the best policy, with a policy's mean actions.

        Returns:
            Numbers by name; "success" among them.
        """
        acting = DeployablePolicy(actor_of(policy), self._representation).to(self._device)
        records = list(play(self._envs, player_of(acting).act, self._seeds))
        found = by_connector(records)
        every = found.pop(ALL)
        return {
            "episodes": every.episodes,
            "success": every.success,
            "episode_length": statistics.fmean(record.steps for record in records),
            "progress": every.progress,
            "peak_force_n": statistics.fmean(record.peak_force for record in records),
            **{f"success_{connector}": summary.success for connector, summary in found.items()},
        }

    def close(self) -> None:
        """Release the worlds."""
        self._envs.close()
