"""One of a vector environment's modalities, as a flat observation."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space


class SelectObservation(VectorWrapper[Any, Any, Any, Any, Any]):
    """Replaces the dictionary that a vector environment observes by one of its entries.

    Where episodes restart within a step, `info["final_obs"]` is replaced too. Arrays and tensors
    alike.

    Args:
        env: A vector environment whose observations are dictionaries.
        key: The entry.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], key: str) -> None:
        super().__init__(env)
        space = env.single_observation_space
        assert isinstance(space, spaces.Dict)
        self._key = key
        self.single_observation_space = space[key]
        self.observation_space = batch_space(space[key], env.num_envs)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As the wrapped environment, that entry alone."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation[self._key], info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As the wrapped environment, that entry alone."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            info = {**info, "final_obs": self._final(info["final_obs"])}
        return observation[self._key], reward, terminated, truncated, info

    def _final(self, final: Any) -> Any:
        if isinstance(final, dict):
            return final[self._key]
        chosen = np.full(len(final), None, dtype=object)
        for world, observation in enumerate(final):
            chosen[world] = None if observation is None else observation[self._key]
        return chosen
