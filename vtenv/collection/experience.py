"""Experience to learn from: episodes of many behaviours, most of them where the task decides."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vtenv.arrays import Array, namespace, to_host
from vtenv.modalities import Modality
from vtenv.registry import make_task, make_worlds
from vtenv.rollout import Transition, rollout
from vtenv.tasks import Evaluation, Task
from vtenv.vector_env import TaskVectorEnv

OUTCOMES = ("reward", "terminated", "truncated", "success")
"""Columns that tell what came of an action."""


def column_codes(task: Task) -> dict[str, tuple[str, ...]]:
    """Names that the whole numbers of a column of experience stand for, by column."""
    regions = task.regions(defaultdict(lambda: np.zeros(1)))
    return {
        "connector": tuple(task.code_names["connector"]),
        "region": ("elsewhere", *regions),
    }


class Experience:
    """An endless stream of observations, actions and labels from many worlds.

    Episodes are of a mixture of behaviours; a finished world starts its next one at once.

    Args:
        num_envs: Worlds that are stepped together.
        mixture: How often each behaviour is drawn, the task's `mixture_type`; None for its
            defaults.
        engine: One of `vtenv.engines.ENGINE_NAMES`.
        num_threads: Threads of the CPU engine; None for one a core.
        device: Device of the Warp engine; None for "cuda:0".
        observations: "numpy", or "torch" for tensors on the Warp engine's device.
        max_episode_steps: Steps after which an episode ends; None for the environment's own.
        task: The environment's id.
        settings: Other keyword arguments of the environment, as `undelayed` completes them.

    Raises:
        ValueError, TypeError: If a setting is not allowed; says what is.
    """

    def __init__(
        self,
        num_envs: int,
        *,
        task: str = "VTInsert-v0",
        mixture: Any = None,
        engine: str = "cpu",
        num_threads: int | None = None,
        device: str | None = None,
        observations: str = "numpy",
        max_episode_steps: int | None = None,
        **settings: Any,
    ) -> None:
        self.num_envs = num_envs
        if max_episode_steps is not None:
            settings["max_episode_steps"] = max_episode_steps
        self._envs = make_worlds(
            task,
            num_envs,
            engine=engine,
            num_threads=num_threads,
            device=device,
            observations=observations,
            **undelayed(task, settings),
        )
        self._simulation = cast(TaskVectorEnv, self._envs.unwrapped).simulation
        self.task = self._simulation.task
        self.mixture = self.task.mixture_type() if mixture is None else mixture

    @property
    def modalities(self) -> dict[str, Modality]:
        """Records of the columns that are observations, by key."""
        return {modality.key: modality for modality in self.task.config.modalities}

    @property
    def codes(self) -> dict[str, tuple[str, ...]]:
        """Names that the whole numbers of a column stand for, by column."""
        return column_codes(self.task)

    def rows(self, seed: int | Sequence[int]) -> Iterator[dict[str, Array]]:
        """Start every world anew, and yield a row of each at every step, without end.

        The same seed gives the same rows: to the bit on the CPU engine, at any number of
        threads. Only one stream of an `Experience` may be in use.

        Args:
            seed: A number, or several.

        Yields:
            New arrays by column, a row of every world: NumPy, or tensors on the device where
            observations are.

            - the observation, as `modalities` says;
            - `action` (N, 5) float32: what is done at this observation; zeros at an episode's
              last;
            - `reward` (N,) float32, `terminated`, `truncated` and `success` (N,) bool: what came of
              it; zeros at an episode's last;
            - `connector` (N,) int64; `episode` (N,) int64, numbered in the order they start, or
              -1 for the rare row in which the physics failed;
            - `pose` (N, P) float32, the columns `Task.pose_labels`;
            - the task's `labels`, (N,) float32 each;
            - `region` (N,) int64: 0, or one more than the last of the task's `regions` it is in.
        """
        worlds_seed, behaviour_seed = np.random.SeedSequence(seed).spawn(2)
        seeds = [int(s) for s in worlds_seed.generate_state(self.num_envs, np.uint64)]
        behaviours = self.task.behaviours(
            self.num_envs, self.mixture, np.random.default_rng(behaviour_seed)
        )
        simulation = self._simulation
        starting = np.ones(self.num_envs, bool)
        episode = np.zeros(self.num_envs, np.int64)
        started = 0
        row: dict[str, Array] = {}

        def act(observation: dict[str, Array], info: Mapping[str, Any]) -> Array:
            nonlocal started, row
            behaviours.start(starting)
            number = int(starting.sum())
            episode[starting] = np.arange(started, started + number)
            started += number
            now = simulation.evaluation
            action = behaviours.act(now)
            numbered = np.where(to_host(now.state.stable), episode, -1)
            row = _row(self.task, now, observation, action, finished, numbered)
            row["region"] = _last_of(self.task.regions(row), row["episode"])
            return action

        finished = np.zeros(self.num_envs, bool)
        for step in rollout(self._envs, act, seed=seeds):
            yield row | _outcome(step, row["action"])
            starting = finished
            finished = to_host(step.terminated) | to_host(step.truncated)

    def close(self) -> None:
        """Release the engine; may be called twice."""
        self._envs.close()


def undelayed(task: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a world without the delays of the environment, unless they are asked for.

    What is sensed and what is so then belong to the same moment, and an action to the change that
    follows it: what encoders learn from.

    Args:
        task: The environment's id.
        settings: Keyword arguments of the environment.
    """
    known = vars(make_task(task).config)
    delays = ("action_delay", "observation_delay", "touch_delay")
    return {**{name: 0 for name in delays if name in known}, **settings}


