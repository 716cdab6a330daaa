"""How long encoders take on a processor, beside the environment whose observations they encode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import timm

from policies.benchmarks.timing import Case, Clock, PartTimer
from representation import EncoderConfig, VisuotactileEncoder
from representation.runtime import CPU_RUNTIMES, FrozenEncoder, example_image
from vtenv.modalities import IMAGE_MODALITIES

BATCHES = (1, 16, 64)
"""Observations that are encoded together."""
BACKBONE_SIZES = (64, 224)
"""Rows and columns of the images of an encoder built for its timing alone."""
_ENCODING, _STEP = "encoding", "environment's step"


def load_encoders(
    names: Sequence[str], images: Sequence[Mapping[str, tuple[int, int, int]]]
) -> Iterator[tuple[str, VisuotactileEncoder]]:
    """Encoders by name, one after the other.

    Args:
        names: Bundled encoders, folders or ids on the Hugging Face Hub; or timm's networks, of
            which an encoder is built for each of `images`, untrained: its time does not depend on
            its weights.
        images: Shapes of images by key.

    Raises:
        EncoderFileError: If there is no such encoder and no such network.
        ValueError: If a network does not take images of these sizes.
    """
    for name in names:
        if timm.is_model(name):
            for shapes in images:
                yield name, VisuotactileEncoder(EncoderConfig(name, images=dict(shapes)))
        else:
            yield name, VisuotactileEncoder.from_pretrained(name)


def backbone_images() -> list[dict[str, tuple[int, int, int]]]:
    """Images of the encoders that are built for their timing alone."""
    return [{"depth": (1, size, size), "contact": (2, size, size)} for size in BACKBONE_SIZES]


def encoding_cases(
    encoder: VisuotactileEncoder, transitions: Iterator[Any], threads: int, seed: int
) -> list[Case]:
    """An encoder with every runtime and every size of `BATCHES`.

    A step of the environment follows each encoding, as when a policy learns, and shows what the
    encoder's threads leave to the simulator's.

    Args:
        encoder: The encoder.
        transitions: Steps the environment.
        threads: Threads that encode.
        seed: Seed of the images.
    """
    generator = np.random.default_rng(seed)
    images = {
        key: example_image(key, shape, max(BATCHES), IMAGE_MODALITIES[key].dtype, generator)
        for key, shape in encoder.image_shapes.items()
    }

    def case(runtime: str, frozen: FrozenEncoder, batch: int) -> Case:
        timer = PartTimer(Clock("cpu"), (_ENCODING, _STEP))
        observation = {key: image[:batch] for key, image in images.items()}

        def step() -> None:
            timer.timed(_ENCODING, frozen, observation)
            timer.timed(_STEP, next, transitions)

        return Case(runtime, step, batch, threads, timer)

    frozen = {
        name: FrozenEncoder(encoder, runtime=name, num_threads=threads) for name in CPU_RUNTIMES
    }
    return [case(name, frozen[name], batch) for name in CPU_RUNTIMES for batch in BATCHES]


def encoding_rows(
    name: str, encoder: VisuotactileEncoder, cases: Sequence[Case]
) -> list[dict[str, Any]]:
    """A row for every case that was timed: medians over repetitions, times in [ms]."""
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    rows = []
    for case in cases:
        own, environment = (
            1e3 * np.array([parts[part] for parts in case.parts]) for part in (_ENCODING, _STEP)
        )
        rows.append(
            {
                "encoder": name,
                "image_size": next(iter(encoder.image_shapes.values()))[1],
                "parameters": parameters,
                "mib": parameters * 4 / 2**20,
                "runtime": case.name,
                "batch": case.worlds,
                "repetitions": len(own),
                "batch_ms": float(np.median(own)),
                "lowest_ms": float(own.min()),
                "highest_ms": float(own.max()),
                "observation_ms": float(np.median(own)) / case.worlds,
                "environment_step_ms": float(np.median(environment)),
                "over_environment_step": float(np.median(own / environment)),
            }
        )
    return rows
