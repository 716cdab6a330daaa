"""Pictures of an audit: the heat map, the confusion matrix, t-SNE."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.metrics import ConfusionMatrixDisplay

from representation.probes import measurements as ms
from representation.probes.markdown import percent
from representation.probes.report import AuditReport, Point, View
from representation.probes.tables import cell, confusion, where
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
    views = dict.fromkeys((report.views[0], report.views[-1]))
    tables = {view: _probed(report, view) for view in views}
    columns = list(dict.fromkeys((m.subject, m.part) for m in tables[report.views[0]]))
    lines = ms.distinct(tables[report.views[0]], "variable")
    width = 2.6 + len(views) * (0.72 * len(columns) + 0.6)
    figure = Figure(figsize=(width, 2.1 + 0.42 * len(lines)), layout="constrained")
    axes = figure.subplots(1, len(views), squeeze=False, sharey=True)[0]
    for ax, (view, rows) in zip(axes, tables.items(), strict=True):
        shade = np.full((len(lines), len(columns)), np.nan)
        for m in rows:
            i, j = lines.index(m.variable), columns.index((m.subject, m.part))
            shade[i, j] = _relative(m, report.answer(m.variable, view, ms.MEAN, ""))
            ink = "white" if shade[i, j] > 0.55 else "black"
            ax.text(j, i, cell(m), ha="center", va="center", fontsize=8, color=ink)
        image = ax.imshow(shade, cmap="viridis_r", vmin=0.0, vmax=1.0, aspect="auto")
        ax.set_xticks(range(len(columns)), [part for _, part in columns], fontsize=9)
        ax.set_yticks(range(len(lines)), [title(line) for line in lines], fontsize=9)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        _mark_subjects(ax, [subject for subject, _ in columns])
        ax.set_title(where(report, view).replace(", ", "\n", 1), fontsize=10, pad=24)
    bar = figure.colorbar(image, ax=list(axes), shrink=0.8, pad=0.02)
    bar.set_label("error relative to guessing")
    figure.suptitle(f"What {report.name} knows", fontsize=12)
    return figure


def confusion_figure(report: AuditReport) -> Figure | None:
    """Confusion matrix of the class probe on the rows that decide; None if there is none."""
    rows = confusion(report)
    found = report.answer(ms.CLASS, report.views[0])
    if not rows or found is None:
        return None
    names = ms.distinct(rows, "variable")
    counts = np.array([m.value for m in rows]).reshape(len(names), -1)
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    ax = figure.subplots()
    shown = ConfusionMatrixDisplay(parts, display_labels=names)
    shown.plot(ax=ax, cmap="Blues", colorbar=False, im_kw={"vmin": 0.0, "vmax": 1.0})
    for text, part, count in zip(shown.text_.flat, parts.flat, counts.flat, strict=True):
        words = f"{percent(float(part))}\n{count:,.0f}"
        text.set(text=words, color="white" if part > 0.6 else "black")
    ax.set(xlabel="predicted", ylabel="actual")
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
        ax.set_title("embedding" if space == ms.FUSED else shared, fontsize=10)
    shown = {point.connector for point in report.points}
    dots = {name: DARK[i % len(DARK)] for i, name in enumerate(report.classes) if name in shown}
    if "shared" in spaces:
        dots |= {"touch: darker": "#333333", "vision: lighter": "#bbbbbb"}
    handles = [
        Line2D([], [], color=colour, marker="o", linestyle="", label=label)
        for label, colour in dots.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle(f"t-SNE of {report.name}", fontsize=12)
    return figure


def _probed(report: AuditReport, view: View) -> list[ms.Measurement]:
    """Errors and accuracies of a view: of the encoder, and beside it of the baselines."""
    region, fitted_on = view
    of = {"measure": (ms.ERROR, ms.ACCURACY), "region": region, "fitted_on": fitted_on}
    subjects = (ms.ENCODER, ms.UNTRAINED, ms.PIXELS)
    return [m for s in subjects for m in ms.select(report.measurements, subject=s, **of)]


def _relative(found: ms.Measurement, guess: ms.Measurement | None) -> float:
    """An error relative to that of guessing, at most 1."""
    if guess is None:
        return float("nan")
    errors = [1.0 - m.value if m.measure == ms.ACCURACY else m.value for m in (found, guess)]
    return min(errors[0] / max(errors[1], 1e-9), 1.0)


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
