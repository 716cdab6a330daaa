"""The figures of a method: how its representations learn, succeed and fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]

from policies.evaluation.statistics import Band, Estimate
from policies.report import measurements as m
from policies.report.measurements import Section
from policies.report.numbers import percent, steps
from policies.report.palette import CAUSES, Style

HEIGHT = 360
"""Height of a figure, in pixels of the page."""
INTERVAL = "<br>95% interval %{customdata[0]:.1%} to %{customdata[1]:.1%}"
"""What is said of a point with an interval, whose ends are its custom data."""
ONE_RUN = "<br>one run, no interval"
"""What is said of a point without an interval."""
RATE_AXIS = {"tickformat": ".0%", "range": [0, 1.02], "dtick": 0.2}
SUCCESS_AXIS = RATE_AXIS | {"title_text": "success"}
"""An axis of success rates, all of it, so that figures compare."""
_PARTS_AXIS = {"tickformat": ".0%", "rangemode": "tozero"}
_ABOVE = {"orientation": "h", "traceorder": "normal", "yanchor": "bottom", "y": 1.01, "x": 0}
"""A legend over what is drawn, so that it lies on no point."""

_CLEAR = "rgba(0,0,0,0)"
_AXIS = {
    "title": {"font": {"color": "var(--muted)", "size": 13}, "standoff": 10},
    "gridcolor": "var(--line)",
    "zeroline": False,
    "linecolor": "var(--line)",
    "tickfont": {"color": "var(--muted)", "size": 12},
    "ticklabelstandoff": 3,
}
THEME = go.layout.Template(
    layout={
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
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)
"""Plotly's theme of all figures, without a background, so that the page's shows."""

_PATTERNS = ("", "\\", "x", "/", "", "x", ".")
"""Patterns of bars, by cause: a second mark beside their colour."""
_MEANINGS = {
    "jammed": "time ran out with the plug pressed on the socket's face",
    "partial": "in the mouth, but not deep enough",
    "missed": "anywhere else",
}
"""What causes of failure mean whose name does not say it."""


class Drawing(NamedTuple):
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


def figure(traces: Sequence[Any], height: int = HEIGHT, **layout: Any) -> go.Figure:
    """A figure in the report's theme, its height in pixels of the page."""
    return go.Figure(
        list(traces), {"template": THEME, "height": height, "showlegend": False, **layout}
    )


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


def drawings(section: Section, styles: Mapping[str, Style]) -> list[Drawing]:
    """The figures of a method; none for one without runs."""
    if not section.runs:
        return []
    found = [draw(section, styles) for draw in (curves, connector_bars, profiles)]
    return [drawing for drawing in (*found, failures(section)) if drawing is not None]


def curves(section: Section, styles: Mapping[str, Style]) -> Drawing | None:
    """Success over training steps, with bands; None if no run was evaluated while it learned."""
    drawn = section.bands(m.LEARNING)
    if not drawn:
        return None
    ends = "; ".join(
        f"{name} ends at {percent(band.estimate[-1])} after {steps(band.x[-1])} steps"
        for name, band in drawn.items()
    )
    return Drawing(
        "Success while learning",
        figure(
            _lines(section, drawn, styles, "%{y:.1%} at %{x:.3~s} steps", interval=True),
            xaxis={"title_text": "environment steps", "tickformat": "~s", "rangemode": "tozero"},
            yaxis=SUCCESS_AXIS,
        ),
        "Success of the evaluations during training over environment steps: "
        f"{_about(section, '95% bands', 'thin')}.",
        f"Line chart of success over environment steps. {ends}.",
    )


def connector_bars(section: Section, styles: Mapping[str, Style]) -> Drawing:
    """Final success by connector."""
    traces, words = [], []
    for name in section.runs:
        single = name in section.unsure
        found = [e for c in section.connectors if (e := section.estimate(name, m.SUCCESS, c))]
        traces.append(
            go.Bar(
                x=section.connectors,
                y=[each.value for each in found],
                error_y=None if single else error_bars(found),
                marker={
                    "color": styles[name].color,
                    "line": {"width": 0},
                    "opacity": 0.4 if single else 1.0,
                    "pattern": _pattern(styles[name].pattern, size=5, solidity=0.3),
                },
                customdata=[[each.low, each.high] for each in found],
                hovertemplate=f"<b>{name}</b>, %{{x}}<br>%{{y:.1%}}"
                f"{ONE_RUN if single else INTERVAL}<extra></extra>",
                name=name,
                meta=name,
            )
        )
        values = zip(section.connectors, found, strict=True)
        words.append(f"{name}: " + ", ".join(f"{c} {percent(e.value)}" for c, e in values))
    return Drawing(
        "Success by connector",
        figure(traces, barmode="group", bargap=0.18, bargroupgap=0.06, yaxis=SUCCESS_AXIS),
        "Success of the final policies on each connector: "
        f"{_about(section, '95% intervals as whiskers', 'faint')}.",
        f"Bar chart of success by connector. {'; '.join(words)}.",
    )


