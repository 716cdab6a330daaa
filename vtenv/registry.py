"""Tasks and their worlds, by the id of their environment in Gymnasium's registry.

Or by `MODULE:FUNCTION`, a function that makes worlds of a task with wrappers around: it takes
`num_envs` and the keyword arguments of the task's vector environment, and returns a vector
environment. Its attribute `task` is the id of the task; `VTInsert-v0` where it has none.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import VectorEnv

import vtenv
from vtenv import task_worlds
from vtenv.import_string import import_string, is_import_string
from vtenv.tasks import Task


def env_type(env_id: str) -> Any:
    """The class of vector environments behind an id; "MODULE:ID" imports the module first.

    Raises:
        ValueError: If there is no such id, or it is no task's; names the nearest.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        import_string(module, "module of tasks")
        if (function := _function(env_id)) is not None:
            return env_type(getattr(function, "task", vtenv.ENV_ID))
    try:
        creator: Any = gymnasium.spec(name).vector_entry_point
    except gymnasium.error.Error as error:
        raise ValueError(f"unknown task {env_id!r}: {error}") from None
    if isinstance(creator, str):
        creator = load_env_creator(creator)
    if not hasattr(creator, "task_type"):
        raise ValueError(
            f"{env_id} is not a task of vtenv: its vector environment has no task_type"
        )
    return creator


def make_task(env_id: str, /, **settings: Any) -> Task:
    """A task without its worlds.

    Args:
        env_id: The id.
        settings: Keyword arguments of its environment.

    Raises:
        ValueError, TypeError: If there is no such task, or a setting is unknown or not allowed.
    """
    its_own = {name: value for name, value in settings.items() if name != "max_episode_steps"}
    return task_worlds.make_task(env_type(env_id), its_own)


def make_world(env_id: str, /, **settings: Any) -> Any:
    """Make one world of a task, whose episodes end in success or failure alone.

    Args:
        env_id: The id.
        settings: Keyword arguments of its environment.

    Raises:
        ValueError, TypeError: If there is no such task, or a setting is not allowed.
    """
    env_type(env_id)
    if _function(env_id) is not None:
        raise ValueError(f"{env_id} makes many worlds in wrappers; name an id, for one without")
    return gymnasium.make(env_id, **settings).unwrapped


def make_worlds(env_id: str, num_envs: int, **settings: Any) -> VectorEnv[Any, Any, Any]:
    """Make worlds of a task behind one vector environment.

    Args:
        env_id: The id.
        num_envs: Worlds.
        settings: Keyword arguments of its vector environment.

    Raises:
        ValueError, TypeError: If there is no such task, a setting is not allowed, or wrappers
            change more than the values of observations.
    """
    own = env_type(env_id)
    function = _function(env_id)
    if function is None:
        envs: VectorEnv[Any, Any, Any] = gymnasium.make_vec(
            env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **settings
        )
        return envs
    envs = function(num_envs, **settings)
    inner = getattr(envs, "unwrapped", None)
    if not isinstance(envs, VectorEnv) or not isinstance(inner, own):
        raise ValueError(
            f"{env_id} returned {envs!r}; it must return what gymnasium.make_vec(id, num_envs, "
            f'vectorization_mode="vector_entry_point", **settings) does, in wrappers or not'
        )
    for of in ("single_observation_space", "single_action_space"):
        if _shapes(getattr(envs, of)) != _shapes(getattr(inner, of)):
            raise ValueError(
                f"wrappers of {env_id} make its {of} {getattr(envs, of)}; they must leave the "
                f"keys and shapes of {getattr(inner, of)}, on which representations are built"
            )
    return envs


def _function(env_id: str) -> Any:
    """What makes the worlds, of `MODULE:FUNCTION`; None for an id.

    Raises:
        ValueError: If it is neither.
    """
    if not is_import_string(env_id) or env_id.rpartition(":")[2] in gymnasium.registry:
        return None
    function = import_string(env_id, "task")
    if not callable(function):
        raise ValueError(f"{env_id!r} is a {type(function).__name__}, which cannot be called")
    return function


def _shapes(space: gymnasium.Space[Any]) -> Any:
    if isinstance(space, gymnasium.spaces.Dict):
        return {key: _shapes(part) for key, part in space.spaces.items()}
    return space.shape
