"""The worlds of a task behind both environments, single and vector: made, copied, refused."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from enum import Enum
from typing import Any, ClassVar, Self

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils import EzPickle
from gymnasium.wrappers.array_conversion import array_conversion
from numpy.typing import NDArray

from vtenv.rendering.renderers import RENDER_FPS, RENDER_MODES, make_renderer
from vtenv.simulation import Simulation
from vtenv.tasks import Task, TaskConfig
from vtenv.validation import as_integer, require

Obstacle = tuple[type[Exception], str]
"""Why an environment cannot go on: an error and its text."""
NEVER_RESET: Obstacle = ResetNeeded, "call reset() before the first step()"
TERMINATED: Obstacle = ResetNeeded, "the episode has terminated; call reset() before step()"
CLOSED: Obstacle = ClosedEnvironmentError, "the environment was closed; make a new one"


@array_conversion.register(str)
def _keep_text(value: str, xp: Any, device: Any = None) -> str:
    """Text in `info` stays what it is; `ArrayConversion` would convert it letter by letter."""
    return value


@array_conversion.register(np.ndarray)
def _convert_array(value: NDArray[Any], xp: Any, device: Any = None) -> Any:
    """Arrays of objects, such as `final_obs`, element by element; others as Gymnasium does."""
    if value.dtype != object:
        return array_conversion.dispatch(Iterable)(value, xp, device)
    converted = np.empty_like(value)
    for index, element in np.ndenumerate(value):
        known = element is not None
        converted[index] = array_conversion(element, xp, device) if known else None
    return converted


class TaskWorlds(EzPickle):
    """Worlds of a task behind Gymnasium's interface, of one world or of many.

    Keeps the arguments it is made with: a copy is made from them, and goes on from its state.
    """

    task_type: ClassVar[type[Any]]
    """The task; a class with `config_type`, made from a configuration."""
    fixed_settings: ClassVar[Mapping[str, Any]] = {}
    """Settings that the environment's id has chosen already."""
    sole_observation: ClassVar[str | None] = None
    """The key of the observation that is returned by itself; None for a dict of them all."""

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": RENDER_FPS}  # noqa: RUF012

    _copied: ClassVar[tuple[str, ...]]
    """Attributes that a copy takes over besides the state."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the class a signature that lists the settings of its task."""
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "task_type"):
            own = inspect.signature(cls.__init__).parameters.values()
            named = [p for p in own if p.name != "self" and p.kind is not p.VAR_KEYWORD]
            settings = inspect.signature(cls.task_type.config_type).parameters.values()
            keyword = [
                p.replace(kind=p.KEYWORD_ONLY) for p in settings if p.name not in cls.fixed_settings
            ]
            cls.__signature__ = inspect.Signature([*named, *keyword])  # type: ignore[attr-defined]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep the arguments."""
        made = super().__new__(cls)
        EzPickle.__init__(made, *args, **kwargs)
        return made

    def _set_up(
        self,
        task: Task,
        num_worlds: int,
        render_mode: str | None,
        picture: str,
        size: tuple[int, int],
        engine: str,
        **engine_settings: Any,
    ) -> None:
        """Make the worlds, and what draws them."""
        self._given_config = task.config
        self._obstacle: Obstacle | None = NEVER_RESET
        self._spec: EnvSpec | None = None
        self.render_mode = render_mode
        self._renderer = make_renderer(render_mode, task, picture, size)
        self._simulation = Simulation(task, num_worlds, engine, **engine_settings)

    @property
    def simulation(self) -> Simulation:
        """The simulated worlds behind the environment, for experts, probes and tests."""
        return self._simulation

    @property
    def spec(self) -> EnvSpec | None:
        """How it was made; objects in its arguments as mappings, which survive JSON."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        # Of other objects `EnvSpec.to_json` would write the fields, and not what they are.
        if spec is not None:
            spec = replace(spec, kwargs={name: _plain(v) for name, v in spec.kwargs.items()})
        self._spec = spec

    @property
    def config(self) -> TaskConfig:
        """The task's settings, checked and complete."""
        return self._simulation.task.config

    def get_state(self) -> dict[str, Any]:
        """Everything that decides what happens next."""
        raise NotImplementedError

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """The arguments it was made with, and its state; for copies and pickles.

        Settings that were changed since, as a curriculum does, take the place of those given.
        """
        given, now = self._given_config, self.config
        values = ((f.name, getattr(now, f.name), getattr(given, f.name)) for f in fields(now))
        changed = {name: new for name, new, old in values if new != old}
        return {
            "_ezpickle_args": self._ezpickle_args,
            "_ezpickle_kwargs": {**self._ezpickle_kwargs, **changed},
            "attributes": {name: getattr(self, name) for name in ("_spec", *self._copied)},
            "state": None if self._obstacle in (NEVER_RESET, CLOSED) else self.get_state(),
            "closed": self._obstacle is CLOSED,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make it again, and go on from its state."""
        EzPickle.__setstate__(self, state)
        vars(self).update(state["attributes"])
        if state["state"] is not None:
            self.set_state(state["state"])
        if state["closed"]:
            self._release()

    def _release(self) -> None:
        """Close windows and release threads."""
        if self._renderer is not None:
            self._renderer.close()
        self._simulation.close()
        self._obstacle = CLOSED

    def _check_open(self) -> None:
        """Refuse to go on where the environment was closed."""
        if self._obstacle is CLOSED:
            self._check_ready()

    def _check_ready(self) -> None:
        """Refuse to go on where anything is in the way."""
        if self._obstacle is not None:
            error, text = self._obstacle
            raise error(text)

    def _sole(self, values: Any) -> Any:
        """The one of the values of a dict that is returned by itself, or all of them."""
        return values if self.sole_observation is None else values[self.sole_observation]


def make_task(env_type: type[Any], settings: Mapping[str, Any]) -> Task:
    """A task from an environment's keyword arguments.

    Args:
        env_type: The environment's class, which has `task_type` and `fixed_settings`.
        settings: Its arguments.

    Raises:
        TypeError: If an argument is unknown; lists those there are.
        ValueError: If a value is not allowed; says what is.
    """
    task_type, fixed = env_type.task_type, env_type.fixed_settings
    for name in settings:
        if name in fixed:
            raise TypeError(
                f"{env_type.__name__} got an unexpected keyword argument {name!r}; it has "
                f"{name}={fixed[name]!r}"
            )
    task: Task = task_type(
        task_type.config_type.from_settings(task_type.env_id, {**settings, **fixed})
    )
    return task


def checked_seed(seed: Any) -> int | None:
    """A seed as an int, NumPy's included, or None.

    Raises:
        ValueError: If it is neither, or negative.
    """
    if seed is None:
        return None
    number = as_integer(seed)
    require(number is not None and number >= 0, "seed", seed, "a whole number, at least 0, or None")
    return number


def _plain(value: Any) -> Any:
    """A value that JSON can hold, where there is one."""
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if not hasattr(value, "to_dict"):
        return value
    try:
        return value.to_dict()
    except ValueError:  # made of what has no name, as a connector of a shape of one's own
        return value
