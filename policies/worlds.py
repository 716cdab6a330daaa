"""Worlds by their id: made with Gymnasium, and described without naming a task.

Everything that policies know of a task comes from here.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import gymnasium
import numpy as np
from array_api_compat import to_device
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

import vtenv
from policies.choices import check_name
from policies.hyperparameters import parse_value
from vtenv.simulation import Simulation, action_space, observation_space
from vtenv.state import Array, namespace
from vtenv.tasks.insertion import task as insertion
from vtenv.tasks.insertion.config import SETTINGS, InitialStateRanges, VTInsertConfig
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, CONNECTORS
from vtenv.tasks.insertion.expert import expert_action
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig

DEFAULT_TASK = vtenv.ENV_ID
"""The task unless another is asked for."""

_DATACLASSES = {
    "initial_state": InitialStateRanges,
    "domain_randomization": DomainRandomizationConfig,
}
"""Settings that are dataclasses."""


@dataclass(frozen=True)
class World:
    """What an environment is like with some settings.

    Attributes:
        config: The checked settings.
        observation_space: The space of one world.
        action_space: The space of one world's actions.
        variant_names: Names of the variants that an episode may draw.
        failures: Names of what ends an episode without success.
    """

    config: VTInsertConfig
    observation_space: spaces.Dict
    action_space: spaces.Box
    variant_names: tuple[str, ...]
    failures: tuple[str, ...]

    def variant(self, seed: int) -> str:
        """The variant that an episode of a seed draws."""
        uniforms = seeding.np_random(seed)[0].random((1, insertion.NUM_UNIFORMS))
        return CONNECTOR_NAMES[
            int(insertion.initial_state(uniforms, self.config, 1, {}).connector[0])
        ]


def describe(task: str, settings: Mapping[str, Any]) -> World:
    """Describe the worlds of a task without making one.

    Args:
        task: An id of Gymnasium's registry.
        settings: Keyword arguments of its environment.

    Raises:
        ValueError: If there is no such task, or a setting is unknown or not allowed.
    """
    check_task(task)
    given = _as_the_environment_takes_them(task, settings)
    for name in given:
        check_name(name, SETTINGS, f"setting of {task}")
    config = VTInsertConfig.from_settings(**given)
    failures = tuple(filter(None, insertion.FAILURES))
    return World(config, observation_space(config), action_space(), config.connectors, failures)


def make_worlds(task: str, num_envs: int, **settings: Any) -> VectorEnv[Any, Any, Any]:
    """Make worlds of a task, behind one vector environment.

    Args:
        task: An id of Gymnasium's registry.
        num_envs: Worlds.
        settings: Keyword arguments of its vector environment.

    Raises:
        ValueError, TypeError: If there is no such task, or a setting is not allowed.
    """
    check_task(task)
    envs: VectorEnv[Any, Any, Any] = gymnasium.make_vec(
        task,
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        **_as_the_environment_takes_them(task, settings),
    )
    return envs


def make_world(task: str, **settings: Any) -> Any:
    """Make one world of a task, whose episodes end in success or failure alone.

    Args:
        task: An id of Gymnasium's registry.
        settings: Keyword arguments of its environment.
    """
    check_task(task)
    return gymnasium.make(task, **_as_the_environment_takes_them(task, settings)).unwrapped


def check_task(task: str) -> None:
    """Refuse an id that is not registered, or has no worlds in one process.

    Raises:
        ValueError: If it is such; names the nearest ones.
    """
    there = [name for name, spec in gymnasium.registry.items() if spec.vector_entry_point]
    check_name(task, there, "task", "gymnasium.pprint_registry()")


def simulation_of(envs: VectorEnv[Any, Any, Any]) -> Simulation:
    """The simulated worlds behind a vector environment and its wrappers.

    Raises:
        ValueError: If there are none: it is not an environment of `vtenv`.
    """
    simulation = getattr(envs.unwrapped, "simulation", None)
    if not isinstance(simulation, Simulation):
        raise ValueError(
            f"the environment is a {type(envs.unwrapped).__name__}, which has no simulation; make "
            'it with gymnasium.make_vec(id, vectorization_mode="vector_entry_point", ...)'
        )
    return simulation


def expert(simulation: Simulation) -> Array:
    """The scripted expert's actions in all worlds, (N, A), float32."""
    action = expert_action(simulation.state, simulation.geometry)
    xp = namespace(action)
    return xp.astype(action, xp.float32)


