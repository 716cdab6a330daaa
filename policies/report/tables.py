"""The tables of a report, as text that the page, the Markdown and the terminal share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import rich.table
from rich.console import Console
from rich.markup import escape

from policies.evaluation.statistics import Estimate, HierarchicalEstimate
from policies.report import measurements as m
from policies.report.measurements import Section
from policies.report.numbers import NONE, duration, p_value, percent, spoken_list, steps, success
from policies.report.probes import Probes
from policies.report.scores import Comparison, Score, Scores
from policies.report.study import Study
from representation.probes.markdown import number
from representation.probes.variables import unit

NAME = "representation"
SCORES = (
    "Mean success, in which connectors count alike, with its 95% interval; of episodes that "
    "succeeded, the 95th percentile of the peak force and the median of steps; and the area under "
    "the curve of success over the logarithm of training steps, as a part of the whole. An "
    "interval is over what is drawn anew: of what there is one of, it says nothing."
)
"""What the columns of `score_table` mean."""
BRIEF = (NAME, "success (IQM)", f"steps to {m.REACHED:.0%}", "wall-clock", "seeds")
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


Column = Callable[[str], Entry]
"""What a column says of a row, by its name."""


class Table:
    """A table whose first column names what its rows are about.

    Args:
        caption: What it shows.
        names: Of its rows.
        columns: What says something of each row, by heading.
        first: The heading of the names.

    Attributes:
        caption: What it shows.
        headings: Of its columns.
        rows: Its entries by row, the name first.
        sortable: Of each column, whether a row has a value to sort by.
        wordy: Of each column, whether it holds texts.
    """

    def __init__(
        self, caption: str, names: Iterable[str], columns: Mapping[str, Column], first: str = NAME
    ) -> None:
        self.caption = caption
        self.headings = (first, *columns)
        self.rows = [[Entry(name), *(each(name) for each in columns.values())] for name in names]
        places = range(len(self.headings))
        self.sortable = [any(row[i].value is not None for row in self.rows) for i in places]
        self.wordy = [any(row[i].wordy for row in self.rows) for i in places]


def score_table(scores: Scores, track: str) -> Table:
    """What representations come to on a track."""
    found = scores.tracks[track]

    def column(text: Callable[[float], str], value: Callable[[Score], float | None]) -> Column:
        return lambda name: _number(value(found[name]), text)

    def mean(name: str) -> Entry:
        success_of = found[name].success
        return Entry(success(success_of, not success_of.levels), success_of.value, success_of)

    def worst(name: str) -> Entry:
        score = found[name]
        return Entry(f"{score.worst} {percent(score.worst_success)}", score.worst_success)

    def number_of(value: float) -> str:
        return f"{value:.0f}"

    columns: dict[str, Column] = {"mean success": mean, "worst connector": worst}
    if scores.normalised:
        columns["score"] = column(lambda v: f"{round(100 * v)}", lambda score: score.normalised)
    columns |= {
        "force [N]": column(number_of, lambda score: score.force_n),
        "steps": column(number_of, lambda score: score.steps),
        "area": column(percent, lambda score: score.area),
        "interval over": lambda name: _levels(found[name].success),
    }
    names = [name for name in scores.representations if name in found]
    return Table(f"Scores on {track}", names, columns)


def contrast_table(scores: Scores) -> Table | None:
    """The contrasts that were named beforehand; None if none were."""
    rows = {f"{c.track}: {c.one} - {c.other}": c for c in scores.comparisons}
    if not rows:
        return None

    def difference(name: str) -> Entry:
        found = rows[name].contrast
        ends = (f"{100 * end:+.1f}" for end in (found.value, found.low, found.high))
        return Entry("{} ({} to {})".format(*ends), found.value)

    def column(text: Callable[[float], str], value: Callable[[Comparison], float | None]) -> Column:
        return lambda name: _number(value(rows[name]), text)

    columns: dict[str, Column] = {
        "difference [points]": difference,
        "p": column(p_value, lambda row: row.contrast.p),
        "Holm's p": column(p_value, lambda row: row.holm),
        "smallest visible [points]": column(
            lambda v: f"{100 * v:.1f}", lambda row: row.contrast.smallest_visible or None
        ),
        "interval over": lambda name: _levels(rows[name].contrast),
    }
    caption = (
        "Contrasts that were named beforehand: the difference of mean success on the same episodes "
        f"with its 95% interval and two-sided p-value; Holm's over the {len(rows)} of this table; "
        "and the smallest difference that had an 80% chance to be found at 5%"
    )
    return Table(caption, rows, columns, "contrast")


def headline(section: Section) -> Table:
    """What each representation came to: success, speed and cost."""
    count = len(section.connectors)
    connectors = f"{count} connectors" if count > 1 else "one connector"
    over = (
        f"{connectors} of one run each"
        if section.single
        else f"seeds and {connectors}, with its 95% interval"
    )
    columns: dict[str, Column] = {
        BRIEF[1]: partial(_success, section, drawn=True),
        "mean": _quantity(section, m.MEAN, percent),
        **{each: _quantity(section, m.SUCCESS, percent, each) for each in section.connectors},
        BRIEF[2]: partial(_reached, section),
        BRIEF[3]: _quantity(section, m.SECONDS, duration),
        "embedding": _quantity(section, m.EMBEDDING, lambda v: f"{v:.0f}" if v else NONE),
        "encode [MFLOP]": _quantity(section, m.MFLOP, lambda v: f"{v:.1f}" if v else NONE),
        BRIEF[4]: partial(_seeds, section),
    }
    return Table(f"Interquartile mean (IQM) over {over}", section.runs, columns)


def connector_table(section: Section) -> Table:
    """Success by connector, with intervals."""
    columns = {each: partial(_success, section, about=each) for each in section.connectors}
    return Table("Success by connector, IQM over seeds", section.runs, columns)


def improvement_table(section: Section) -> Table:
    """How likely a run of the row's representation beats one of the column's."""

    def entry(name: str, other: str) -> Entry:
        found = section.estimate(name, m.BETTER, other)
        if found is None:
            return Entry("")
        sure = not {name, other} & set(section.unsure)
        return Entry(f"{found.value:.2f}", found.value, found if sure else None)

    faint = "; faint where one of the two has but one run" if section.unsure else ""
    caption = (
        "Probability that a run of the row's representation does better on a connector than one "
        f"of the column's; ties count half{faint}"
    )
    columns = {other: partial(entry, other=other) for other in section.runs}
    return Table(caption, section.runs, columns, first="")


def failure_table(section: Section) -> Table:
    """Part of the final episodes that failed, by cause."""

    def entry(name: str, cause: str) -> Entry:
        value = section.value(name, m.FAILED, cause) or 0.0
        return Entry(percent(value), value)

    columns: dict[str, Column] = {c: partial(entry, cause=c) for c in section.causes}
    columns["episodes"] = _quantity(section, m.EPISODES, lambda value: f"{value:.0f}")
    return Table("Part of the final episodes that failed, by cause", section.runs, columns)


def probe_table(sections: Sequence[Section], probes: Probes) -> Table | None:
    """What each encoder knows beside its policies' success; None if nothing is known of any."""
    known = [name for name in probes.found if any(name in section.runs for section in sections)]
    if not known:
        return None

    def error(name: str, variable: str) -> Entry:
        return _number(probes.found[name].errors.get(variable), number)

    columns: dict[str, Column] = {
        **{s.method.title: _quantity(s, m.SUCCESS, percent) for s in sections},
        **{f"{variable_title(v)} [{unit(v)}]": partial(error, variable=v) for v in probes.bounds},
        "worst / bound": lambda name: _number(probes.found[name].worst, number),
        "connector": lambda name: _number(probes.found[name].accuracy, percent),
        "from": lambda name: Entry(probes.found[name].source, wordy=True),
    }
    caption = (
        "Success of the policies, interquartile mean; mean absolute error of linear probes near "
        "contact, the largest part of its bound that one of the errors is, and accuracy of the "
        "connector's class"
    )
    return Table(caption, known, columns)


