"""How long encoders take, beside the environment whose observations they encode."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import timm

import vtenv
from representation import EncoderConfig, VisuotactileEncoder
from representation.runtime import RUNTIMES, FrozenEncoder, example_image
from vtenv.modalities import IMAGE_MODALITIES
from vtenv.rollout import rollout

BATCHES = (1, 16, 64)
"""Observations that are encoded together."""
BACKBONE_SIZES = (64, 224)
"""Rows and columns of the images of an encoder built for its timing alone."""
_ENOUGH_S = 6.0
"""Once a batch has taken this long in all, it is not repeated again."""


def candidates(names: Sequence[str]) -> Iterator[tuple[str, VisuotactileEncoder]]:
    """Encoders by name, one after the other.

    Args:
        names: Bundled encoders, folders or ids on the Hugging Face Hub; or timm's networks, of
            which an encoder is built for each of `BACKBONE_SIZES`, untrained: its time does not
            depend on its weights.

    Yields:
        Each encoder and its name.

    Raises:
        EncoderFileError: If there is no such encoder and no such network.
        ValueError: If a network does not take images of these sizes.
    """
    for name in names:
        if not timm.is_model(name):
            yield name, VisuotactileEncoder.from_pretrained(name)
            continue
        for size in BACKBONE_SIZES:
            images = {"depth": (1, size, size), "contact": (2, size, size)}
            yield name, VisuotactileEncoder(EncoderConfig(name, images=images))


@dataclass
class Timing:
    """What a batch took.

    Attributes:
        encoder: The encoder's name.
        image_size: Rows of its first image.
        parameters: Its numbers to learn.
        runtime: What ran it, one of `representation.runtime.RUNTIMES`.
        batch: Observations encoded together.
        seconds: Seconds for the batch, by repetition.
        environment: Seconds of the environment's step right after it, by repetition.
    """

    encoder: str
    image_size: int
    parameters: int
    runtime: str
    batch: int
    seconds: list[float] = field(default_factory=list)
    environment: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Medians over repetitions, for a report."""
        seconds = statistics.median(self.seconds)
        ratios = [own / other for own, other in zip(self.seconds, self.environment, strict=True)]
        return {
            "encoder": self.encoder,
            "image_size": self.image_size,
            "parameters": self.parameters,
            "mib": self.parameters * 4 / 2**20,
            "runtime": self.runtime,
            "batch": self.batch,
            "repetitions": len(self.seconds),
            "batch_ms": seconds * 1e3,
            "lowest_ms": min(self.seconds) * 1e3,
            "highest_ms": max(self.seconds) * 1e3,
            "observation_ms": seconds * 1e3 / self.batch,
            "environment_step_ms": statistics.median(self.environment) * 1e3,
            "over_environment_step": statistics.median(ratios),
        }


def environment_steps(worlds: int, threads: int, seed: int) -> Generator[float, None, None]:
    """Step an environment with random actions, whenever the next one is asked for.

    Args:
        worlds: Worlds that are stepped together.
        threads: The simulator's threads.
        seed: Seed of worlds and actions.

    Yields:
        Seconds that a control step of all worlds took.
    """
    envs = gymnasium.make_vec(
        vtenv.ENV_ID,
        num_envs=worlds,
        vectorization_mode="vector_entry_point",
        num_threads=threads,
    )
    generator, shape = np.random.default_rng(seed), envs.action_space.shape
    transitions = rollout(
        envs, lambda *_: generator.uniform(-1.0, 1.0, shape).astype(np.float32), seed=seed
    )
    try:
        next(transitions)
        while True:
            start = time.perf_counter()
            next(transitions)
            yield time.perf_counter() - start
    finally:
        envs.close()


def measure(
    name: str,
    encoder: VisuotactileEncoder,
    steps: Iterator[float],
    *,
    threads: int,
    repetitions: int,
    seed: int,
    advance: Callable[[], object] = lambda: None,
) -> list[Timing]:
    """Time an encoder, with every runtime and every size of `BATCHES`.

    Runtimes and batches take turns, and a step of the environment follows each, so that a ratio
    compares neighbours in time, as they are when a policy learns.

    Args:
        name: The encoder's name.
        encoder: The encoder.
        steps: Seconds of steps of the environment, which it takes when asked.
        threads: Threads that encode.
        repetitions: Repetitions; fewer of a batch that takes seconds.
        seed: Seed of the images.
        advance: Called after every repetition.

    Returns:
        A timing for every runtime and batch.
    """
    generator = np.random.default_rng(seed)
    images = {
        key: example_image(key, shape, max(BATCHES), IMAGE_MODALITIES[key].dtype, generator)
        for key, shape in encoder.image_shapes.items()
    }
    image_size = next(iter(encoder.image_shapes.values()))[1]
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    frozen = {
        runtime: FrozenEncoder(encoder, runtime=runtime, num_threads=threads)
        for runtime in RUNTIMES
    }
    timings = [
        Timing(name, image_size, parameters, runtime, batch)
        for runtime in RUNTIMES
        for batch in BATCHES
    ]
    for runtime in RUNTIMES:  # exports the network, starts threads and touches memory
        frozen[runtime]({key: value[: BATCHES[1]] for key, value in images.items()})
    for _ in range(repetitions):
        for timing in timings:
            if sum(timing.seconds) > _ENOUGH_S:
                continue
            batch = {key: value[: timing.batch] for key, value in images.items()}
            start = time.perf_counter()
            frozen[timing.runtime](batch)
            timing.seconds.append(time.perf_counter() - start)
            timing.environment.append(next(steps))
        advance()
    return timings
