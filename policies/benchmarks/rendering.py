"""The benchmark's table of measurements as a table for people, and as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from policies.benchmarks.cases import NUMPY, RESET, SINGLE
from policies.benchmarks.timing import PHYSICS, RESETS, REST, SENSING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IDLE_LOAD = 0.5
"""Load average above which somebody else is using the machine."""
_PARTS = (PHYSICS, SENSING, RESETS, REST)


def _curves(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by what ran: the cases, then what their own sensors and the physics take alone."""
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        case, part = row["case"], row["part"]
        if part == case:
            name = f"environment, {case} only" if "sensor" in case else case
            curves.setdefault(name, []).append(row)
        elif case == NUMPY or ("sensor" in case and part == SENSING):
            curves.setdefault(part if case == NUMPY else case, []).append(row)
    return curves


def _where(row: Mapping[str, Any]) -> str:
    """The column that a row stands in."""
    if row["threads"] is None:
        return f"{row['worlds']:,} worlds"
    return _threads(row["threads"])


def print_table(report: Mapping[str, Any]) -> None:
    """Print rates: a row for what ran, a column for each number of worlds or threads."""
    console = Console(highlight=False)
    rows, settings = report["measurements"], report["settings"]
    columns = list(dict.fromkeys(map(_where, rows)))
    worlds = ", ".join(f"{number:,}" for number in settings["worlds"])
    table = Table(
        title=f"Control steps a second of {settings['task']}: {worlds} worlds, {_machine(report)}",
        caption=f"Medians over {settings['repetitions']} repetitions of at most "
        f"{settings['steps']} steps or a second, {settings['actions']} actions. Share: what "
        "physics takes of a step, and for parts what they take of a step of the environment.",
    )
    table.add_column("what runs")
    for column in columns:
        table.add_column(column, justify="right")
        table.add_column("share", justify="right")
    shares = {(r["case"], r["part"], _where(r)): r["share"] for r in rows if r["part"] in _PARTS}
    # Of a whole step it is what the physics takes.
    shares |= {(case, case, at): s for (case, part, at), s in shares.items() if part == PHYSICS}
    for name, curve in _curves(rows).items():
        if name == RESET:
            continue
        found = {_where(row): row for row in curve}
        cells = []
        for column in columns:
            row = found.get(column)
            rate = row and row["steps_per_second"]
            share = None if row is None else shares.get((row["case"], row["part"], column))
            cells += [f"{rate:,.0f}" if rate else "", "" if share is None else f"{share:.0%}"]
        table.add_row(name, *cells, style="bold" if name == NUMPY else None)
    console.print(table)
    if report["touch"]:
        console.print(_touch_table(report["touch"]))
    alone = {row["case"]: row for row in rows if row["case"] in (SINGLE, RESET)}
    if alone:
        cost = alone[RESET]["step_ms"] / alone[SINGLE]["step_ms"]
        console.print(f"A reset of one world by itself costs {cost:.1f} control steps.")
    for worlds_, kib in report["kib_per_world"].items():
        console.print(f"Device memory with {int(worlds_):,} worlds: {kib:,.0f} KiB a world.")
    if (first := report["first_step"]) is not None:
        console.print(
            f"Made and stepped once, {first['worlds']} worlds: {first['compiled_s']:.1f} s to "
            f"compile, {first['cached_s']:.1f} s from the cache."
        )
    for worlds_, error in report["errors"].items():
        console.print(f"[yellow]{int(worlds_):,} worlds: {error}", soft_wrap=True)
    _warn_if_busy(console, report["load_before"])


def _touch_table(costs: Iterable[Mapping[str, Any]]) -> Table:
    """What each modality of touch adds to a step."""
    table = Table(
        "modality",
        title="What touch adds to a step of the environment",
        caption="Medians over repetitions, each with it and without it by turns; share: of a step "
        "without it.",
    )
    for column in ("", "ms a step", "share", "quartiles", "at most"):
        table.add_column(column, justify="right")
    for row in costs:
        table.add_row(
            row["modality"],
            _where(row),
            f"{row['added_ms']:.3f}",
            f"{row['share']:.1%}",
            f"{row['low']:.1%} to {row['high']:.1%}",
            "" if row["budget"] is None else f"{row['budget']:.0%}",
        )
    return table


