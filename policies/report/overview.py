"""A study's result as one picture, for a paper or a README."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from policies.evaluation.statistics import interquartile_mean
from policies.report.measurements import SUCCESS, Section
from policies.report.numbers import percent
from policies.report.palette import INK, SERIES
from policies.report.study import Run, success_rate

_POINT, _RUN, _GRID = SERIES[0][0], "#9aa3b2", "#d5d9e0"
_ROW_INCHES = 0.3


def overview(sections: Sequence[Section], representations: Sequence[str]) -> Figure:
    """Success on each representation, a panel for each method.

    Args:
        sections: The methods, one or more with runs; those without are left out.
        representations: Labels, from the top down.

    Returns:
        The interquartile mean with its interval, and beside it that of each run.
    """
    shown = [section for section in sections if section.runs]
    height = 1.2 + _ROW_INCHES * len(representations)
    figure = Figure(figsize=(2.0 + 3.4 * len(shown), height), layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    places = {name: -place for place, name in enumerate(representations)}
    for axes, section in zip(panels, shown, strict=True):
        _draw(axes, section, places)
        axes.set_title(section.method.title, fontsize=10, color=INK[0])
    panels[0].set_yticks(list(places.values()), list(places))
    handles, labels = panels[0].get_legend_handles_labels()
    columns = min(2, len(shown))  # beside each other they are wider than one panel
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _draw(axes: Axes, section: Section, places: dict[str, int]) -> None:
    runs = [
        (_of_run(run, section.connectors), place)
        for name, place in places.items()
        for run in section.runs.get(name, ())
    ]
    label = "interquartile mean of a run, over connectors"
    axes.plot(*zip(*runs, strict=True), "|", color=_RUN, markersize=9, label=label)
    several = {
        places[name]: found
        for name in section.runs
        if name not in section.unsure and (found := section.estimate(name, SUCCESS))
    }
    axes.errorbar(
        [found.value for found in several.values()],
        list(several),
        xerr=[
            [found.value - found.low for found in several.values()],
            [found.high - found.value for found in several.values()],
        ],
        fmt="o",
        color=_POINT,
        capsize=2.5,
        label="of all runs, with its 95% interval",
    )
    for place, found in several.items():
        axes.text(1.04, place, percent(found.value), va="center", fontsize=8, color=INK[0])
    axes.set_xlim(-0.03, 1.22)
    axes.set_ylim(min(places.values()) - 0.6, 0.6)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    axes.grid(axis="x", color=_GRID)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _of_run(run: Run, connectors: Sequence[str]) -> float:
    """The interquartile mean of a run over connectors."""
    return float(interquartile_mean([[success_rate(run.episodes[name]) for name in connectors]]))
