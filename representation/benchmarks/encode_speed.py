"""How long encoders take, beside the environment whose observations they encode."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
import timm

import vtenv
from representation import EncoderConfig, VisuotactileEncoder
from representation.runtime import CPU_RUNTIMES, FrozenEncoder, example_image
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


def environment_steps(worlds: int, threads: int, seed: int) -> Generator[float, None, None]:
    """Step an environment with random actions, whenever the next one is asked for.

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
) -> list[dict[str, Any]]:
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
        A row for every runtime and batch: medians over repetitions, times in [ms].
    """
    generator = np.random.default_rng(seed)
    images = {
        key: example_image(key, shape, max(BATCHES), IMAGE_MODALITIES[key].dtype, generator)
        for key, shape in encoder.image_shapes.items()
    }
    batches = {batch: {key: image[:batch] for key, image in images.items()} for batch in BATCHES}
    frozen = {
        runtime: FrozenEncoder(encoder, runtime=runtime, num_threads=threads)
        for runtime in CPU_RUNTIMES
    }
    for runtime in CPU_RUNTIMES:  # exports the network, starts threads and touches memory
        frozen[runtime](batches[BATCHES[1]])
    timed: dict[tuple[str, int], list[tuple[float, float]]] = {
        case: [] for case in itertools.product(CPU_RUNTIMES, BATCHES)
    }
    for _ in range(repetitions):
        for (runtime, batch), times in timed.items():
            if sum(seconds for seconds, _ in times) > _ENOUGH_S:
                continue
            start = time.perf_counter()
            frozen[runtime](batches[batch])
            times.append((time.perf_counter() - start, next(steps)))
        advance()
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    rows = []
    for (runtime, batch), times in timed.items():
        own, environment = 1e3 * np.array(times).T
        rows.append(
            {
                "encoder": name,
                "image_size": next(iter(encoder.image_shapes.values()))[1],
                "parameters": parameters,
                "mib": parameters * 4 / 2**20,
                "runtime": runtime,
                "batch": batch,
                "repetitions": len(times),
                "batch_ms": float(np.median(own)),
                "lowest_ms": float(own.min()),
                "highest_ms": float(own.max()),
                "observation_ms": float(np.median(own)) / batch,
                "environment_step_ms": float(np.median(environment)),
                "over_environment_step": float(np.median(own / environment)),
            }
        )
    return rows
