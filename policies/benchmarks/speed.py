"""How fast the environment and its parts run, all on the same control steps.

The whole environment runs once and its calls of the engine are kept; the physics alone and each
sensor alone then repeat those calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

import vtenv
from vtenv.engines import Engine, make_engine
from vtenv.simulation import Simulation
from vtenv.state import InitialState
from vtenv.tasks.insertion.config import VTInsertConfig
from vtenv.tasks.insertion.domain import Domain
from vtenv.tasks.insertion.expert import expert_action
from vtenv.vector_env import VTInsertVectorEnv

Array = NDArray[Any]
Actions = Literal["random", "expert"]

PHYSICS = "physics"
DEPTH, FINGERS = "overhead camera", "finger cameras"
BOOKKEEPING = "task, bookkeeping"
ENVIRONMENT = "whole environment"
SINGLE = "one world alone"
RESETS = "resets"

_STEPS_BETWEEN_RESETS = 20
"""The single environment is reset at least this often, for enough resets to time."""


@dataclass(frozen=True)
class Call:
    """A call of an engine's `reset`, `step` or `sense`, kept to be repeated."""

    method: str
    worlds: Array
    arguments: tuple[Any, ...] = ()


class EngineProbe:
    """Stands in front of an engine and times its calls; keeps them if asked to.

    Args:
        engine: The engine that does the work.
        calls: Where calls are kept; None to keep none.
    """

    def __init__(self, engine: Engine, calls: list[Call] | None = None) -> None:
        self.seconds = {"reset": 0.0, "step": 0.0, "sense": 0.0}
        self._engine, self._calls = engine, calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def reset(self, worlds: Array, initial: InitialState, domain: Domain | None = None) -> None:
        """As `Engine.reset`."""
        self._keep(Call("reset", worlds.copy(), (initial, domain)))
        self._timed("reset", worlds, initial, domain)

    def step(self, worlds: Array, target: Array) -> None:
        """As `Engine.step`."""
        self._keep(Call("step", worlds.copy(), (target.copy(),)))
        self._timed("step", worlds, target)

    def sense(self, worlds: Array, generators: Sequence[np.random.Generator]) -> dict[str, Array]:
        """As `Engine.sense`."""
        self._keep(Call("sense", worlds.copy()))
        images: dict[str, Array] = self._timed("sense", worlds, generators)
        return images

    def _keep(self, call: Call) -> None:
        if self._calls is not None:
            self._calls.append(call)

    def _timed(self, method: str, *arguments: object) -> Any:
        start = time.perf_counter()
        result = getattr(self._engine, method)(*arguments)
        self.seconds[method] += time.perf_counter() - start
        return result


@dataclass(frozen=True)
class Seconds:
    """What one repetition took on one number of threads, in [s].

    Attributes:
        environment: The whole environment.
        within: What of that went to the engine, by method.
        physics: The same physics alone, resets included.
        sensors: The same images alone, by sensor.
    """

    environment: float
    within: dict[str, float]
    physics: float
    sensors: dict[str, float]

    def shares(self) -> dict[str, float]:
        """Parts of the whole environment's time; they sum to 1."""
        sensing = sum(self.sensors.values())
        parts = {PHYSICS: self.within["step"], RESETS: self.within["reset"]}
        parts |= {
            name: self.within["sense"] * seconds / sensing for name, seconds in self.sensors.items()
        }
        parts[BOOKKEEPING] = self.environment - sum(self.within.values())
        return {name: seconds / self.environment for name, seconds in parts.items()}

    def parts(self) -> dict[str, float]:
        """Seconds of each part that has a rate of its own."""
        return {
            PHYSICS: self.physics,
            **self.sensors,
            BOOKKEEPING: self.environment - sum(self.within.values()),
            ENVIRONMENT: self.environment,
        }


