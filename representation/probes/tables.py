"""Tables for people, pivoted from the measurements; the terminal and Markdown share them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from representation.probes import measurements as ms
from representation.probes.markdown import NONE, number, percent, table
from representation.probes.measurements import ALL, CLASS, ENCODER, FUSED, Measurement, select
from representation.probes.report import AuditReport, View
from representation.probes.variables import title

GUESSING = "guessing the mean"


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes:
        about: What it shows, in a sentence or two.
        heading: Of its columns.
        lines: Its cells, by row; none where nothing was measured.
    """

    about: str
    heading: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """What it shows, and the table."""
        return f"{self.about}\n\n{table(self.heading, self.lines)}"


def page(report: AuditReport) -> str:
    """All that an audit found, as Markdown."""
    rows = ", ".join(f"{report.regions[r]} {n:,}" for r, n in report.heldout_rows.items())
    sections = {
        "Gate": [gate_table(report)],
        "Information audit": [audit_table(report, view) for view in report.views],
        "Connector": [_accuracy_table(report), _confusion_table(report)],
        "Across the senses": [recall_table(report), _sphere_table(report)],
        "Clusters": [_cluster_table(report)],
    }
    parts = [
        f"# What {report.name} knows",
        f"{report.embedding_size} numbers; perceives with {' and '.join(report.senses)}. "
        f"Probes are fitted on {report.train_rows[ALL]:,} training rows of "
        f"{report.train_episodes:,} episodes and measured on held-out ones of "
        f"{report.heldout_episodes:,}: {rows}. Seed {report.seed}.",
    ]
    for heading, tables in sections.items():
        if shown := [each.markdown() for each in tables if each.lines]:
            parts += [f"## {heading}", *shown]
    if report.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    return "\n\n".join(parts) + "\n"


def cell(found: Measurement | None, interval: bool = False) -> str:
    """A measurement as text: percent for a part, three digits for others."""
    if found is None:
        return NONE
    form = percent if found.measure == ms.ACCURACY else number
    if not interval or found.low is None or found.high is None:
        return form(found.value)
    return f"{form(found.value)} ({form(found.low)} to {form(found.high)})"


def bound_of(row: Measurement) -> str:
    """The bound of a measurement, in words; empty for none."""
    return "" if row.bound is None else _limit(row.variable, row.bound)


def where(report: AuditReport, view: View) -> str:
    """The rows of a view, in words."""
    region, fitted_on = view
    return (
        f"{report.regions[region]} ({report.heldout_rows[region]:,} held-out rows), probes "
        f"fitted on {_fitted_on(report, fitted_on)}"
    )


def confusion(report: AuditReport) -> list[Measurement]:
    """Rows by actual and predicted class where it decides; none where they were not counted."""
    region, fitted_on = report.views[0]
    of = {"region": region, "fitted_on": fitted_on}
    return select(report.measurements, measure=ms.CONFUSION, **of)


def audit_table(report: AuditReport, view: View, interval: bool = True) -> TextTable:
    """Errors of every variable and accuracy of the class, by what was probed."""
    rows = _audited(report, view)
    known = {m.variable for m in rows}
    rows += [
        m for m in select(report.measurements, measure=ms.CAPTURE_RANGE) if m.variable in known
    ]
    brackets = "; in brackets the 95% interval over episodes" if interval else ""
    return _pivot(
        f"Mean absolute error, {where(report, view)}{brackets}.",
        ((title(m.variable), _heading(m), cell(m, interval and m.variable != CLASS)) for m in rows),
    )


def gate_table(report: AuditReport) -> TextTable:
    """The bounds, and whether the encoder meets them; empty without bounds."""
    lines = []
    for variable, found in report.gate.items():
        bound = _limit(variable, report.bounds[variable])
        verdict = "pass" if found is not None and found.passed else "**fail**"
        lines.append((title(variable), cell(found), bound, verdict))
    verdict = "every bound is met" if report.passed else "not every bound is met"
    about = f"Mean absolute error, {where(report, report.views[0])}: {verdict}."
    return TextTable(about, ("", "measured", "bound", "verdict"), tuple(lines))


