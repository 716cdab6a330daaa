"""`vtinsert probe`: what encoders know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from policies.choices import default, require_at_least
from policies.representation_names import check_encoder


@dataclass(frozen=True)
class ProbeOptions:
    """Options of `vtinsert probe`."""

    encoder: tyro.conf.Positional[
        Annotated[tuple[str, ...], tyro.conf.arg(help_behavior_hint="(one or more)")]
    ]
    """Encoders: names of bundled ones, folders, ids on the Hugging Face Hub, "random:BACKBONE" for
    one of that timm backbone that was never trained, or MODULE:NAME for any of your own. Several
    are shown side by side."""
    data: Path = Path("outputs/experience")
    """Folder of a data set that `vtinsert dataset` made."""
    rows: int = 20_000
    """Most training rows; of the held-out ones, half as many."""
    baselines: bool = True
    """Whether to probe raw pixels and an untrained encoder too."""
    batch_size: Annotated[int | None, default("64 on a CPU, 512 elsewhere")] = None
    """Rows that are embedded at once."""
    device: str = "cpu"
    """Where to run networks, such as "cuda:0"."""
    seed: int = 0
    """Seed of all that is drawn."""
    output: Path = Path("outputs/probe")
    """Folder for the report; with several encoders, one for each in it."""


def probe(options: ProbeOptions) -> int:
    """Audit what encoders know: pose, connector, and what the senses share.

    Fits linear probes on the training split of a data set and measures them on its held-out
    split, near contact apart from free space. Writes `measurements.csv`, `report.json`,
    `report.md` and pictures.

    Args:
        options: What to probe, and on what.
    """
    require_at_least(options, rows=20, batch_size=1, seed=0)
    for name in options.encoder:
        check_encoder(name)
    from representation.data.dataset import Dataset

    Dataset.open(options.data)  # says what is wrong with it before what follows imports torch
    from policies.probing import probe_encoders

    return probe_encoders(options)
