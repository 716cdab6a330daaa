"""The figures of a report: what each shows, and the same in words for those who do not see it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from policies.episodes import CAUSES
from policies.report.numbers import connector_title, percent, steps
from policies.report.palette import Look
from policies.report.probes import Probed, Probes
from policies.report.summary import REACHED, Section
from policies.report.tables import variable_title
from policies.statistics import Band, Estimate
from representation.probes.markdown import number
from representation.probes.variables import unit

HEIGHT = 360
"""Height of a figure, in pixels of the page."""

_CLEAR = "rgba(0,0,0,0)"
_FEWEST_CORRELATED = 4
"""Encoders from which on a correlation is worth a word."""
_FEWEST_TICKS = 3
_NOTHING = Probed({}, None, "")
_PATTERNS = ("", "/", "", "\\", "x", "", ".")
"""Patterns of bars, by cause: a second mark beside their colour."""


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


def curves(section: Section, looks: Mapping[str, Look]) -> Drawing | None:
    """Success over training steps, with bands; None if no run was evaluated while it learned."""
    drawn = [(row, row.curve) for row in section.rows if row.curve is not None]
    if not drawn:
        return None
    figure = go.Figure()
    for row, curve in drawn:
        name = row.representation
        look = looks[name]
        if not row.single:
            figure.add_trace(
                go.Scatter(
                    x=np.concatenate([curve.x, curve.x[::-1]]),
                    y=np.concatenate([curve.high, curve.low[::-1]]),
                    fill="toself",
                    fillcolor=look.band,
                    line={"width": 0},
                    mode="lines",
                    hoverinfo="skip",
                    meta=name,
                )
            )
        figure.add_trace(
            go.Scatter(
                x=curve.x,
                y=curve.estimate,
                customdata=np.stack([curve.low, curve.high], axis=-1),
                mode="lines" if len(curve.x) > 1 else "markers",
                line={"color": look.color, "dash": look.dash, "width": 2.5},
                marker={"color": look.color, "symbol": look.symbol, "size": 9},
                hovertemplate=f"<b>{name}</b><br>%{{y:.1%}} at %{{x:.3~s}} steps<br>"
                "95% interval %{customdata[0]:.1%} to %{customdata[1]:.1%}<extra></extra>",
                name=name,
                meta=name,
            )
        )
    figure.update_layout(_layout(), xaxis=_axis("environment steps"), yaxis=_success_axis())
    figure.update_xaxes(tickformat="~s", rangemode="tozero")
    last = "; ".join(
        f"{row.representation} ends at {percent(curve.estimate[-1])} after {steps(curve.x[-1])} "
        "steps"
        for row, curve in drawn
    )
    about = _about(section, "interquartile mean of the runs")
    return Drawing(
        "Success while learning",
        figure,
        f"Success of the evaluations during training over environment steps: {about}.",
        f"Line chart of success over environment steps. {last}.",
    )


def connector_bars(section: Section, looks: Mapping[str, Look]) -> Drawing:
    """Final success by connector."""
    titles = [connector_title(name) for name in section.connectors]
    figure = go.Figure()
    for row in section.rows:
        found = [row.connectors[name] for name in section.connectors]
        estimate = np.array([interval.value for interval in found])
        figure.add_trace(
            go.Bar(
                x=titles,
                y=estimate,
                error_y=None if row.single else _error_bars(found),
                marker={"color": looks[row.representation].color, "line": {"width": 0}},
                customdata=[[i.low, i.high] for i in found],
                hovertemplate=f"<b>{row.representation}</b>, %{{x}}<br>%{{y:.1%}}<br>95% interval "
                "%{customdata[0]:.1%} to %{customdata[1]:.1%}<extra></extra>",
                name=row.representation,
                meta=row.representation,
            )
        )
    figure.update_layout(_layout(), barmode="group", bargap=0.18, bargroupgap=0.06)
    figure.update_layout(xaxis=_axis(""), yaxis=_success_axis())
    words = "; ".join(
        f"{row.representation}: "
        + ", ".join(f"{n} {percent(row.connectors[n].value)}" for n in section.connectors)
        for row in section.rows
    )
    return Drawing(
        "Success by connector",
        figure,
        "Success of the final policies on each connector: "
        f"{_about(section, 'interquartile mean of the runs', '95% intervals as whiskers')}.",
        f"Bar chart of success by connector. {words}.",
    )


def profiles(section: Section, looks: Mapping[str, Look]) -> Drawing:
    """Performance profiles: the part of runs and connectors above each success rate."""
    figure = go.Figure()
    for row in section.rows:
        look, band = looks[row.representation], row.profile
        if not row.single:
            figure.add_trace(
                go.Scatter(
                    x=np.concatenate([band.x, band.x[::-1]]),
                    y=np.concatenate([band.high, band.low[::-1]]),
                    fill="toself",
                    fillcolor=look.band,
                    line={"width": 0},
                    mode="lines",
                    hoverinfo="skip",
                    meta=row.representation,
                )
            )
        figure.add_trace(
            go.Scatter(
                x=band.x,
                y=band.estimate,
                mode="lines",
                line={"color": look.color, "dash": look.dash, "width": 2.5},
                hovertemplate=f"<b>{row.representation}</b><br>%{{y:.0%}} of runs and connectors "
                "succeed more often than %{x:.0%}<extra></extra>",
                name=row.representation,
                meta=row.representation,
            )
        )
    figure.update_layout(_layout(), xaxis=_axis("success rate τ"), yaxis=_success_axis())
    figure.update_xaxes(tickformat=".0%", range=[0, 1.005], dtick=0.2)
    figure.update_yaxes(title_text="part of runs and connectors above τ")
    at = "; ".join(
        f"{row.representation} {percent(_profile_at(row.profile, REACHED))}" for row in section.rows
    )
    return Drawing(
        "Performance profiles",
        figure,
        "The part of runs and connectors whose success is above τ"
        + ("" if section.single else ", with 95% bands")
        + ". A curve that lies above another is of a representation that does better throughout.",
        f"Line chart of performance profiles. Above a success of 90%: {at}.",
    )


def failures(section: Section) -> Drawing | None:
    """Why final episodes failed; None if none did."""
    rows = [row for row in section.rows if row.failures]
    if not rows:
        return None
    found = {cause for row in rows for cause in row.failures}
    causes = [cause for cause in CAUSES if cause in found] + sorted(found - set(CAUSES))
    figure = go.Figure()
    names = [row.representation for row in section.rows]
    for cause in causes:
        # One of another version looks like the last.
        place = CAUSES.index(cause) if cause in CAUSES else len(CAUSES) - 1
        figure.add_trace(
            go.Bar(
                y=names,
                x=[row.failures.get(cause, 0.0) for row in section.rows],
                orientation="h",
                marker={
                    "color": f"var(--cause-{place + 1})",
                    "line": {"width": 0},
                    "pattern": {
                        "shape": _PATTERNS[place],
                        "fgcolor": "var(--page)",
                        "size": 6,
                        "solidity": 0.25,
                        "fillmode": "overlay",
                        "fgopacity": 0.7,
                    },
                },
                hovertemplate=f"<b>%{{y}}</b><br>{cause}: %{{x:.1%}} of episodes<extra></extra>",
                name=cause,
            )
        )
    figure.update_layout(
        _layout(),
        barmode="stack",
        bargap=0.3,
        height=max(HEIGHT, 110 + 30 * len(names)),
        showlegend=True,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0, "traceorder": "normal"},
        xaxis=_axis("part of final episodes"),
        yaxis=_axis(""),
    )
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    words = "; ".join(
        f"{row.representation}: "
        + (", ".join(f"{c} {percent(p)}" for c, p in row.failures.items()) or "none")
        for row in section.rows
    )
    return Drawing(
        "Why episodes failed",
        figure,
        "Part of the final episodes that failed, by cause. Jammed: time ran out with the plug "
        "pressed on the socket's face; partial: in the mouth, but not deep enough; missed: "
        "anywhere else.",
        f"Stacked bar chart of failures by cause. {words}.",
    )


def probe_scatters(section: Section, probes: Probes, looks: Mapping[str, Look]) -> list[Drawing]:
    """What encoders know against what policies on them reach, a figure for each pose variable."""
    drawings = []
    for variable, bound in probes.bounds.items():
        rows = [
            (row, probes.found[row.representation].errors[variable])
            for row in section.rows
            # A log axis has no place for an error of 0.
            if probes.found.get(row.representation, _NOTHING).errors.get(variable)
        ]
        if not rows:
            continue
        figure = go.Figure()
        for row, error in rows:
            look = looks[row.representation]
            figure.add_trace(
                go.Scatter(
                    x=[error],
                    y=[row.success.value],
                    error_y=None if row.single else _error_bars([row.success]),
                    mode="markers",
                    marker={"color": look.color, "symbol": look.symbol, "size": 12},
                    cliponaxis=False,
                    hovertemplate=f"<b>{row.representation}</b><br>error %{{x:.3g}} "
                    f"{unit(variable)}<br>success %{{y:.1%}}<extra></extra>",
                    name=row.representation,
                    meta=row.representation,
                )
            )
        figure.add_vline(x=bound, line={"color": "var(--muted)", "dash": "dot", "width": 1.5})
        title = variable_title(variable)
        figure.update_layout(
            _layout(),
            height=280,
            xaxis=_axis(f"error of {title} [{unit(variable)}]"),
            yaxis=_success_axis(),
        )
        low, high = (f(bound, *(e for _, e in rows)) for f in (min, max))
        span = (low / 1.3, high * 1.3)
        figure.update_xaxes(
            type="log",
            range=[math.log10(end) for end in span],
            tickvals=_log_ticks(*span),
            tickangle=0,
            tickformat="~g",
        )
        words = "; ".join(
            f"{row.representation}: error {number(error)}, success {percent(row.success.value)}"
            for row, error in rows
        )
        drawings.append(
            Drawing(
                title[0].upper() + title[1:],
                figure,
                _correlation([e for _, e in rows], [row.success.value for row, _ in rows]),
                f"Scatter plot of success against the probe's error of {title}. {words}.",
            )
        )
    return drawings


def _correlation(errors: Sequence[float], success: Sequence[float]) -> str:
    """How errors and success go together, in words; empty for too few points to tell."""
    if len(errors) < _FEWEST_CORRELATED or len(set(errors)) == 1 or len(set(success)) == 1:
        return ""
    rank = spearmanr(errors, success).statistic
    return f"Spearman's rank correlation {rank:.2f} over {len(errors)} encoders."


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two ends: as few as will do, and three if that can be."""
    ticks: list[float] = []
    for digits in ((1, 2, 5), (1, 2, 3, 4, 5, 7)):
        every = (float(f"{digit}e{power}") for power in range(-4, 4) for digit in digits)
        ticks = [tick for tick in every if low <= tick <= high]
        if len(ticks) >= _FEWEST_TICKS:
            break
    return ticks


def _about(section: Section, of: str, intervals: str = "95% bands") -> str:
    return f"{of}, one of each" if section.single else f"{of}, with {intervals}"


def _profile_at(profile: Band, threshold: float) -> float:
    return float(np.interp(threshold, profile.x, profile.estimate))


def _error_bars(found: Sequence[Estimate]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(i.high - i.value, 0.0) for i in found],
        "arrayminus": [max(i.value - i.low, 0.0) for i in found],
        "color": "var(--whisker)",
        "thickness": 1.3,
        "width": 2.5,
    }


def _layout() -> dict[str, Any]:
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


def _axis(title: str) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"color": "var(--muted)", "size": 13}, "standoff": 10},
        "gridcolor": "var(--line)",
        "zeroline": False,
        "linecolor": "var(--line)",
        "tickfont": {"color": "var(--muted)", "size": 12},
        "fixedrange": False,
    }


def _success_axis() -> dict[str, Any]:
    return _axis("success") | {"tickformat": ".0%", "range": [0, 1.02], "dtick": 0.2}