def recall_table(report: AuditReport, chance: bool = True) -> TextTable:
    """How often one sense finds the other's moment; empty for a single sense."""
    measures = [ms.POOL, *(ms.RECALL.format(rank) for rank in ms.RANKS)]
    if chance:
        measures += [ms.CHANCE.format(rank) for rank in ms.RANKS]
    return _pivot(
        f"Compared through: {report.shared_space}.",
        (
            (
                f"{m.part} to {m.against}, {report.regions[m.region]}",
                measure,
                f"{m.value:,.0f}" if measure == ms.POOL else percent(m.value),
            )
            for measure in measures
            for m in select(report.measurements, measure=measure)
        ),
    )


def comparison_table(reports: Sequence[AuditReport]) -> TextTable:
    """Encoders side by side, on the rows that decide.

    Args:
        reports: One for each encoder; the first has the baselines.
    """
    first = reports[0]
    view = first.views[0]
    cells = [
        (title(m.variable), _heading(m), cell(m))
        for m in _audited(first, view)
        if m.subject != ENCODER
    ]
    for report in reports:
        whole = select(_audited(report, view), subject=ENCODER, part=FUSED)
        cells += [(title(m.variable), report.name, cell(m)) for m in whole]
        if report.gate:
            met = sum(m is not None and m.passed for m in report.gate.values())
            cells.append(("bounds met", report.name, f"{met} of {len(report.gate)}"))
    return _pivot(f"Mean absolute error, {where(first, view)}.", cells)


def _accuracy_table(report: AuditReport) -> TextTable:
    """Accuracy of the class from every part."""
    found = select(report.measurements, measure=ms.ACCURACY, subject=ENCODER)
    return _pivot(
        "Accuracy.",
        (
            (
                f"{m.part}, {report.regions[m.region]}",
                f"fitted on {_fitted_on(report, m.fitted_on)}",
                f"{cell(m, interval=True)} {m.note}".strip(),
            )
            for m in found
        ),
    )


def _confusion_table(report: AuditReport) -> TextTable:
    return _pivot(
        f"Confusion, {where(report, report.views[0])}: the actual class in rows, the predicted one "
        "in columns.",
        ((f"**{m.variable}**", m.against, f"{m.value:,.0f}") for m in confusion(report)),
    )


def _sphere_table(report: AuditReport) -> TextTable:
    """How the shared space lies on the unit sphere."""
    found = select(report.measurements, measure=(ms.ALIGNMENT, ms.UNIFORMITY))
    return _pivot(
        "On the unit sphere.",
        (
            (m.measure, " with ".join(filter(None, (m.part, m.against))), f"{m.value:.3f}")
            for m in found
        ),
    )


def _cluster_table(report: AuditReport) -> TextTable:
    """Clusters against classes."""
    found = select(report.measurements, measure=(ms.SILHOUETTE, ms.NMI))
    about = f"Against the connector, over {found[0].rows:,} rows." if found else ""
    return _pivot(about, ((m.part, m.measure, f"{m.value:.3f}") for m in found))


def _audited(report: AuditReport, view: View) -> list[Measurement]:
    """What an audit shows of a view: guessing, the baselines as a whole, the encoder's parts."""
    region, fitted_on = view
    of = {"measure": (ms.ERROR, ms.ACCURACY), "region": region, "fitted_on": fitted_on}
    there = select(report.measurements, **of)
    parts = [(ENCODER, part) for part in (*report.senses, FUSED)]
    shown = [(ms.MEAN, ""), (ms.PIXELS, FUSED), (ms.UNTRAINED, FUSED), *parts]
    return [m for subject, part in shown for m in select(there, subject=subject, part=part)]


def _heading(row: Measurement) -> str:
    """The column that a measurement stands in."""
    if row.subject == ms.MEAN:
        return GUESSING
    if row.measure == ms.CAPTURE_RANGE:
        return row.measure
    return row.part if row.subject == ENCODER else f"{row.subject}, {row.part}"


def _pivot(about: str, cells: Iterable[tuple[str, str, str]]) -> TextTable:
    """A table of cells: their line, their column and their text."""
    lines: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for line, column, text in cells:
        columns[column] = None
        lines.setdefault(line, {})[column] = text
    texts = ((line, *(of.get(c, NONE) for c in columns)) for line, of in lines.items())
    return TextTable(about, ("", *columns), tuple(texts))


def _fitted_on(report: AuditReport, region: str) -> str:
    return "all rows" if region == ALL else f"rows {report.regions[region]}"


def _limit(variable: str, bound: float) -> str:
    return f"at least {bound:.0%}" if variable == CLASS else f"at most {bound:g}"
