"""A picture of how success rose."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from policies.learners.run_log import Row
from vtenv.atomic_write import atomic_write


def draw_curve(path: Path, metrics: Sequence[Row], evaluations: Sequence[Row], title: str) -> None:
    """Draw success over steps: while learning, and on fixed seeds.

    Args:
        path: The picture, `.png`.
        metrics: Rows on training.
        evaluations: Rows on evaluations.
        title: What was trained.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        warnings.warn("Matplotlib is not installed: curve.png is not drawn", stacklevel=2)
        return
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    learning = [row for row in metrics if "success" in row]
    for rows, label, style in (
        (learning, "episodes of training", {"color": "0.7", "linewidth": 1.0}),
        (evaluations, "fixed seeds, mean actions", {"color": "tab:blue", "marker": "o"}),
    ):
        axes.plot(
            [row["steps"] for row in rows],
            [row["success"] for row in rows],
            label=label,
            **style,
        )
    axes.set(xlabel="control steps", ylabel="success", ylim=(-0.02, 1.02), title=title)
    axes.xaxis.set_major_formatter(lambda steps, _: f"{steps:,.0f}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)