def profiles(section: Section, styles: Mapping[str, Style]) -> Drawing:
    """Performance profiles: the part of runs and connectors above each success rate."""
    drawn = section.bands(m.PROFILE)
    hover = "%{y:.0%} of runs and connectors succeed more often than %{x:.0%}"
    above = "; ".join(
        f"{name} {percent(float(np.interp(m.REACHED, band.x, band.estimate)))}"
        for name, band in drawn.items()
    )
    bands = "" if section.single else f", with 95% bands{_unsure(section, 'thin')}"
    return Drawing(
        "Performance profiles",
        figure(
            _lines(section, drawn, styles, hover, interval=False),
            xaxis=RATE_AXIS | {"title_text": "success rate τ", "range": [0, 1.005]},
            yaxis=SUCCESS_AXIS | {"title_text": "part of runs and connectors above τ"},
        ),
        f"The part of runs and connectors whose success is above τ{bands}. A curve that lies above "
        "another is of a representation that does better throughout.",
        f"Line chart of performance profiles. Above a success of {m.REACHED:.0%}: {above}.",
    )


def failures(section: Section) -> Drawing | None:
    """Why final episodes failed; None if none did."""
    if not section.causes:
        return None
    names = list(section.runs)
    traces = []
    words: dict[str, list[str]] = {name: [] for name in names}
    for place, cause in enumerate(section.causes, start=len(CAUSES) - len(section.causes)):
        place %= len(CAUSES)
        parts = [section.value(name, m.FAILED, cause) or 0.0 for name in names]
        for name, part in zip(names, parts, strict=True):
            words[name] += [f"{cause} {percent(part)}"] if part else []
        traces.append(
            go.Bar(
                y=names,
                x=parts,
                orientation="h",
                marker={
                    "color": f"var(--cause-{place + 1})",
                    "line": {"width": 0},
                    "pattern": _pattern(_PATTERNS[place], size=6, solidity=0.25, fgopacity=0.7),
                },
                hovertemplate=f"<b>%{{y}}</b><br>{cause}: %{{x:.1%}} of episodes<extra></extra>",
                name=cause,
            )
        )
    meanings = "; ".join(f"{c}: {_MEANINGS[c]}" for c in section.causes if c in _MEANINGS)
    told = "; ".join(f"{name}: {', '.join(failed) or 'none'}" for name, failed in words.items())
    return Drawing(
        "Why episodes failed",
        figure(
            traces,
            height=max(HEIGHT, 110 + 30 * len(names)),
            barmode="stack",
            bargap=0.3,
            showlegend=True,
            legend=_ABOVE,
            xaxis=_PARTS_AXIS | {"title_text": "part of final episodes"},
            yaxis={"autorange": "reversed", "automargin": True, "showgrid": False},
        ),
        "Part of the final episodes that failed, by cause."
        + (f" {meanings[0].upper()}{meanings[1:]}." if meanings else ""),
        f"Stacked bar chart of failures by cause. {told}.",
    )


def _lines(
    section: Section,
    drawn: Mapping[str, Band],
    styles: Mapping[str, Style],
    hover: str,
    interval: bool,
) -> list[go.Scatter]:
    """Curves, each over the band about it; a single run has a thin line and no band."""
    traces = []
    for name, band in drawn.items():
        style, single = styles[name], name in section.unsure
        if not single:
            traces.append(
                go.Scatter(
                    x=np.concatenate([band.x, band.x[::-1]]),
                    y=np.concatenate([band.high, band.low[::-1]]),
                    fill="toself",
                    fillcolor=style.color,
                    opacity=0.16,
                    line={"width": 0},
                    mode="lines",
                    hoverinfo="skip",
                    meta=name,
                )
            )
        doubt = (ONE_RUN if single else INTERVAL) if interval else ""
        traces.append(
            go.Scatter(
                x=band.x,
                y=band.estimate,
                customdata=np.stack([band.low, band.high], axis=-1) if interval else None,
                mode="lines" if len(band.x) > 1 else "markers",
                line={"color": style.color, "dash": style.dash, "width": 1.25 if single else 2.5},
                marker={"color": style.color, "symbol": style.symbol, "size": 9},
                hovertemplate=f"<b>{name}</b><br>{hover}{doubt}<extra></extra>",
                name=name,
                meta=name,
            )
        )
    return traces


def _pattern(shape: str, **marks: float) -> dict[str, Any]:
    return {"shape": shape, "fgcolor": "var(--page)", "fillmode": "overlay", **marks}


def _about(section: Section, intervals: str, drawn: str) -> str:
    if section.single:
        return "interquartile mean of the runs, one run each"
    return f"interquartile mean of the runs, with {intervals}{_unsure(section, drawn)}"


def _unsure(section: Section, drawn: str) -> str:
    """How those with one run are drawn; empty if there are none."""
    return f"; {drawn} where there is but one run" if section.unsure else ""