def record(rows: Iterable[dict[str, Array]], steps: int) -> dict[str, NDArray[Any]]:
    """Take steps of a stream, and put them in the order of their episodes.

    Args:
        rows: `Experience.rows`.
        steps: Steps to take, each a row of every world.

    Returns:
        NumPy arrays by column, one row for each world and step; rows of an episode stand
        together, in order, and its last has no action and no outcome: the step before it is
        `truncated` unless it is `terminated`, also where the steps taken ended the episode. Rows
        in which the physics failed are left out.
    """
    kept: dict[str, NDArray[Any]] = {}
    for step, row in enumerate(itertools.islice(rows, steps)):
        for name, value in row.items():
            values = to_host(value)
            if step == 0:
                kept[name] = np.empty((len(values), steps, *values.shape[1:]), values.dtype)
            kept[name][:, step] = values
    episode = kept["episode"]
    last = np.ones(episode.shape, bool)
    last[:, :-1] = episode[:, 1:] != episode[:, :-1]
    for name in ("action", *OUTCOMES):
        kept[name][last] = 0
    before_last = ~last[:, :-1] & last[:, 1:]
    kept["truncated"][:, :-1] |= before_last & ~kept["terminated"][:, :-1]
    there = (episode >= 0).reshape(-1)
    flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in kept.items()}
    return flat if there.all() else {name: value[there] for name, value in flat.items()}


def heldout_episodes(
    episode: NDArray[np.int64], fraction: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which rows to hold out, whole episodes at a time.

    Args:
        episode: The episode of each row, (n,).
        fraction: Part of the episodes to hold out, 0 to 1; at least one unless it is 0 or there
            is only one.
        rng: Chooses them.

    Returns:
        Flags, (n,).
    """
    episodes = np.unique(episode)
    count = round(fraction * len(episodes))
    if fraction > 0 and len(episodes) > 1:
        count = max(count, 1)
    return np.isin(episode, rng.permutation(episodes)[:count])


def _row(
    task: Task,
    now: Evaluation,
    observation: dict[str, Array],
    action: Array,
    finished: NDArray[np.bool_],
    episode: NDArray[np.int64],
) -> dict[str, Array]:
    like = next(iter(observation.values()))
    actions = _column(action, like, "float32")
    xp = namespace(like)
    return {
        **observation,
        "action": xp.where(
            _column(finished[:, None], like, "bool"), xp.zeros_like(actions), actions
        ),
        "connector": _column(now.info["connector"], like, "int64"),
        "episode": _column(episode, like, "int64"),
        "pose": _column(task.poses(now), like, "float32"),
        **{name: _column(values, like, "float32") for name, values in task.labels(now).items()},
    }


def _outcome(step: Transition, like: Array) -> dict[str, Array]:
    """What came of a step: the columns `OUTCOMES`, as arrays of the kind that observations are."""
    told = (step.reward, step.terminated, step.truncated, step.next_info["is_success"])
    kinds = ("float32", "bool", "bool", "bool")
    return {
        name: _column(values, like, kind)
        for name, values, kind in zip(OUTCOMES, told, kinds, strict=True)
    }


def _last_of(regions: Mapping[str, Array], like: Array) -> Array:
    """Codes of the last region that a world is in, as a data set's column `region`."""
    xp = namespace(like)
    code = xp.zeros_like(like)
    for number, flags in enumerate(regions.values(), start=1):
        code = xp.where(flags, xp.full_like(like, number), code)
    return code


def _column(values: Array, like: Array, kind: str) -> Array:
    """A new array of a dtype by name, in the library and on the device of another."""
    xp = namespace(like)
    if isinstance(like, np.ndarray):
        values = to_host(values)
    return xp.astype(xp.asarray(values, device=like.device), getattr(xp, kind))