def print_encoders(report: Mapping[str, Any]) -> None:
    """Print the time of encodings: a table for each encoder and size."""
    hardware, settings = report["hardware"], report["settings"]
    console = Console(highlight=False)
    groups = groupby(report["encoders"], lambda timing: (timing["encoder"], timing["image_size"]))
    for (name, size), group in groups:
        timings = list(group)
        table = Table(
            "runtime",
            title=f"{Path(name).name}, {size} px, {timings[0]['mib']:.1f} MiB: encoding on "
            f"{_threads(settings['threads'])}, and a step of {settings['worlds']} worlds after it",
        )
        for column in ("batch", "ms a batch", "ms each", "ms a step", "batch / step"):
            table.add_column(column, justify="right")
        for timing in timings:
            table.add_row(
                timing["runtime"],
                str(timing["batch"]),
                f"{timing['batch_ms']:.2f}",
                f"{timing['observation_ms']:.2f}",
                f"{timing['environment_step_ms']:.2f}",
                f"{timing['over_environment_step']:.2f}",
                style="bold" if timing["batch"] == settings["worlds"] else None,
            )
        console.print(table)
    console.print(
        f"{hardware['cpu']}, {hardware['cores']} cores; medians over at most "
        f"{settings['repetitions']} repetitions."
    )
    _warn_if_busy(console, report["load_before"])


def _warn_if_busy(console: Console, load: float | None) -> None:
    if load is not None and load > _IDLE_LOAD:
        console.print(
            f"[yellow]The machine was busy before this (load {load:.1f}): "
            "rates are too low, above all on several threads."
        )


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def speed_figure(report: Mapping[str, Any]) -> Figure:
    """Steps a second of everything that was measured, and the parts of a step.

    Args:
        report: The benchmark's report.

    Returns:
        Rates on the left, with their extremes over repetitions; shares on the right.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    rows = [row for row in report["measurements"] if row["case"] not in (SINGLE, RESET)]
    axis = "threads" if rows[0]["threads"] is not None else "worlds"
    ticks = sorted({row[axis] for row in rows})
    labels = [f"{tick:,}" for tick in ticks]
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    rates, shares = figure.subplots(1, 2, width_ratios=(3, 2))
    curves = _curves(rows)
    colours = {name: f"C{number % 10}" for number, name in enumerate(curves)}
    for name, curve in curves.items():
        if name == RESETS:
            continue
        x, rate, low, high = (
            [row[column] for row in curve]
            for column in (axis, "steps_per_second", "lowest", "highest")
        )
        rates.plot(x, rate, "o-", color=colours[name], markersize=4, label=name)
        rates.fill_between(x, low, high, color=colours[name], alpha=0.15, linewidth=0)
    rates.set(xscale="log", yscale="log", xlabel=axis, ylabel="control steps a second")
    rates.set_xticks(ticks, labels)
    rates.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    rates.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    rates.minorticks_off()
    rates.grid(alpha=0.25)
    rates.legend(fontsize=8, frameon=False)

    bottom = np.zeros(len(ticks))
    for part in _PARTS:
        of_it = {r[axis]: r["share"] for r in rows if (r["case"], r["part"]) == (NUMPY, part)}
        heights = np.array([100 * of_it.get(tick, 0.0) for tick in ticks])
        shares.bar(labels, heights, bottom=bottom, color=colours[part], label=part)
        bottom += heights
    shares.set(xlabel=axis, ylabel="% of a step of the environment")
    shares.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    figure.suptitle(f"{report['settings']['task']}, {_machine(report)}", fontsize=11)
    return figure


def _machine(report: Mapping[str, Any]) -> str:
    """What did the work: the GPU, or the processor."""
    return str(report["device"]["name"] if report["device"] else report["hardware"]["cpu"])
