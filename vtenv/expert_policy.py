"""The scripted expert as a policy of an environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from vtenv.arrays import Array, namespace
from vtenv.env import TaskEnv
from vtenv.simulation import Simulation
from vtenv.vector_env import TaskVectorEnv


def expert_actions(simulation: Simulation) -> Array:
    """The scripted expert's actions in all worlds, (N, A), float32, of the engine's library."""
    actions = simulation.expert_action()
    xp = namespace(actions)
    return xp.astype(actions, xp.float32)


class ExpertPolicy:
    """A callable that does what the task's scripted expert does, from the whole state.

    Args:
        env: The environment that it acts in: a single one, or a vector made with the
            `vector_entry_point`; wrapped or not.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> import gymnasium, vtenv
        >>> from vtenv.expert_policy import ExpertPolicy
        >>> env = gymnasium.make("VTInsert-v0")
        >>> expert = ExpertPolicy(env)
        >>> observation, info = env.reset(seed=0)
        >>> expert(observation).shape
        (5,)
    """

    def __init__(self, env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> None:
        inner = env.unwrapped
        if not isinstance(inner, TaskEnv | TaskVectorEnv):
            raise ValueError(
                f"the expert acts in an environment of vtenv, not in a {type(inner).__name__}; "
                'make many worlds with vectorization_mode="vector_entry_point"'
            )
        self._env = inner

    def __call__(self, observation: Any = None, info: Any = None) -> Array:
        """What to do now.

        Args:
            observation: Not looked at: the expert knows the state.
            info: Likewise.

        Returns:
            An action, (A,), or those of all worlds, (N, A); float32, in [-1, 1]. An array of the
            engine's library.
        """
        actions = expert_actions(self._env.simulation)
        return np.asarray(actions[0]) if isinstance(self._env, TaskEnv) else actions
