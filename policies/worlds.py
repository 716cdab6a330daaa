"""Worlds by their id: made and described without naming a task, and their settings as options.

Everything that policies know of a task comes from the task itself.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gymnasium.utils import seeding
from gymnasium.vector import VectorEnv

import vtenv
from policies.choices import check_name, field_texts
from policies.hyperparameters import parse_value
from vtenv.arrays import Array, to_host
from vtenv.next_episodes import draw_episodes
from vtenv.registry import env_type
from vtenv.simulation import Simulation
from vtenv.tasks import Task
from vtenv.vector_env import TaskVectorEnv

DEFAULT_TASK = vtenv.ENV_ID
"""The task unless another is asked for."""

FAILURE = "failure"
"""Key of `info` that says why an episode failed; the other of a task's codes says its variant."""


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


def variant_key(task: Task) -> str:
    """Key of `info` that tells in which variant of a task a world is."""
    return next(key for key in task.code_names if key != FAILURE)


def variant_names(task: Task) -> tuple[str, ...]:
    """Names of the variants that an episode may draw."""
    return task.code_names[variant_key(task)]


def require_variants(task: Task, names: Iterable[str]) -> None:
    """Check that episodes draw variants of these names.

    Raises:
        ValueError: If one is not drawn; lists those that are.
    """
    there = variant_names(task)
    if lacking := [name for name in names if name not in there]:
        raise ValueError(f"this environment has {', '.join(there)}, and no {', '.join(lacking)}")


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


def setting_names(task: str, *, options: bool = False) -> tuple[str, ...]:
    """Settings of a task's environment, but for what it observes; or as options of a command."""
    return tuple(_option(name) if options else name for name in _defaults(task))


def settings_help(task: str) -> str:
    """What a command line's help says of a task's settings."""
    texts = field_texts(env_type(task).task_type.config_type)
    lines = [f"Settings of {task}, options too; values are YAML's:"]
    for name, default in _defaults(task).items():
        text, of_none = texts.get(name, ("", ""))
        value = of_none or "not set" if default is None else default
        lines.append(f"{_option(name)}  {text and text + '. '}(default: {value})")
    return "\n".join(
        textwrap.fill(line, 80, initial_indent="  ", subsequent_indent="      ") for line in lines
    )


def parse_settings(task: str, words: Iterable[str]) -> dict[str, Any]:
    """Settings of a task's environment from a command line, as YAML values.

    Args:
        task: An id of Gymnasium's registry.
        words: Such as "--clearance-mm", "0.8", "--connectors", "usb", "pin".

    Raises:
        ValueError: If one is no setting of the task, or has no value.
    """
    defaults = _defaults(task)
    given: dict[str, list[Any]] = {}
    values: list[Any] | None = None
    for word in words:
        if word.startswith("--"):
            option, equals, word = word.partition("=")
            name = option[2:].replace("-", "_")
            check_name(name, defaults, f"setting of {task}")
            values = given.setdefault(name, [])
            if not equals:
                continue
        if values is None:
            raise ValueError(f"{word!r} belongs to no option")
        values.append(parse_value(word))
    for name, found in given.items():
        if not found:
            raise ValueError(f"{_option(name)} needs a value")
    return {
        name: found if isinstance(defaults[name], list | tuple) or len(found) > 1 else found[0]
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


def _defaults(task: str) -> dict[str, Any]:
    """Defaults of the settings of a task's environment, but for what it observes."""
    config_type = env_type(task).task_type.config_type
    fields = {field.name: field.default for field in dataclasses.fields(config_type)}
    del fields["modalities"]
    return {**getattr(config_type, "shorthands", {}), **fields}
