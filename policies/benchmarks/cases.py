"""What the benchmark runs: a table of environments, on either engine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from policies.benchmarks.benchmark_config import BenchmarkConfig
from policies.benchmarks.timing import Case, Clock, EngineProbe
from policies.worlds import simulation_of
from vtenv.expert_policy import expert_actions
from vtenv.provenance import cores
from vtenv.registry import make_world, make_worlds
from vtenv.rollout import rollout

NUMPY, TORCH = "environment", "environment, tensors"
SINGLE, RESET = "one world alone", "reset of one world"
_EPISODE_STEPS = 100
_SPREAD_S = 5.0
"""Longest time to bring the worlds out of step."""
_ACTIONS = 8
"""Random actions that take turns, so that none is drawn while time is taken."""


@contextmanager
def environment_cases(
    config: BenchmarkConfig, number: int, encoders: Mapping[str, Any]
) -> Iterator[tuple[list[Case], float]]:
    """The environment, with each sensor alone, with tensors and with encoders.

    Args:
        config: What is measured.
        number: Worlds that are stepped together.
        encoders: By name; on a device, a case each.

    Yields:
        The cases, and the device's memory that the environment takes a world, in [KiB]; not a
        number on a CPU.
    """
    on_cpu = config.engine == "cpu"
    clock = Clock(config.on or "cpu")
    cases: list[Case] = []
    with ExitStack() as stack:
        make = partial(make_envs, config, number)

        def add(name: str, envs: VectorEnv[Any, Any, Any], threads: int | None) -> None:
            stack.callback(envs.close)
            simulation = simulation_of(envs)
            probe = EngineProbe(simulation.engine, clock)
            transitions = stepping(envs, config)
            simulation.engine = probe
            cases.append(Case(name, lambda: next(transitions), number, threads, probe))

        before = clock.memory_used()
        for threads in sorted({1, min(config.threads or cores(), number)}) if on_cpu else [None]:
            envs = make(threads)
            add(NUMPY, envs, threads)
            kib = (clock.memory_used() - before) / 2**10 / number
            images = [m for m in simulation_of(envs).task.config.modalities if m.is_image]
            for image in images:
                others = {m.size_setting for m in images} - {image.size_setting}
                rest = {k: v for k, v in config.settings.items() if k not in others}
                alone = make_envs(
                    replace(config, settings=rest), number, threads, modalities=(image.key,)
                )
                add(f"{image.key} sensor", alone, threads)
        if on_cpu:
            cases += _single_cases(config, stack)
        else:
            add(TORCH, make(None, observations="torch"), None)
        for name, encoder in encoders.items():
            from representation.wrappers.encode import VectorEncodeObservation

            encoding = VectorEncodeObservation(make(None, observations="torch"), encoder, flat=True)
            add(f"{TORCH}, {name}", encoding, None)
        yield cases, kib


def make_envs(
    config: BenchmarkConfig, number: int, threads: int | None, **settings: Any
) -> VectorEnv[Any, Any, Any]:
    """So many worlds of the configuration's environment."""
    return make_worlds(
        config.task,
        number,
        engine=config.engine,
        device=config.on,
        num_threads=threads,
        autoreset_mode=AutoresetMode.SAME_STEP,
        max_episode_steps=_EPISODE_STEPS,
        **{**config.settings, **settings},
    )


def _single_cases(config: BenchmarkConfig, stack: ExitStack) -> list[Case]:
    """One world by itself, and what its reset costs."""
    env = make_world(config.task, **config.settings)
    stack.callback(env.close)
    env.reset(seed=config.seed)
    generator = np.random.default_rng(config.seed)
    actions = generator.uniform(-1.0, 1.0, (_ACTIONS, *env.action_space.shape)).astype(np.float32)
    taken = 0

    def step() -> None:
        nonlocal taken
        action = (
            expert_actions(env.simulation)[0]
            if config.actions == "expert"
            else actions[taken % _ACTIONS]
        )
        taken += 1
        _, _, terminated, _, _ = env.step(action)
        if terminated or taken % _EPISODE_STEPS == 0:
            env.reset()

    return [Case(SINGLE, step, 1, 1), Case(RESET, env.reset, 1, 1)]


def stepping(envs: VectorEnv[Any, Any, Any], config: BenchmarkConfig) -> Iterator[Any]:
    """Steps of worlds whose episodes end at every step, as many at each."""
    simulation, number = simulation_of(envs), envs.num_envs
    shape = (_ACTIONS, number, *(envs.single_action_space.shape or ()))
    generator = np.random.default_rng(config.seed)
    drawn: Any = generator.uniform(-1.0, 1.0, shape).astype(np.float32)
    taken = 0

    def act(observation: Any, _: Mapping[str, Any]) -> Any:
        nonlocal drawn, taken
        if config.actions == "expert":
            return expert_actions(simulation)
        part = next(iter(observation.values())) if isinstance(observation, dict) else observation
        if not taken and not isinstance(part, np.ndarray):
            import torch

            drawn = torch.as_tensor(drawn, device=part.device)
        taken += 1
        return drawn[taken % _ACTIONS]

    transitions = rollout(envs, act, seed=config.seed)
    groups, begun = min(_EPISODE_STEPS, number), time.perf_counter()
    for group in range(groups):
        next(transitions)
        envs.unwrapped.reset(options={"reset_mask": np.arange(number) % groups == group})
        if time.perf_counter() - begun > _SPREAD_S:
            break
    return transitions
