"""Figures of what encoders know against what policies on them reach."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go  # type: ignore[import-untyped]
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from policies.report.drawing import ONE_RUN, Drawing, axis, error_bars, layout, success_axis
from policies.report.numbers import percent
from policies.report.palette import Look
from policies.report.probes import Probed, Probes
from policies.report.summary import Section
from policies.report.tables import variable_title
from representation.probes.markdown import number
from representation.probes.variables import unit

_FEWEST_CORRELATED = 4
"""Encoders from which on a correlation is worth a word."""
_FEWEST_TICKS = 3
_NOTHING = Probed({}, None, "")


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
                    error_y=None if row.single else error_bars([row.success]),
                    mode="markers",
                    marker={
                        "color": look.color,
                        "symbol": f"{look.symbol}-open" if row.single else look.symbol,
                        "size": 12,
                    },
                    cliponaxis=False,
                    hovertemplate=f"<b>{row.representation}</b><br>error %{{x:.3g}} "
                    f"{unit(variable)}<br>success %{{y:.1%}}{ONE_RUN if row.single else ''}"
                    "<extra></extra>",
                    name=row.representation,
                    meta=row.representation,
                )
            )
        figure.add_vline(x=bound, line={"color": "var(--muted)", "dash": "dot", "width": 1.5})
        title = variable_title(variable)
        figure.update_layout(
            layout(),
            height=280,
            xaxis=axis(f"error of {title} [{unit(variable)}]"),
            yaxis=success_axis(),
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
