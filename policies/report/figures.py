"""The figures of a method: how its representations learn, succeed and fail."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]

from policies.evaluation.episodes import CAUSES
from policies.evaluation.statistics import Band
from policies.report.drawing import (
    FAINT,
    HEIGHT,
    INTERVAL,
    ONE_RUN,
    Drawing,
    axis,
    band,
    error_bars,
    layout,
    line,
    success_axis,
)
from policies.report.numbers import connector_title, percent, steps
from policies.report.palette import Look
from policies.report.summary import REACHED, Section

_PATTERNS = ("", "/", "", "\\", "x", "", ".")
"""Patterns of bars, by cause: a second mark beside their colour."""


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
            figure.add_trace(band(name, curve, look))
        figure.add_trace(
            go.Scatter(
                x=curve.x,
                y=curve.estimate,
                customdata=np.stack([curve.low, curve.high], axis=-1),
                mode="lines" if len(curve.x) > 1 else "markers",
                line=line(look, row.single),
                marker={"color": look.color, "symbol": look.symbol, "size": 9},
                hovertemplate=f"<b>{name}</b><br>%{{y:.1%}} at %{{x:.3~s}} steps"
                f"{ONE_RUN if row.single else INTERVAL}<extra></extra>",
                name=name,
                meta=name,
            )
        )
    figure.update_layout(layout(), xaxis=axis("environment steps"), yaxis=success_axis())
    figure.update_xaxes(tickformat="~s", rangemode="tozero")
    last = "; ".join(
        f"{row.representation} ends at {percent(curve.estimate[-1])} after {steps(curve.x[-1])} "
        "steps"
        for row, curve in drawn
    )
    about = _about(section, "interquartile mean of the runs", "95% bands", "thin")
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
                error_y=None if row.single else error_bars(found),
                marker={
                    "color": looks[row.representation].color,
                    "line": {"width": 0},
                    "opacity": FAINT if row.single else 1.0,
                    "pattern": {
                        "shape": looks[row.representation].pattern,
                        "fgcolor": "var(--page)",
                        "size": 5,
                        "solidity": 0.3,
                        "fillmode": "overlay",
                    },
                },
                customdata=[[i.low, i.high] for i in found],
                hovertemplate=f"<b>{row.representation}</b>, %{{x}}<br>%{{y:.1%}}"
                f"{ONE_RUN if row.single else INTERVAL}<extra></extra>",
                name=row.representation,
                meta=row.representation,
            )
        )
    figure.update_layout(layout(), barmode="group", bargap=0.18, bargroupgap=0.06)
    figure.update_layout(xaxis=axis(""), yaxis=success_axis())
    words = "; ".join(
        f"{row.representation}: "
        + ", ".join(f"{n} {percent(row.connectors[n].value)}" for n in section.connectors)
        for row in section.rows
    )
    return Drawing(
        "Success by connector",
        figure,
        "Success of the final policies on each connector: "
        + _about(section, "interquartile mean of the runs", "95% intervals as whiskers", "faint")
        + ".",
        f"Bar chart of success by connector. {words}.",
    )


def profiles(section: Section, looks: Mapping[str, Look]) -> Drawing:
    """Performance profiles: the part of runs and connectors above each success rate."""
    figure = go.Figure()
    for row in section.rows:
        look, profile = looks[row.representation], row.profile
        if not row.single:
            figure.add_trace(band(row.representation, profile, look))
        figure.add_trace(
            go.Scatter(
                x=profile.x,
                y=profile.estimate,
                mode="lines",
                line=line(look, row.single),
                hovertemplate=f"<b>{row.representation}</b><br>%{{y:.0%}} of runs and connectors "
                "succeed more often than %{x:.0%}<extra></extra>",
                name=row.representation,
                meta=row.representation,
            )
        )
    figure.update_layout(layout(), xaxis=axis("success rate τ"), yaxis=success_axis())
    figure.update_xaxes(tickformat=".0%", range=[0, 1.005], dtick=0.2)
    figure.update_yaxes(title_text="part of runs and connectors above τ")
    at = "; ".join(
        f"{row.representation} {percent(_profile_at(row.profile, REACHED))}" for row in section.rows
    )
    return Drawing(
        "Performance profiles",
        figure,
        "The part of runs and connectors whose success is above τ"
        + ("" if section.single else f", with 95% bands{_unsure(section, 'thin')}")
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
        layout(),
        barmode="stack",
        bargap=0.3,
        height=max(HEIGHT, 110 + 30 * len(names)),
        showlegend=True,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0, "traceorder": "normal"},
        xaxis=axis("part of final episodes"),
        yaxis=axis(""),
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


def _about(section: Section, of: str, intervals: str, drawn: str) -> str:
    if section.single:
        return f"{of}, one run each"
    return f"{of}, with {intervals}{_unsure(section, drawn)}"


def _unsure(section: Section, drawn: str) -> str:
    """How those with one run are drawn; empty if there are none."""
    return f"; {drawn} where there is but one run" if section.unsure else ""


def _profile_at(profile: Band, threshold: float) -> float:
    return float(np.interp(threshold, profile.x, profile.estimate))
