"""Experience to learn from: episodes of many behaviours, most of them close to the socket."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import device, to_device
from numpy.typing import NDArray

from vtenv.modalities import IMAGE_MODALITIES, Modality
from vtenv.state import Array, WorldState, constant, namespace
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES
from vtenv.tasks.insertion.expert import expert_action
from vtenv.tasks.insertion.pose_labels import POSE_LABELS
from vtenv.tasks.insertion.task import ACTION_SCALE, STATE_SIZE, Geometry
from vtenv.vector_env import VTInsertVectorEnv

BEHAVIOURS = ("expert", "biased", "noisy", "hover", "walk")
"""What an episode may be about, by code."""

_MODALITIES = ("depth", "contact", "proprio", "state")
_COLUMNS = ("depth", "contact", "proprio", "action", "connector", "episode", "pose")
_COLUMNS += ("insertion_depth_mm", "lateral_mm", "contact_force_n")
_BIAS = (0.003, 0.003, 0.1, 0.1)
"""Greatest error of a biased expert about the tip: y, z in [m], yaw, pitch in [rad]."""
_NEW_BIAS = 0.04
"""Probability a step that a biased expert errs otherwise: it drags the plug over the face."""
_HOVER_DEPTH = (-0.004, 0.004)
"""Depth of the tip past the mouth that hovering aims at, in [m]."""
_HOVER = (0.005, 0.005, 0.1, 0.1)
"""Farthest from the socket's axis that hovering aims at, as `_BIAS`."""
_NEW_GOAL = 0.08
"""Probability a step that hovering aims at another pose."""
_PERSISTENCE, _PACE = 0.9, 0.5
"""Part of a random walk's velocity that is left after a step, and its greatest deviation."""
_GAIN = 0.5
"""Part of the way to its goal that hovering goes in one step."""


@dataclass(frozen=True)
class BehaviourMixture:
    """How often an episode is of each behaviour; parts of a whole.

    Raises:
        ValueError: If a part is negative, or all are zero.
    """

    expert: float = 0.2
    """The scripted expert: aligned, and in."""
    biased: float = 0.3
    """An expert wrong about the tip by up to 3 mm and 0.1 rad: misaligned, pressed on the face."""
    noisy: float = 0.1
    """The expert, with Gaussian noise of up to 1 on its actions."""
    hover: float = 0.2
    """From pose to pose within 5 mm and 0.1 rad of the mouth, touching it or not."""
    walk: float = 0.2
    """A smooth random walk: mostly free space."""

    def __post_init__(self) -> None:
        parts = dataclasses.asdict(self)
        for name, part in parts.items():
            if not (isinstance(part, int | float) and 0 <= part < math.inf):
                raise ValueError(f"{name}={part!r} is not allowed; it must be 0 or more")
        if not sum(parts.values()) > 0:
            raise ValueError("a mixture needs at least one behaviour with a part above 0")

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probability of each of `BEHAVIOURS`."""
        parts = np.array([getattr(self, name) for name in BEHAVIOURS], np.float64)
        return parts / parts.sum()


class Behaviours:
    """What every world does: drawn when its episode starts, on the host.

    Args:
        num_worlds: Worlds.
        mixture: How often each behaviour is drawn.
        rng: Source of all randomness; each step takes as many numbers, whatever happens.
    """

    def __init__(
        self, num_worlds: int, mixture: BehaviourMixture, rng: np.random.Generator
    ) -> None:
        self._rng = rng
        self._bounds = np.cumsum(mixture.probabilities)[:-1]
        self.kind = np.zeros(num_worlds, np.int64)
        self._bias = np.zeros((num_worlds, 4))
        self._goal = np.zeros((num_worlds, 5))
        self._velocity = np.zeros((num_worlds, 5))
        self._strength = np.zeros((num_worlds, 1))
        """How far from the expert an episode is, 0 to 1: its noise, reach or speed."""

    def start(self, worlds: NDArray[np.bool_]) -> None:
        """Draw a behaviour for each episode that starts, a flag a world."""
        kind, strength = self._rng.random((2, len(worlds)))
        self.kind[worlds] = np.searchsorted(self._bounds, kind, side="right")[worlds]
        self._strength[worlds, 0] = strength[worlds]
        self._velocity[worlds] = 0.0
        self._draw(worlds, worlds)

    def act(self, state: WorldState, geom: Geometry) -> Array:
        """Actions of all worlds, (N, 5), in [-1, 1], an array of the state's library."""
        xp = namespace(state.hand)
        change = self._rng.random(len(self.kind))
        self._draw(change < _NEW_BIAS, change < _NEW_GOAL)
        noise = self._rng.standard_normal((len(self.kind), 5))
        self._velocity *= _PERSISTENCE
        self._velocity += math.sqrt(1 - _PERSISTENCE**2) * noise

        is_kind = {name: self.kind[:, None] == code for code, name in enumerate(BEHAVIOURS)}
        bias = constant(self._bias * is_kind["biased"], state.hand)
        shake = constant(noise * self._strength * is_kind["noisy"], state.hand)
        walk = constant(self._velocity * self._strength * _PACE, state.hand)
        action = expert_action(state, _believed(geom, bias)) + shake
        hover = _towards(state, geom, constant(self._goal, state.hand))
        hovers, walks = (constant(is_kind[name], state.hand, xp.bool) for name in ("hover", "walk"))
        action = xp.where(hovers, hover, xp.where(walks, walk, action))
        return xp.clip(action, -1.0, 1.0)

    def _draw(self, new_bias: NDArray[np.bool_], new_goal: NDArray[np.bool_]) -> None:
        bias, across = self._rng.uniform(-1, 1, (2, len(self.kind), 4))
        across *= self._strength  # so that nearly aligned states are no rarity
        ahead = self._rng.uniform(*_HOVER_DEPTH, len(self.kind))
        self._bias[new_bias] = (bias * _BIAS)[new_bias]
        self._goal[new_goal] = np.column_stack([ahead, across * _HOVER])[new_goal]


