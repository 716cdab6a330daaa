"""What a step costs against worlds, image size and connectors, from reports of the benchmark.

    uv run vtinsert benchmark --worlds 16 64 --json many.json
    uv run vtinsert benchmark --worlds 16 --image-size 32 --contact-size 32 --json small.json
    uv run vtinsert benchmark --worlds 16 --connectors usb --json one.json
    uv run python scripts/cost_figure.py many.json small.json one.json --output cost.png

Reports are to be of one machine. Each panel shows the runs that differ in nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tyro
from matplotlib.figure import Figure

from policies.benchmarks.benchmark_config import BenchmarkConfig
from policies.benchmarks.cases import NUMPY, TORCH
from policies.benchmarks.timing import PHYSICS, RESETS, REST, SENSING
from policies.worlds import variant_names
from vtenv.atomic_write import atomic_write
from vtenv.registry import make_task

_AXES = {
    "worlds": "worlds",
    "image_px": "rows of an image [px]",
    "connectors": "connectors",
}
_WHOLE = "environment"
_PARTS = (PHYSICS, SENSING, REST, RESETS)


@dataclass(frozen=True)
class Cost:
    """What a control step of one world cost in a run, on one thread or on a GPU."""

    worlds: int
    """Worlds that were stepped together."""
    image_px: int
    """Rows of the largest image."""
    connectors: int
    """Connectors in the batch."""
    part: str
    """Part of the step, or "environment" for all of it."""
    microseconds: float
    """Median over repetitions, in [µs] a world."""


def costs(report: Mapping[str, Any]) -> list[Cost]:
    """The costs in a report of `vtinsert benchmark --json`; of tensors where it has them.

    Raises:
        ValueError: If it measured no environment.
    """
    settings = report["settings"]
    known = {field.name for field in fields(BenchmarkConfig)}
    chosen = {name: value for name, value in settings.items() if name not in known}
    task = make_task(settings["task"], **chosen)
    images = [m for m in task.config.modalities if m.is_image]
    size = max((task.image_size(image)[0] for image in images), default=0)
    rows = [row for row in report.get("measurements", ()) if row["threads"] in (None, 1)]
    case = TORCH if any(row["case"] == TORCH for row in rows) else NUMPY
    found = [
        Cost(
            row["worlds"],
            size,
            len(variant_names(task)),
            _WHOLE if row["part"] == case else row["part"],
            1e3 * row["step_ms"] / row["worlds"],
        )
        for row in rows
        if row["case"] == case
    ]
    if not found:
        raise ValueError("the report has no rate of the environment; measure without --encoders")
    return found


def cost_figure(found: Sequence[Cost], title: str) -> Figure:
    """A panel for each of worlds, image size and number of connectors that varies.

    Args:
        found: Costs of all runs.
        title: What ran, and on what.

    Raises:
        ValueError: If nothing varies.
    """
    lines = {name: _line(found, name) for name in _AXES}
    panels = {name: line for name, line in lines.items() if len({x for x, _ in line}) > 1}
    if not panels:
        raise ValueError("the reports differ in neither worlds, image size nor connectors")
    figure = Figure(figsize=(1.5 + 3.6 * len(panels), 4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for ax, (name, line) in zip(axes, panels.items(), strict=True):
        ticks = sorted({x for x, _ in line})
        for number, part in enumerate((_WHOLE, *_PARTS)):
            points = sorted((x, cost.microseconds) for x, cost in line if cost.part == part)
            style = {"color": "black"} if part == _WHOLE else {"color": f"C{number - 1}"}
            ax.plot(*zip(*points, strict=True), "o-", markersize=4, label=part, **style)
        if name != "connectors":
            ax.set_xscale("log")
        ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        ax.minorticks_off()
        others = ", ".join(_said(other, line[0][1]) for other in _AXES if other != name)
        ax.set_title(others, fontsize=9)
        ax.set_xlabel(_AXES[name])
        ax.grid(alpha=0.25)
    axes[0].set(ylabel="µs a control step of a world", ylim=(0, None))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def _line(found: Sequence[Cost], name: str) -> list[tuple[int, Cost]]:
    """The runs that differ in one thing alone, the most that there are, with its values."""
    groups: dict[tuple[int, ...], list[tuple[int, Cost]]] = {}
    for cost in found:
        others = tuple(getattr(cost, other) for other in _AXES if other != name)
        groups.setdefault(others, []).append((getattr(cost, name), cost))
    return max(groups.values(), key=lambda line: len({value for value, _ in line}))


def _said(name: str, cost: Cost) -> str:
    value = getattr(cost, name)
    return f"{value} px" if name == "image_px" else f"{value:,} {_AXES[name]}"


def main(
    reports: tyro.conf.Positional[tuple[Path, ...]], *, output: Path = Path("outputs/cost.png")
) -> None:
    """Draw the figure, and print its numbers.

    Args:
        reports: What `vtinsert benchmark --json` wrote.
        output: Where the figure goes.
    """
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in reports]
    found = [cost for document in documents for cost in costs(document)]
    machines = dict.fromkeys(_machine(document) for document in documents)
    figure = cost_figure(found, " and ".join(machines))
    print("| worlds | px | connectors | part | µs a world |\n|---:|---:|---:|---|---:|")
    for cost in sorted(found, key=lambda c: (c.worlds, c.image_px, c.connectors)):
        print(
            f"| {cost.worlds:,} | {cost.image_px} | {cost.connectors} | {cost.part} | "
            f"{cost.microseconds:.1f} |"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as temporary:
        figure.savefig(temporary, dpi=140)


def _machine(report: Mapping[str, Any]) -> str:
    device = report["device"]
    return str(device["name"] if device else report["hardware"]["cpu"])


if __name__ == "__main__":
    tyro.cli(main)
