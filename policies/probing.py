"""Audits encoders by name: loads them, writes what they know, and prints it."""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import nn

from policies.choices import make_output
from policies.commands.probe import ProbeOptions
from policies.report.numbers import commit
from representation.bundled import bundled
from representation.data.dataset import Dataset
from representation.encoder import Encoder, import_encoder
from representation.encoder_config import EncoderConfig
from representation.pretraining.run_folder import load_objective
from representation.probes.audit import audit
from representation.probes.embed import Progress, untrained
from representation.probes.measurements import FUSED, PIXELS, UNTRAINED
from representation.probes.pictures import audit_figure, confusion_figure, tsne_figure
from representation.probes.report import AuditReport
from representation.probes.split import ProbeTargets
from representation.probes.tables import (
    GUESSING,
    TextTable,
    audit_table,
    comparison_table,
    gate_table,
    page,
    recall_table,
)
from representation.timm_encoder import VisuotactileEncoder
from vtenv import provenance
from vtenv.atomic_write import atomic_write, write_text
from vtenv.import_string import is_import_string
from vtenv.progress import progress_bar
from vtenv.run_folder import write_table

_RANDOM = "random:"
_DPI = 130
_SHORT = {
    GUESSING: "guess mean",
    f"{UNTRAINED}, {FUSED}": "un-\ntrained",
    f"{PIXELS}, {FUSED}": PIXELS,
}
"""Headings short enough for a table of 80 columns."""


def probe_encoders(options: ProbeOptions) -> int:
    """Audit encoders, write a folder for each, and print what decides; the exit code.

    Raises:
        ValueError, OSError: If an encoder or the data cannot be read or do not fit, or the output
            cannot be written.
    """
    if not options.encoder:
        known = ", ".join(bundled("encoders")) or "none yet"
        raise ValueError(f"name one or more encoders: a folder, or a bundled one ({known})")
    dataset = Dataset.open(options.data)
    train, heldout = dataset["train"], dataset["heldout"]
    subjects = [_load(name, dataset, options) for name in options.encoder]
    targets = ProbeTargets.of(dataset)
    folders = folders_of(options.output, options.encoder)
    reports: list[AuditReport] = []
    with _bar() as progress:
        for name, (encoder, objective), folder in zip(
            options.encoder, subjects, folders, strict=True
        ):
            try:
                report = audit(
                    encoder,
                    train,
                    heldout,
                    targets,
                    name=name,
                    objective=objective,
                    # One set of baselines is enough to stand beside all.
                    baselines=options.baselines and not reports,
                    rows=options.rows,
                    seed=options.seed,
                    device=options.device,
                    batch_size=options.batch_size,
                    progress=progress,
                )
            except ValueError as error:
                raise ValueError(f"{name} on {options.data}: {error}") from None
            reports.append(report)
            make_output(folder)
            _write(report, folder, dataset)
    console = Console(highlight=False)
    for report in reports:
        _print(console, report)
    if len(reports) > 1:
        comparison = comparison_table(reports)
        _print_table(console, comparison, "Side by side")
        write_text(options.output / "comparison.md", comparison.markdown() + "\n")
        rows = [asdict(m) for report in reports for m in report.measurements]
        write_table(options.output / "measurements.csv", rows)
    console.print(f"Measurements and pictures: {', '.join(map(str, folders))}", soft_wrap=True)
    return 0


def folders_of(output: Path, names: Sequence[str]) -> list[Path]:
    """Where each report goes: in a folder of its own if there are several."""
    if len(names) == 1:
        return [output]
    short = [re.sub(r"[^\w.-]+", "-", name).strip("-.") or "encoder" for name in names]
    return [
        output / (name if short.count(name) == 1 else f"{name}-{i}") for i, name in enumerate(short)
    ]


