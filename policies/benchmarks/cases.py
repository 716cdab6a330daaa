"""What the benchmark runs: a table of environments, on either engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from policies.benchmarks.timing import Case, Clock, EngineProbe
from policies.worlds import expert, make_world, make_worlds, simulation_of
from vtenv.rollout import rollout

Actions = Literal["random", "expert"]

NUMPY, TORCH = "environment", "environment, tensors"
SINGLE, RESET = "one world alone", "reset of one world"
_EPISODE_STEPS = 100
_SPREAD_S = 5.0
"""Longest time to bring the worlds out of step."""
_ACTIONS = 8
"""Random actions that take turns, so that none is drawn while time is taken."""


@dataclass(frozen=True)
class Setup:
    """Where cases run.

    Attributes:
        task: The task, an id of Gymnasium's registry.
        settings: Its environment's settings.
        engine: The physics engine.
        device: Device of the Warp engine; None on the CPU engine.
        actions: Whose actions.
        seed: Seed of worlds and actions.
    """

    task: str
    settings: Mapping[str, Any]
    engine: str
    device: str | None
    actions: Actions
    seed: int

    @property
    def clock(self) -> Clock:
        """The clock of the device."""
        return Clock(self.device or "cpu")

    def worlds(
        self, number: int, threads: int | None, observations: str = "numpy", **settings: Any
    ) -> VectorEnv[Any, Any, Any]:
        """Worlds, whose episodes restart within a step."""
        return make_worlds(
            self.task,
            number,
            engine=self.engine,
            device=self.device,
            num_threads=threads,
            observations=observations,
            autoreset_mode=AutoresetMode.SAME_STEP,
            max_episode_steps=_EPISODE_STEPS,
            **{**self.settings, **settings},
        )


@contextmanager
def environment_cases(
    setup: Setup,
    number: int,
    threads: Sequence[int | None],
    encoders: Mapping[str, Any],
    memory: Callable[[float], object] = lambda kib: None,
) -> Iterator[list[Case]]:
    """The environment, with each sensor alone, with tensors and with encoders.

    Args:
        setup: Where they run.
        number: Worlds that are stepped together.
        threads: Numbers of threads of the CPU engine; None alone on a GPU.
        encoders: Encoders by name; where there are tensors, a case each.
        memory: Told the device's memory that the first environment takes a world, in [KiB].

    Yields:
        The cases.
    """
    clock = setup.clock
    cases: list[Case] = []
    with ExitStack() as stack:

        def add(name: str, envs: VectorEnv[Any, Any, Any], count: int | None) -> EngineProbe:
            stack.callback(envs.close)
            simulation = simulation_of(envs)
            probe = EngineProbe(simulation.engine, clock)
            transitions = _stepping(envs, setup)
            simulation.engine = probe
            cases.append(Case(name, lambda: next(transitions), number, count, probe))
            return probe

        for count in threads:
            before = clock.memory_used()
            envs = setup.worlds(number, count)
            add(NUMPY, envs, count)
            after = clock.memory_used()
            if before is not None and after is not None:
                memory((after - before) / 2**10 / number)
            images = [m for m in simulation_of(envs).task.config.modalities if m.is_image]
            for image in images:
                others = {m.size_setting for m in images} - {image.size_setting}
                rest = {k: v for k, v in setup.settings.items() if k not in others}
                alone = replace(setup, settings=rest)
                sensing = alone.worlds(number, count, modalities=(image.key,))
                add(f"{image.key} sensor", sensing, count)
            if setup.engine == "cpu":
                continue
            add(TORCH, setup.worlds(number, count, "torch"), count)
            for name, encoder in encoders.items():
                from representation.wrappers.encode import VectorEncodeObservation

                envs = setup.worlds(number, count, "torch")
                add(f"{TORCH}, {name}", VectorEncodeObservation(envs, encoder, flat=True), count)
        if setup.engine == "cpu":
            cases += _single_cases(setup, stack)
        yield cases


def _single_cases(setup: Setup, stack: ExitStack) -> list[Case]:
    """One world by itself, and what its reset costs."""
    env = make_world(setup.task, **setup.settings)
    stack.callback(env.close)
    env.reset(seed=setup.seed)
    generator = np.random.default_rng(setup.seed)
    actions = generator.uniform(-1.0, 1.0, (_ACTIONS, *env.action_space.shape)).astype(np.float32)
    taken = 0

    def step() -> None:
        nonlocal taken
        action = (
            expert(env.simulation)[0] if setup.actions == "expert" else actions[taken % _ACTIONS]
        )
        taken += 1
        _, _, terminated, _, _ = env.step(action)
        if terminated or taken % _EPISODE_STEPS == 0:
            env.reset()

    return [Case(SINGLE, step, 1, 1), Case(RESET, env.reset, 1, 1)]


def _stepping(envs: VectorEnv[Any, Any, Any], setup: Setup) -> Iterator[Any]:
    """Steps of worlds whose episodes end at every step, as many at each."""
    simulation, number = simulation_of(envs), envs.num_envs
    shape = (_ACTIONS, number, *(envs.single_action_space.shape or ()))
    generator = np.random.default_rng(setup.seed)
    drawn: Any = generator.uniform(-1.0, 1.0, shape).astype(np.float32)
    taken = 0

    def act(observation: Any, _: Mapping[str, Any]) -> Any:
        nonlocal drawn, taken
        if setup.actions == "expert":
            return expert(simulation)
        part = next(iter(observation.values())) if isinstance(observation, dict) else observation
        if not taken and not isinstance(part, np.ndarray):
            import torch

            drawn = torch.as_tensor(drawn, device=part.device)
        taken += 1
        return drawn[taken % _ACTIONS]

    transitions = rollout(envs, act, seed=setup.seed)
    groups, begun = min(_EPISODE_STEPS, number), time.perf_counter()
    for group in range(groups):
        next(transitions)
        envs.unwrapped.reset(options={"reset_mask": np.arange(number) % groups == group})
        if time.perf_counter() - begun > _SPREAD_S:
            break
    return transitions