def _believed(geom: Geometry, bias: Array) -> Geometry:
    """Where the plug would be if the tip were off by `bias`: y, z, yaw, pitch, (N, 4)."""
    xp = namespace(bias)
    tip, yaw, pitch = geom.tip + bias[:, :2], geom.yaw + bias[:, 2], geom.pitch + bias[:, 3]
    return dataclasses.replace(
        geom,
        tip=tip,
        lateral=xp.hypot(tip[:, 0], tip[:, 1]),
        yaw=yaw,
        pitch=pitch,
        angle=xp.hypot(yaw, pitch),
    )


def _towards(state: WorldState, geom: Geometry, goal: Array) -> Array:
    """Actions that bring the plug to a goal: depth, y, z, yaw, pitch in the socket's frame."""
    xp = namespace(goal)
    scale = constant(ACTION_SCALE, goal)
    forward, sideways = state.socket_mat_w[:, :, 0], state.socket_mat_w[:, :, 1]
    ahead = _GAIN * (goal[:, 0] - geom.depth)
    aside = _GAIN * (goal[:, 1] - geom.tip[:, 0])
    move = forward * ahead[:, None] + sideways * aside[:, None]
    up = _GAIN * (goal[:, 2] - geom.tip[:, 1])
    turn = _GAIN * (goal[:, 3] - geom.yaw)
    tilt = _GAIN * (goal[:, 4] - geom.pitch)
    return xp.stack([move[:, 0], move[:, 1], up, turn, tilt], axis=-1) / scale