def _load(name: str, dataset: Dataset, options: ProbeOptions) -> tuple[Encoder, nn.Module | None]:
    """An encoder by name; with its objective, where it lies in the folder of its training."""
    objective = None
    encoder: Any
    if name.startswith(_RANDOM):
        encoder = _untrained(name.removeprefix(_RANDOM), dataset, options.seed)
    elif is_import_string(name):
        encoder = import_encoder(name)
    else:
        source = Path(os.path.expanduser(name))
        run = source if _is_run(source) else source.parent
        if name not in bundled("encoders") and _is_run(run) and source in (run, run / "encoder"):
            encoder = VisuotactileEncoder.from_pretrained(run / "encoder")
            objective = load_objective(run, encoder)
        else:
            encoder = VisuotactileEncoder.from_pretrained(name)
    try:
        if isinstance(encoder, nn.Module):
            encoder.to(options.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {options.device} cannot be used: {reason}") from None
    return encoder, None if objective is None else objective.to(options.device)


def _is_run(folder: Path) -> bool:
    """Whether a folder is what `vtinsert pretrain` leaves."""
    return (folder / "objective.safetensors").is_file() and (folder / "encoder").is_dir()


def _untrained(backbone: str, dataset: Dataset, seed: int) -> VisuotactileEncoder:
    config = EncoderConfig()
    images: dict[str, Any] = dict(config.images)
    images |= {key: dataset.columns[key].shape for key in images if key in dataset.columns}
    config = config.with_images(images)
    try:
        return untrained(replace(config, backbone=backbone), seed)
    except ValueError as error:
        raise ValueError(f"{_RANDOM}{backbone}: {error}") from None


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


def _write(report: AuditReport, folder: Path, dataset: Dataset) -> None:
    """Write the measurements, the report with how it was made, and pictures."""
    data = {"folder": str(dataset.folder), "kind": dataset.kind, "fingerprint": dataset.fingerprint}
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    made = provenance.record() | {"date": date, "data": data}
    document = json.dumps(made | {"audit": report.to_dict()}, indent=1)
    write_text(folder / "report.json", document + "\n")
    by = f"Made by `{made['command']}` at commit {commit(made['commit'])}.\n"
    write_text(folder / "report.md", f"{page(report)}\n{by}")
    write_table(folder / "measurements.csv", [asdict(row) for row in report.measurements])
    write_table(folder / "tsne.csv", [asdict(point) for point in report.points])
    for name, draw in (
        ("audit.png", audit_figure),
        ("confusion.png", confusion_figure),
        ("tsne.png", tsne_figure),
    ):
        if (figure := draw(report)) is not None:
            with atomic_write(folder / name) as path:
                figure.savefig(path, dpi=_DPI)


def _print(console: Console, report: AuditReport) -> None:
    audited = audit_table(report, report.views[0], interval=False)
    _print_table(console, audited, f"What {report.name} knows")
    _print_table(console, gate_table(report), "Gate")
    _print_table(console, recall_table(report, chance=False), "Across the senses")
    decided = report.gate.get("connector")
    accuracy = [f"Accuracy {decided.note}."] if decided and decided.note else []
    for note in (*accuracy, *report.notes):
        console.print(f"[yellow]{escape(note)}", soft_wrap=True)


def _print_table(console: Console, table: TextTable, title: str) -> None:
    """Print a table, if anything is in it."""
    if not table.lines:
        return
    shown = Table(title=escape(title), caption=escape(table.about))
    for i, heading in enumerate(table.heading):
        words = escape(_SHORT.get(heading, heading).replace(" ", "\n"))
        shown.add_column(words, justify="right" if i else "left", no_wrap=not i)
    for line in table.lines:
        shown.add_row(*(_styled(cell) for cell in line))
    console.print(shown)


def _styled(cell: str) -> str:
    """Markdown's bold face and verdicts in the terminal's colours."""
    plain = cell.replace("**", "")
    style = {"pass": "green", "fail": "red"}.get(plain)
    return f"[{style}]{plain}[/]" if style else escape(plain)
