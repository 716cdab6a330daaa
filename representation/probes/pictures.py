"""Pictures of an audit: the heat map, the confusion matrix, t-SNE."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from representation.probes.embed import BOTH
from representation.probes.markdown import (
    FITTED,
    audit_views,
    deciding_accuracy,
    number,
    percent,
)
from representation.probes.regions import REGIONS
from representation.probes.report import ENCODER, MEAN, PIXELS, RANDOM, AuditReport, Places
from representation.probes.variables import unit

DARK = ("#1f4e9c", "#c4540a", "#1d7a3a", "#8c2a8c")
LIGHT = ("#93b8ec", "#fbb37c", "#8fd3a0", "#dc9fdc")
"""Colours of the connectors, by number: darker for touch, lighter for vision, as in the paper's
figure 9."""
_UNKNOWN = "#888888"


def audit_figure(report: AuditReport) -> Figure:
    """Which part of the embedding holds which variable: errors relative to guessing the mean.

    Args:
        report: The report.

    Returns:
        A heat map for the rows that decide and one for all rows; in each cell the mean absolute
        error, or the connector's accuracy.
    """
    views = audit_views(report)
    views = [views[0], views[-1]] if len(views) > 1 else views
    columns = [
        (subject, part)
        for _, subject, part in _every_column(report)
        if subject != MEAN and any(e.subject == subject and e.part == part for e in report.pose)
    ]
    lines = [*report.variables, *(["connector"] if report.connector else [])]
    width = 2.6 + len(views) * (0.72 * len(columns) + 0.6)
    figure = Figure(figsize=(width, 2.1 + 0.42 * len(lines)), layout="constrained")
    axes = figure.subplots(1, len(views), squeeze=False, sharey=True)[0]
    for ax, (region, fitted_on) in zip(axes, views, strict=True):
        shade = np.full((len(lines), len(columns)), np.nan)
        for j, (subject, part) in enumerate(columns):
            for i, line in enumerate(lines):
                found = _cell(report, subject, part, line, region, fitted_on)
                if found is None:
                    continue
                text, shade[i, j] = found
                ax.text(j, i, text, ha="center", va="center", fontsize=8, color=_ink(shade[i, j]))
        image = ax.imshow(shade, cmap="viridis_r", vmin=0.0, vmax=1.0, aspect="auto")
        ax.set_xticks(range(len(columns)), [part for _, part in columns], fontsize=9)
        ax.set_yticks(range(len(lines)), [_title(line) for line in lines], fontsize=9)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        _mark_subjects(ax, [subject for subject, _ in columns])
        ax.set_title(
            f"{REGIONS[region]} ({report.heldout_rows[region]:,} rows)\n"
            f"probes fitted on {FITTED[fitted_on]}",
            fontsize=10,
            pad=24,
        )
    bar = figure.colorbar(image, ax=list(axes), shrink=0.8, pad=0.02)
    bar.set_label("error relative to guessing")
    figure.suptitle(f"What {report.name} knows", fontsize=12)
    return figure


def confusion_figure(report: AuditReport) -> Figure | None:
    """Confusion matrix of the class probe on the rows that decide; None if there is none.

    Args:
        report: The report.
    """
    chosen = deciding_accuracy(report)
    if chosen is None:
        return None
    counts = np.array(chosen.confusion, float)
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    ax = figure.subplots()
    ax.imshow(parts, cmap="Blues", vmin=0.0, vmax=1.0)
    for (i, j), part in np.ndenumerate(parts):
        ink = "white" if part > 0.6 else "black"
        text = f"{percent(float(part))}\n{int(counts[i, j]):,}"
        ax.text(j, i, text, ha="center", va="center", fontsize=9, color=ink)
    ax.set_xticks(range(len(report.classes)), report.classes)
    ax.set_yticks(range(len(report.classes)), report.classes)
    ax.set_xlabel("predicted")
    ax.set_ylabel("actual")
    ax.set_title(
        f"{report.name}: connector from {chosen.part}, {REGIONS[chosen.region]}\n"
        f"accuracy {percent(chosen.accuracy.mean)} of {chosen.accuracy.rows:,} rows",
        fontsize=10,
    )
    return figure


def tsne_figure(report: AuditReport) -> Figure | None:
    """Neighbourhoods of the joint space and of the embedding; None if they were not computed.

    Args:
        report: The report.

    Returns:
        Coloured by connector; in the joint space darker for touch, lighter for vision, as in the
        paper's figure 9.
    """
    if not report.places:
        return None
    figure = Figure(figsize=(5.0 * len(report.places), 5.2), layout="constrained")
    axes = figure.subplots(1, len(report.places), squeeze=False)[0]
    for ax, places in zip(axes, report.places, strict=True):
        _scatter(ax, places)
        title = f"{places.space}: embedding"
        if places.space == "shared":
            title = f"shared space, through {report.shared_space}"
        elif places.space == BOTH:
            title = "embedding"
        ax.set_title(title, fontsize=10)
    known = sorted({c for places in report.places for c in places.connector if c >= 0})
    handles = [_dot(DARK[c], report.classes[c]) for c in known]
    if any(places.space == "shared" for places in report.places):
        handles += [_dot("#333333", "touch: darker"), _dot("#bbbbbb", "vision: lighter")]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle(f"t-SNE of {report.name}", fontsize=12)
    return figure


def _every_column(report: AuditReport) -> list[tuple[str, str, str]]:
    """The encoder part by part first, then what stands beside it, part by part."""
    parts = [*report.modalities, *([BOTH] if len(report.modalities) > 1 else [])]
    return [(s, s, part) for s in (ENCODER, RANDOM, PIXELS) for part in parts]


def _cell(
    report: AuditReport, subject: str, part: str, line: str, region: str, fitted_on: str
) -> tuple[str, float] | None:
    """What to write, and the error relative to guessing; None if not measured."""
    if line == "connector":
        accuracy = report.accuracy(subject, part, region, fitted_on)
        if accuracy is None or accuracy.accuracy.mean is None:
            return None
        chance = max(map(sum, accuracy.confusion)) / accuracy.accuracy.rows
        relative = (1 - accuracy.accuracy.mean) / max(1 - chance, 1e-9)
        return percent(accuracy.accuracy.mean), min(relative, 1.0)
    error = report.error(subject, part, line, region, fitted_on)
    guess = report.error(MEAN, "none", line, region, fitted_on)
    if error is None or error.mean is None or guess is None or not guess.mean:
        return None
    return number(error.mean), min(error.mean / guess.mean, 1.0)


def _mark_subjects(ax: Axes, subjects: list[str]) -> None:
    """Name the subjects above their columns, a line between them."""
    for subject in dict.fromkeys(subjects):
        of = [i for i, own in enumerate(subjects) if own == subject]
        ax.text((of[0] + of[-1]) / 2, -0.62, subject, ha="center", va="bottom", fontsize=9)
        if of[0]:
            ax.axvline(of[0] - 0.5, color="white", linewidth=3)


def _title(line: str) -> str:
    if line == "connector":
        return "connector, accuracy"
    name = line.rpartition("_")[0].replace("_", " ") if unit(line) else line
    return f"{name} [{unit(line)}]" if unit(line) else name


def _ink(shade: float) -> str:
    return "white" if shade > 0.55 else "black"


def _scatter(ax: Axes, places: Places) -> None:
    light = np.array([modality == "vision" for modality in places.modality])
    if places.space != "shared":
        light[:] = False
    colours = [
        _UNKNOWN if c < 0 else (LIGHT if pale else DARK)[c]
        for c, pale in zip(places.connector, light, strict=True)
    ]
    ax.scatter(places.x, places.y, c=colours, s=9, linewidths=0)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_aspect("equal", adjustable="datalim")


def _dot(colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker="o", linestyle="", label=label)
