"""What the benchmark runs: a table of environments, on either engine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from policies.benchmarks.benchmark_config import BenchmarkConfig
from policies.benchmarks.timing import Case, Clock, EngineProbe
from policies.worlds import simulation_of
from vtenv.expert_policy import expert_actions
from vtenv.modalities import IMAGE_MODALITIES, choose_modalities
from vtenv.provenance import cores
from vtenv.registry import make_world, make_worlds
from vtenv.rollout import rollout
from vtenv.tasks.insertion.config import unused_settings

NUMPY, TORCH = "environment", "environment, tensors"
PLAIN = "environment, parts untimed"
"""The environment's own steps without a clock around its engine: what timing parts takes."""
SINGLE, RESET = "one world alone", "reset of one world"
TOUCH: dict[str, tuple[str, ...]] = {
    key: (key,) for key, modality in IMAGE_MODALITIES.items() if modality.is_touch
}
TOUCH["rgb + markers"] = ("rgb", "markers")
"""Modalities of touch whose cost is measured, one by one and together, by name."""
TOUCH_BUDGETS = {"cpu": {"markers": 0.15, "rgb": 0.50}, "warp": {"markers": 0.10}}
"""What they may add to a step at most, as a part of it, by engine: on one thread of a CPU, at the
default sizes."""
_TOUCH_CASES = ((False, "environment without {}"), (True, "environment with {}"))
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

    With `config.touch`, the environment and, for each of `TOUCH`, one that has it too, or lacks it
    where the environment has it; on a device all of them with tensors.

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
            engine = simulation.engine
            probe = EngineProbe(engine, clock)
            transitions = stepping(envs, config)

            def step(through: Any) -> None:
                simulation.engine = through
                next(transitions)

            cases.append(Case(name, partial(step, probe), number, threads, probe))
            if name == (NUMPY if on_cpu else TORCH) and not config.touch:
                cases.append(Case(PLAIN, partial(step, engine), number, threads))

        before = clock.memory_used()
        base, observations = (NUMPY, "numpy")
        if config.touch and not on_cpu:
            base, observations = (TORCH, "torch")
        for threads in sorted({1, min(config.threads or cores(), number)}) if on_cpu else [None]:
            envs = make(threads, observations=observations)
            add(base, envs, threads)
            kib = (clock.memory_used() - before) / 2**10 / number
            task = simulation_of(envs).task
            own = task.config.modalities
            for name, keys in TOUCH.items() if config.touch else ():
                without = [modality for modality in own if modality.key not in keys]
                adds = len(without) + len(keys) > len(own)
                chosen = choose_modalities([*without, *keys] if adds else without, task.modalities)
                unused = unused_settings(chosen)
                kept = {k: v for k, v in config.settings.items() if k not in unused}
                toggled = make_envs(
                    replace(config, settings=kept),
                    number,
                    threads,
                    modalities=chosen,
                    observations=observations,
                )
                add(dict(_TOUCH_CASES)[adds].format(name), toggled, threads)
            images = [] if config.touch else [m for m in own if m.is_image]
            for image in images:
                others = {m.size_setting for m in images} - {image.size_setting}
                rest = {k: v for k, v in config.settings.items() if k not in others}
                alone = make_envs(
                    replace(config, settings=rest), number, threads, modalities=(image.key,)
                )
                add(f"{image.key} sensor", alone, threads)
        if not config.touch:
            if on_cpu:
                cases += _single_cases(config, stack)
            else:
                add(TORCH, make(None, observations="torch"), None)
        for (name, encoder), precision in product(encoders.items(), config.precision):
            from representation.wrappers.encode import VectorEncodeObservation

            encoding = VectorEncodeObservation(
                make(None, observations="torch"), encoder, flat=True, precision=precision
            )
            told = "" if precision == "float32" else f" in {precision}"
            add(f"{TORCH}, {name}{told}", encoding, None)
        yield cases, kib


def touch_costs(cases: Sequence[Case], engine: str) -> list[dict[str, Any]]:
    """What each modality of touch adds to a step: a row for each, of paired repetitions.

    Args:
        cases: Of `environment_cases`, timed.
        engine: That they ran on.

    Returns:
        `added_ms`, the median of what a step takes longer with it, and `share`, that of the same as
        a part of a step without it; `low` and `high`, quartiles of the share; `budget`, the
        largest share that is allowed, or None. No rows unless touch was measured.
    """
    rows = []
    bases = {case.threads: case.seconds for case in cases if case.name in (NUMPY, TORCH)}
    toggles = {title.format(name): (name, adds) for name in TOUCH for adds, title in _TOUCH_CASES}
    for case in cases:
        if case.name not in toggles:
            continue
        name, adds = toggles[case.name]
        turns = zip(case.seconds, bases[case.threads], strict=False)  # one may end a turn earlier
        pairs = [(a, b) if adds else (b, a) for a, b in turns]  # with it, without it
        low, share, high = np.quantile([a / b - 1 for a, b in pairs], (0.25, 0.5, 0.75))
        budgeted = case.threads in (None, 1)
        rows.append(
            {
                "modality": name,
                "worlds": case.worlds,
                "threads": case.threads,
                "added_ms": statistics.median(a - b for a, b in pairs) * 1e3,
                "share": float(share),
                "low": float(low),
                "high": float(high),
                "budget": TOUCH_BUDGETS[engine].get(name) if budgeted else None,
                "repetitions": len(pairs),
            }
        )
    return rows


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