class Experience:
    """An endless stream of observations, actions and labels from many worlds.

    Episodes are of a mixture of behaviours; a finished world starts its next one at once.

    Args:
        num_envs: Worlds that are stepped together.
        mixture: How often each behaviour is drawn.
        engine: One of `vtenv.engines.ENGINE_NAMES`.
        num_threads: Threads of the CPU engine; None for one a core.
        device: Device of the Warp engine; None for "cuda:0".
        observations: "numpy", or "torch" for tensors on the Warp engine's device.
        max_episode_steps: Steps after which an episode ends.
        settings: Other keyword arguments of `VTInsert-v0`, but for `modalities`.

    Raises:
        ValueError, TypeError: If a setting is not allowed; says what is.
    """

    def __init__(
        self,
        num_envs: int,
        *,
        mixture: BehaviourMixture | None = None,
        engine: str = "cpu",
        num_threads: int | None = None,
        device: str | None = None,
        observations: str = "numpy",
        max_episode_steps: int = 100,
        **settings: Any,
    ) -> None:
        self.num_envs = num_envs
        self.mixture = mixture or BehaviourMixture()
        self._envs = VTInsertVectorEnv(
            num_envs,
            max_episode_steps=max_episode_steps,
            engine=engine,
            num_threads=num_threads,
            device=device,
            observations=observations,
            modalities=_MODALITIES,
            **settings,
        )

    @property
    def modalities(self) -> dict[str, Modality]:
        """Records of the columns that are observations, by key."""
        return {key: IMAGE_MODALITIES[key] for key in _MODALITIES if key in IMAGE_MODALITIES}

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what `rows` yields."""
        return _COLUMNS

    @property
    def codes(self) -> dict[str, tuple[str, ...]]:
        """Names that the whole numbers of a column stand for, by column."""
        return {"connector": CONNECTOR_NAMES}

    @property
    def pose_labels(self) -> tuple[str, ...]:
        """Names of the columns of `pose`."""
        return POSE_LABELS

    def rows(self, seed: int | Sequence[int]) -> Iterator[dict[str, Array]]:
        """Start every world anew, and yield a row of each at every step, without end.

        The same seed gives the same rows: to the bit on the CPU engine, at any number of
        threads. Only one stream of an `Experience` may be in use.

        Args:
            seed: A number, or several.

        Yields:
            New arrays by column, a row of every world: NumPy, or tensors on the device where
            observations are.

            - `depth` (N, 1, H, W) float32 [m], `contact` (N, 2, C, C) uint8, `proprio` (N, 12)
              float32: the observation;
            - `action` (N, 5) float32: what is done at this observation; zeros at an episode's
              last;
            - `connector` (N,) int64; `episode` (N,) int64, numbered in the order they start, or
              -1 for the rare row in which the physics failed;
            - `pose` (N, 7) float32, the columns `vtenv.tasks.insertion.pose_labels.POSE_LABELS`;
            - `insertion_depth_mm`, `lateral_mm`, `contact_force_n` (N,) float32.
        """
        worlds_seed, behaviour_seed = np.random.SeedSequence(seed).spawn(2)
        seeds = [int(s) for s in worlds_seed.generate_state(self.num_envs, np.uint64)]
        behaviours = Behaviours(self.num_envs, self.mixture, np.random.default_rng(behaviour_seed))
        observation, _ = self._envs.reset(seed=seeds)
        simulation = self._envs.simulation
        starting = np.ones(self.num_envs, bool)
        finished = np.zeros(self.num_envs, bool)
        episode = np.zeros(self.num_envs, np.int64)
        started = 0
        while True:
            behaviours.start(starting)
            number = int(starting.sum())
            episode[starting] = np.arange(started, started + number)
            started += number
            action = behaviours.act(simulation.state, simulation.geometry)
            stable = _host(simulation.state.stable)
            yield _row(observation, action, finished, np.where(stable, episode, -1))
            observation, _, terminated, truncated, _ = self._envs.step(action)
            starting = finished
            finished = _host(terminated) | _host(truncated)

    def close(self) -> None:
        """Release the engine; may be called twice."""
        self._envs.close()


def record(rows: Iterable[dict[str, Array]], steps: int) -> dict[str, NDArray[Any]]:
    """Take steps of a stream, and put them in the order of their episodes.

    Args:
        rows: `Experience.rows`.
        steps: Steps to take, each a row of every world.

    Returns:
        NumPy arrays by column, one row for each world and step; rows of an episode stand
        together, in order, and its last has no action. Rows in which the physics failed are left
        out.
    """
    kept: dict[str, NDArray[Any]] = {}
    for step, row in enumerate(itertools.islice(rows, steps)):
        for name, value in row.items():
            values = _host(value)
            if step == 0:
                kept[name] = np.empty((len(values), steps, *values.shape[1:]), values.dtype)
            kept[name][:, step] = values
    episode = kept["episode"]
    last = np.ones(episode.shape, bool)
    last[:, :-1] = episode[:, 1:] != episode[:, :-1]
    kept["action"][last] = 0.0
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
    observation: dict[str, Array],
    action: Array,
    finished: NDArray[np.bool_],
    episode: NDArray[np.int64],
) -> dict[str, Array]:
    state = observation["state"]
    xp = namespace(state)
    done = constant(finished[:, None], state, xp.bool)
    action = xp.astype(_like(action, state), xp.float32)
    degrees = 180 / math.pi
    in_hand, socket = state[:, 12:15], state[:, 21:25]
    pose = [in_hand[:, :2] * 10, in_hand[:, 2:] * degrees, socket[:, :3] * 10]
    first = STATE_SIZE - len(CONNECTOR_NAMES)
    return {
        "depth": observation["depth"],
        "contact": observation["contact"],
        "proprio": observation["proprio"],
        "action": xp.where(done, xp.zeros_like(action), action),
        "connector": xp.argmax(state[:, first:], axis=-1),
        "episode": constant(episode, state, xp.int64),
        "pose": xp.concat([*pose, socket[:, 3:] * degrees], axis=-1),
        "insertion_depth_mm": state[:, 15] * 10,
        "lateral_mm": xp.hypot(state[:, 16], state[:, 17]) * 10,
        "contact_force_n": state[:, 26] * 10,
    }


def _host(values: Array) -> NDArray[Any]:
    """An array of any library as NumPy's."""
    return values if isinstance(values, np.ndarray) else np.asarray(to_device(values, "cpu"))


def _like(values: Array, like: Array) -> Array:
    """An array in the library and on the device of another."""
    if isinstance(like, np.ndarray):
        return _host(values)
    if isinstance(values, np.ndarray):
        return constant(values, like)
    return to_device(values, device(like))
