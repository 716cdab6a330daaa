"""`vtinsert dataset`: the paper's grasps, experience of the task, or clutter, on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import imageio.v3
import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from policies.commands import CommandError
from policies.films.preview import preview
from policies.worlds import DEFAULT_TASK, make_task, settings_to_json
from representation.data.dataset import Dataset, DatasetError, DatasetWriter
from vtenv import provenance
from vtenv.atomic_write import atomic_write
from vtenv.collection.experience import Experience, column_codes, heldout_episodes, record
from vtenv.grasps.grasps import POSE_LABELS as GRASP_LABELS
from vtenv.grasps.grasps import SPLITS, GraspConfig, grasp_blocks, num_grasps
from vtenv.json_document import from_document
from vtenv.modalities import IMAGE_MODALITIES
from vtenv.progress import progress_bar
from vtenv.tasks import Task
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES
from vtenv.validation import require

PREVIEW_FILE = "preview.png"

_PART_BYTES = 400 * 2**20
"""Memory that a part of experience may take: what an interruption loses at most, and a shard."""
_SHORTEST_PART = 128
"""Steps that every world plays in a part, at least: more than the longest episode."""
_WORLDS = {"cpu": 64, "warp": 1024}
"""Worlds that are stepped together, unless given."""
_BLOCK = 64
"""Grasps made at a time."""
_ROWS_AT_ONCE = 1024
"""Rows of experience that are encoded at a time."""


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
    heldout: int | None = None
    """Held-out grasps, a multiple of 4; by default a third of the training grasps."""
    threads: int | None = None
    """Threads; by default one a core. The data are the same."""


@dataclass(frozen=True)
class Clutter(Paper):
    """As `paper`, with other objects around the one that is grasped."""

    output: Path = Path("outputs/clutter")
    """Folder of the data set; must not exist, or be empty."""
    objects: int = 3
    """Objects beside the grasped one, 1 to 6."""


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
    task: str = DEFAULT_TASK
    """The environment's id; its settings are options too."""
    modalities: tuple[str, ...] = ("depth", "contact", "proprio")
    """What is observed: keys of the task's modalities, such as gel."""
    mixture: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=PART ...")] = ()
    """How often an episode is of each of the task's behaviours, such as expert=0.5 walk=0."""
    engine: Literal["cpu", "warp"] = "cpu"
    """The physics engine."""
    device: str | None = None
    """Device of the Warp engine; by default cuda:0."""
    worlds: int | None = None
    """Worlds that are stepped together; by default 64, or 1024 with the Warp engine."""
    threads: int | None = None
    """Threads of the CPU engine; by default one a core. The data are the same."""


@dataclass(frozen=True)
class Check:
    """Compare every file of a data set with its checksum, and say what is in it."""

    folder: tyro.conf.Positional[Path]
    """Folder of the data set."""


SUBCOMMANDS = {"paper": Paper, "experience": ExperienceOptions, "clutter": Clutter, "check": Check}
"""Options of each subcommand."""

What = (
    Annotated[Paper, tyro.conf.subcommand("paper")]
    | Annotated[ExperienceOptions, tyro.conf.subcommand("experience")]
    | Annotated[Clutter, tyro.conf.subcommand("clutter")]
    | Annotated[Check, tyro.conf.subcommand("check")]
)


def dataset(
    what: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[What]],
    settings: tyro.conf.Suppress[dict[str, Any] | None] = None,
) -> int:
    """Make a data set: the paper's grasps, experience of the task, or clutter.

    Writes a folder of checksummed shards, whole or not at all, and a picture of samples.

    Args:
        what: What to do.
        settings: Settings of the environment of experience.
    """
    if isinstance(what, Check):
        opened = Dataset.open(what.folder)
        opened.verify()
        _print(opened)
        print(f"Every file of {what.folder} is what was written.")
        return 0
    require(what.seed >= 0, "seed", what.seed, "0 or more")
    require(what.threads is None or what.threads >= 1, "threads", what.threads, "at least 1")
    with _output(what.output):
        if _lacks_only_the_picture(what.output):
            pass
        elif isinstance(what, ExperienceOptions):
            _write_experience(what, settings or {})
        else:
            _write_grasps(what)
        opened, picture = Dataset.open(what.output), what.output / PREVIEW_FILE
        with atomic_write(picture) as temporary:
            imageio.v3.imwrite(temporary, preview(opened))
    _print(opened)
    print(f"Data set: {what.output}\nSamples: {picture}")
    return 0


