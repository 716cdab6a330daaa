"""The table and the picture of the study of data sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from representation.probes import measurements as ms
from representation.probes.markdown import table
from representation.probes.tables import cell
from representation.probes.variables import title

_COLOURS = ("#1f4e9c", "#c4540a", "#1d7a3a", "#8c2a8c")

Results = Mapping[str, Mapping[str, Any]]


def data_size_table(results: Results) -> str:
    """Errors where it decides of every encoder, with 95% intervals.

    Args:
        results: What is known of each run, by name; see `scripts.data_size_study`.

    Returns:
        Markdown.
    """
    bounds = _bounds(results)
    heading = ["", "pairs", "steps", *(v if v == ms.CLASS else f"`{v}`" for v in bounds)]
    shown = [f"{bound:.0%}" if v == ms.CLASS else f"{bound:g}" for v, bound in bounds.items()]
    lines = [["bound", "", "", *shown]]
    for name, result in sorted(results.items(), key=_order):
        pairs, steps = (f"{result[key]:,}" if result.get(key) else "" for key in ("pairs", "steps"))
        label = f"`{result['preset']}`" if result["pairs"] else f"bundled `{name}`"
        cells = [cell(estimate(result, of), interval=True) for of in bounds]
        lines.append([label, pairs, steps, *cells])
    return table(heading, lines) + "\n"


def data_size_figure(results: Results) -> Figure:
    """Errors where it decides against pairs of images, a line for each preset.

    Args:
        results: As `data_size_table`.

    Returns:
        A panel for each bounded variable; dotted its bound, dashed the bundled encoders.
    """
    bounds = _bounds(results)
    rows = -(-len(bounds) // 3)
    figure = Figure(figsize=(11, 3.2 * rows), layout="constrained")
    axes = figure.subplots(rows, 3, squeeze=False).flatten()
    for ax in axes[len(bounds) :]:
        ax.set_visible(False)
    presets = list(dict.fromkeys(r["preset"] for r in results.values() if r["pairs"]))
    sizes = sorted({r["pairs"] for r in results.values() if r["pairs"]})
    for ax, (variable, bound) in zip(axes, bounds.items(), strict=False):
        for preset, colour in zip(presets, _COLOURS, strict=False):
            runs = [r for r in results.values() if r["preset"] == preset]
            _draw(ax, runs, variable, preset, colour)
        ax.axhline(bound, color="#888888", linestyle=":", linewidth=1)
        ax.set_title(
            "connector, accuracy" if variable == ms.CLASS else title(variable), fontsize=10
        )
        ax.set_xscale("log")
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
        ax.minorticks_off()
        ax.grid(alpha=0.25)
    for ax in axes[-3:]:
        ax.set_xlabel("pairs of images in training")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def estimate(result: Mapping[str, Any], variable: str) -> ms.Measurement | None:
    """What a probe of the whole embedding says where it decides; one fitted there if there is.

    Args:
        result: What is known of a run.
        variable: A pose variable, or "connector".

    Returns:
        The error or the accuracy; None if nothing was measured.
    """
    rows = ms.measurements_from(result["audit"]["measurements"])
    decides = next(iter(result["audit"]["regions"]))
    of = {"subject": ms.ENCODER, "part": ms.FUSED, "variable": variable, "region": decides}
    return ms.only(rows, **of, fitted_on=decides) or ms.only(rows, **of, fitted_on=ms.ALL)


def _bounds(results: Results) -> Mapping[str, float]:
    """What the task's probes are held to, by variable: the same in every run."""
    bounds: Mapping[str, float] = next(iter(results.values()))["audit"]["bounds"]
    return bounds


def _draw(
    ax: Axes, runs: Sequence[Mapping[str, Any]], variable: str, label: str, colour: str
) -> None:
    measured = [(r["pairs"], found) for r in runs if (found := estimate(r, variable))]
    line = sorted(((pairs, m) for pairs, m in measured if pairs), key=lambda point: point[0])
    if line:
        x, y = [pairs for pairs, _ in line], [m.value for _, m in line]
        ends = [
            [0.0 if m.low is None else m.value - m.low for _, m in line],
            [0.0 if m.high is None else m.high - m.value for _, m in line],
        ]
        ax.errorbar(x, y, yerr=ends, marker="o", capsize=3, color=colour, label=label)
    for pairs, m in measured:
        if not pairs:
            ax.axhline(m.value, color=colour, linestyle="--", linewidth=1)


def _order(item: tuple[str, Mapping[str, Any]]) -> tuple[str, int]:
    return item[1]["preset"], item[1]["pairs"]
