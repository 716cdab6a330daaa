"""`vtinsert dataset`: the paper's grasps, experience of the task, or clutter, on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from policies.choices import default, require_at_least
from representation.require import require

WORLDS = {"cpu": 64, "warp": 1024}
"""Worlds that are stepped together, unless given."""


@dataclass(frozen=True)
class Paper:
    """Paired depth images and contact masks of grasps, one object alone, as in the paper."""

    output: Path = Path("outputs/paper")
    """Folder of the data set; must not exist, or be empty."""
    seed: int = 0
    """Seed of everything random."""
    image_size: int = 224
    """Rows and columns of the overhead depth image."""
    contact_size: int = 224
    """Rows and columns of each finger's contact mask."""
    grasps: int = 1920
    """Training grasps, a multiple of 4; more than the paper's are drawn beyond its grid."""
    heldout: Annotated[int | None, default("a third of the training grasps")] = None
    """Held-out grasps, a multiple of 4."""
    threads: Annotated[int | None, default("one a core")] = None
    """Threads; the data are the same."""

    def __post_init__(self) -> None:
        require_at_least(self, seed=0, threads=1)


@dataclass(frozen=True)
class Clutter(Paper):
    """As `paper`, with other objects around the one that is grasped."""

    output: Path = Path("outputs/clutter")
    """Folder of the data set; must not exist, or be empty."""
    objects: int = 3
    """Objects beside the grasped one, 1 to 6."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, objects=1)


@dataclass(frozen=True)
class ExperienceOptions:
    """Episodes of the task by experts, wrong and noisy ones, and random ones, near contact."""

    output: Path = Path("outputs/experience")
    """Folder of the data set; must not exist, or be empty. An interrupted run is gone on with."""
    seed: int = 0
    """Seed of everything random."""
    frames: int = 200_000
    """Rows in all; rounded up so that every world plays as many steps."""
    heldout: float = 0.1
    """Part of the episodes that is held out, 0 to 0.5."""
    task: str = "VTInsert-v0"
    """The environment's id; its settings are options too."""
    modalities: tuple[str, ...] = ("depth", "contact", "proprio")
    """What is observed: keys of the task's modalities, such as gel."""
    mixture: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME=PART ..."), default("the task's")
    ] = ()
    """How often an episode is of each of the task's behaviours, such as expert=0.5 walk=0."""
    engine: Literal["cpu", "warp"] = "cpu"
    """The physics engine."""
    device: Annotated[str | None, default("cuda:0 with warp")] = None
    """Device of the Warp engine."""
    worlds: Annotated[int | None, default(f"{WORLDS['cpu']}, or {WORLDS['warp']} with warp")] = None
    """Worlds that are stepped together."""
    threads: Annotated[int | None, default("one a core")] = None
    """Threads of the CPU engine; the data are the same."""

    def __post_init__(self) -> None:
        require_at_least(self, seed=0, frames=1, worlds=1, threads=1)
        require(0 <= self.heldout <= 0.5, "heldout", self.heldout, "from 0 to 0.5")


@dataclass(frozen=True)
class Check:
    """Compare every file of a data set with its checksum, and say what is in it."""

    folder: tyro.conf.Positional[Path]
    """Folder of the data set."""


@dataclass(frozen=True)
class Export:
    """Write a data set of experience in another library's format, with that library."""

    folder: tyro.conf.Positional[Path]
    """Folder of the data set."""
    format: Literal["lerobot", "minari"] = "lerobot"
    """A LeRobotDataset, or a data set of Minari; the library must be installed."""
    output: Path = Path("outputs/export")
    """Folder to write: the LeRobotDataset's root, or MINARI_DATASETS_PATH; must not exist."""
    name: str = "vtinsert/experience-v0"
    """Its id in that library."""
    split: str = "train"
    """Which part of the data set."""


What = (
    Annotated[Paper, tyro.conf.subcommand("paper")]
    | Annotated[ExperienceOptions, tyro.conf.subcommand("experience")]
    | Annotated[Clutter, tyro.conf.subcommand("clutter")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Export, tyro.conf.subcommand("export")]
)


def dataset(what: What, settings: tyro.conf.Suppress[dict[str, Any] | None] = None) -> int:
    """Make a data set: the paper's grasps, experience of the task, or clutter.

    Writes a folder of checksummed shards, whole or not at all, and a picture of samples.

    Args:
        what: What to do.
        settings: Settings of the environment of experience.
    """
    from policies.commands.write_dataset import show, write, write_export  # slow to import

    if isinstance(what, Check):
        show(what.folder, verify=True)
        print(f"Every file of {what.folder} is what was written.")
        return 0
    if isinstance(what, Export):
        count = write_export(what)
        print(f"{count:,} episodes of {what.folder} are {what.name} in {what.output}")
        return 0
    picture = write(what, settings or {})
    show(what.output)
    print(f"Data set: {what.output}\nSamples: {picture}")
    return 0