def unfinished(study: Study) -> Table | None:
    """Cells of the grid without a policy; None if there are none."""
    why = {cell.name: reason for cell, reason in study.unfinished.items()}
    columns: dict[str, Column] = {"why": lambda name: Entry(why[name], wordy=True)}
    return Table("Cells of the grid without a policy", why, columns, "cell") if why else None


def names(study: Study) -> Table | None:
    """What labels stand for; None if every representation is called by its name."""
    short = {label: name for label, name in study.representations.items() if label != name}
    columns: dict[str, Column] = {"its name": lambda label: Entry(short[label], wordy=True)}
    return Table("What short names stand for", short, columns) if short else None


def every_run(study: Study) -> Table:
    """Each run by itself."""
    runs = {run.cell.name: run for run in study.runs}
    columns: dict[str, Column] = {
        "success": lambda name: _number(runs[name].rate, percent),
        "steps": lambda name: _number(runs[name].number("steps"), steps),
        "wall-clock": lambda name: _number(runs[name].number("seconds"), duration),
        "folder": lambda name: Entry(str(runs[name].folder.relative_to(study.folder)), wordy=True),
    }
    return Table("Every run", runs, columns, "run")


def print_sections(console: Console, sections: Iterable[Section]) -> None:
    """Print what each method with runs came to, as far as there is room for it."""
    for section in sections:
        if not section.runs:
            continue
        shown = headline(section)
        kept = [i for i, heading in enumerate(shown.headings) if heading in BRIEF]
        table = rich.table.Table(title=section.method.title)
        for i in kept:
            table.add_column(shown.headings[i], justify="right" if i else "left")
        for row in shown.rows:
            table.add_row(*(escape(row[i].text) for i in kept))
        console.print(table)


def _levels(found: HierarchicalEstimate) -> Entry:
    return Entry(spoken_list(list(found.levels)) or NONE, wordy=True)


def variable_title(name: str) -> str:
    """A pose variable's name for people, without its unit."""
    return name.rpartition("_")[0].replace("_", " ")


def _number(value: float | None, text: Callable[[float], str]) -> Entry:
    """A number, and what is read of it; nothing to sort by where that says nothing."""
    said = NONE if value is None else text(value)
    return Entry(said, None if said == NONE else value)


def _quantity(
    section: Section, quantity: str, text: Callable[[float], str], about: str = ""
) -> Column:
    return lambda name: _number(section.value(name, quantity, about), text)


def _success(section: Section, name: str, about: str = "", drawn: bool = False) -> Entry:
    found = section.estimate(name, m.SUCCESS, about)
    assert found is not None  # of every representation with a run
    single = name in section.unsure
    return Entry(success(found, single), found.value, found if drawn and not single else None)


def _reached(section: Section, name: str) -> Entry:
    median = section.value(name, m.STEPS)
    if median is None:
        return Entry(NONE)
    runs, of = (section.value(name, what) or 0 for what in (m.REACHING, m.EVALUATED))
    if median == float("inf"):
        return Entry(f"{runs:.0f} of {of:.0f} runs" if runs else "never")
    return Entry(steps(median) + ("" if runs == of else f" ({runs:.0f} of {of:.0f})"), median)


def _seeds(section: Section, name: str) -> Entry:
    done = len(section.runs[name])
    missing = section.missing[name]
    return Entry(f"{done} of {done + missing}" if missing else f"{done}", done)
