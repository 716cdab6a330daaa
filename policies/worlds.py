"""Worlds by their id: tasks, made and described without naming one, and their settings as options.

Everything that policies know of a task comes from the task itself.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from array_api_compat import to_device
from gymnasium.envs.registration import load_env_creator
from gymnasium.utils import seeding
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

import vtenv
from policies.choices import check_name
from policies.hyperparameters import parse_value
from vtenv import env as task_env
from vtenv.arrays import Array, namespace
from vtenv.next_episodes import draw_episodes
from vtenv.simulation import Simulation
from vtenv.tasks import Task
from vtenv.vector_env import TaskVectorEnv

DEFAULT_TASK = vtenv.ENV_ID
"""The task unless another is asked for."""

FAILURE = "failure"
"""Key of `info` that says why an episode failed; the other of a task's codes says its variant."""


def make_task(task: str, settings: Mapping[str, Any]) -> Task:
    """Make a task with settings, without its worlds.

    Args:
        task: An id of Gymnasium's registry.
        settings: Keyword arguments of its environment.

    Raises:
        ValueError, TypeError: If there is no such task, or a setting is unknown or not allowed.
    """
    its_own = {name: value for name, value in settings.items() if name != "max_episode_steps"}
    return task_env.make_task(_env_type(task), its_own)


def make_worlds(task: str, num_envs: int, **settings: Any) -> VectorEnv[Any, Any, Any]:
    """Make worlds of a task, behind one vector environment.

    Args:
        task: An id of Gymnasium's registry.
        num_envs: Worlds.
        settings: Keyword arguments of its vector environment.

    Raises:
        ValueError, TypeError: If there is no such task, or a setting is not allowed.
    """
    _env_type(task)
    envs: VectorEnv[Any, Any, Any] = gymnasium.make_vec(
        task, num_envs=num_envs, vectorization_mode="vector_entry_point", **settings
    )
    return envs


def make_world(task: str, **settings: Any) -> Any:
    """Make one world of a task, whose episodes end in success or failure alone.

    Args:
        task: An id of Gymnasium's registry.
        settings: Keyword arguments of its environment.
    """
    _env_type(task)
    return gymnasium.make(task, **settings).unwrapped


def simulation_of(envs: VectorEnv[Any, Any, Any]) -> Simulation:
    """The simulated worlds behind a vector environment and its wrappers.

    Raises:
        ValueError: If there are none: it is not an environment of `vtenv`.
    """
    inner = envs.unwrapped
    if not isinstance(inner, TaskVectorEnv):
        raise ValueError(
            f"the environment is a {type(inner).__name__}, which has no simulation; make it with "
            'gymnasium.make_vec(id, vectorization_mode="vector_entry_point", ...)'
        )
    return inner.simulation


def expert(simulation: Simulation) -> Array:
    """The scripted expert's actions in all worlds, (N, A), float32."""
    action = simulation.expert_action()
    xp = namespace(action)
    return xp.astype(action, xp.float32)


def variant_key(task: Task) -> str:
    """Key of `info` that tells in which variant of a task a world is."""
    return next(key for key in task.code_names if key != FAILURE)


def variant_names(task: Task) -> tuple[str, ...]:
    """Names of the variants that an episode may draw."""
    return task.code_names[variant_key(task)]


def variant_of_seed(task: Task, seed: int) -> str:
    """The variant that an episode of a seed draws, as `reset(seed=...)` does."""
    (variant,) = draw_episodes(task, [seeding.np_random(seed)[0]], [{}]).physics.variant
    names = variant_names(task)
    # A variant's models stand together.
    return names[int(variant) * len(names) // len(task.world_model.models)]


def variant_label(task: Task, name: str) -> str:
    """What people call a variant."""
    return str(task.panel({variant_key(task): name}).title or name)


def decode(values: Array, names: Sequence[str]) -> list[str]:
    """Names of the codes in an `info`."""
    return [names[int(value)] for value in to_host(values)]


def to_host(values: Array) -> NDArray[Any]:
    """An array of any library as NumPy's."""
    return np.asarray(to_device(values, "cpu"))


def setting_names(task: str, *, options: bool = False) -> tuple[str, ...]:
    """Settings of a task's environment, but for what it observes.

    Args:
        task: An id of Gymnasium's registry.
        options: Whether to name them as on a command line.
    """
    names = (field.name for field in dataclasses.fields(_env_type(task).task_type.config_type))
    return tuple(_option(n) if options else n for n in names if n != "modalities")


def settings_help(task: str) -> str:
    """What a command line's help says of a task's settings."""
    lines = [f"Settings of {task}, options too; values are YAML's:"]
    for field in dataclasses.fields(_env_type(task).task_type.config_type):
        if field.name != "modalities":
            lines.append(f"  {_option(field.name)} (default: {field.default})")
    return "\n".join(lines)


def parse_settings(task: str, words: Iterable[str]) -> dict[str, Any]:
    """Settings of a task's environment from a command line, as YAML values.

    Args:
        task: An id of Gymnasium's registry.
        words: Such as "--clearance-mm", "0.8", "--connectors", "usb", "pin".

    Raises:
        ValueError: If one is no setting of the task, or has no value.
    """
    fields = dataclasses.fields(_env_type(task).task_type.config_type)
    defaults = {field.name: field.default for field in fields}
    given: dict[str, list[Any]] = {}
    values: list[Any] | None = None
    for word in words:
        if word.startswith("--"):
            option, equals, word = word.partition("=")
            name = option[2:].replace("-", "_")
            check_name(name, setting_names(task), f"setting of {task}")
            values = given.setdefault(name, [])
            if not equals:
                continue
        if values is None:
            raise ValueError(f"{word!r} belongs to no option")
        values.append(parse_value(word))
    for name, found in given.items():
        if not found:
            raise ValueError(f"{_option(name)} needs a value")
    many = (list, tuple)
    return {
        name: found if isinstance(defaults[name], many) or len(found) > 1 else found[0]
        for name, found in given.items()
    }


def settings_to_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in JSON's types; an environment takes them as they are.

    Raises:
        TypeError: If one of them is nothing that JSON has.
    """
    plain: dict[str, Any] = json.loads(json.dumps(dict(settings), default=_plain))
    return plain


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"a setting of type {type(value).__name__} cannot be written down as JSON")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _env_type(task: str) -> Any:
    """The class of vector environments behind an id.

    Raises:
        ValueError: If there is no such task; names the nearest.
    """
    specs = {name: spec for name, spec in gymnasium.registry.items() if spec.vector_entry_point}
    check_name(task, specs, "task", "gymnasium.pprint_registry()")
    creator: Any = specs[task].vector_entry_point
    if isinstance(creator, str):
        creator = load_env_creator(creator)
    if not hasattr(creator, "task_type"):
        raise ValueError(f"{task} is not a task of vtenv: its vector environment has no task_type")
    return creator
