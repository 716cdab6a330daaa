"""N worlds of the insertion task on one engine: what both environments are wired to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import is_torch_array
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray

from vtenv import task
from vtenv.config import VTInsertConfig
from vtenv.connectors import CONNECTOR_NAMES
from vtenv.engines import make_engine
from vtenv.scene import GEL_THICKNESS
from vtenv.sensors import MAX_DEPTH
from vtenv.state import Array, WorldState, namespace

PROPRIO_LIMIT = 30.0
"""Bound of every entry of `proprio` and `state`, in the entry's unit."""


def observation_space(config: VTInsertConfig) -> spaces.Dict:
    """The observation space of one world."""
    image, contact = config.scene.image_size, config.scene.contact_size
    gel_depth = GEL_THICKNESS * 1e3
    limit = PROPRIO_LIMIT
    every: dict[str, spaces.Space[Any]] = {
        "depth": spaces.Box(0.0, MAX_DEPTH, (1, image, image), np.float32),
        "contact": spaces.Box(0, 1, (2, contact, contact), np.uint8),
        "gel": spaces.Box(0.0, gel_depth, (2, contact, contact), np.float32),
        "proprio": spaces.Box(-limit, limit, (task.PROPRIO_SIZE,), np.float32),
        "state": spaces.Box(-limit, limit, (task.STATE_SIZE,), np.float32),
    }
    return spaces.Dict({name: every[name] for name in config.modalities})


def action_space() -> spaces.Box:
    """The action space of one world."""
    return spaces.Box(-1.0, 1.0, (len(task.ACTION_SCALE),), np.float32)


@dataclass(frozen=True)
class StepResult:
    """What a control step led to, for all worlds; zero for worlds not stepped.

    Attributes:
        reward: (N,), floating.
        terminated: Success or failure, (N,), bool.
        wait: Returns `terminated` on the host, once it is known there.
    """

    reward: Array
    terminated: Array
    wait: Callable[[], NDArray[np.bool_]]


