"""The table and the picture of the study of data sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from representation.probes.gate import ACCURACY_BOUND, ERROR_BOUNDS
from representation.probes.regions import ALL, NEAR
from representation.probes.report import ENCODER
from representation.probes.variables import unit

VARIABLES = ("hand_x_mm", "hand_z_mm", "hand_pitch_deg", "socket_y_mm", "socket_yaw_deg")
"""Pose variables that are shown."""

_ACCURACY = "connector"
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
    bounds = [f"{ERROR_BOUNDS[name]:g}" if name in ERROR_BOUNDS else "" for name in VARIABLES]
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)]]
    lines.append(["bound", "", "", f"{ACCURACY_BOUND:.0%}", *bounds])
    for name, result in sorted(results.items(), key=_order):
        pairs, steps = (f"{result[key]:,}" if result.get(key) else "" for key in ("pairs", "steps"))
        label = f"`{result['preset']}`" if result["pairs"] else f"bundled `{name}`"
        accuracy = estimate(result, _ACCURACY)
        cells = [
            _interval(found, ".2f") if (found := estimate(result, variable)) else "-"
            for variable in VARIABLES
        ]
        shown = _interval(accuracy, ".1%") if accuracy else "-"
        lines.append([label, pairs, steps, shown, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def data_size_figure(results: Results) -> Figure:
    """Errors near contact against pairs of images, a line for each preset.

    Args:
        results: As `data_size_table`.

    Returns:
        A panel for each variable; dotted the bound of the gate, dashed the bundled encoders.
    """
    shown = (*VARIABLES, _ACCURACY)
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots(2, 3).flatten()
    presets = list(dict.fromkeys(r["preset"] for r in results.values() if r["pairs"]))
    sizes = sorted({r["pairs"] for r in results.values() if r["pairs"]})
    for ax, variable in zip(axes, shown, strict=True):
        for preset, colour in zip(presets, _COLOURS, strict=False):
            runs = [r for r in results.values() if r["preset"] == preset]
            _draw(ax, runs, variable, preset, colour)
        bound = ACCURACY_BOUND if variable == _ACCURACY else ERROR_BOUNDS.get(variable)
        if bound is not None:
            ax.axhline(bound, color="#888888", linestyle=":", linewidth=1)
        words = variable.rpartition("_")[0].replace("_", " ") if unit(variable) else variable
        ax.set_title(f"{words}, {unit(variable) or 'accuracy'}", fontsize=10)
        ax.set_xscale("log")
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
        ax.minorticks_off()
        ax.grid(alpha=0.25)
    for ax in axes[3:]:
        ax.set_xlabel("pairs of images in training")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def estimate(result: Mapping[str, Any], variable: str) -> Mapping[str, Any] | None:
    """What a probe of the whole embedding says near contact, or else on all rows.

    Args:
        result: What is known of a run.
        variable: A pose variable, or "connector".

    Returns:
        `mean`, `low` and `high`; None if nothing was measured.
    """
    key = "accuracy" if variable == _ACCURACY else "error"
    found = result["audit"]["connector" if variable == _ACCURACY else "pose"]
    for fitted_on in (NEAR, ALL):
        for row in found:
            where = (row["subject"], row["part"], row["region"], row["fitted_on"])
            named = variable == _ACCURACY or row["variable"] == variable
            if named and where == (ENCODER, "both", NEAR, fitted_on) and row[key]["rows"]:
                value: Mapping[str, Any] = row[key]
                return value
    return None


def _draw(
    ax: Axes, runs: Sequence[Mapping[str, Any]], variable: str, label: str, colour: str
) -> None:
    measured = [(r["pairs"], found) for r in runs if (found := estimate(r, variable))]
    line = sorted(((pairs, e) for pairs, e in measured if pairs), key=lambda point: point[0])
    if line:
        x, y = [pairs for pairs, _ in line], [e["mean"] for _, e in line]
        ends = [[e["mean"] - e["low"] for _, e in line], [e["high"] - e["mean"] for _, e in line]]
        ax.errorbar(x, y, yerr=ends, marker="o", capsize=3, color=colour, label=label)
    for pairs, e in measured:
        if not pairs:
            ax.axhline(e["mean"], color=colour, linestyle="--", linewidth=1)


def _order(item: tuple[str, Mapping[str, Any]]) -> tuple[str, int]:
    return item[1]["preset"], item[1]["pairs"]


def _interval(found: Mapping[str, Any], form: str) -> str:
    return f"{found['mean']:{form}} ({found['low']:{form}} to {found['high']:{form}})"
