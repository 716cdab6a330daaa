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

from vtenv.engines import PreparingEngine, make_engine
from vtenv.next_episodes import NextEpisodes, draw_episodes
from vtenv.sensing.images import MAX_DEPTH
from vtenv.state import Array, WorldState, namespace
from vtenv.tasks.insertion import task
from vtenv.tasks.insertion.config import VTInsertConfig
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES
from vtenv.tasks.insertion.domain import NUM_DOMAIN_UNIFORMS, Domain, draw_domain
from vtenv.tasks.insertion.scene import GEL_THICKNESS

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
class Judgement:
    """What follows from the state of N worlds, and from their last step.

    Attributes:
        state: The worlds.
        geometry: Where their plugs are.
        potentials: How far along the task is, by term, (N,) each.
        success: Whether the last step ended in success, (N,), bool.
        failure: Code into `task.FAILURES` of what it ended in, (N,), integer.
        terms: Weighted terms of its reward, by name, (N,) each.
        vectors: The observations that are vectors, by modality.
    """

    state: WorldState
    geometry: task.Geometry
    potentials: dict[str, Array]
    success: Array
    failure: Array
    terms: dict[str, Array]
    vectors: dict[str, Array]


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

    Attributes:
        domain: The domains of the worlds' present episodes, on the host; those in the middle of
            their ranges before the first. None unless the configuration randomises domains.
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
        self._generators: list[np.random.Generator] = [
            seeding.np_random()[0] for _ in range(num_worlds)
        ]
        self.domain: Domain | None = None
        self._clearances: Array | None = None
        if config.domain_randomization is not None:
            middle = np.full((num_worlds, NUM_DOMAIN_UNIFORMS), 0.5)
            self.domain = draw_domain(middle, config)
            self._clearances = self.engine.asarray(self.domain.clearance)
        self._next: NextEpisodes | None = None
        if isinstance(self.engine, PreparingEngine):
            self._next = NextEpisodes(self.engine, self.domain)
        self._clearance = config.scene.clearance_mm * 1e-3
        self._lead_in = config.scene.lead_in_mm * 1e-3
        self.last_observation: dict[str, Array] = {}
        self._xp = namespace(self.engine.state().hand)
        record = self.engine.recorded
        self._aim = record(self._aimed)
        self._judge_reset = record(self._judged_reset)
        self._judge_step = record(self._judged_step)
        self._judged = self._judged_at_rest()

    @property
    def state(self) -> WorldState:
        """The state of the worlds."""
        return self._judged.state

    @property
    def geometry(self) -> task.Geometry:
        """Where the worlds' plugs are."""
        return self._judged.geometry

    @property
    def generators(self) -> list[np.random.Generator]:
        """The worlds' sources of randomness, which may be replaced or set to other states.

        What was drawn ahead is put back before they are handed out, so that nothing drawn from
        a generator as it was is used after it was changed. Ask for them anew to change them
        later.
        """
        if self._next is not None:
            self._next.put_back()
        return self._generators

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
        if self._next is not None and (generators is not None or fixed):
            self._next.put_back(worlds.tolist())
        for world, generator in zip(worlds, generators or (), strict=False):
            self._generators[world] = generator
        self._start(worlds, fixed)
        before = self._judged
        self._judged = self._judge_reset(
            before.success, before.failure, before.terms, self._clearances, self._mask(worlds)
        )

    def draw_ahead(self) -> None:
        """Draw how the worlds' next episodes start, if the engine can make that ready.

        For while the host waits for the device. Every world must have been observed since its
        reset: the noise of an episode is drawn before the next episode.
        """
        if self._next is not None:
            self._next.draw(self._generators, self.config)

    def step(self, worlds: NDArray[np.int64], actions: Array) -> StepResult:
        """Advance worlds by one control step.

        Args:
            worlds: Worlds to step, sorted.
            actions: Actions of all worlds, (N, 5), clipped to [-1, 1]; of any library.

        Raises:
            ValueError: If an action has another shape, or is not finite. About a tensor this is
                known later: its world stands still, and `StepResult.wait` raises.
        """
        actions = self._check(worlds, actions)
        before = self._judged
        target, finite = self._aim(before.state.target, before.state.hand, actions)
        if worlds.size:
            self.engine.step(worlds, target)
        self._judged, reward, terminated = self._judge_step(
            before.potentials,
            before.success,
            before.failure,
            before.terms,
            self._clearances,
            self._mask(worlds),
        )
        arriving = self.engine.send({"terminated": terminated, "finite": finite})

        def wait() -> NDArray[np.bool_]:
            there = arriving()
            _refuse(worlds, actions, there["finite"])
            ended: NDArray[np.bool_] = there["terminated"]
            return ended

        return StepResult(reward, terminated, wait)

    def observe(self, worlds: NDArray[np.int64]) -> dict[str, Array]:
        """Observations of all worlds, new arrays; images of other worlds are the last ones."""
        images = self.engine.sense(worlds, self._generators)
        known = {**self._judged.vectors, **images}
        self.last_observation = {name: known[name] for name in self.config.modalities}
        return self.last_observation

    def info(self) -> dict[str, Array]:
        """What an environment's `info` tells, as new arrays over all worlds.

        `connector` and `failure` are codes, int64, into `CONNECTOR_NAMES` and `task.FAILURES`.
        """
        judged, state, geometry = self._judged, self.state, self.geometry
        info = {
            "is_success": judged.success,
            "connector": state.connector,
            "insertion_depth": geometry.depth,
            "lateral_error": geometry.lateral,
            "angular_error": geometry.angle,
            "contact_force": state.socket_force,
            "failure": judged.failure,
        }
        info |= {f"reward_{name}": term for name, term in judged.terms.items()}
        return self.engine.copied(info)

    def fetch(self, *groups: Mapping[str, Array]) -> tuple[dict[str, NDArray[Any]], ...]:
        """Groups of arrays on the host, in as few copies as the engine can."""
        keyed = {(k, name): a for k, group in enumerate(groups) for name, a in group.items()}
        there = self.engine.send(keyed)()
        return tuple({name: there[k, name] for name in group} for k, group in enumerate(groups))

    def told(self, world: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """The last observation and info of one world, on the host, for drawing them."""
        observation, info = self.fetch(
            {name: value[world] for name, value in self.last_observation.items()},
            {name: value[world : world + 1] for name, value in self.info().items()},
        )
        return observation, {name: value[0] for name, value in named(info).items()}

    def close(self) -> None:
        """Release the engine; may be called twice."""
        self.engine.close()

    def _check(self, worlds: NDArray[np.int64], actions: Array) -> Array:
        """Actions as an array of the engine's.

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
        return self.engine.asarray(actions)

    def _start(self, worlds: NDArray[np.int64], options: Mapping[str, object]) -> None:
        """Put worlds into initial states: those drawn ahead, or else drawn now."""
        generators = self._generators
        ahead = self._next
        taken = None if ahead is None else ahead.take(worlds, generators, self.config)
        if ahead is not None and taken is not None:
            rows, domain = taken
            ahead.engine.reset_prepared(worlds, rows)
        else:
            chosen = [generators[world] for world in worlds]
            initial, domain = draw_episodes(chosen, self.config, self.engine.bank_size, options)
            self.engine.reset(worlds, initial, domain)
        if self.domain is not None and domain is not None:
            self.domain = self.domain.replaced(worlds, domain)
            self._clearances = self.engine.asarray(self.domain.clearance)

    # The functions that follow are recorded: what changes comes as an argument.

    def _aimed(self, target: Array, hand: Array, actions: Array) -> tuple[Array, Array]:
        """Targets that actions lead to, and which actions are finite; the others do nothing."""
        xp = self._xp
        finite = xp.all(xp.isfinite(actions), axis=-1)
        still = xp.where(finite[:, None], actions, xp.zeros_like(actions))
        return task.next_target(target, hand, still), finite

    def _judged_reset(
        self,
        success: Array,
        failure: Array,
        terms: dict[str, Array],
        clearances: Array | None,
        reset: Array | None,
    ) -> Judgement:
        """The worlds after those of a mask, None for all, were reset."""
        clearance = self._clearance if clearances is None else clearances
        state = self.engine.state()
        geometry = task.geometry(state)
        merge, nothing = self._merge, self._xp.zeros_like
        return Judgement(
            state,
            geometry,
            task.potentials(geometry, clearance, self._lead_in),
            merge(success, nothing(success), reset),
            merge(failure, nothing(failure), reset),
            {name: merge(term, nothing(term), reset) for name, term in terms.items()},
            self._vectors(state, geometry),
        )

    def _judged_step(
        self,
        potentials: dict[str, Array],
        success: Array,
        failure: Array,
        terms: dict[str, Array],
        clearances: Array | None,
        moved: Array | None,
    ) -> tuple[Judgement, Array, Array]:
        """The worlds after those of a mask, None for all, moved; rewards, and who is done."""
        clearance = self._clearance if clearances is None else clearances
        xp, merge = self._xp, self._merge
        state = self.engine.state()
        geometry = task.geometry(state)
        reached = task.potentials(geometry, clearance, self._lead_in)
        success = merge(success, task.is_success(state, geometry, clearance), moved)
        code = task.failure(state, geometry)
        failure = merge(failure, xp.where(success, xp.zeros_like(code), code), moved)
        failed = failure > 0
        if self.config.reward == "dense":
            earned = task.dense_reward(potentials, reached, success, failed, state.socket_force)
        else:
            earned = {"success": xp.astype(success, state.socket_force.dtype)}
        # Added term by term: NumPy's own sum may round differently for other numbers of worlds.
        reward = functools.reduce(xp.add, earned.values())
        terminated = success | failed
        if moved is not None:
            reward = xp.where(moved, reward, xp.zeros_like(reward))
            terminated = terminated & moved
        terms = {name: merge(terms[name], earned[name], moved) for name in earned}
        vectors = self._vectors(state, geometry)
        judged = Judgement(state, geometry, reached, success, failure, terms, vectors)
        return judged, reward, terminated

    def _vectors(self, state: WorldState, geometry: task.Geometry) -> dict[str, Array]:
        xp = self._xp
        vectors: dict[str, Array] = {}
        if "proprio" in self.config.modalities:
            vectors["proprio"] = task.proprio(state)
        if "state" in self.config.modalities:
            vectors["state"] = task.privileged(state, geometry)
        return {
            name: xp.astype(xp.clip(values, -PROPRIO_LIMIT, PROPRIO_LIMIT), xp.float32)
            for name, values in vectors.items()
        }

    def _judged_at_rest(self) -> Judgement:
        """The worlds before their first reset."""
        state = self.engine.state()
        nothing = self._xp.zeros_like(state.socket_force)
        terms = task.REWARD_WEIGHTS if self.config.reward == "dense" else ("success",)
        flags, codes = self._xp.zeros_like(state.stable), self._xp.zeros_like(state.connector)
        terms_at_rest = dict.fromkeys(terms, nothing)
        return self._judged_reset(flags, codes, terms_at_rest, self._clearances, None)

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
