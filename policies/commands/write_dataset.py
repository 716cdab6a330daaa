"""Writing a data set, and showing what is in one."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import imageio.v3
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from policies.commands.dataset import WORLDS, Clutter, ExperienceOptions, Export, Paper
from policies.films.preview import preview
from policies.worlds import settings_to_json
from representation.data.dataset import Dataset, DatasetError, DatasetWriter
from vtenv import provenance
from vtenv.atomic_write import atomic_write
from vtenv.collection.experience import (
    Experience,
    column_codes,
    heldout_episodes,
    record,
    undelayed,
)
from vtenv.grasps.grasps import POSE_LABELS as GRASP_LABELS
from vtenv.grasps.grasps import SPLITS, GraspConfig, grasp_blocks, num_grasps
from vtenv.json_document import from_document
from vtenv.modalities import IMAGE_MODALITIES
from vtenv.progress import progress_bar
from vtenv.registry import make_task
from vtenv.tasks import Task
from vtenv.tasks.insertion.config import unused_settings
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES

PREVIEW_FILE = "preview.png"

_PART_BYTES = 400 * 2**20
"""Memory that a part of experience may take: what an interruption loses at most, and a shard."""
_SHORTEST_PART = 128
"""Steps that every world plays in a part, at least: more than the longest episode."""
_BLOCK = 64
"""Grasps made at a time."""
_ROWS_AT_ONCE = 1024
"""Rows of experience that are encoded at a time."""


def write(options: Paper | ExperienceOptions, settings: Mapping[str, Any]) -> Path:
    """Write a data set, and a picture of samples into its folder, whose path is returned.

    Raises:
        ValueError: If something is not allowed.
        OSError: If the folder cannot be written; says what to do.
    """
    picture = options.output / PREVIEW_FILE
    with _explained(options.output):
        if _lacks_only_the_picture(options.output):
            pass
        elif isinstance(options, ExperienceOptions):
            _write_experience(options, settings)
        else:
            _write_grasps(options)
        with atomic_write(picture) as temporary:
            imageio.v3.imwrite(temporary, preview(Dataset.open(options.output)))
    return picture


def write_export(options: Export) -> int:
    """Write a data set of experience in another library's format; returns its episodes.

    Raises:
        ValueError: If something is not allowed.
        OSError: If the folder cannot be written; says what to do.
    """
    from representation.data.export import export

    with _explained(options.output):
        opened = Dataset.open(options.folder)
        return export(opened, options.split, options.format, options.output, options.name)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say what to do where a folder cannot be written."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"cannot write {folder}: {error.strerror or error}; make room and give the same "
            "command again, or choose another folder with --output"
        ) from None


def _lacks_only_the_picture(folder: Path) -> bool:
    """Whether this very command was ended between the data set and its picture."""
    if (folder / PREVIEW_FILE).exists():
        return False
    try:
        return Dataset.open(folder).made.get("command") == _made()["command"]
    except DatasetError:
        return False


def show(folder: Path, *, verify: bool = False) -> None:
    """Print what each split of a data set holds, whose files may be verified first.

    Raises:
        DatasetError: If it is no data set, or a file is not what was written.
    """
    dataset = Dataset.open(folder)
    if verify:
        dataset.verify()
    columns = {name: _counts(dataset, name) for name in dataset.splits}
    table = Table("", title=f"{dataset.kind}: {dataset.bytes / 2**20:,.0f} MiB")
    for name in columns:
        table.add_column(name, justify="right")
    for heading in next(iter(columns.values())):
        table.add_row(heading, *(cells[heading] for cells in columns.values()))
    Console(highlight=False).print(table)


def _counts(dataset: Dataset, name: str) -> dict[str, str]:
    """What a split holds, by heading."""
    split = dataset[name]
    wanted = [column for column in ("connector", "episode", "region") if column in split.columns]
    read = split.read(np.arange(len(split)), wanted)
    names = dataset.codes["connector"]
    counts = np.bincount(read["connector"], minlength=len(names))
    cells = {"rows": f"{len(split):,}"}
    cells |= {n: f"{count:,}" for n, count in zip(names, counts, strict=True)}
    if "episode" in read:
        cells["episodes"] = f"{len(np.unique(read['episode'])):,}"
    for code, region in enumerate(dataset.codes.get("region", ("",))[1:], start=1):
        cells[region] = f"{(read['region'] >= code).mean():.1%}"
    return cells


def _made() -> dict[str, Any]:
    """What must be the same for an interrupted data set to go on, and the command."""
    made = provenance.record()
    return {name: made[name] for name in ("command", "commit", "versions")}


def _write_grasps(options: Paper) -> None:
    objects = options.objects if isinstance(options, Clutter) else 0
    config = GraspConfig(
        image_size=options.image_size,
        contact_size=options.contact_size,
        clutter=objects,
        grasps=options.grasps,
        heldout=options.heldout,
    )
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
        bar = progress.add_task("Grasping", total=sum(num_grasps(config, s) for s in SPLITS))
        for split in SPLITS:
            for block in grasp_blocks(config, split, options.seed, _BLOCK, options.threads):
                writer.append(split, block)
                progress.advance(bar, len(block["connector"]))


@dataclasses.dataclass(frozen=True)
class _Plan:
    """How experience is cut into parts that are made independently."""

    worlds: int
    """Worlds that are stepped together."""
    parts: int
    steps: int
    """Steps of every world in a part."""

    @classmethod
    def of(cls, options: ExperienceOptions, task: Task) -> _Plan:
        """The plan that options ask for."""
        # Few frames are played by few worlds, so that their episodes come to an end.
        most = max(1, options.frames // _SHORTEST_PART)
        worlds = min(options.worlds or WORLDS[options.engine], most)
        images = [record for record in task.config.modalities if record.is_image]
        spaces = [record.space(task.image_size(record)) for record in images]
        row_bytes = sum(math.prod(space.shape) * space.dtype.itemsize for space in spaces) or 1
        rows = max(_PART_BYTES // row_bytes, worlds * _SHORTEST_PART)
        parts = math.ceil(options.frames / rows)
        return cls(worlds, parts, math.ceil(options.frames / (parts * worlds)))


def _write_experience(options: ExperienceOptions, settings: Mapping[str, Any]) -> None:
    chosen = undelayed(options.task, {**settings, "modalities": options.modalities})
    task = make_task(options.task, **chosen)
    unused = unused_settings(task.config.modalities)
    fields = dataclasses.fields(type(task.config))
    defaults = {field.name: field.default for field in fields if field.name not in unused}
    environment = settings_to_json(defaults | chosen)
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
    try:
        with writer:
            if writer.completed < plan.parts:
                _play(writer, options, plan, mixture, environment)
    except (KeyboardInterrupt, OSError):
        if writer.completed:
            print(
                f"\nInterrupted. {writer.completed} of {plan.parts} parts are kept in "
                f"{writer.folder}; the same command goes on from there.",
                file=sys.stderr,
            )
        raise


def _mixture(task: Task, texts: tuple[str, ...]) -> Any:
    """How often each of a task's behaviours is drawn, from such as "expert=0.5"."""
    try:
        parts = {name: float(part) for name, _, part in (text.partition("=") for text in texts)}
    except ValueError:
        raise ValueError(f"--mixture {' '.join(texts)}: write it as expert=0.5 walk=0") from None
    return from_document(task.mixture_type, parts)


def _play(
    writer: DatasetWriter,
    options: ExperienceOptions,
    plan: _Plan,
    mixture: Any,
    environment: Mapping[str, Any],
) -> None:
    """Play the parts that are not there yet."""
    with contextlib.ExitStack() as stack:
        # The bar comes first: the first run of all compiles, and settles the grasps.
        progress = stack.enter_context(progress_bar())
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
        stack.callback(experience.close)

        def rows(part: int) -> Iterator[dict[str, Any]]:
            for row in experience.rows((options.seed, part)):
                progress.advance(bar, plan.worlds)
                yield row

        for part in range(writer.completed, plan.parts):
            _append_part(writer, options, part, record(rows(part), plan.steps))


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