def variant_label(name: str) -> str:
    """What people call a variant."""
    return CONNECTORS[name].label if name in CONNECTORS else name


def decode(values: Array, names: Sequence[str]) -> list[str]:
    """Names from `info`, where they are names already or, with tensors, codes."""
    return [value if isinstance(value, str) else names[int(value)] for value in to_host(values)]


CODES = {"connector": CONNECTOR_NAMES, "failure": insertion.FAILURES}
"""What the codes in `info` mean."""


def to_host(values: Array) -> NDArray[Any]:
    """An array of any library as NumPy's."""
    return np.asarray(to_device(values, "cpu"))


def parse_settings(task: str, words: Iterable[str]) -> dict[str, Any]:
    """Settings of a task's environment from a command line, as YAML values.

    Args:
        task: An id of Gymnasium's registry.
        words: Such as "--clearance-mm", "0.8", "--connectors", "usb", "pin".

    Raises:
        ValueError: If one is no setting of the task, or has no value.
    """
    given: dict[str, list[Any]] = {}
    values: list[Any] | None = None
    for word in words:
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            name = option[2:].replace("-", "_")
            check_name(name, setting_names(task), f"setting of {task}")
            values = given.setdefault(name, [])
            if not equals:
                continue
            word = value
        if values is None:
            raise ValueError(f"{word!r} belongs to no option")
        values.append(parse_value(word))
    for name, found in given.items():
        if not found:
            raise ValueError(f"--{name.replace('_', '-')} needs a value")
    return {
        name: found if name == "connectors" or len(found) > 1 else found[0]
        for name, found in given.items()
    }


def setting_names(task: str, *, options: bool = False) -> tuple[str, ...]:
    """Settings of a task's environment, but for what it observes.

    Args:
        task: An id of Gymnasium's registry.
        options: Whether to name them as on a command line.
    """
    names = _setting_defaults(task)
    return tuple(f"--{name.replace('_', '-')}" if options else name for name in names)


def settings_help(task: str) -> str:
    """What a command line's help says of a task's settings."""
    lines = [f"Settings of {task}, options too; values are YAML's:"]
    for name, default in _setting_defaults(task).items():
        shown = "the sensor's own" if default is None else default
        lines.append(f"  --{name.replace('_', '-')} (default: {shown})")
    return "\n".join(lines)


def _setting_defaults(task: str) -> dict[str, Any]:
    check_task(task)
    parameters = inspect.signature(VTInsertConfig.from_settings).parameters
    defaults = {"connectors": " ".join(CONNECTOR_NAMES)} | {
        name: parameters[name].default for name in SETTINGS
    }
    return {n: v for n, v in defaults.items() if n not in ("connector", "modalities")}


def settings_to_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in JSON's types.

    Raises:
        TypeError: If one of them is nothing that JSON has.
    """
    document = {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in settings.items()
    }
    plain: dict[str, Any] = json.loads(json.dumps(document))
    return plain


def settings_from_json(document: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that `settings_to_json` described.

    Raises:
        TypeError, ValueError: If a field of one of them is unknown or not allowed.
    """
    settings = dict(document)
    for name, kind in _DATACLASSES.items():
        if isinstance(settings.get(name), Mapping):
            settings[name] = kind(**settings[name])
    return settings


def _as_the_environment_takes_them(task: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the connectors as the environment knows them today: all of them, or one."""
    given = settings_from_json(settings)
    if "connectors" not in given:
        return given
    names = given.pop("connectors")
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        check_name(name, CONNECTOR_NAMES, f"connector of {task}")
    chosen = set(names)
    if len(chosen) != 1 and chosen != set(CONNECTOR_NAMES):
        raise ValueError(f"connectors={list(names)} is not allowed; give one, or all of them")
    given["connector"] = names[0] if len(chosen) == 1 else "random"
    return given
