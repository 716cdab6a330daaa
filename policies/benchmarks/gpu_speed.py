"""How fast the Warp engine and its parts run, on one device and with many worlds.

Work for a device is queued, and done later: a time ends when the device has caught up. Shares of a
step are told by events between the queued work, which do not make anything wait.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from policies.benchmarks.device_clock import ENOUGH_S, DeviceClock, StepProbe
from representation.timm_encoder import VisuotactileEncoder
from representation.wrappers.encode import VectorEncodeObservation
from vtenv.engines import Engine
from vtenv.simulation import Simulation
from vtenv.tasks.insertion.config import VTInsertConfig
from vtenv.vector_env import VTInsertVectorEnv

PHYSICS, DEPTH, CONTACT, SENSORS = (
    "physics",
    "physics + depth",
    "physics + contact",
    "physics + both sensors",
)
TORCH, NUMPY = "environment, torch", "environment, NumPy"
ORDER = (PHYSICS, DEPTH, CONTACT, SENSORS, TORCH, NUMPY)
"""What runs, besides the environment with each encoder."""
REST = "task, bookkeeping, resets"
"""The part of a step of the environment that is neither physics nor sensing."""

_EPISODE_STEPS = 100
_SPREAD_S = 5.0
"""Longest time to bring the worlds out of step."""
_ACTIONS = 8
"""Actions that take turns, so that none is drawn while time is taken."""


def encoded(name: str) -> str:
    """What the environment with an encoder is called."""
    return f"environment, torch, {name}"


@dataclass
class SizeSpeed:
    """What was measured with one number of worlds.

    Attributes:
        worlds: The number of worlds.
        seconds: Seconds of a step of all worlds, by what runs, by repetition.
        shares: Parts of the time of a step of the environment, by part; they sum to 1.
        resets: Worlds that a step of the environment resets, on average.
        kib_per_world: Memory of the device that the environment takes a world, in [KiB]; None
            where it cannot be told.
        error: Why there is no more; None if all was measured.
    """

    worlds: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    resets: float = 0.0
    kib_per_world: float | None = None
    error: str | None = None

    def summary(self) -> dict[str, Any]:
        """Control steps a second, medians and extremes over repetitions, for a report."""
        rates = {
            name: {
                "steps_per_second": self.worlds / statistics.median(seconds),
                "lowest": self.worlds / max(seconds),
                "highest": self.worlds / min(seconds),
                "step_ms": statistics.median(seconds) * 1e3,
            }
            for name in dict.fromkeys([*ORDER, *self.seconds])
            if (seconds := self.seconds.get(name))
        }
        return {
            "worlds": self.worlds,
            "rates": rates,
            "shares": self.shares,
            "resets_per_step": self.resets,
            "kib_per_world": self.kib_per_world,
            "error": self.error,
        }


def measure_size(
    result: SizeSpeed,
    *,
    device: str,
    settings: Mapping[str, Any],
    encoders: Mapping[str, VisuotactileEncoder],
    steps: int,
    repetitions: int,
    seed: int,
    advance: Callable[[], object] = lambda: None,
) -> None:
    """Measure everything with one number of worlds.

    Args:
        result: Says how many worlds; filled as far as it goes.
        device: A CUDA device, or "cpu".
        settings: The environment's `image_size` and `contact_size`.
        encoders: Encoders by name.
        steps: Most steps of a repetition.
        repetitions: Repetitions.
        seed: Seed of worlds and actions.
        advance: Called after each of the four groups of measurements.

    Raises:
        ValueError, RuntimeError: If the worlds do not fit the device, or an encoder does not fit
            the images.
    """
    clock = DeviceClock(torch.device(device))

    def environment(observations: str) -> VTInsertVectorEnv:
        return VTInsertVectorEnv(
            result.worlds,
            max_episode_steps=_EPISODE_STEPS,
            autoreset_mode="SameStep",
            engine="warp",
            device=device,
            observations=observations,
            **settings,
        )

    actions = _actions(result.worlds, torch.device(device), seed)
    before = clock.memory_used()
    with closing(environment("torch")) as envs:
        _spread(envs, actions, seed)
        after = clock.memory_used()
        if before is not None and after is not None:
            result.kib_per_world = (after - before) / 2**10 / result.worlds
        advance()
        targets = _measure_environment(result, clock, envs, actions, encoders, steps, repetitions)
    advance()
    for name, modality, size in (
        (DEPTH, "depth", "image_size"),
        (CONTACT, "contact", "contact_size"),
    ):
        config = VTInsertConfig.from_settings(modalities=(modality,), **{size: settings[size]})
        with closing(Simulation(config, result.worlds, "warp", device=device)) as simulation:
            generators = [np.random.default_rng((seed, k)) for k in range(result.worlds)]
            simulation.reset(np.arange(result.worlds), generators)
            timed = {name: _engine_step(simulation, targets, sense=True)}
            if name == DEPTH:
                timed = {PHYSICS: _engine_step(simulation, targets, sense=False)} | timed
            _repeat(result, clock, timed, steps, repetitions)
    advance()
    on_host = [action.cpu().numpy() for action in actions]
    with closing(environment("numpy")) as envs:
        _spread(envs, on_host, seed)
        _repeat(result, clock, {NUMPY: _env_step(envs, on_host)}, steps, repetitions)
    advance()


def _measure_environment(
    result: SizeSpeed,
    clock: DeviceClock,
    envs: VTInsertVectorEnv,
    actions: Sequence[Any],
    encoders: Mapping[str, VisuotactileEncoder],
    steps: int,
    repetitions: int,
) -> list[Any]:
    """The environment alone and with each encoder, in turn; then where its time goes.

    Returns:
        The targets of its last steps.
    """
    timed = {TORCH: _env_step(envs, actions)}
    for name, encoder in encoders.items():
        timed[encoded(name)] = _env_step(VectorEncodeObservation(envs, encoder, flat=True), actions)
    _repeat(result, clock, timed, steps, repetitions)

    simulation, engine = envs.simulation, envs.simulation.engine
    probe = StepProbe(engine, clock)
    simulation.engine = cast(Engine, probe)
    finished: list[Any] = []
    step = _env_step(envs, actions, finished)
    clock.wait()
    start = clock.mark()
    for number in range(max(1, min(steps, int(ENOUGH_S / min(result.seconds[TORCH]))))):
        step(number)
    end = clock.mark()
    clock.wait()
    simulation.engine = engine
    whole = clock.between(start, end)
    shares = {part: seconds / whole for part, seconds in probe.seconds().items()}
    result.shares = shares | {REST: 1.0 - sum(shares.values())}
    result.resets = float(torch.stack(finished).sum() / len(finished))
    _repeat(
        result,
        clock,
        {SENSORS: _engine_step(simulation, probe.targets, sense=True)},
        steps,
        repetitions,
    )
    return probe.targets


def _repeat(
    result: SizeSpeed,
    clock: DeviceClock,
    timed: Mapping[str, Callable[[int], object]],
    steps: int,
    repetitions: int,
) -> None:
    """Time steps in turn, so that ratios compare neighbours in time."""
    for _ in range(repetitions):
        for name, step in timed.items():
            result.seconds.setdefault(name, []).append(clock.seconds_of(step, steps))


def _env_step(
    envs: VectorEnv[Any, Any, Any], actions: Sequence[Any], finished: list[Any] | None = None
) -> Callable[[int], object]:
    def step(number: int) -> None:
        _, _, terminated, truncated, _ = envs.step(actions[number % len(actions)])
        if finished is not None:
            finished.append((terminated | truncated).float().sum())

    return step


def _engine_step(
    simulation: Simulation, targets: Sequence[Any], *, sense: bool
) -> Callable[[int], object]:
    """A control step of the engine alone, towards targets that the environment had."""
    every = np.arange(simulation.num_worlds)

    def step(number: int) -> None:
        simulation.engine.step(every, targets[number % len(targets)])
        if sense:
            simulation.engine.sense(every, simulation.generators)

    return step


def _spread(envs: VTInsertVectorEnv, actions: Sequence[Any], seed: int) -> None:
    """Bring the worlds out of step: as many episodes shall end at every step."""
    envs.reset(seed=seed)
    groups = min(_EPISODE_STEPS, envs.num_envs)
    begun = time.perf_counter()
    for group in range(groups):
        envs.step(actions[group % len(actions)])
        mask = np.arange(envs.num_envs) % groups == group
        envs.reset(options={"reset_mask": mask})
        if time.perf_counter() - begun > _SPREAD_S:
            return


def _actions(worlds: int, device: torch.device, seed: int) -> list[torch.Tensor]:
    """Random actions of all worlds, (N, 5) each."""
    generator = torch.Generator(device).manual_seed(seed)
    shape = (_ACTIONS, worlds, 5)
    drawn = torch.rand(shape, generator=generator, device=device) * 2.0 - 1.0
    return list(drawn)
