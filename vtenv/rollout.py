"""The rollout loop: a policy in a vector environment, one transition at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from vtenv.arrays import Array


@dataclass(frozen=True)
class Transition:
    """One control step of N worlds.

    Arrays are as the environment returns them: NumPy's, or tensors on its device.

    Attributes:
        observation: What was seen before the step.
        info: What was told with it.
        action: What was done, (N, ...).
        reward: (N,).
        terminated: (N,), bool.
        truncated: (N,), bool.
        next_observation: What was seen after it; where the environment resets within a step, the
            first of the next episode (`next_info["final_obs"]` has the last of this one).
        next_info: What was told with it.
    """

    observation: Any
    info: Mapping[str, Any]
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    next_observation: Any
    next_info: Mapping[str, Any]


def rollout(
    envs: VectorEnv[Any, Any, Any],
    act: Callable[[Any, Mapping[str, Any]], Array],
    *,
    seed: int | Sequence[int | None] | None = None,
    options: dict[str, Any] | None = None,
) -> Iterator[Transition]:
    """Reset a vector environment and play in it, without end.

    Args:
        envs: The worlds, which reset themselves.
        act: Maps an observation and its info to actions, (N, ...).
        seed: As `VectorEnv.reset`.
        options: As `VectorEnv.reset`.

    Yields:
        A transition for every step of all worlds.
    """
    observation, info = envs.reset(seed=seed, options=options)  # type: ignore[arg-type]
    while True:
        action = act(observation, info)
        after, reward, terminated, truncated, told = envs.step(action)
        yield Transition(observation, info, action, reward, terminated, truncated, after, told)
        observation, info = after, told


def final_observation(info: Mapping[str, Any], worlds: Array) -> Any:
    """What was last seen in the worlds whose episode has ended within a step.

    Args:
        info: What was told with the step; `final_obs` is an array of observations, or has an
            axis of worlds.
        worlds: Numbers of some of these worlds, (K,).

    Returns:
        Their observation, (K, ...), or several by key.
    """
    final = info["final_obs"]
    if isinstance(final, Mapping):
        return {key: values[worlds] for key, values in final.items()}
    if not isinstance(final, np.ndarray):
        return final[worlds]
    each = list(final[worlds])
    if isinstance(each[0], Mapping):
        return {key: np.stack([one[key] for one in each]) for key in each[0]}
    return np.stack(each)
