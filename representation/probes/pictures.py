"""Pictures of an audit: the heat map, the confusion matrix, t-SNE."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from representation.probes.markdown import percent
from representation.probes.measurements import (
    ENCODER,
    FUSED,
    MEAN,
    PIXELS,
    UNTRAINED,
    distinct,
    select,
)
from representation.probes.report import AuditReport, Point
from representation.probes.tables import View, cell, confusion, fitted_on
from representation.probes.targets import CLASS
from representation.probes.variables import title

DARK = ("#1f4e9c", "#c4540a", "#1d7a3a", "#8c2a8c", "#8a6d00", "#0b7285", "#a61e4d", "#495057")
LIGHT = ("#93b8ec", "#fbb37c", "#8fd3a0", "#dc9fdc", "#e5cf6f", "#8fd3df", "#f3a0bd", "#b4bac0")
"""Colours of the classes, by number, again from the start after eight: darker for touch, lighter
for vision, as in the paper's figure 9."""
_UNKNOWN = "#888888"


def audit_figure(report: AuditReport) -> Figure:
    """Which part of the embedding holds which variable: errors relative to guessing the mean.

    A heat map for the rows that decide and one for all rows; in each cell the mean absolute error,
    or the class's accuracy.
    """
    views = report.views
    views = [views[0], views[-1]] if len(views) > 1 else views
    columns = [
        (subject, part)
        for subject in (ENCODER, UNTRAINED, PIXELS)
        for part in distinct(
            select(report.measurements, subject=subject, region=views[0][0]), "part"
        )
        if report.answer(report.variables[0], views[0], subject, part)
    ]
    lines = [v for v in (*report.variables, CLASS) if report.answer(v, views[0], MEAN, "")]
    width = 2.6 + len(views) * (0.72 * len(columns) + 0.6)
    figure = Figure(figsize=(width, 2.1 + 0.42 * len(lines)), layout="constrained")
    axes = figure.subplots(1, len(views), squeeze=False, sharey=True)[0]
    for ax, view in zip(axes, views, strict=True):
        shade = np.full((len(lines), len(columns)), np.nan)
        for i, variable in enumerate(lines):
            for j, (subject, part) in enumerate(columns):
                shade[i, j] = _relative(report, variable, view, subject, part)
                text = cell(report.answer(variable, view, subject, part))
                ink = "white" if shade[i, j] > 0.55 else "black"
                ax.text(j, i, text, ha="center", va="center", fontsize=8, color=ink)
        image = ax.imshow(shade, cmap="viridis_r", vmin=0.0, vmax=1.0, aspect="auto")
        ax.set_xticks(range(len(columns)), [part for _, part in columns], fontsize=9)
        ax.set_yticks(range(len(lines)), [title(line) for line in lines], fontsize=9)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        _mark_subjects(ax, [subject for subject, _ in columns])
        region, fitted = view
        ax.set_title(
            f"{report.regions[region]} ({report.heldout_rows[region]:,} rows)\n"
            f"probes fitted on {fitted_on(report, fitted)}",
            fontsize=10,
            pad=24,
        )
    bar = figure.colorbar(image, ax=list(axes), shrink=0.8, pad=0.02)
    bar.set_label("error relative to guessing")
    figure.suptitle(f"What {report.name} knows", fontsize=12)
    return figure


def confusion_figure(report: AuditReport) -> Figure | None:
    """Confusion matrix of the class probe on the rows that decide; None if there is none."""
    table = confusion(report)
    found = report.answer(CLASS, report.views[0], report.subject) if table else None
    if table is None or found is None:
        return None
    counts = np.array([list(row.values()) for row in table.values()], float)
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    ax = figure.subplots()
    ax.imshow(parts, cmap="Blues", vmin=0.0, vmax=1.0)
    for (i, j), part in np.ndenumerate(parts):
        ink = "white" if part > 0.6 else "black"
        text = f"{percent(float(part))}\n{int(counts[i, j]):,}"
        ax.text(j, i, text, ha="center", va="center", fontsize=9, color=ink)
    ax.set_xticks(range(len(table)), list(table))
    ax.set_yticks(range(len(table)), list(table))
    ax.set_xlabel("predicted")
    ax.set_ylabel("actual")
    ax.set_title(
        f"{report.name}: connector from {found.part}, {report.regions[found.region]}\n"
        f"accuracy {cell(found)} of {found.rows:,} rows",
        fontsize=10,
    )
    return figure


def tsne_figure(report: AuditReport) -> Figure | None:
    """Neighbourhoods of the shared space and of the embedding; None if they were not computed.

    Coloured by class; in the shared space darker for touch, lighter for vision, as in the paper's
    figure 9.
    """
    spaces: dict[str, list[Point]] = {}
    for point in report.points:
        spaces.setdefault(point.space, []).append(point)
    if not spaces:
        return None
    figure = Figure(figsize=(5.0 * len(spaces), 5.2), layout="constrained")
    axes = figure.subplots(1, len(spaces), squeeze=False)[0]
    for ax, (space, points) in zip(axes, spaces.items(), strict=True):
        colours = [_colour(report, point) for point in points]
        ax.scatter([p.x for p in points], [p.y for p in points], c=colours, s=9, linewidths=0)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_aspect("equal", adjustable="datalim")
        shared = f"shared space, through {report.shared_space}"
        ax.set_title("embedding" if space == FUSED else shared, fontsize=10)
    shown = {point.connector for point in report.points}
    known = [name for name in report.classes if name in shown]
    handles = [_dot(DARK[report.classes.index(name) % len(DARK)], name) for name in known]
    if "shared" in spaces:
        handles += [_dot("#333333", "touch: darker"), _dot("#bbbbbb", "vision: lighter")]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle(f"t-SNE of {report.name}", fontsize=12)
    return figure


def _relative(report: AuditReport, variable: str, view: View, subject: str, part: str) -> float:
    """The error relative to guessing, at most 1; not a number where it was not measured."""
    found, guess = (report.answer(variable, view, *of) for of in ((subject, part), (MEAN, "")))
    if found is None or guess is None:
        return float("nan")
    error, guessed = found.value, guess.value
    if variable == CLASS:
        error, guessed = 1.0 - error, 1.0 - guessed
    return min(error / max(guessed, 1e-9), 1.0)


def _mark_subjects(ax: Axes, subjects: list[str]) -> None:
    """Name the subjects above their columns, a line between them."""
    for subject in dict.fromkeys(subjects):
        of = [i for i, own in enumerate(subjects) if own == subject]
        ax.text((of[0] + of[-1]) / 2, -0.62, subject, ha="center", va="bottom", fontsize=9)
        if of[0]:
            ax.axvline(of[0] - 0.5, color="white", linewidth=3)


def _colour(report: AuditReport, point: Point) -> str:
    if point.connector not in report.classes:
        return _UNKNOWN
    colours = LIGHT if point.part == "vision" else DARK
    return colours[report.classes.index(point.connector) % len(colours)]


def _dot(colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker="o", linestyle="", label=label)
