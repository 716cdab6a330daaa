"""Many worlds behind one environment, in one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from array_api_compat import is_torch_array
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from vtenv.arrays import Array, leaves, rebuild
from vtenv.rendering.renderers import IMAGE_SIZE, RENDER_MODES
from vtenv.simulation import Options, observation_space
from vtenv.task_worlds import TaskWorlds, checked_seed, make_task
from vtenv.validation import as_integer, checked_count, require

OBSERVATION_KINDS = ("numpy", "torch")
"""What observations can be made of."""

Observation = Any
"""A dict of arrays by modality; the array alone where an id has one only."""

_OF_A_WORLD = {
    "action_space": "single_action_space",
    "observation_space": "single_observation_space",
    "_max_episode_steps": "max_episode_steps",
}
"""Attributes of an environment of one world, and where they are here."""
_OF_ALL_WORLDS = ("reset", "step", "close", "get_state", "set_state")
"""Methods that cannot be called of one world after the other."""


class TaskVectorEnv(TaskWorlds, VectorEnv[Observation, Array, Array]):
    """N worlds of a task stepped together on one engine; subclasses say which.

    `gymnasium.make_vec("VTInsert-v0", num_envs=16, vectorization_mode="vector_entry_point")`
    makes one. World i of a vector reset with seed s does exactly what a single environment
    reset with seed s + i does, at any number of threads.

    In `info` are arrays of numbers alone: what the single environment tells by name, such as
    `connector` and `failure`, are int64 codes, and `simulation.task.code_names` has the names of
    each key's codes. A key's values mean something where its mask, the key after a `_`, is true.

    With `observations="torch"` observations, rewards, `terminated`, `truncated` and what is in
    `info` are new torch tensors, floating numbers float32, and actions may be. On the Warp engine
    nothing of a step then crosses to the host but a flag a world. In `AutoresetMode.SAME_STEP`
    `final_obs` is a dict of tensors of all worlds, of which those in `_final_obs` have finished.

    Args:
        num_envs: Worlds.
        max_episode_steps: Steps after which an episode is truncated; None for those of the task's
            id, -1 for never.
        autoreset_mode: When a finished episode's world is reset: Gymnasium's
            `AutoresetMode.NEXT_STEP` (the default there and here), `SAME_STEP` or `DISABLED`.
        engine: The physics engine, one of `vtenv.engines.ENGINE_NAMES`.
        num_threads: Threads of the CPU engine; None for one a core.
        device: Device of the Warp engine; None for "cuda:0".
        observations: "numpy", or "torch" for tensors on the engine's device.
        render_mode: As `TaskEnv`.
        picture: As `TaskEnv`.
        width: As `TaskEnv`.
        height: As `TaskEnv`.
        settings: Fields of the task's configuration.

    Attributes:
        tensors: Whether it returns tensors.
    """

    _copied = ("_attributes", "max_episode_steps")

    def __init__(
        self,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        engine: str = "cpu",
        num_threads: int | None = None,
        device: str | None = None,
        observations: str = "numpy",
        render_mode: str | None = None,
        picture: str = "scene",
        width: int = IMAGE_SIZE[0],
        height: int = IMAGE_SIZE[1],
        **settings: Any,
    ) -> None:
        require(
            observations in OBSERVATION_KINDS,
            "observations",
            observations,
            f"one of {', '.join(OBSERVATION_KINDS)}",
        )
        task = make_task(type(self), settings)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.num_envs = num_envs = checked_count("num_envs", num_envs)
        self.max_episode_steps = _checked_limit(max_episode_steps, task.env_id)
        self._set_up(
            task,
            num_envs,
            render_mode,
            picture,
            (width, height),
            engine,
            num_threads=num_threads,
            device=device,
        )
        self.tensors = observations == "torch"
        self.single_observation_space = self._sole(observation_space(task))
        self.single_action_space = task.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._every = np.arange(num_envs)
        self._elapsed = np.zeros(num_envs, np.int64)
        self._finished = np.zeros(num_envs, bool)
        self._seeds: list[tuple[np.random.Generator | None, int]] = [(None, -1)] * num_envs
        self._attributes: dict[str, tuple[Any, ...]] = {}

    @property  # type: ignore[override]
    def np_random(self) -> tuple[np.random.Generator, ...]:
        """The generator of each world; may be set to others, or to one that is spawned from."""
        return tuple(self._simulation.generators)

    @np_random.setter
    def np_random(self, value: np.random.Generator | Sequence[np.random.Generator]) -> None:
        one = isinstance(value, np.random.Generator)
        given = value.spawn(self.num_envs) if one else list(value)  # type: ignore[union-attr, arg-type]
        valid = all(isinstance(generator, np.random.Generator) for generator in given)
        if not valid or len(given) != self.num_envs:
            raise ValueError(
                f"np_random must be a numpy.random.Generator, or {self.num_envs} of them, one for "
                f"each world; got {value!r}"
            )
        self._simulation.generators[:] = given

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each world's generator; -1 where it was not seeded by a reset."""
        generators = self._simulation.generators
        return tuple(
            seed if seeded is generator else -1
            for (seeded, seed), generator in zip(self._seeds, generators, strict=True)
        )

    @property
    def finished(self) -> NDArray[np.bool_]:
        """Whether each world's episode ended in the last step, (N,), on the host."""
        return self._finished.copy()

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | Sequence[Mapping[str, Any] | None] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """Start episodes in all worlds, or in those of `options["reset_mask"]`.

        Args:
            seed: World i gets `seed + i`, or the i-th seed of a sequence; None to go on with
                the generators there are.
            options: As `TaskEnv.reset`, for all worlds, where a value may be a sequence or array
                of N values, one for each world; and `reset_mask`, (N,), bool. Or a sequence of N
                mappings, None for nothing.

        Raises:
            ResetNeeded: If some worlds are to be reset before all were.
            ClosedEnvironmentError: If the environment was closed.
            ValueError: If an option or the number of seeds is not allowed.
        """
        self._check_open()
        worlds, fixed = self._reset_options(options)
        self._seed(worlds, seed)
        self._simulation.reset(worlds, options=fixed)
        self._elapsed[worlds] = 0
        self._finished[worlds] = False
        self._obstacle = None
        observation = self._simulation.observe(worlds)
        numbers = self._simulation.info()
        self._show()
        if not self.tensors:
            observation, numbers = self._simulation.fetch(observation, numbers)
        info = self._info(numbers, self._mask(worlds))
        return self._told(self._sole(observation)), self._told(info)

    def step(self, actions: Array) -> tuple[Observation, Array, Array, Array, dict[str, Any]]:
        """Advance all worlds by one control step of 20 ms.

        Args:
            actions: Actions of all worlds, (N, ...), clipped to the action space.

        Raises:
            ResetNeeded: Before the first reset, or if a finished world was not reset in
                `AutoresetMode.DISABLED`.
            ClosedEnvironmentError: If the environment was closed.
            ValueError: If the actions have another shape or are not finite.
        """
        self._check_ready()
        resetting = np.zeros(0, np.int64)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            resetting = np.flatnonzero(self._finished)
        elif self.autoreset_mode is AutoresetMode.DISABLED and self._finished.any():
            raise ResetNeeded(
                f"worlds {np.flatnonzero(self._finished).tolist()} have finished; reset them "
                "with options={'reset_mask': ...} before stepping, or use another autoreset_mode"
            )
        stepping = np.flatnonzero(~self._finished) if resetting.size else self._every
        simulation = self._simulation
        result = simulation.step(stepping, actions)
        self._elapsed[stepping] += 1
        if resetting.size:
            simulation.reset(resetting)
            self._elapsed[resetting] = 0
        # Before the device is waited for, which then has work to do.
        observation = simulation.observe(self._every)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            simulation.draw_ahead()
        terminated = result.wait()
        truncated = np.zeros(self.num_envs, bool)
        if self.max_episode_steps is not None:
            truncated = self._elapsed >= self.max_episode_steps
        self._finished = terminated | truncated
        ended: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._finished.any():
            done = np.flatnonzero(self._finished)
            ended = self._ended(done, observation)
            simulation.reset(done)
            self._elapsed[done] = 0
            observation = simulation.observe(done)
        numbers = simulation.info()
        self._show()
        if self.tensors:
            info = self._told(self._info(numbers, self._mask(self._every)) | ended)
            observation = self._told(self._sole(observation))
            flags = (result.terminated, simulation.engine.arrays.asarray(truncated))
            return observation, self._told(result.reward), *self._told(flags), info
        observation, numbers, rest = simulation.fetch(
            observation, numbers, {"reward": result.reward}
        )
        reward = rest["reward"].astype(np.float64, copy=False)
        info = self._info(numbers, self._mask(self._every)) | ended
        return self._sole(observation), reward, terminated, truncated, info

    def render(self) -> tuple[Any, ...] | None:
        """Render every world in the environment's `render_mode`, as `TaskEnv.render`."""
        if self._renderer is None:
            raise ValueError(
                "render() needs a render_mode; pass one of "
                f"{', '.join(RENDER_MODES)} to gymnasium.make_vec"
            )
        if self.render_mode == "human":
            self._renderer.render(self._simulation, 0)
            return None
        return tuple(self._renderer.render(self._simulation, int(w)) for w in self._every)

    def close_extras(self, **kwargs: Any) -> None:
        """Close windows and release threads."""
        self._release()

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """An attribute of each world's environment; called with the arguments if it is a method.

        As `SyncVectorEnv.call`, whose worlds are environments of their own: here most of what
        they have is the same for all worlds, and is returned N times.

        Raises:
            AttributeError: If there is no such attribute, or it acts on all worlds at once.
        """
        if name in self._attributes:
            return self._attributes[name]
        if name in _OF_ALL_WORLDS:
            raise AttributeError(f"{name} acts on all worlds at once; call envs.{name} itself")
        if name == "render":
            return self.render() or (None,) * self.num_envs
        value = getattr(self, _OF_A_WORLD.get(name, name))
        if name in ("np_random", "np_random_seed"):
            return tuple(value)
        return (value(*args, **kwargs) if callable(value) else value,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of each world's environment, as `call`."""
        return self.call(name)

    def set_attr(self, name: str, values: list[Any] | tuple[Any, ...] | Any) -> None:
        """Set an attribute of each world's environment.

        Args:
            name: Of an attribute of this environment, which all worlds share, or a new one.
            values: A list or tuple of a value for each world, or one value for all.

        Raises:
            ValueError: If the values are not as many as the worlds, or differ where they share
                one.
        """
        each = tuple(values) if isinstance(values, list | tuple) else (values,) * self.num_envs
        if len(each) != self.num_envs:
            raise ValueError(f"{len(each)} values for {self.num_envs} worlds; give one for each")
        shared = _OF_A_WORLD.get(name, name)
        if not hasattr(self, shared):
            self._attributes[name] = each
        elif name == "np_random":
            self.np_random = each
        elif any(value is not each[0] and value != each[0] for value in each):
            raise ValueError(f"all worlds share {name!r}; give one value, not {values!r}")
        else:
            setattr(self, shared, each[0])

    def get_state(self) -> dict[str, Any]:
        """As `TaskEnv.get_state`, of all worlds; with the steps of their episodes.

        Raises:
            ResetNeeded: Before the first reset.
            ClosedEnvironmentError: If the environment was closed.
        """
        self._check_ready()
        return {
            "simulation": self._simulation.get_state(),
            "seeds": list(self.np_random_seed),
            "elapsed": self._elapsed.copy(),
            "finished": self._finished.copy(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of this environment, or of another with the same settings.

        Raises:
            ClosedEnvironmentError: If the environment was closed.
            ValueError: If it is of another number of worlds.
        """
        self._check_open()
        self._simulation.set_state(state["simulation"])
        generators = self._simulation.generators
        self._seeds = list(zip(generators, state["seeds"], strict=True))
        self._elapsed[:] = state["elapsed"]
        self._finished = state["finished"].copy()
        self._obstacle = None

    def _reset_options(self, options: Any) -> tuple[NDArray[np.int64], Options]:
        """Worlds to reset, and what is fixed in them."""
        if options is None or not isinstance(options, Mapping):
            return self._every, options
        fixed = dict(options)
        mask = fixed.pop("reset_mask", None)
        each = {name: list(value) for name, value in fixed.items() if _is_series(value)}
        for name, values in each.items():
            if len(values) != self.num_envs:
                raise ValueError(
                    f"reset option {name} has {len(values)} values for {self.num_envs} worlds; "
                    "give one for each, or one for all"
                )
        listed: Options = fixed
        if each:
            common = {name: value for name, value in fixed.items() if name not in each}
            listed = [
                common | {name: values[world] for name, values in each.items()}
                for world in range(self.num_envs)
            ]
        if mask is None:
            return self._every, listed
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise ValueError(
                f"reset_mask must be a bool array of shape ({self.num_envs},) with at least "
                f"one True; got {mask!r}"
            )
        if self._obstacle is not None:
            raise ResetNeeded("reset all worlds before resetting some of them")
        return np.flatnonzero(mask), listed

    def _seed(self, worlds: NDArray[np.int64], seed: int | Sequence[int | None] | None) -> None:
        if seed is None:
            return
        first = as_integer(seed)
        if first is not None:
            seeds: list[Any] = list(range(first, first + self.num_envs))
        else:
            seeds = list(seed) if _is_series(seed) else [seed]  # type: ignore[arg-type]
            require(_is_series(seed), "seed", seed, "a whole number, or one for each world")
        if len(seeds) != self.num_envs:
            raise ValueError(
                f"{len(seeds)} seeds for {self.num_envs} worlds; give one for each, or one number"
            )
        checked = [checked_seed(each) for each in seeds]
        generators = self._simulation.generators
        for world in worlds.tolist():
            if checked[world] is not None:
                self._seeds[world] = seeding.np_random(checked[world])
                generators[world] = self._seeds[world][0]

    def _ended(self, worlds: NDArray[np.int64], observation: dict[str, Array]) -> dict[str, Any]:
        """What `AutoresetMode.SAME_STEP` tells of the episodes that have ended in `worlds`."""
        numbers = self._simulation.info()
        final: Any = self._sole(observation)
        if not self.tensors:
            rows = self._simulation.engine.arrays.asarray(worlds)
            last = {name: value[rows] for name, value in observation.items()}
            last, numbers = self._simulation.fetch(last, numbers)
            final = np.full(self.num_envs, None, dtype=object)
            for row, world in enumerate(worlds):
                own = {name: value[row] for name, value in last.items()}
                final[world] = self._sole(own)
        mask = self._mask(worlds)
        return {
            "final_obs": final,
            "_final_obs": mask,
            "final_info": self._info(numbers, mask),
            "_final_info": mask,
        }

    def _info(self, numbers: Mapping[str, Array], mask: Array) -> dict[str, Any]:
        """Gymnasium's vector info of the worlds of a mask: an array and a mask for each key."""
        info: dict[str, Any] = {}
        for name, value in numbers.items():
            info[name], info[f"_{name}"] = value, mask
            if not self.tensors:
                if value.dtype == np.float32:
                    value = info[name] = value.astype(np.float64)
                info[f"_{name}"] = mask.copy()
                value[~mask] = 0
        return info

    def _mask(self, worlds: NDArray[np.int64]) -> Array:
        """Flags of `worlds`, (N,), an array of the kind that the environment returns."""
        mask = np.zeros(self.num_envs, bool)
        mask[worlds] = True
        return self._simulation.engine.arrays.asarray(mask) if self.tensors else mask

    def _told(self, tree: Any) -> Any:
        """Arrays as tensors where those are asked for and the engine has none, float32."""
        if not self.tensors or self._simulation.engine.device_is_ahead:
            return tree
        import torch

        return rebuild(
            tree,
            (
                torch.from_numpy(a.astype(np.float32) if a.dtype == np.float64 else a)
                for a in leaves(tree)
            ),
        )

    def _show(self) -> None:
        if self.render_mode == "human":
            self.render()


def _checked_limit(steps: Any, env_id: str) -> int | None:
    """Steps after which an episode is truncated; None for never.

    Raises:
        ValueError: If it is no number of steps; says what is allowed.
    """
    if steps is None:
        return gymnasium.spec(env_id).max_episode_steps
    number = as_integer(steps)
    require(
        number is not None and (number == -1 or number >= 1),
        "max_episode_steps",
        steps,
        "a whole number of steps, at least 1, or -1 for no limit",
    )
    return None if number == -1 else number


def _is_series(value: Any) -> bool:
    """Whether there is a value for each world."""
    if isinstance(value, np.ndarray) or is_torch_array(value):
        return bool(value.ndim)
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
