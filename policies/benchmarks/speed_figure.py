"""A picture of the Warp engine's speed: steps a second against worlds, and shares of a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from policies.benchmarks.device_clock import SENSING, STEPPING
from policies.benchmarks.gpu_speed import NUMPY, REST, TORCH

_PART_COLOURS = {STEPPING: "#1f4e9c", SENSING: "#1d7a3a", REST: "#c4540a"}
_STYLES = {TORCH: ("#000000", "-", 2.2), NUMPY: ("#000000", ":", 1.6)}
_OTHERS = ("#1f4e9c", "#1d7a3a", "#6aa84f", "#0b7f8f", "#c4540a", "#8c2a8c", "#b8860b")


def speed_figure(report: Mapping[str, Any]) -> Figure:
    """Steps a second of everything that was measured, and the parts of a step.

    Args:
        report: The report of the benchmark.

    Returns:
        Rates on the left, with their extremes over repetitions; shares on the right.
    """
    sizes, settings = report["sizes"], report["settings"]
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    rates, shares = figure.subplots(1, 2, width_ratios=(3, 2))
    names = list(dict.fromkeys(name for size in sizes for name in size["rates"]))
    others = iter(_OTHERS)
    for name in names:
        points = [(size["worlds"], size["rates"][name]) for size in sizes if name in size["rates"]]
        colour, line, width = _STYLES.get(name) or (next(others, "#777777"), "-", 1.4)
        x = [worlds for worlds, _ in points]
        rates.plot(
            x,
            [rate["steps_per_second"] for _, rate in points],
            color=colour,
            linestyle=line,
            linewidth=width,
            marker="o",
            markersize=4,
            label=name,
        )
        low, high = ([rate[end] for _, rate in points] for end in ("lowest", "highest"))
        rates.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    worlds = [size["worlds"] for size in sizes]
    rates.set_xscale("log", base=2)
    rates.set_yscale("log")
    rates.set_xticks(worlds, [f"{count:,}" for count in worlds])
    rates.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    rates.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    rates.minorticks_off()
    rates.set_xlabel("worlds")
    rates.set_ylabel("control steps a second")
    rates.grid(alpha=0.25)
    rates.legend(fontsize=8, frameon=False)

    whole = [size for size in sizes if size["shares"]]
    bottom = [0.0] * len(whole)
    for part, colour in _PART_COLOURS.items():
        heights = [100 * size["shares"][part] for size in whole]
        shares.bar(range(len(whole)), heights, bottom=bottom, color=colour, label=part)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    shares.set_xticks(range(len(whole)), [f"{size['worlds']:,}" for size in whole])
    shares.set_xlabel("worlds")
    shares.set_ylabel("% of a step of the environment")
    shares.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    image, contact = settings["image_size"], settings["contact_size"]
    figure.suptitle(
        f"{report['device']['name']}: four connectors mixed, {image} x {image} depth, two "
        f"{contact} x {contact} contact masks",
        fontsize=11,
    )
    return figure