def _lacks_only_the_picture(folder: Path) -> bool:
    """Whether this very command was ended between the data set and its picture."""
    if (folder / PREVIEW_FILE).exists():
        return False
    try:
        return Dataset.open(folder).made.get("command") == _made()["command"]
    except DatasetError:
        return False


@contextlib.contextmanager
def _output(folder: Path) -> Iterator[None]:
    """Say what is wrong with a folder that cannot be written."""
    try:
        yield
    except OSError as error:
        raise CommandError(
            f"cannot write {folder}: {error.strerror or error}; make room and give the same "
            "command again, or choose another folder with --output"
        ) from None


def _made() -> dict[str, Any]:
    return {
        "command": shlex.join(["vtinsert", *sys.argv[1:]]),
        "commit": provenance.commit(),
        "versions": provenance.versions(),
    }


def _write_grasps(options: Paper | Clutter) -> None:
    objects = options.objects if isinstance(options, Clutter) else 0
    if isinstance(options, Clutter):
        require(objects >= 1, "objects", objects, "at least 1")
    config = GraspConfig(
        image_size=options.image_size,
        contact_size=options.contact_size,
        clutter=objects,
        grasps=options.grasps,
        heldout=options.heldout,
    )
    total = sum(num_grasps(config, split) for split in SPLITS)
    writer = DatasetWriter(
        options.output,
        kind="clutter" if objects else "paper",
        settings={"seed": options.seed, **dataclasses.asdict(config)},
        labels=GRASP_LABELS,
        codes={"connector": CONNECTOR_NAMES},
        modalities=IMAGE_MODALITIES,
        made=_made(),
    )
    with writer, progress_bar() as progress:
        bar = progress.add_task("Grasping", total=total)
        for split in SPLITS:
            for block in grasp_blocks(config, split, options.seed, _BLOCK, options.threads):
                writer.append(split, block)
                progress.advance(bar, len(block["connector"]))


