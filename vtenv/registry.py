"""Tasks by the id of their environment in Gymnasium's registry."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from vtenv import env
from vtenv.import_string import import_string
from vtenv.tasks import Task


def env_type(env_id: str) -> Any:
    """The class of vector environments behind an id; "MODULE:ID" imports the module first.

    Raises:
        ValueError: If there is no such id, or it is no task's; names the nearest.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        import_string(module, "module of tasks")
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
    return env.make_task(env_type(env_id), its_own)
