"""What all figures of a report have in common: how they are laid out, and how they show doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]

from policies.evaluation.statistics import Band, Estimate
from policies.report.palette import Look

HEIGHT = 360
"""Height of a figure, in pixels of the page."""

INTERVAL = "<br>95% interval %{customdata[0]:.1%} to %{customdata[1]:.1%}"
"""What is said of a point with an interval, whose ends are its custom data."""

ONE_RUN = "<br>one run, no interval"
"""What is said of a point without an interval."""

FAINT = 0.4
"""Opacity of what one run alone came to, beside bars with whiskers."""

_CLEAR = "rgba(0,0,0,0)"


@dataclass(frozen=True)
class Drawing:
    """A figure of the page.

    Attributes:
        title: Its heading.
        figure: What is drawn; every trace that is one representation's has its name as `meta`.
        caption: How to read it.
        alternative: What it shows, in words.
    """

    title: str
    figure: go.Figure
    caption: str
    alternative: str


def band(name: str, of: Band, look: Look) -> go.Scatter:
    """The band about a curve.

    Args:
        name: The representation that it is of.
        of: The curve.
        look: How it is drawn.
    """
    return go.Scatter(
        x=np.concatenate([of.x, of.x[::-1]]),
        y=np.concatenate([of.high, of.low[::-1]]),
        fill="toself",
        fillcolor=look.band,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        meta=name,
    )


def line(look: Look, single: bool) -> dict[str, Any]:
    """The line of a curve; a thin one for a single run, which is sure of nothing."""
    return {"color": look.color, "dash": look.dash, "width": 1.25 if single else 2.5}


def error_bars(found: Sequence[Estimate]) -> dict[str, Any]:
    """Intervals as whiskers of a trace."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(i.high - i.value, 0.0) for i in found],
        "arrayminus": [max(i.value - i.low, 0.0) for i in found],
        "color": "var(--whisker)",
        "thickness": 1.3,
        "width": 2.5,
    }


def layout() -> dict[str, Any]:
    """What all figures look like: no background, so that the page's shows."""
    return {
        "template": "none",
        "height": HEIGHT,
        "margin": {"l": 56, "r": 26, "t": 30, "b": 48},
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
        "font": {"family": "inherit", "size": 13, "color": "var(--ink)"},
        "hoverlabel": {
            "bgcolor": "var(--surface)",
            "bordercolor": "var(--line)",
            "font": {"color": "var(--ink)", "size": 13},
            "align": "left",
        },
        "hovermode": "closest",
        "modebar": {"bgcolor": _CLEAR, "color": "var(--muted)", "activecolor": "var(--ink)"},
        "showlegend": False,
    }


def axis(title: str) -> dict[str, Any]:
    """An axis with a title."""
    return {
        "title": {"text": title, "font": {"color": "var(--muted)", "size": 13}, "standoff": 10},
        "gridcolor": "var(--line)",
        "zeroline": False,
        "linecolor": "var(--line)",
        "tickfont": {"color": "var(--muted)", "size": 12},
        "fixedrange": False,
    }


def success_axis() -> dict[str, Any]:
    """An axis of success rates, all of it, so that figures compare."""
    return axis("success") | {"tickformat": ".0%", "range": [0, 1.02], "dtick": 0.2}