class Subject:
    """What is measured on one number of threads: an environment, and an engine for each part.

    Args:
        settings: The environment's `image_size` and `contact_size`.
        worlds: Worlds that are stepped together.
        threads: Threads.
    """

    def __init__(self, settings: dict[str, Any], worlds: int, threads: int) -> None:
        def engine(modality: str, **sizes: Any) -> Engine:
            config = VTInsertConfig.from_settings(modalities=(modality,), **sizes)
            return make_engine("cpu", config, worlds, num_threads=threads)

        self.environment = VTInsertVectorEnv(worlds, num_threads=threads, **settings)
        self._engine = self.environment.simulation.engine
        self._physics = engine("proprio")
        self._sensors = {
            DEPTH: engine("depth", image_size=settings["image_size"]),
            FINGERS: engine("contact", contact_size=settings["contact_size"]),
        }

    def record(self, seed: int, steps: int, actions: Actions) -> tuple[list[Array], list[Call]]:
        """Run the environment and keep its actions and the calls of its engine."""
        choose = _chooser(actions, seed)
        chosen: list[Array] = []
        calls: list[Call] = []
        self._watch(EngineProbe(self._engine, calls))
        self.environment.reset(seed=seed)
        for _ in range(steps):
            chosen.append(choose(self.environment.simulation))
            self.environment.step(chosen[-1])
        return chosen, calls

    def measure(self, seed: int, actions: Sequence[Array], calls: Sequence[Call]) -> Seconds:
        """Time the environment and its parts on the same control steps."""
        probe = EngineProbe(self._engine)
        self._watch(probe)
        self.environment.reset(seed=seed)
        probe.seconds = dict.fromkeys(probe.seconds, 0.0)
        start = time.perf_counter()
        for action in actions:
            self.environment.step(action)
        environment = time.perf_counter() - start
        generators = self.environment.simulation.generators
        physics = _replay(self._physics, calls, ("reset", "step"), generators)
        return Seconds(
            environment=environment,
            within=probe.seconds,
            physics=physics["reset"] + physics["step"],
            sensors={
                name: _replay(engine, calls, ("reset", "step", "sense"), generators)["sense"]
                for name, engine in self._sensors.items()
            },
        )

    def close(self) -> None:
        """Release threads and memory."""
        self._watch(self._engine)
        self.environment.close()
        for engine in (self._physics, *self._sensors.values()):
            engine.close()

    def _watch(self, engine: Engine | EngineProbe) -> None:
        self.environment.simulation.engine = cast(Engine, engine)


def _chooser(actions: Actions, seed: int) -> Callable[[Simulation], Array]:
    """What chooses the actions of all worlds, (N, 5)."""
    generator = np.random.default_rng(seed)

    def choose(simulation: Simulation) -> Array:
        if actions == "random":
            return generator.uniform(-1.0, 1.0, (simulation.num_worlds, 5)).astype(np.float32)
        chosen: Array = expert_action(simulation.state, simulation.geometry)
        return chosen.astype(np.float32)

    return choose


def _replay(
    engine: Engine,
    calls: Iterable[Call],
    methods: Sequence[str],
    generators: Sequence[np.random.Generator],
) -> dict[str, float]:
    """Repeat calls of an engine; seconds by method, without what comes before the first step."""
    seconds = dict.fromkeys(methods, 0.0)
    started = False
    for call in calls:
        if call.method not in seconds:
            continue
        started |= call.method == "step"
        arguments = (generators,) if call.method == "sense" else call.arguments
        start = time.perf_counter()
        getattr(engine, call.method)(call.worlds, *arguments)
        if started:
            seconds[call.method] += time.perf_counter() - start
    return seconds


def measure_single(
    settings: dict[str, Any], seed: int, steps: int, actions: Actions
) -> tuple[float, float]:
    """Time the single environment, as `gymnasium.make` gives it.

    Returns:
        Seconds of a step, and seconds of a reset.
    """
    env = gymnasium.make(vtenv.ENV_ID, **settings)
    simulation = cast(Any, env.unwrapped).simulation
    choose = _chooser(actions, seed)
    env.reset(seed=seed)
    stepping, resetting, resets = 0.0, 0.0, 0
    for step in range(1, steps + 1):
        action = choose(simulation)[0]
        start = time.perf_counter()
        _, _, terminated, truncated, _ = env.step(action)
        stepping += time.perf_counter() - start
        if terminated or truncated or step % _STEPS_BETWEEN_RESETS == 0 or step == steps:
            start = time.perf_counter()
            env.reset()
            resetting += time.perf_counter() - start
            resets += 1
    env.close()
    return stepping / steps, resetting / resets
