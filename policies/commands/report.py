"""`vtinsert report`: an ablation as one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from policies.choices import default

if TYPE_CHECKING:
    from policies.report.compose import Report


def report(
    studies: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(help_behavior_hint="(required)")
    ],
    *,
    audits: Annotated[tuple[Path, ...], default("scores are plain success")] = (),
    probes: Annotated[tuple[Path, ...], default("those in the ablation's folder `probes`")] = (),
) -> int:
    """Write ablations' scores, tables, curves and videos, each as one page.

    Writes into each ablation's folder `report.html`, a page that needs nothing beside it;
    `report.md`, its tables; and, once a policy is trained, `scores.png`, the scores of all the
    ablations, each on its track, as a picture, and `report.png`, success by way to train. A grid
    that is not finished can be reported on too.

    Args:
        studies: Folders of ablations that `vtinsert ablate` made, one or several.
        audits: Folders that `vtinsert audit` wrote, or tables TRACK.csv like its audit.csv: scores
            are normalised between the search without touch and the expert.
        probes: Reports of `vtinsert probe` on their encoders, or their folders.
    """
    if not studies:
        raise ValueError("name the folder of an ablation, or several")
    for study in studies:
        if not study.is_dir():
            raise ValueError(f"{study} is not a folder; give that of an ablation")
    for path in (*audits, *probes):
        if not path.exists():
            raise ValueError(f"there is no {path}; give what `vtinsert audit` or `probe` wrote")
    # Slow to import; the first less than the others.
    from policies.ablation.folder import Ablation

    for study in studies:
        Ablation(study).read_grid()  # says what is wrong with it

    from rich.console import Console

    from policies.report.compose import compose, scored_together
    from policies.report.scores import read_audits
    from policies.report.tables import print_sections

    bounds = read_audits(audits)
    reports = scored_together([compose(study, probes) for study in studies], bounds)
    console = Console(highlight=False)
    for study, content in zip(studies, reports, strict=True):
        try:
            files = _write(study, content)
        except OSError as error:
            raise OSError(f"cannot write to {study}: {error.strerror or error}") from None
        console.print(content.lead)
        print_sections(console, content.sections)
        for note in content.notes:
            console.print(f"[yellow]{note}", soft_wrap=True)
        console.print(f"Report: {', '.join(map(str, files))}", soft_wrap=True)
    for note in reports[0].scores.notes:
        console.print(f"[yellow]{note}", soft_wrap=True)
    return 0


def _write(folder: Path, content: Report) -> list[Path]:
    """Write a report; its files."""
    from policies.report.heat_map import heat_map, png
    from policies.report.markdown import markdown
    from policies.report.overview import overview
    from policies.report.page import page
    from vtenv.atomic_write import atomic_write, write_text

    texts = {"report.html": page(content), "report.md": markdown(content)}
    pictures = {}
    if content.scores.tracks:
        pictures["scores.png"] = heat_map(content.scores)
    if any(section.runs for section in content.sections):
        labels = list(content.study.representations)
        pictures["report.png"] = overview(content.sections, labels)
    for name, text in texts.items():
        write_text(folder / name, text)
    for name, figure in pictures.items():
        with atomic_write(folder / name) as path:
            path.write_bytes(png(figure))
    return [folder / name for name in (*texts, *pictures)]
