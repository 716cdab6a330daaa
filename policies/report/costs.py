"""What it costs to encode: the arithmetic behind one embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from policies.deployable import load_policy
from policies.report.numbers import spoken_list
from policies.report.study import Run
from representation.timm_encoder import VisuotactileEncoder

POLICY = "best"
"""Folder of a run's policy that was judged; it knows its encoder."""


def encoding_costs(runs: Sequence[Run]) -> tuple[dict[str, float], list[str]]:
    """What it costs to encode an observation with the encoders of a study.

    Args:
        runs: The study's runs; the first of a representation whose policy is there speaks for it.

    Returns:
        Millions of floating-point operations by representation, 0 without an encoder; and notes
        on those whose cost cannot be told.
    """
    found: dict[str, float] = {}
    unknown: dict[str, str] = {}
    for run in runs:
        name = run.representation
        if name in found:
            continue
        try:
            encoder = load_policy(run.folder / POLICY).representation.encoder
        except (ValueError, OSError) as error:
            unknown.setdefault(name, str(error))
            continue
        found[name] = 0.0 if encoder is None else mega_operations(encoder)
        unknown.pop(name, None)
    if not unknown:
        return found, []
    names = spoken_list(list(unknown))
    return found, [
        f"What it costs to encode with {names} is not known: {next(iter(unknown.values()))}."
    ]


def mega_operations(encoder: VisuotactileEncoder) -> float:
    """Millions of floating-point operations to encode one observation.

    They are those of matrix products and convolutions; a multiplication and an addition are two.
    Unlike a time, they are the same on every machine.
    """
    observation = {key: torch.zeros(1, *shape) for key, shape in encoder.image_shapes.items()}
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        encoder(observation)
    return float(counter.get_total_flops() / 1e6)
