"""N worlds of the insertion task on one engine: what both environments are wired to."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray

from vtenv import task
from vtenv.config import VTInsertConfig
from vtenv.connectors import CONNECTOR_NAMES
from vtenv.engines import make_engine
from vtenv.scene import GEL_THICKNESS
from vtenv.sensors import MAX_DEPTH
from vtenv.state import WorldState

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
    """What a control step led to, for all worlds; rows of worlds not stepped mean nothing.

    Attributes:
        reward: (N,), float64.
        terminated: Success or failure, (N,), bool.
    """

    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]


class Simulation:
    """N worlds of the task: an engine, a generator for each world, rewards and observations.

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
        self._potentials: dict[str, NDArray[Any]] = {
            name: np.zeros(num_worlds) for name in task.POTENTIALS
        }
        self._terms: dict[str, NDArray[Any]] = {
            name: np.zeros(num_worlds)
            for name in (task.REWARD_WEIGHTS if config.reward == "dense" else ("success",))
        }
        self.last_observation: dict[str, NDArray[Any]] = {}
        self.last_info: dict[str, NDArray[Any]] = {}
        self.state: WorldState = self.engine.state()
        self.geometry: task.Geometry = task.geometry(self.state)
        self._success = np.zeros(num_worlds, bool)
        self._failure = np.zeros(num_worlds, np.int64)

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
        self._evaluate(worlds)
        self._success[worlds], self._failure[worlds] = False, 0
        nothing = {name: np.zeros(len(worlds)) for name in self._terms}
        self._terms = self._merge(self._terms, nothing, worlds)

    def step(self, worlds: NDArray[np.int64], actions: NDArray[Any]) -> StepResult:
        """Advance worlds by one control step.

        Args:
            worlds: Worlds to step, sorted.
            actions: Actions of all worlds, (N, 5); clipped to [-1, 1].

        Raises:
            ValueError: If an action has another shape, or is not finite.
        """
        actions = np.asarray(actions, np.float64)
        expected = (self.num_worlds, len(task.ACTION_SCALE))
        if actions.shape != expected:
            raise ValueError(f"actions have shape {actions.shape}; expected {expected}")
        if not np.isfinite(actions[worlds]).all():
            bad = worlds[~np.isfinite(actions[worlds]).all(axis=-1)][0]
            raise ValueError(
                f"the action {actions[bad].tolist()} is not finite; send numbers in [-1, 1]"
            )
        before = self.state
        target = task.next_target(before.target, before.hand, actions)
        self.engine.step(worlds, target[worlds])

        before_potentials = self._potentials
        self._evaluate(worlds)
        failed = (self._failure > 0) & ~self._success
        if self.config.reward == "dense":
            terms = task.dense_reward(
                before_potentials,
                self._potentials,
                self._success,
                failed,
                self.state.socket_force,
            )
        else:
            terms = {"success": self._success.astype(np.float64)}
        rows = {name: term[worlds] for name, term in terms.items()}
        self._terms = self._merge(self._terms, rows, worlds)
        # Added term by term: NumPy's own sum may round differently for other numbers of worlds.
        reward = functools.reduce(np.add, terms.values())
        return StepResult(reward, self._success | failed)

    def observe(self, worlds: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Observations of all worlds, new arrays; only those of `worlds` are fresh."""
        images = self.engine.sense(worlds, self.generators)
        observation: dict[str, NDArray[Any]] = {}
        for name in self.config.modalities:
            if name in images:
                observation[name] = images[name]
                continue
            values = (
                task.proprio(self.state)
                if name == "proprio"
                else task.privileged(self.state, self.geometry)
            )
            limited = np.clip(values, -PROPRIO_LIMIT, PROPRIO_LIMIT)
            observation[name] = self.engine.as_observation(limited.astype(np.float32))
        self.last_observation = observation
        return observation

    def info(self) -> dict[str, Any]:
        """What an environment's `info` tells, as arrays over all worlds."""
        geom, state = self.geometry, self.state
        info: dict[str, NDArray[Any]] = {
            "is_success": self._success.copy(),
            "connector": _NAMES[state.connector],
            "insertion_depth": geom.depth.copy(),
            "lateral_error": geom.lateral.copy(),
            "angular_error": geom.angle.copy(),
            "contact_force": state.socket_force.copy(),
            "failure": _FAILURES[np.where(self._success, 0, self._failure)],
        }
        info |= {f"reward_{name}": term.copy() for name, term in self._terms.items()}
        self.last_info = info
        return info

    def close(self) -> None:
        """Release the engine; may be called twice."""
        self.engine.close()

    def _evaluate(self, worlds: NDArray[np.int64]) -> None:
        """Bring state, geometry, success, failure and potentials of `worlds` up to date."""
        self.state = self.engine.state()
        state = self.state if len(worlds) == self.num_worlds else self.state.take(worlds)
        geometry = task.geometry(state)
        merged = self._merge(vars(self.geometry), vars(geometry), worlds)
        self.geometry = task.Geometry(**merged)
        potentials = task.potentials(geometry, self._clearance, self._lead_in)
        self._potentials = self._merge(self._potentials, potentials, worlds)
        self._success[worlds] = task.is_success(state, geometry, self._clearance)
        self._failure[worlds] = task.failure(state, geometry)

    def _merge(
        self, old: dict[str, NDArray[Any]], rows: dict[str, NDArray[Any]], worlds: NDArray[np.int64]
    ) -> dict[str, NDArray[Any]]:
        """Values of all worlds: rows of `worlds`, and old values of the others."""
        if len(worlds) == self.num_worlds:
            return rows
        merged = {name: value.copy() for name, value in old.items()}
        for name, value in rows.items():
            merged[name][worlds] = value
        return merged


_NAMES = np.array(CONNECTOR_NAMES, dtype=object)
_FAILURES = np.array(task.FAILURES, dtype=object)