@dataclass(frozen=True)
class _Plan:
    """How experience is cut into parts that are made independently.

    Attributes:
        worlds: Worlds that are stepped together.
        parts: Parts.
        steps: Steps of every world in a part.
    """

    worlds: int
    parts: int
    steps: int

    @classmethod
    def of(cls, options: ExperienceOptions, task: Task) -> _Plan:
        """The plan that options ask for."""
        # Few frames are played by few worlds, so that their episodes come to an end.
        most = max(1, options.frames // _SHORTEST_PART)
        worlds = min(options.worlds or _WORLDS[options.engine], most)
        images = [record for record in task.config.modalities if record.is_image]
        spaces = [record.space(task.image_size(record)) for record in images]
        row_bytes = sum(math.prod(space.shape) * space.dtype.itemsize for space in spaces) or 1
        rows = max(_PART_BYTES // row_bytes, worlds * _SHORTEST_PART)
        parts = math.ceil(options.frames / rows)
        return cls(worlds, parts, math.ceil(options.frames / (parts * worlds)))


def _write_experience(options: ExperienceOptions, settings: Mapping[str, Any]) -> None:
    require(0 <= options.heldout <= 0.5, "heldout", options.heldout, "from 0 to 0.5")
    for name in ("frames", "worlds"):
        given = getattr(options, name)
        require(given is None or given >= 1, name, given, "at least 1")
    task = make_task(options.task, {**settings, "modalities": options.modalities})
    defaults = {field.name: field.default for field in dataclasses.fields(type(task.config))}
    environment = settings_to_json({**defaults, **settings, "modalities": options.modalities})
    mixture = _mixture(task, options.mixture)
    plan = _Plan.of(options, task)
    writer = DatasetWriter(
        options.output,
        kind="experience",
        settings={
            "task": options.task,
            "seed": options.seed,
            "heldout": options.heldout,
            **environment,
            "mixture": dataclasses.asdict(mixture),
            "engine": options.engine,
            **dataclasses.asdict(plan),
        },
        labels=task.pose_labels,
        codes=column_codes(task),
        modalities=task.modalities,
        made=_made(),
    )
    with writer, _kept(writer, plan.parts):
        if writer.completed < plan.parts:
            _play(writer, options, plan, mixture, environment)


def _mixture(task: Task, texts: tuple[str, ...]) -> Any:
    """How often each of a task's behaviours is drawn, from such as "expert=0.5"."""
    try:
        parts = {name: float(part) for name, _, part in (text.partition("=") for text in texts)}
    except ValueError:
        raise CommandError(f"--mixture {' '.join(texts)}: write it as expert=0.5 walk=0") from None
    return from_document(task.mixture_type, parts)


def _play(
    writer: DatasetWriter,
    options: ExperienceOptions,
    plan: _Plan,
    mixture: Any,
    environment: Mapping[str, Any],
) -> None:
    """Play the parts that are not there yet."""
    with progress_bar() as progress:
        # The bar comes first: the first run of all compiles, and settles the grasps.
        part_frames = plan.worlds * plan.steps
        done = writer.completed * part_frames
        bar = progress.add_task("Playing", total=plan.parts * part_frames, completed=done)
        if writer.completed:
            progress.console.print(f"Going on after {done:,} frames")
        experience = Experience(
            plan.worlds,
            task=options.task,
            mixture=mixture,
            engine=options.engine,
            device=options.device,
            num_threads=options.threads,
            **environment,
        )
        with contextlib.closing(experience):
            for part in range(writer.completed, plan.parts):
                rows = experience.rows((options.seed, part))
                played = record(
                    _counted(rows, lambda: progress.advance(bar, plan.worlds)), plan.steps
                )
                _append_part(writer, options, part, played)


@contextlib.contextmanager
def _kept(writer: DatasetWriter, parts: int) -> Iterator[None]:
    """Say what of an interrupted data set is kept."""
    try:
        yield
    except (KeyboardInterrupt, OSError):
        if writer.completed:
            print(
                f"\nInterrupted. {writer.completed} of {parts} parts are kept in "
                f"{writer.folder}; the same command goes on from there.",
                file=sys.stderr,
            )
        raise


def _counted(items: Iterator[Any], call: Callable[[], None]) -> Iterator[Any]:
    """The items, and a call for each."""
    for item in items:
        call()
        yield item


def _append_part(
    writer: DatasetWriter, options: ExperienceOptions, part: int, rows: dict[str, NDArray[Any]]
) -> None:
    """Number a part's episodes apart from all others, hold some out, and keep it."""
    rng = np.random.default_rng((options.seed, part, 1))
    heldout = heldout_episodes(rows["episode"], options.heldout, rng)
    rows["episode"] += part << 32
    for first in range(0, len(heldout), _ROWS_AT_ONCE):  # to copy few rows at a time
        some = {name: value[first : first + _ROWS_AT_ONCE] for name, value in rows.items()}
        held = heldout[first : first + _ROWS_AT_ONCE]
        for split, mask in (("train", ~held), ("heldout", held)):
            if mask.any():
                writer.append(split, {name: value[mask] for name, value in some.items()})
    writer.checkpoint()


def _print(opened: Dataset) -> None:
    """What each split holds: a column a split."""
    table = Table(title=f"{opened.kind}: {opened.bytes / 2**20:,.0f} MiB")
    table.add_column("")
    lines: dict[str, list[str]] = {}
    for name, split in opened.splits.items():
        table.add_column(name, justify="right")
        wanted = [
            column for column in ("connector", "episode", "region") if column in split.columns
        ]
        read = split.read(np.arange(len(split)), wanted)
        names = opened.codes["connector"]
        counts = np.bincount(read["connector"], minlength=len(names))
        cells = {"rows": f"{len(split):,}"}
        cells |= {n: f"{count:,}" for n, count in zip(names, counts, strict=True)}
        if "episode" in read:
            cells["episodes"] = f"{len(np.unique(read['episode'])):,}"
        for code, region in enumerate(opened.codes.get("region", ("",))[1:], start=1):
            cells[region] = f"{(read['region'] >= code).mean():.1%}"
        for heading, cell in cells.items():
            lines.setdefault(heading, []).append(cell)
    for heading, line in lines.items():
        table.add_row(heading, *line)
    Console(highlight=False).print(table)
