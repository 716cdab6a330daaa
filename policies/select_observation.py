"""Vectors of a vector environment's dictionary, as a flat observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from vtenv.arrays import namespace


def joined(observation: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Vectors of an observation as one, arrays or tensors, (..., D)."""
    parts = [observation[key] for key in keys]
    return parts[0] if len(parts) == 1 else namespace(parts[0]).concat(parts, axis=-1)


def joined_space(space: spaces.Space[Any], keys: Sequence[str]) -> spaces.Box:
    """The space of what `joined` returns."""
    assert isinstance(space, spaces.Dict)
    boxes = [space[key] for key in keys]
    low, high = (np.concatenate([getattr(box, end) for box in boxes]) for end in ("low", "high"))
    return spaces.Box(low, high, dtype=np.float32)


class SelectObservation(VectorWrapper):
    """Replaces the dictionary that a vector environment observes by some of its vectors, joined.

    Where episodes restart within a step, `info["final_obs"]` is replaced too. Arrays and tensors
    alike.

    Args:
        env: A vector environment whose observations are dictionaries.
        keys: The entries.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], keys: Sequence[str]) -> None:
        super().__init__(env)
        self._keys = keys
        self.single_observation_space = joined_space(env.single_observation_space, keys)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As the wrapped environment, those entries alone."""
        observation, info = self.env.reset(seed=seed, options=options)
        return joined(observation, self._keys), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As the wrapped environment, those entries alone."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            info = {**info, "final_obs": self._final(info["final_obs"])}
        return joined(observation, self._keys), reward, terminated, truncated, info

    def _final(self, final: Any) -> Any:
        if isinstance(final, dict):
            return joined(final, self._keys)
        chosen = np.full(len(final), None, dtype=object)
        for world, observation in enumerate(final):
            chosen[world] = None if observation is None else joined(observation, self._keys)
        return chosen
