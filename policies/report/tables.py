"""The tables of a report, as text that the page and the Markdown share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.evaluation.statistics import Estimate
from policies.report.numbers import (
    NONE,
    connector_title,
    duration,
    percent,
    steps,
    success,
)
from policies.report.probes import Probes
from policies.report.summary import REACHED, Reached, Section
from representation.probes.markdown import number
from representation.probes.variables import unit

NAME, SUCCESS, TIME, SEEDS = "representation", "success (IQM)", "wall-clock", "seeds"
STEPS_TO = f"steps to {REACHED:.0%}"
WORST = "worst / bound"
BRIEF = (NAME, SUCCESS, STEPS_TO, TIME, SEEDS)
"""Headings of the columns that a terminal has room for."""


@dataclass(frozen=True)
class Entry:
    """What stands in one place of a table.

    Attributes:
        text: What is read.
        value: What the column is sorted by; None for last.
        estimate: A number whose interval the page shows; None for none.
        wordy: Whether it is a text to read, and no number.
    """

    text: str
    value: float | None = None
    estimate: Estimate | None = None
    wordy: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first column names representations.

    Attributes:
        caption: What it shows.
        headings: Of its columns.
        rows: Its rows.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]


def headline(section: Section) -> Table:
    """What each representation came to: success, speed and cost."""
    headings = (
        NAME,
        SUCCESS,
        "mean",
        *map(connector_title, section.connectors),
        STEPS_TO,
        TIME,
        "embedding",
        "encode [MFLOP]",
        SEEDS,
    )
    rows = []
    for row in section.rows:
        failed = sum(u.cell.representation == row.representation for u in section.unfinished)
        seeds = f"{len(row.runs)} of {len(row.runs) + failed}" if failed else f"{len(row.runs)}"
        rows.append(
            (
                Entry(row.representation),
                Entry(
                    success(row.success, row.single),
                    row.success.value,
                    None if row.single else row.success,
                ),
                Entry(percent(row.mean), row.mean),
                *(_success(row.connectors[name]) for name in section.connectors),
                _reached(row.reached),
                Entry(duration(row.seconds), row.seconds),
                Entry(NONE if not row.embedding else str(row.embedding), row.embedding or None),
                Entry(f"{row.mflop:.1f}" if row.mflop else NONE, row.mflop or None),
                Entry(seeds, len(row.runs)),
            )
        )
    return Table(_about(section), headings, tuple(rows))


def connector_table(section: Section) -> Table:
    """Success by connector, with intervals."""
    rows = tuple(
        (
            Entry(row.representation),
            *(
                Entry(success(row.connectors[name], row.single), row.connectors[name].value)
                for name in section.connectors
            ),
        )
        for row in section.rows
    )
    headings = (NAME, *map(connector_title, section.connectors))
    return Table("Success by connector, IQM over seeds", headings, rows)


def improvement_table(section: Section) -> Table:
    """How likely a run of the row's representation beats one of the column's."""
    names = [row.representation for row in section.rows]
    rows = tuple(
        (
            Entry(one),
            *(Entry("") if one == other else _probability(section, one, other) for other in names),
        )
        for one in names
    )
    faint = "; faint where one of the two has but one run" if section.unsure else ""
    return Table(
        "Probability that a run of the row's representation does better on a connector than one "
        f"of the column's; ties count half{faint}",
        ("", *names),
        rows,
    )


def failure_table(section: Section) -> Table:
    """Part of the final episodes that failed, by cause."""
    causes = tuple(dict.fromkeys(cause for row in section.rows for cause in row.failures))
    rows = tuple(
        (
            Entry(row.representation),
            *(
                Entry(percent(row.failures.get(cause, 0.0)), row.failures.get(cause, 0.0))
                for cause in causes
            ),
            Entry(str(row.episodes), row.episodes),
        )
        for row in section.rows
    )
    headings = (NAME, *causes, "episodes")
    return Table("Part of the final episodes that failed, by cause", headings, rows)


def probe_table(sections: Sequence[Section], probes: Probes) -> Table | None:
    """What each encoder knows beside its policies' success; None if nothing is known of any."""
    trained = [{row.representation: row for row in section.rows} for section in sections]
    known = [name for name in probes.found if any(name in rows for rows in trained)]
    if not known:
        return None
    entries = []
    for name in known:
        probed = probes.found[name]
        entries.append(
            (
                Entry(name),
                *(
                    _success(rows[name].success) if name in rows else Entry(NONE)
                    for rows in trained
                ),
                *(_error(probed.errors.get(variable)) for variable in probes.bounds),
                _error(probed.worst),
                Entry(percent(probed.accuracy), probed.accuracy),
                Entry(probed.source, wordy=True),
            )
        )
    headings = (
        NAME,
        *(section.method.title for section in sections),
        *(f"{variable_title(name)} [{unit(name)}]" for name in probes.bounds),
        WORST,
        "connector",
        "from",
    )
    return Table(
        "Success of the policies, interquartile mean; mean absolute error of linear probes near "
        "contact, the largest part of its bound that one of the errors is, and accuracy of the "
        "connector's class",
        headings,
        tuple(entries),
    )


def variable_title(name: str) -> str:
    """A pose variable's name for people, without its unit."""
    return name.rpartition("_")[0].replace("_", " ")


def _about(section: Section) -> str:
    count = len(section.connectors)
    connectors = f"{count} connectors" if count > 1 else "one connector"
    if section.single:
        return f"Interquartile mean (IQM) over {connectors} of one run each"
    return f"Interquartile mean (IQM) over seeds and {connectors}, with its 95% interval"


def _success(found: Estimate) -> Entry:
    return Entry(percent(found.value), found.value)


def _reached(found: Reached | None) -> Entry:
    if found is None:
        return Entry(NONE)
    if found.median is None:
        return Entry(f"{found.runs} of {found.of} runs" if found.runs else "never")
    part = "" if found.runs == found.of else f" ({found.runs} of {found.of})"
    return Entry(f"{steps(found.median)}{part}", found.median)


def _probability(section: Section, one: str, other: str) -> Entry:
    found = section.improvement[one, other]
    sure = not {one, other} & set(section.unsure)
    return Entry(f"{found.value:.2f}", found.value, found if sure else None)


def _error(value: float | None) -> Entry:
    return Entry(NONE if value is None else number(value), value)
