"""A function of what many worlds observe, in every mode of restarting episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space, iterate

from vtenv.rollout import final_observation


class VectorTransformObservation(VectorWrapper):
    """Applies a function to what a vector environment observes.

    Unlike `gymnasium.wrappers.vector.TransformObservation` it also takes worlds that restart
    episodes within a step (`AutoresetMode.SAME_STEP`), as Stable-Baselines3 needs them: the
    function is applied to `info["final_obs"]` too.

    Args:
        env: A vector environment.
        function: Maps observations (N, ...), arrays or tensors, by key where there are several, to
            others. N is the number of worlds; for last observations that are arrays, of those whose
            episode has ended.
        single_observation_space: Space of what it returns for one world; None if it stays as it is.

    Example:
        >>> import gymnasium, vtenv
        >>> from vtenv.transform_observation import VectorTransformObservation
        >>> envs = gymnasium.make_vec(
        ...     "VTInsert-v0", num_envs=2, vectorization_mode="vector_entry_point"
        ... )
        >>> def nearer(seen):
        ...     return seen | {"depth": seen["depth"] - 0.001}
        >>> envs = VectorTransformObservation(envs, nearer)
        >>> envs.close()
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        function: Callable[[Any], Any],
        single_observation_space: spaces.Space[Any] | None = None,
    ) -> None:
        super().__init__(env)
        self._function = function
        if single_observation_space is not None:
            self.single_observation_space = single_observation_space
            self.observation_space = batch_space(single_observation_space, env.num_envs)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As the wrapped environment, with what the function makes of its observation."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._transformed(observation), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As the wrapped environment, with what the function makes of its observations."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        if "final_obs" in info:
            info = {**info, "final_obs": self._final(info)}
        return self._transformed(observation), reward, terminated, truncated, info

    def _transformed(self, observation: Any) -> Any:
        try:
            return self._function(observation)
        except KeyError as error:
            if not isinstance(observation, Mapping) or error.args[0] in observation:
                raise
            name = getattr(self._function, "__name__", self._function)
            raise ValueError(
                f"{name} reads {error.args[0]!r}, and these worlds observe "
                f"{', '.join(observation)}; add it to modalities, or choose a representation that "
                "reads it"
            ) from error

    def _final(self, info: Mapping[str, Any]) -> Any:
        """What is made of last observations, in the form they came in."""
        final = info["final_obs"]
        if not isinstance(final, np.ndarray):
            return self._transformed(final)
        worlds = np.flatnonzero(info["_final_obs"])
        changed = np.full(len(final), None, dtype=object)
        if len(worlds):
            rows = self._transformed(final_observation(info, worlds))
            space = batch_space(self.single_observation_space, len(worlds))
            for world, row in zip(worlds, iterate(space, rows), strict=True):
                changed[world] = row
        return changed
