"""`vtinsert probe`: what encoders know."""

from __future__ import annotations

import datetime
import json
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table
from torch import nn

from policies.commands import CommandError
from representation.bundled import bundled_encoders
from representation.data.dataset import Dataset, DatasetError
from representation.encoder_config import EncoderConfig
from representation.encoder_files import EncoderFileError
from representation.pretraining.run_folder import load_objective
from representation.probes.audit import audit, untrained
from representation.probes.embed import Progress
from representation.probes.gate import CONNECTOR
from representation.probes.markdown import (
    FITTED,
    audit_columns,
    audit_views,
    comparison_table,
    deciding_accuracy,
    number,
    percent,
)
from representation.probes.pictures import audit_figure, confusion_figure, tsne_figure
from representation.probes.regions import REGIONS
from representation.probes.report import MEAN, PIXELS, RANDOM, AuditReport
from representation.probes.variables import unit
from representation.timm_encoder import VisuotactileEncoder
from vtenv import provenance
from vtenv.atomic_write import atomic_write
from vtenv.progress import progress_bar
from vtenv.run_folder import RunFolderError

_UNTRAINED = "random:"
_DPI = 130
_HEADINGS = {MEAN: "guess\nmean", PIXELS: "raw\npixels", RANDOM: "un-\ntrained"}
"""Headings short enough for a table of 80 columns."""


def probe(
    encoder: tyro.conf.Positional[tuple[str, ...]],
    *,
    data: Path = Path("outputs/experience"),
    rows: int = 20_000,
    baselines: bool = True,
    batch_size: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    output: Path = Path("outputs/probe"),
) -> int:
    """Audit what encoders know: pose, connector, and what the senses share.

    Fits linear probes on the training split of a data set and measures them on its held-out
    split, near contact apart from free space. Writes `report.md`, `report.json` and pictures.

    Args:
        encoder: Encoders: names of bundled ones, folders, ids on the Hugging Face Hub, or
            "random:BACKBONE" for one of that timm backbone that was never trained. Several are
            shown side by side.
        data: Folder of a data set that `vtinsert dataset` made.
        rows: Most training rows; of the held-out ones, half as many.
        baselines: Whether to probe raw pixels and an untrained encoder too.
        batch_size: Rows that are embedded at once; by default 64 on a CPU, 512 elsewhere.
        device: Where to compute, such as "cuda:0".
        seed: Seed of all that is drawn.
        output: Folder for the report; with several encoders, one for each in it.
    """
    for option, value, least in (
        ("rows", rows, 20),
        ("batch-size", batch_size, 1),
        ("seed", seed, 0),
    ):
        if value is not None and value < least:
            raise CommandError(f"--{option} {value} is not allowed; it must be at least {least}")
    if not encoder:
        known = ", ".join(bundled_encoders()) or "none yet"
        raise CommandError(f"name one or more encoders: a folder, or a bundled one ({known})")
    try:
        dataset = Dataset.open(data)
        train, heldout = dataset["train"], dataset["heldout"]
        subjects = [_load(name, dataset, device, seed) for name in encoder]
    except (DatasetError, EncoderFileError, RunFolderError) as error:
        raise CommandError(str(error)) from None
    console = Console(highlight=False)
    folders = _folders(output, [subject.name for subject in subjects])
    reports: list[AuditReport] = []
    with _bar() as progress:
        for subject, folder in zip(subjects, folders, strict=True):
            try:
                report = audit(
                    subject.encoder,
                    train,
                    heldout,
                    labels=dataset.labels,
                    settings=dataset.settings,
                    name=subject.name,
                    objective=subject.objective,
                    # One set of baselines is enough to stand beside all.
                    baselines=baselines and not reports,
                    rows=rows,
                    seed=seed,
                    device=device,
                    batch_size=batch_size,
                    progress=progress,
                )
            except ValueError as error:
                raise CommandError(f"{subject.name} on {data}: {error}") from None
            reports.append(report)
            _write(report, folder, dataset, data)
    for report in reports:
        _print(console, report)
    if len(reports) > 1:
        console.print(_comparison(reports))
        with _writing(output), atomic_write(output / "comparison.md") as path:
            path.write_text(comparison_table(reports) + "\n", encoding="utf-8")
    console.print(f"Reports and pictures: {', '.join(map(str, folders))}", soft_wrap=True)
    return 0


@dataclass(frozen=True)
class _Subject:
    """What is probed.

    Attributes:
        name: As it was asked for.
        encoder: The encoder.
        objective: What it was trained with; None if that is unknown.
    """

    name: str
    encoder: VisuotactileEncoder
    objective: nn.Module | None


def _load(name: str, dataset: Dataset, device: str, seed: int) -> _Subject:
    """An encoder by name; with its objective, where it lies in the folder of its training."""
    objective = None
    if name.startswith(_UNTRAINED):
        encoder = _untrained(name.removeprefix(_UNTRAINED), dataset, seed)
    else:
        source = Path(name).expanduser()
        run = source if _is_run(source) else source.parent
        if name not in bundled_encoders() and _is_run(run) and source in (run, run / "encoder"):
            encoder = VisuotactileEncoder.from_pretrained(run / "encoder")
            objective = load_objective(run, encoder)
        else:
            encoder = VisuotactileEncoder.from_pretrained(name)
    try:
        encoder.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise CommandError(f"--device {device} cannot be used: {reason}") from None
    return _Subject(name, encoder, None if objective is None else objective.to(device))


def _is_run(folder: Path) -> bool:
    """Whether a folder is what `vtinsert pretrain` leaves."""
    return (folder / "objective.safetensors").is_file() and (folder / "encoder").is_dir()


