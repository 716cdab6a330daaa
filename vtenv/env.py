"""The single environment of a task."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from enum import Enum
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils import EzPickle
from gymnasium.wrappers.array_conversion import array_conversion
from numpy.typing import NDArray

from vtenv.rendering.renderers import IMAGE_SIZE, RENDER_FPS, RENDER_MODES, make_renderer
from vtenv.simulation import Simulation, observation_space
from vtenv.tasks import Task, TaskConfig
from vtenv.validation import as_integer, checked_actions, require

_WORLD = np.zeros(1, np.int64)
_KEYS = (("w", "s"), ("a", "d"), ("r", "f"), ("q", "e"), ("t", "g"))
"""Keys that move along each axis of an action, forwards and back."""

Obstacle = tuple[type[Exception], str]
"""Why an environment cannot go on: an error and its text."""
NEVER_RESET: Obstacle = ResetNeeded, "call reset() before the first step()"
TERMINATED: Obstacle = ResetNeeded, "the episode has terminated; call reset() before step()"
CLOSED: Obstacle = ClosedEnvironmentError, "the environment was closed; make a new one"


def refusal(obstacle: Obstacle) -> Exception:
    """The error to raise."""
    kind, text = obstacle
    return kind(text)


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


class TaskEnv(gymnasium.Env[dict[str, NDArray[Any]], NDArray[np.float32]], EzPickle):
    """One world of a task; subclasses say which.

    Args:
        render_mode: One of `vtenv.rendering.renderers.RENDER_MODES`, or None.
        picture: What "rgb_array" shows, one of `vtenv.rendering.renderers.PICTURES`.
        width: Of pictures of the scene, in pixels.
        height: Likewise.
        engine: The physics engine, one of `vtenv.engines.ENGINE_NAMES`.
        device: Device of the Warp engine; None for "cuda:0".
        settings: Fields of the task's configuration.
    """

    task_type: ClassVar[type[Any]]
    """The task; a class with `config_type`, made from a configuration."""
    fixed_settings: ClassVar[Mapping[str, Any]] = {}
    """Settings that the environment's id has chosen already."""
    sole_observation: ClassVar[str | None] = None
    """The key of the observation that is returned by itself; None for a dict of them all."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        show_settings(cls)

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": RENDER_FPS}  # noqa: RUF012

    def __init__(
        self,
        *,
        render_mode: str | None = None,
        picture: str = "scene",
        width: int = IMAGE_SIZE[0],
        height: int = IMAGE_SIZE[1],
        engine: str = "cpu",
        device: str | None = None,
        **settings: Any,
    ) -> None:
        EzPickle.__init__(
            self,
            render_mode=render_mode,
            picture=picture,
            width=width,
            height=height,
            engine=engine,
            device=device,
            **settings,
        )
        task = make_task(type(self), settings)
        self._given_config = task.config
        self._obstacle: Obstacle | None = NEVER_RESET
        self._spec: EnvSpec | None = None
        self.render_mode = render_mode
        self._renderer = make_renderer(render_mode, task, picture, (width, height))
        threads = {"num_threads": 1} if engine == "cpu" else {}
        self._simulation = Simulation(task, 1, engine, device=device, **threads)
        self.observation_space = sole(observation_space(task), self.sole_observation)
        self.action_space = task.action_space  # type: ignore[assignment]

    @property
    def simulation(self) -> Simulation:
        """The simulated world behind the environment, for experts, probes and tests."""
        return self._simulation

    @property
    def spec(self) -> EnvSpec | None:
        """How it was made; objects in its arguments as mappings, which survive JSON."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = plain_spec(spec)

    @property
    def config(self) -> TaskConfig:
        """The task's settings, checked and complete."""
        return self._simulation.task.config

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Seeds the environment's generator; None to go on with it.
            options: Values of the initial state to fix for this episode, as the task allows.

        Returns:
            The observation and the info.

        Raises:
            ClosedEnvironmentError: If the environment was closed.
            ValueError: If the seed or an option is not allowed; says what is.
        """
        if self._obstacle is CLOSED:
            raise refusal(CLOSED)
        require(
            options is None or isinstance(options, Mapping),
            "options",
            options,
            "a mapping of names to values",
        )
        super().reset(seed=checked_seed(seed))
        self._simulation.reset(_WORLD, [self.np_random], options)
        self._obstacle = None
        return self._observe()

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Advance by one control step of 20 ms.

        Args:
            action: In the action space, to which it is clipped.

        Returns:
            Observation, reward, terminated, truncated (always False: the `TimeLimit` wrapper
            truncates) and info.

        Raises:
            ResetNeeded: Before the first reset, and after an episode that has terminated.
            ClosedEnvironmentError: If the environment was closed.
            ValueError: If the action has another shape, or is not finite.
        """
        if self._obstacle is not None:
            raise refusal(self._obstacle)
        action = checked_actions(action, self._simulation.task.action_space.shape)
        result = self._simulation.step(_WORLD, action[None])
        terminated = bool(result.wait()[0])
        if terminated:
            self._obstacle = TERMINATED
        observation, info = self._observe()
        return observation, float(result.reward[0]), terminated, False, info

    def render(self) -> NDArray[Any] | None:
        """Render in the environment's `render_mode`.

        Returns:
            An RGB image (H, W, 3), uint8; a depth image (H, W), float32, [m], in
            "depth_array"; or None in "human", which shows it.
        """
        if self._renderer is None:
            gymnasium.logger.warn(
                "render() was called without a render_mode; pass one of "
                f"{', '.join(RENDER_MODES)} to gymnasium.make"
            )
            return None
        return self._renderer.render(self._simulation, 0)

    def close(self) -> None:
        """Close windows and release threads; may be called twice."""
        if self._renderer is not None:
            self._renderer.close()
        self._simulation.close()
        self._obstacle = CLOSED

    def get_state(self) -> dict[str, Any]:
        """Everything that decides what happens next, noise included; see `set_state`.

        The state is the environment's own, without its wrappers': `TimeLimit` counts its steps
        itself, and `copy.deepcopy` of a wrapped environment copies both.

        Returns:
            Nested dicts and lists of NumPy arrays and plain numbers; can be pickled.

        Raises:
            ResetNeeded: Before the first reset.
            ClosedEnvironmentError: If the environment was closed.
        """
        if self._obstacle is CLOSED or not self._simulation.last_observation:
            raise refusal(self._obstacle or NEVER_RESET)
        return {
            "simulation": self._simulation.get_state(),
            "seed": self.np_random_seed,
            "terminated": self._obstacle is TERMINATED,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of this environment, or of another with the same settings.

        On the CPU engine the same actions then lead to the same observations, to the bit.

        Raises:
            ClosedEnvironmentError: If the environment was closed.
        """
        if self._obstacle is CLOSED:
            raise refusal(CLOSED)
        self._simulation.set_state(state["simulation"])
        self._np_random = self._simulation.generators[0]
        self._np_random_seed = state["seed"]
        self._obstacle = TERMINATED if state["terminated"] else None

    def __getstate__(self) -> dict[str, Any]:
        """The arguments it was made with, and its state; for copies and pickles."""
        return copied_state(self) | {"np_random": (self._np_random, self._np_random_seed)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make it again, and go on from its state."""
        EzPickle.__setstate__(self, state)
        self.spec = state["spec"]
        self._np_random, self._np_random_seed = state["np_random"]
        if state["state"] is not None:
            self.set_state(state["state"])
        if state["closed"]:
            self.close()

    def get_keys_to_action(self) -> dict[tuple[str, ...], NDArray[np.float32]]:
        """Actions of keys and of pairs of them, for `gymnasium.utils.play`.

        `w` and `s` move along the first axis of the action, `a` and `d` along the second, then
        `r` and `f`, `q` and `e`, `t` and `g`.
        """
        moves: dict[str, NDArray[np.float32]] = {}
        for axis, pair in enumerate(_KEYS[: self._simulation.task.action_space.shape[0]]):
            for key, value in zip(pair, (1.0, -1.0), strict=True):
                moves[key] = np.zeros(self._simulation.task.action_space.shape, np.float32)
                moves[key][axis] = value
        pairs = itertools.combinations(moves, 2)
        return {(key,): move for key, move in moves.items()} | {
            (one, other): moves[one] + moves[other] for one, other in pairs
        }

    def _observe(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        simulation = self._simulation
        observation, fetched = simulation.fetch(simulation.observe(_WORLD), simulation.info())
        info = {
            name: value[0].item() if isinstance(value[0], np.generic) else value[0]
            for name, value in simulation.decode(fetched).items()
        }
        if self.render_mode == "human":
            self.render()
        own = {name: value[0] for name, value in observation.items()}
        return sole(own, self.sole_observation), info


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
    twice = [name for name in settings if name in fixed]
    if twice:
        raise TypeError(
            f"{env_type.__name__} got an unexpected keyword argument {twice[0]!r}; it has "
            f"{twice[0]}={fixed[twice[0]]!r}"
        )
    config = task_type.config_type.from_settings(task_type.env_id, {**settings, **fixed})
    task: Task = task_type(config)
    return task


def sole(values: Any, key: str | None) -> Any:
    """One of the values of a dict, or where no key is given all of them."""
    return values if key is None else values[key]


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


def plain_spec(spec: EnvSpec | None) -> EnvSpec | None:
    """A spec whose arguments are JSON values where they can be.

    Of other objects `EnvSpec.to_json` would write the fields, and not what they are objects of.
    """
    if spec is None:
        return None
    return replace(spec, kwargs={name: _plain(value) for name, value in spec.kwargs.items()})


def _plain(value: Any) -> Any:
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


def copied_state(env: Any) -> dict[str, Any]:
    """What a copy of an environment, single or vector, is made from.

    The arguments it was made with, but for settings that were changed since, as a curriculum
    does; its spec; and its state, None before the first reset.
    """
    given, now = env._given_config, env.config
    changed = {
        field.name: getattr(now, field.name)
        for field in fields(now)
        if getattr(now, field.name) != getattr(given, field.name)
    }
    closed = env._obstacle is CLOSED
    return {
        "_ezpickle_args": env._ezpickle_args,
        "_ezpickle_kwargs": {**env._ezpickle_kwargs, **changed},
        "spec": env.spec,
        "closed": closed,
        "state": env.get_state() if env.simulation.last_observation and not closed else None,
    }


def show_settings(env_type: type[Any]) -> None:
    """Give an environment's class a signature that lists the settings of its task."""
    if not hasattr(env_type, "task_type"):
        return
    own = inspect.signature(env_type.__init__).parameters.values()
    named = [p for p in own if p.name != "self" and p.kind is not p.VAR_KEYWORD]
    settings = inspect.signature(env_type.task_type.config_type).parameters.values()
    keyword = [
        p.replace(kind=p.KEYWORD_ONLY) for p in settings if p.name not in env_type.fixed_settings
    ]
    env_type.__signature__ = inspect.Signature([*named, *keyword])
