"""The study's grasps: the paper's, and others that cost nothing but the time to render them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from representation.data.dataset import Dataset, DatasetWriter
from vtenv import provenance
from vtenv.atomic_write import atomic_folder
from vtenv.grasps.grasps import POSE_LABELS, SPLITS, GraspConfig, grasp_blocks
from vtenv.modalities import IMAGE_MODALITIES
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES

FRESH_GRASPS = 48_000
"""Training grasps of our recipe, each of which it sees two or four times."""


@dataclass(frozen=True)
class GraspSet:
    """Grasps of one kind.

    Attributes:
        grasps: Training grasps, of the whole study and of a small one.
        seed: Added to the study's. Held-out grasps of one seed are the same whatever lies around.
        clutter: Objects beside the grasped one.
        splits: What is made.
    """

    grasps: tuple[int, int] = (1920, 320)
    seed: int = 0
    clutter: int = 0
    splits: tuple[str, ...] = SPLITS


SETS = {
    "paper": GraspSet(),
    "calibration": GraspSet(seed=2, splits=("heldout",)),
    "clutter-3": GraspSet(clutter=3, splits=("heldout",)),
    "clutter-6": GraspSet(clutter=6),
    "fresh": GraspSet((FRESH_GRASPS, 640), seed=1, splits=("train",)),
}
"""Sets of grasps by name, in the order that they are made in."""


def write_grasps(folder: Path, name: str, *, size: int, small: bool, seed: int = 0) -> None:
    """Render a set of grasps, unless it is there.

    Args:
        folder: Where sets are; each is a folder of its name.
        name: A name of `SETS`.
        size: Rows and columns of the images.
        small: Whether the study is small.
        seed: The study's.

    Raises:
        ValueError: If there is another study's.
    """
    chosen = SETS[name]
    grasps = chosen.grasps[small]
    settings: dict[str, Any] = {"seed": seed + chosen.seed, "image_size": size, "grasps": grasps}
    settings["clutter"] = chosen.clutter
    if (folder / name).exists():
        there = Dataset.open(folder / name).settings
        if there != settings:
            raise ValueError(
                f"{folder / name} was made with {there}, and this study asks for "
                f"{settings}; choose another --output, or the options it was begun with"
            )
        return
    config = GraspConfig(image_size=size, contact_size=size, grasps=grasps, clutter=chosen.clutter)
    with (
        atomic_folder(folder / name) as temporary,
        DatasetWriter(
            temporary,
            kind="clutter" if chosen.clutter else "paper",
            settings=settings,
            labels=POSE_LABELS,
            codes={"connector": CONNECTOR_NAMES},
            modalities=IMAGE_MODALITIES,
            made={"commit": provenance.commit(), "versions": provenance.versions()},
        ) as writer,
    ):
        for split in chosen.splits:
            for block in grasp_blocks(config, split, seed + chosen.seed):
                writer.append(split, block)