class Simulation:
    """N worlds of the task: an engine, a generator for each world, rewards and observations.

    Everything about the worlds is in arrays of the engine's library, which are replaced and
    never changed; which worlds to act on is said on the host.

    Args:
        config: The environment's settings.
        num_worlds: Worlds to simulate.
        engine: One of `vtenv.engines.ENGINE_NAMES`.
        engine_settings: Other arguments of `vtenv.engines.make_engine`.
    """

    def __init__(
        self,
        config: VTInsertConfig,
        num_worlds: int = 1,
        engine: str = "cpu",
        **engine_settings: Any,
    ) -> None:
        self.config = config
        self.num_worlds = num_worlds
        self.engine = make_engine(engine, config, num_worlds, **engine_settings)
        self.generators: list[np.random.Generator] = [
            seeding.np_random()[0] for _ in range(num_worlds)
        ]
        self._clearance = config.scene.clearance_mm * 1e-3
        self._lead_in = config.scene.lead_in_mm * 1e-3
        self.last_observation: dict[str, Array] = {}
        self.last_info: dict[str, Array] = {}
        self.state: WorldState = self.engine.state()
        self.geometry: task.Geometry = task.geometry(self.state)
        xp = self._xp = namespace(self.state.hand)
        self._potentials = task.potentials(self.geometry, self._clearance, self._lead_in)
        nothing = xp.zeros_like(self.state.socket_force)
        terms = task.REWARD_WEIGHTS if config.reward == "dense" else ("success",)
        self._terms: dict[str, Array] = dict.fromkeys(terms, nothing)
        self._success: Array = xp.zeros_like(self.state.stable)
        self._failure: Array = xp.zeros_like(self.state.connector)

    def reset(
        self,
        worlds: NDArray[np.int64],
        generators: Sequence[np.random.Generator] | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        """Start episodes.

        Args:
            worlds: Worlds to reset, sorted.
            generators: New sources of randomness for them; None keeps those they have.
            options: Values to fix, as `task.check_options` allows.

        Raises:
            ValueError: If an option is not allowed; lists those that are.
        """
        fixed = task.check_options(options, self.config.connectors)
        for world, generator in zip(worlds, generators or (), strict=False):
            self.generators[world] = generator
        uniforms = np.stack([self.generators[w].random(task.NUM_UNIFORMS) for w in worlds])
        self.engine.reset(
            worlds, task.initial_state(uniforms, self.config, self.engine.bank_size, fixed)
        )
        reset = self._mask(worlds)
        self._evaluate(reset)
        self._success = self._merge(self._success, self._xp.zeros_like(self._success), reset)
        self._failure = self._merge(self._failure, self._xp.zeros_like(self._failure), reset)
        for name, term in self._terms.items():
            self._terms[name] = self._merge(term, self._xp.zeros_like(term), reset)

    def step(self, worlds: NDArray[np.int64], actions: Array) -> StepResult:
        """Advance worlds by one control step.

        Args:
            worlds: Worlds to step, sorted.
            actions: Actions of all worlds, (N, 5), clipped to [-1, 1]; of any library.

        Raises:
            ValueError: If an action has another shape, or is not finite. About a tensor this is
                known later: its world stands still, and `StepResult.wait` raises.
        """
        xp = self._xp
        actions, finite = self._check(worlds, actions)
        moved = self._mask(worlds)
        if worlds.size:
            still = xp.where(finite[:, None], actions, xp.zeros_like(actions))
            target = task.next_target(self.state.target, self.state.hand, still)
            self.engine.step(worlds, target)
        before = self._potentials
        self._evaluate(moved)
        failed = (self._failure > 0) & ~self._success
        if self.config.reward == "dense":
            terms = task.dense_reward(
                before, self._potentials, self._success, failed, self.state.socket_force
            )
        else:
            terms = {"success": xp.astype(self._success, self.state.socket_force.dtype)}
        self._terms = {name: self._merge(self._terms[name], terms[name], moved) for name in terms}
        # Added term by term: NumPy's own sum may round differently for other numbers of worlds.
        reward = functools.reduce(xp.add, terms.values())
        terminated = self._success | failed
        if moved is not None:
            reward = xp.where(moved, reward, xp.zeros_like(reward))
            terminated = terminated & moved
        arriving = self.engine.send({"terminated": terminated, "finite": finite})

        def wait() -> NDArray[np.bool_]:
            there = arriving()
            _refuse(worlds, actions, there["finite"])
            ended: NDArray[np.bool_] = there["terminated"]
            return ended

        return StepResult(reward, terminated, wait)

    def observe(self, worlds: NDArray[np.int64]) -> dict[str, Array]:
        """Observations of all worlds, new arrays; images of other worlds are the last ones."""
        images = self.engine.sense(worlds, self.generators)
        observation: dict[str, Array] = {}
        for name in self.config.modalities:
            if name in images:
                observation[name] = images[name]
                continue
            values = (
                task.proprio(self.state)
                if name == "proprio"
                else task.privileged(self.state, self.geometry)
            )
            limited = self._xp.clip(values, -PROPRIO_LIMIT, PROPRIO_LIMIT)
            observation[name] = self._xp.astype(limited, self._xp.float32)
        self.last_observation = observation
        return observation

    def info(self) -> dict[str, Array]:
        """What an environment's `info` tells, as new arrays over all worlds.

        `connector` and `failure` are codes, int64, into `CONNECTOR_NAMES` and `task.FAILURES`.
        """
        geom, state, failure = self.geometry, self.state, self._failure
        info = {
            "is_success": self._success,
            "connector": state.connector,
            "insertion_depth": geom.depth,
            "lateral_error": geom.lateral,
            "angular_error": geom.angle,
            "contact_force": state.socket_force,
            "failure": self._xp.where(self._success, self._xp.zeros_like(failure), failure),
        }
        info |= {f"reward_{name}": term for name, term in self._terms.items()}
        self.last_info = info
        return {name: self._xp.asarray(value, copy=True) for name, value in info.items()}

    def fetch(self, *groups: Mapping[str, Array]) -> tuple[dict[str, NDArray[Any]], ...]:
        """Groups of arrays on the host, in as few copies as the engine can."""
        keyed = {(k, name): a for k, group in enumerate(groups) for name, a in group.items()}
        there = self.engine.send(keyed)()
        return tuple({name: there[k, name] for name in group} for k, group in enumerate(groups))

    def told(self, world: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """The last observation and info of one world, on the host, for drawing them."""
        observation, info = self.fetch(
            {name: value[world] for name, value in self.last_observation.items()},
            {name: value[world : world + 1] for name, value in self.last_info.items()},
        )
        return observation, {name: value[0] for name, value in named(info).items()}

    def close(self) -> None:
        """Release the engine; may be called twice."""
        self.engine.close()

    def _check(self, worlds: NDArray[np.int64], actions: Array) -> tuple[Array, Array]:
        """Actions as an array of the engine's, and whose are finite.

        Raises:
            ValueError: If they have another shape, or the host sees that one is not finite.
        """
        if self._xp is np or not is_torch_array(actions):
            actions = np.asarray(actions, np.float64)
        expected = (self.num_worlds, len(task.ACTION_SCALE))
        if tuple(actions.shape) != expected:
            raise ValueError(f"actions have shape {tuple(actions.shape)}; expected {expected}")
        if isinstance(actions, np.ndarray):
            _refuse(worlds, actions, np.all(np.isfinite(actions), axis=-1))
        actions = self.engine.asarray(actions)
        return actions, self._xp.all(self._xp.isfinite(actions), axis=-1)

    def _evaluate(self, worlds: Array | None) -> None:
        """Bring what follows from the worlds' state up to date, after those of a mask changed."""
        self.state = self.engine.state()
        self.geometry = task.geometry(self.state)
        self._potentials = task.potentials(self.geometry, self._clearance, self._lead_in)
        success = task.is_success(self.state, self.geometry, self._clearance)
        self._success = self._merge(self._success, success, worlds)
        failure = task.failure(self.state, self.geometry)
        self._failure = self._merge(self._failure, failure, worlds)

    def _mask(self, worlds: NDArray[np.int64]) -> Array | None:
        """Flags of the worlds, (N,); None for all."""
        if len(worlds) == self.num_worlds:
            return None
        mask = np.zeros(self.num_worlds, bool)
        mask[worlds] = True
        return self.engine.asarray(mask)

    def _merge(self, old: Array, new: Array, worlds: Array | None) -> Array:
        """New values of the worlds of a mask, and old values of the others."""
        return new if worlds is None else self._xp.where(worlds, new, old)


def named(info: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """`Simulation.info` as Gymnasium's clients get it: names for codes, numbers as float64."""
    codes = {"connector": _NAMES, "failure": _FAILURES}
    return {
        name: codes[name][value]
        if name in codes
        else value
        if value.dtype == bool
        else value.astype(np.float64, copy=False)
        for name, value in info.items()
    }


def _refuse(worlds: NDArray[np.int64], actions: Array, finite: NDArray[np.bool_]) -> None:
    """Raise if the action of one of `worlds` is not finite."""
    bad = worlds[~finite[worlds]]
    if bad.size:
        raise ValueError(
            f"the action {actions[int(bad[0])].tolist()} is not finite; send numbers in [-1, 1]"
        )


_NAMES = np.array(CONNECTOR_NAMES, dtype=object)
_FAILURES = np.array(task.FAILURES, dtype=object)
