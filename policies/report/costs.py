"""What it costs to encode: the arithmetic behind one embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from policies.deployable import load_policy
from policies.policy_files import WEIGHTS_FILE
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
    absent: list[str] = []
    unknown: dict[str, str] = {}
    for run in runs:
        name = run.representation
        if name in found:
            continue
        folder = run.folder / POLICY
        if not (folder / WEIGHTS_FILE).is_file():  # Published studies do without.
            absent.append(name)
            continue
        try:
            encoder = load_policy(folder).representation.encoder
        except (ValueError, OSError) as error:
            # What could be given in its place, which errors go on with, is no matter here.
            unknown.setdefault(name, str(error).partition(";")[0])
            continue
        found[name] = 0.0 if encoder is None else mega_operations(encoder)
        unknown.pop(name, None)
    notes = []
    if without := [name for name in dict.fromkeys(absent) if name not in {*found, *unknown}]:
        names = f" with {spoken_list(without)}" if found or unknown else ""
        notes.append(f"What it costs to encode{names} is not known: the runs hold no policies.")
    if unknown:
        names, reason = spoken_list(list(unknown)), next(iter(unknown.values()))
        notes.append(f"What it costs to encode with {names} is not known: {reason}.")
    return found, notes


def mega_operations(encoder: VisuotactileEncoder) -> float:
    """Millions of floating-point operations to encode one observation.

    They are those of matrix products and convolutions; a multiplication and an addition are two.
    Unlike a time, they are the same on every machine.
    """
    observation = {key: torch.zeros(1, *shape) for key, shape in encoder.image_shapes.items()}
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        encoder(observation)
    return float(counter.get_total_flops() / 1e6)