def _untrained(backbone: str, dataset: Dataset, seed: int) -> VisuotactileEncoder:
    config = EncoderConfig()
    found = {key: dataset.columns[key].shape for key in config.keys if key in dataset.columns}
    config = config.with_images({**config.images, **found})
    try:
        return untrained(replace(config, backbone=backbone), seed)
    except ValueError as error:
        raise CommandError(f"{_UNTRAINED}{backbone}: {error}") from None


def _folders(output: Path, names: Sequence[str]) -> list[Path]:
    """Where each report goes: in a folder of its own if there are several."""
    if len(names) == 1:
        return [output]
    short = [re.sub(r"[^\w.-]+", "-", name).strip("-.") or "encoder" for name in names]
    return [
        output / (name if short.count(name) == 1 else f"{name}-{i}") for i, name in enumerate(short)
    ]


@contextmanager
def _bar() -> Iterator[Progress]:
    """A bar on stderr: counts rows while it embeds, then says what it is at."""
    with progress_bar() as bar:
        task, current = bar.add_task("Reading", total=None), ""

        def report(stage: str, done: int, total: int) -> None:
            nonlocal task, current
            if stage != current:
                bar.remove_task(task)
                task, current = bar.add_task(stage, total=total or None), stage
            bar.update(task, completed=done)

        yield report


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Say what is wrong with a folder that cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise CommandError(
            f"cannot write to {folder} ({error.strerror or error}); choose another with --output"
        ) from None


def _write(report: AuditReport, folder: Path, dataset: Dataset, data: Path) -> None:
    """The report with how it was made, as JSON and Markdown, and its pictures."""
    made = {
        "command": shlex.join(["vtinsert", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "versions": provenance.versions(),
        "data": {"folder": str(data), "kind": dataset.kind, "fingerprint": dataset.fingerprint},
    }
    page = f"{report.to_markdown()}\nMade by `{made['command']}` at commit {made['commit']}.\n"
    figures = {
        "audit.png": audit_figure(report),
        "confusion.png": confusion_figure(report),
        "tsne.png": tsne_figure(report),
    }
    with _writing(folder):
        for name, text in (
            ("report.json", json.dumps(made | {"audit": report.to_dict()}, indent=1) + "\n"),
            ("report.md", page),
        ):
            with atomic_write(folder / name) as path:
                path.write_text(text, encoding="utf-8")
        for name, figure in figures.items():
            if figure is not None:
                with atomic_write(folder / name) as path:
                    figure.savefig(path, dpi=_DPI)


def _print(console: Console, report: AuditReport) -> None:
    region, fitted_on = audit_views(report)[0]
    table = Table(
        title=f"What {report.name} knows: {REGIONS[region]}",
        caption=f"Mean absolute error on {report.heldout_rows[region]:,} held-out rows of linear "
        f"probes fitted on {FITTED[fitted_on]}. Slack: how far off a plug still slides in.",
    )
    columns = audit_columns(report)
    table.add_column("", no_wrap=True)
    for _, subject, part in columns:
        table.add_column(_HEADINGS.get(subject, part), justify="right")
    table.add_column("slack", justify="right")
    for variable in report.variables:
        errors = [report.error(s, part, variable, region, fitted_on) for _, s, part in columns]
        cells = ["-" if e is None or e.mean is None else number(e.mean) for e in errors]
        slack = report.yardsticks.get(variable)
        of = unit(variable)
        title = f"{variable.rpartition('_')[0].replace('_', ' ')} {of}" if of else variable
        table.add_row(title, *cells, "" if slack is None else number(slack))
    accuracies = [report.accuracy(s, part, region, fitted_on) for _, s, part in columns]
    if any(accuracies):
        cells = ["" if a is None else percent(a.accuracy.mean) for a in accuracies]
        table.add_row("connector", *cells, "", end_section=True)
    console.print(table)
    _print_gate(console, report)
    for found in report.retrieval:
        recall = ", ".join(f"{percent(value)} at {rank}" for rank, value in found.recall.items())
        console.print(
            f"{found.query} finds {found.key} among {found.pool:,} moments ({REGIONS[found.region]}"
            f"): {recall}; through {report.shared_space}.",
            soft_wrap=True,
        )
    chosen = deciding_accuracy(report)
    if chosen is not None and not chosen.converged:
        console.print(
            "[yellow]The class probe did not come to rest: its accuracy is a lower bound."
        )
    for note in report.notes:
        console.print(f"[yellow]{note}", soft_wrap=True)


def _print_gate(console: Console, report: AuditReport) -> None:
    if not report.gate:
        return
    cells = []
    for check in report.gate:
        name, of = check.variable, unit(check.variable)
        if name == CONNECTOR:
            value, bound = percent(check.value), percent(check.bound)
            relation = "of at least"
        else:
            value = "-" if check.value is None else f"{number(check.value)} {of}"
            bound, relation = f"{check.bound:g} {of}", "of at most"
        mark = "[green]pass[/]" if check.passed else "[red]fail[/]"
        cells.append(
            (name.rpartition("_")[0].replace("_", " ") or name, value, relation, bound, mark)
        )
    table = Table(title="Gate, near contact", show_header=False, box=None, padding=(0, 1))
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _comparison(reports: Sequence[AuditReport]) -> Table:
    """The Markdown table of the comparison, for the terminal."""
    caption, _, body = comparison_table(reports).partition("\n\n")
    lines = [
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in body.splitlines()
    ]
    table = Table(title="Side by side", caption=caption)
    for i, heading in enumerate(lines[0]):
        table.add_column(heading, justify="right" if i else "left")
    for line in lines[2:]:
        table.add_row(*line)
    return table
