"""Scores of representations on tracks as one picture."""

from __future__ import annotations

import io
import textwrap
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from policies.report.palette import INK
from policies.report.scores import Scores

_COLORS = colormaps["cividis"]
"""Even in lightness from dark to light, to full sight and to the colour-blind.

Source: Nuñez, Anderton and Renslow, "Optimizing colormaps with consideration for color vision
deficiency", PLOS ONE 13(7), 2018."""
_LIGHT = 0.55
"""The score from which on a cell is light, so that its text is dark."""
_CELL_INCHES = (0.82, 0.46)
_LETTER_INCHES = 0.085
_TITLE_LETTERS = 10
"""Letters that fit above a cell."""


def heat_map(scores: Scores) -> Figure:
    """A cell for each representation and track: its score, and the worst connector below it."""
    titles = [
        textwrap.fill(title, _TITLE_LETTERS, break_long_words=False) for title in scores.tracks
    ]
    lines = max((title.count("\n") + 1 for title in titles), default=1)
    letters = max(map(len, scores.representations), default=0)
    wide, high = _CELL_INCHES
    left, top = 0.2 + _LETTER_INCHES * letters, 0.5 + 0.17 * lines
    size = (
        max(left + wide * len(titles) + 0.1, 3.6),
        top + high * len(scores.representations) + 0.1,
    )
    figure = Figure(figsize=size, facecolor="white")
    # A unit of the axes is an inch from the top left corner.
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, size[0]), ylim=(size[1], 0))
    axes.set_axis_off()
    axes.text(0.1, 0.2, legend(scores), fontsize=8.5, color=INK[0], va="center")
    for column, title in enumerate(titles):
        middle = left + wide * (column + 0.5)
        axes.text(middle, top - 0.07, title, fontsize=9, color=INK[0], ha="center", va="bottom")
    for row, name in enumerate(scores.representations):
        y = top + high * row
        axes.text(
            left - 0.08, y + high / 2, name, fontsize=10, color=INK[0], ha="right", va="center"
        )
        for column, track in enumerate(scores.tracks.values()):
            x = left + wide * column
            score = track.get(name)
            color = _COLORS(min(max(score.shown, 0.0), 1.0)) if score else "#eceef2"
            axes.add_patch(
                Rectangle((x, y), wide, high, facecolor=color, edgecolor="white", linewidth=1.5)
            )
            if score is None:
                continue
            ink = INK[0] if score.shown > _LIGHT else "white"
            centred: dict[str, Any] = {
                "x": x + wide / 2,
                "color": ink,
                "ha": "center",
                "va": "center",
            }
            axes.text(
                y=y + 0.37 * high,
                s=f"{round(100 * score.shown)}",
                fontsize=13,
                weight="bold",
                **centred,
            )
            worst = f"{score.worst} {100 * score.worst_success:.0f}%"
            axes.text(y=y + 0.78 * high, s=worst, fontsize=7.5, **centred)
    return figure


def legend(scores: Scores) -> str:
    """What the numbers are, in a line."""
    if scores.normalised:
        return "Score: 0 search without touch, 100 expert; worst connector"
    return "Success [%]; worst connector"


def alternative(scores: Scores) -> str:
    """The same in words."""
    told = [
        f"{name}: "
        + ", ".join(
            f"{track} {round(100 * each[name].shown)}"
            for track, each in scores.tracks.items()
            if name in each
        )
        for name in scores.representations
    ]
    return f"Heat map. {legend(scores)}. {'; '.join(told)}."


def png(figure: Figure) -> bytes:
    """A figure as a PNG."""
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=200)
        return file.getvalue()
