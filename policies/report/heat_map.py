"""Scores of representations on tracks as one picture."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path

from policies.report.palette import INK
from policies.report.scores import Score, Scores

_COLORS = colormaps["cividis"]
"""Even in lightness from dark to light, to full sight and to the colour-blind.

Source: Nuñez, Anderton and Renslow, "Optimizing colormaps with consideration for color vision
deficiency", PLOS ONE 13(7), 2018."""
_LIGHT = 0.55
"""The score from which on a cell is light, so that its text is dark."""
_CELL_INCHES = (0.82, 0.46)
"""Width, where the texts of a column need no more, and height."""
_MARGIN_INCHES = 0.1
_TITLE_LETTERS = 10
"""Letters of a line above a cell, unless a word has more."""
_NAME_LETTERS = 15
"""Letters of a connector's name; a longer one loses those in its middle."""
_LEGEND, _TITLE, _ROW, _SCORE, _WORST = 8.5, 9.0, 10.0, 13.0, 7.5
"""Sizes of texts, in points."""
_NOT_RUN = "–"  # noqa: RUF001
_FAINT = "#68707d"


def heat_map(scores: Scores) -> Figure:
    """A cell for each representation and track: its score, and the worst connector below it.

    A representation without a run on a track has a dash there. Columns are as wide as their texts.
    """
    titles = [
        textwrap.fill(title, _TITLE_LETTERS, break_long_words=False) for title in scores.tracks
    ]
    lines = max((title.count("\n") + 1 for title in titles), default=1)
    _, high = _CELL_INCHES
    left = 2 * _MARGIN_INCHES + _widest(scores.representations, _ROW)
    top = 0.5 + 0.17 * lines
    widths = [
        max(
            _CELL_INCHES[0],
            _MARGIN_INCHES + _widest(title.split("\n"), _TITLE),
            _MARGIN_INCHES + _widest(map(_worst, column.values()), _WORST),
        )
        for title, column in zip(titles, scores.tracks.values(), strict=True)
    ]
    starts = [left + sum(widths[:column]) for column in range(len(widths))]
    size = (
        max(left + sum(widths), _MARGIN_INCHES + _widest([legend(scores)], _LEGEND))
        + _MARGIN_INCHES,
        top + high * len(scores.representations) + _MARGIN_INCHES,
    )
    figure = Figure(figsize=size, facecolor="white")
    # A unit of the axes is an inch from the top left corner.
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, size[0]), ylim=(size[1], 0))
    axes.set_axis_off()
    axes.text(0.1, 0.2, legend(scores), fontsize=_LEGEND, color=INK[0], va="center")
    for title, x, wide in zip(titles, starts, widths, strict=True):
        axes.text(
            x + wide / 2,
            top - 0.07,
            title,
            fontsize=_TITLE,
            color=INK[0],
            ha="center",
            va="bottom",
        )
    for row, name in enumerate(scores.representations):
        y = top + high * row
        axes.text(
            left - 0.08, y + high / 2, name, fontsize=_ROW, color=INK[0], ha="right", va="center"
        )
        for track, x, wide in zip(scores.tracks.values(), starts, widths, strict=True):
            centred: dict[str, Any] = {"x": x + wide / 2, "ha": "center", "va": "center"}
            score = track.get(name)
            if score is None:
                axes.text(y=y + high / 2, s=_NOT_RUN, fontsize=_ROW, color=_FAINT, **centred)
                continue
            color = _COLORS(min(max(score.shown, 0.0), 1.0))
            axes.add_patch(
                Rectangle((x, y), wide, high, facecolor=color, edgecolor="white", linewidth=1.5)
            )
            centred["color"] = INK[0] if score.shown > _LIGHT else "white"
            axes.text(
                y=y + 0.37 * high,
                s=f"{round(100 * score.shown)}",
                fontsize=_SCORE,
                weight="bold",
                **centred,
            )
            axes.text(y=y + 0.78 * high, s=_worst(score), fontsize=_WORST, **centred)
    return figure


def legend(scores: Scores) -> str:
    """What the numbers are, in a line."""
    said = "Score: 0 search without touch, 100 expert" if scores.normalised else "Success [%]"
    partly = any(len(column) < len(scores.representations) for column in scores.tracks.values())
    return f"{said}; worst connector" + (f"; {_NOT_RUN} not run" if partly else "")


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


def _worst(score: Score) -> str:
    """The worst connector, its name shortened, and its success."""
    name = score.worst
    if len(name) > _NAME_LETTERS:
        kept = _NAME_LETTERS // 2
        name = f"{name[:kept]}…{name[-kept:]}"
    return f"{name} {100 * score.worst_success:.0f}%"


def _widest(texts: Iterable[str], size: float) -> float:
    """The width of the widest of some texts of a size in points, [in]."""
    font = FontProperties(size=size)
    widths = [
        text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] for text in {*texts}
    ]
    return max(widths, default=0.0) / 72


def png(figure: Figure) -> bytes:
    """A figure as a PNG."""
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=200)
        return file.getvalue()
