"""How good a policy is while it learns: the same episodes every time."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from policies.evaluation.episodes import Act, EpisodeRecord, episode_seeds, play
from policies.learners.train_config import TrainConfig
from policies.representations import Representation
from vtenv.simulation import Simulation
from vtenv.tasks.insertion.config import VTInsertConfig

SELECTION_SEED = 2_000_000
"""Where the seeds start that tell which policy is best while training."""
RESULT_SEED = 3_000_000
"""Where the seeds start that tell how good it then is, on episodes that had no say in it."""

_MOST_WORLDS = {"cpu": 32, "warp": 1024}
"""Worlds played at once, by engine."""


class Rating:
    """Plays fixed episodes in the settings of training, at the full ranges of initial states.

    Args:
        config: The run's resolved configuration.
        representation: What the policy sees.
    """

    def __init__(self, config: TrainConfig, representation: Representation) -> None:
        assert config.evaluation_episodes is not None
        self._episodes = config.evaluation_episodes
        self._config = VTInsertConfig.from_settings(
            **representation.environment_settings(config.settings)
        )
        self._envs = representation.make(
            min(self._episodes, _MOST_WORLDS[config.engine]),
            engine=config.engine,
            device=config.device,
            num_threads=config.num_threads,
            observations="numpy" if config.engine == "cpu" else "torch",
            autoreset_mode=AutoresetMode.NEXT_STEP,
            **config.settings,
        )

    def rate(self, policy: BasePolicy, seed: int) -> dict[str, float]:
        """Play, and say how it went.

        Args:
            policy: Who plays, with its mean actions.
            seed: `SELECTION_SEED` or `RESULT_SEED`.

        Returns:
            Numbers by name; "success" among them.
        """
        seeds = episode_seeds(self._config, self._episodes, seed)
        policy.set_training_mode(False)
        return _summary(list(play(self._envs, acting(policy), seeds)))

    def close(self) -> None:
        """Release the worlds."""
        self._envs.close()


def acting(policy: BasePolicy) -> Act:
    """A policy of Stable-Baselines3 as who acts, with its mean actions."""
    state: tuple[NDArray[Any], ...] | None = None

    def act(observation: Any, _: Simulation, started: NDArray[np.bool_]) -> NDArray[Any]:
        nonlocal state
        seen = (
            {key: _host(value) for key, value in observation.items()}
            if isinstance(observation, dict)
            else _host(observation)
        )
        action, state = policy.predict(seen, state, started, deterministic=True)
        return action

    return act


def _host(values: Any) -> NDArray[Any]:
    return values.cpu().numpy() if isinstance(values, Tensor) else values


def _summary(records: list[EpisodeRecord]) -> dict[str, float]:
    summary: dict[str, float] = {
        "episodes": len(records),
        "success": statistics.fmean(record.success for record in records),
        "episode_length": statistics.fmean(record.steps for record in records),
        "inserted_fraction": statistics.fmean(record.inserted for record in records),
        "peak_force_n": statistics.fmean(record.peak_force for record in records),
    }
    for connector in dict.fromkeys(record.connector for record in records):
        of_it = [record.success for record in records if record.connector == connector]
        summary[f"success_{connector}"] = statistics.fmean(of_it)
    return summary
