"""The table and the picture of the study of data sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from representation.probes.measurements import (
    ALL,
    ENCODER,
    FUSED,
    Measurement,
    measurements_from,
    only,
)
from representation.probes.tables import cell
from representation.probes.targets import CLASS
from representation.probes.variables import title
from vtenv.tasks.insertion.probe_targets import BOUNDS

VARIABLES = ("hand_x_mm", "hand_z_mm", "hand_pitch_deg", "socket_y_mm", "socket_yaw_deg")
"""Pose variables that are shown."""

_COLOURS = ("#1f4e9c", "#c4540a", "#1d7a3a", "#8c2a8c")

Results = Mapping[str, Mapping[str, Any]]


def data_size_table(results: Results) -> str:
    """Errors near contact of every encoder, with 95% intervals.

    Args:
        results: What is known of each run, by name; see `scripts.data_size_study`.

    Returns:
        Markdown.
    """
    heading = ["", "pairs", "steps", "connector", *(f"`{name}`" for name in VARIABLES)]
    bounds = [f"{BOUNDS[name]:g}" if name in BOUNDS else "" for name in VARIABLES]
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)]]
    lines.append(["bound", "", "", f"{BOUNDS[CLASS]:.0%}", *bounds])
    for name, result in sorted(results.items(), key=_order):
        pairs, steps = (f"{result[key]:,}" if result.get(key) else "" for key in ("pairs", "steps"))
        label = f"`{result['preset']}`" if result["pairs"] else f"bundled `{name}`"
        cells = [cell(estimate(result, of), interval=True) for of in (CLASS, *VARIABLES)]
        lines.append([label, pairs, steps, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def data_size_figure(results: Results) -> Figure:
    """Errors near contact against pairs of images, a line for each preset.

    Args:
        results: As `data_size_table`.

    Returns:
        A panel for each variable; dotted the bound of the gate, dashed the bundled encoders.
    """
    shown = (*VARIABLES, CLASS)
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(2, 3).flatten()
    presets = list(dict.fromkeys(r["preset"] for r in results.values() if r["pairs"]))
    sizes = sorted({r["pairs"] for r in results.values() if r["pairs"]})
    for ax, variable in zip(axes, shown, strict=True):
        for preset, colour in zip(presets, _COLOURS, strict=False):
            runs = [r for r in results.values() if r["preset"] == preset]
            _draw(ax, runs, variable, preset, colour)
        if variable in BOUNDS:
            ax.axhline(BOUNDS[variable], color="#888888", linestyle=":", linewidth=1)
        ax.set_title("connector, accuracy" if variable == CLASS else title(variable), fontsize=10)
        ax.set_xscale("log")
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
        ax.minorticks_off()
        ax.grid(alpha=0.25)
    for ax in axes[3:]:
        ax.set_xlabel("pairs of images in training")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def estimate(result: Mapping[str, Any], variable: str) -> Measurement | None:
    """What a probe of the whole embedding says near contact, or else on all rows.

    Args:
        result: What is known of a run.
        variable: A pose variable, or "connector".

    Returns:
        The error or the accuracy; None if nothing was measured.
    """
    rows = measurements_from(result["audit"]["measurements"])
    near = "near"
    of = {"subject": ENCODER, "part": FUSED, "variable": variable, "region": near}
    return only(rows, **of, fitted_on=near) or only(rows, **of, fitted_on=ALL)


def _draw(
    ax: Axes, runs: Sequence[Mapping[str, Any]], variable: str, label: str, colour: str
) -> None:
    measured = [(r["pairs"], found) for r in runs if (found := estimate(r, variable))]
    line = sorted(((pairs, m) for pairs, m in measured if pairs), key=lambda point: point[0])
    if line:
        x, y = [pairs for pairs, _ in line], [m.value for _, m in line]
        ends = [[m.value - m.low for _, m in line], [m.high - m.value for _, m in line]]
        ax.errorbar(x, y, yerr=ends, marker="o", capsize=3, color=colour, label=label)
    for pairs, m in measured:
        if not pairs:
            ax.axhline(m.value, color=colour, linestyle="--", linewidth=1)


def _order(item: tuple[str, Mapping[str, Any]]) -> tuple[str, int]:
    return item[1]["preset"], item[1]["pairs"]
