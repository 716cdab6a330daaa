"""Figures of what encoders know against what policies on them reach."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go  # type: ignore[import-untyped]
from scipy.stats import spearmanr

from policies.report.figures import ONE_RUN, SUCCESS_AXIS, Drawing, error_bars, figure
from policies.report.measurements import SUCCESS, Section
from policies.report.numbers import percent
from policies.report.palette import Style
from policies.report.probes import Probes
from policies.report.tables import variable_title
from representation.probes.markdown import number
from representation.probes.variables import unit

_FEWEST_CORRELATED = 4
"""Encoders from which on a correlation is worth a word."""
_FEWEST_TICKS = 3


def probe_scatters(section: Section, probes: Probes, styles: Mapping[str, Style]) -> list[Drawing]:
    """What encoders know against what policies reach: by the worst error, and by each variable."""
    worst = {name: probed.worst for name, probed in probes.found.items()}
    drawings = [_scatter(section, "worst error", "of its bound", 1.0, worst, styles)]
    for variable, bound in probes.bounds.items():
        errors = {name: probed.errors.get(variable) for name, probed in probes.found.items()}
        label = f"error of {variable_title(variable)}"
        drawings.append(_scatter(section, label, unit(variable), bound, errors, styles))
    return [drawing for drawing in drawings if drawing is not None]


def _scatter(
    section: Section,
    label: str,
    in_unit: str,
    bound: float,
    errors: Mapping[str, float | None],
    styles: Mapping[str, Style],
) -> Drawing | None:
    """Success against a kind of error, with a line at its bound; None without points."""
    rows = [
        (name, error, found)
        for name in section.runs
        # A log axis has no place for an error of 0.
        if (error := errors.get(name)) and (found := section.estimate(name, SUCCESS))
    ]
    if not rows:
        return None
    shown = [error for _, error, _ in rows]
    span = (min(bound, *shown) / 1.3, max(bound, *shown) * 1.3)
    traces = []
    for name, error, found in rows:
        single, symbol = name in section.unsure, styles[name].symbol
        traces.append(
            go.Scatter(
                x=[error],
                y=[found.value],
                error_y=None if single else error_bars([found]),
                mode="markers",
                marker={
                    "color": styles[name].color,
                    "symbol": f"{symbol}-open" if single else symbol,
                    "size": 12,
                },
                cliponaxis=False,
                hovertemplate=f"<b>{name}</b><br>{label} %{{x:.3g}} {in_unit}"
                f"<br>success %{{y:.1%}}{ONE_RUN if single else ''}<extra></extra>",
                name=name,
                meta=name,
            )
        )
    drawn = figure(
        traces,
        height=280,
        xaxis={
            "title_text": f"{label} [{in_unit}]",
            "type": "log",
            "range": [math.log10(end) for end in span],
            "tickvals": _log_ticks(*span),
            "tickangle": 0,
            "tickformat": "~g",
        },
        yaxis=SUCCESS_AXIS,
    )
    drawn.add_vline(x=bound, line={"color": "var(--muted)", "dash": "dot", "width": 1.5})
    words = "; ".join(
        f"{name}: {number(error)}, success {percent(found.value)}" for name, error, found in rows
    )
    title = label.removeprefix("error of ")
    return Drawing(
        title[0].upper() + title[1:],
        drawn,
        _correlation(shown, [found.value for *_, found in rows]),
        f"Scatter plot of success against the probe's {label}. {words}.",
    )


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
