"""Tables for people, pivoted from the measurements; the terminal and Markdown share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from representation.probes import measurements as ms
from representation.probes.markdown import NONE, number, percent, table
from representation.probes.measurements import ALL, ENCODER, FUSED, Measurement, only, select
from representation.probes.report import AuditReport
from representation.probes.retrieval import RANKS
from representation.probes.targets import CLASS
from representation.probes.variables import title

GUESSING = "guessing the mean"

View = tuple[str, str]
"""Region of the held-out rows, and region of those that the probes were fitted on."""


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes:
        about: What it shows, in a sentence or two.
        heading: Of its columns.
        lines: Its cells, by row.
    """

    about: str
    heading: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """What it shows, and the table."""
        return f"{self.about}\n\n{table(self.heading, self.lines)}"


def page(report: AuditReport) -> str:
    """All that an audit found, as Markdown."""
    size = f"{report.embedding_size} numbers" if report.embedding_size else "baselines alone"
    rows = ", ".join(f"{report.regions[r]} {n:,}" for r, n in report.heldout_rows.items())
    sections = {
        "Gate": [gate_table(report)] if report.gate else [],
        "Information audit": [audit_table(report, view) for view in report.views],
        "Connector": [*filter(None, (accuracy_table(report), confusion_table(report)))],
        "Across the senses": [*filter(None, (recall_table(report), sphere_table(report)))],
        "Clusters": [*filter(None, [cluster_table(report)])],
    }
    parts = [
        f"# What {report.name} knows",
        f"{size}; perceives with {' and '.join(report.senses)}. Probes are fitted on "
        f"{report.train_rows[ALL]:,} training rows of {report.train_episodes:,} episodes and "
        f"measured on held-out ones of {report.heldout_episodes:,}: {rows}. Seed {report.seed}.",
    ]
    for heading, tables in sections.items():
        if tables:
            parts += [f"## {heading}", *(t.markdown() for t in tables)]
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


def fitted_on(report: AuditReport, region: str) -> str:
    """Rows that a probe was fitted on, in words."""
    return "all rows" if region == ALL else f"rows {report.regions[region]}"


def audit_columns(report: AuditReport) -> dict[str, tuple[str, str]]:
    """Subject and part of the audit's columns, by heading."""
    parts = [*(report.senses if len(report.senses) > 1 else ()), FUSED]
    wanted = {GUESSING: (ms.MEAN, "")}
    wanted |= {f"{subject}, {FUSED}": (subject, FUSED) for subject in (ms.PIXELS, ms.UNTRAINED)}
    wanted |= {part: (ENCODER, part) for part in parts}
    there = {(m.subject, m.part) for m in report.measurements}
    return {heading: of for heading, of in wanted.items() if of in there}


def audit_table(report: AuditReport, view: View, interval: bool = True) -> TextTable:
    """Errors of every variable and accuracy of the class, by what was probed."""
    columns = audit_columns(report)
    lines = []
    for variable in (*report.variables, CLASS):
        found = [report.answer(variable, view, *of) for of in columns.values()]
        if any(found):
            room = only(report.measurements, measure=ms.CAPTURE_RANGE, variable=variable)
            cells = [cell(m, interval and variable != CLASS) for m in found]
            lines.append((title(variable), *cells, cell(room)))
    brackets = "; in brackets the 95% interval over episodes" if interval else ""
    about = f"Mean absolute error{_where(report, view)}{brackets}."
    return TextTable(about, ("", *columns, ms.CAPTURE_RANGE), tuple(lines))


def gate_table(report: AuditReport) -> TextTable:
    """The bounds, and whether the encoder meets them."""
    lines = []
    for variable, found in report.gate.items():
        bound = _limit(variable, report.bounds[variable])
        verdict = "pass" if found is not None and found.passed else "**fail**"
        lines.append((title(variable), cell(found), bound, verdict))
    verdict = "every bound is met" if report.passed else "not every bound is met"
    about = f"Mean absolute error{_where(report, report.views[0])}: {verdict}."
    return TextTable(about, ("", "measured", "bound", "verdict"), tuple(lines))


def accuracy_table(report: AuditReport) -> TextTable | None:
    """Accuracy of the class from every part; None if it was not probed."""
    found = select(report.measurements, measure=ms.ACCURACY, subject=report.subject)
    lines = tuple(
        (
            f"{m.part}, {report.regions[m.region]}",
            fitted_on(report, m.fitted_on),
            cell(m, interval=True),
            m.note,
        )
        for m in found
    )
    return TextTable("Accuracy.", ("", "fitted on", "accuracy", ""), lines) if lines else None


def confusion_table(report: AuditReport) -> TextTable | None:
    """Rows by actual and predicted class where it decides; None if there are none."""
    counts = confusion(report)
    if counts is None:
        return None
    lines = tuple((f"**{a}**", *(f"{n:,}" for n in row.values())) for a, row in counts.items())
    about = (
        f"Confusion{_where(report, report.views[0])}: the actual class in rows, the predicted one "
        "in columns."
    )
    return TextTable(about, ("", *counts), lines)


def confusion(report: AuditReport) -> dict[str, dict[str, int]] | None:
    """Rows by actual class, then by predicted one, where it decides; None if not measured."""
    if not report.views:
        return None
    region, fitted = report.views[0]
    found = select(report.measurements, measure=ms.CONFUSION, region=region, fitted_on=fitted)
    counts: dict[str, dict[str, int]] = {}
    for m in found:
        counts.setdefault(m.variable, {})[m.against] = int(m.value)
    return counts or None


def recall_table(report: AuditReport) -> TextTable | None:
    """How often one sense finds the other's moment; None for a single sense."""
    pools = select(report.measurements, measure=ms.POOL)
    lines = []
    for pool in pools:
        of = {"part": pool.part, "against": pool.against, "region": pool.region}
        recall, chance = (
            [only(report.measurements, measure=m.format(rank), **of) for rank in RANKS]
            for m in (ms.RECALL, ms.CHANCE)
        )
        lines.append(
            (
                f"{pool.part} to {pool.against}, {report.regions[pool.region]}",
                f"{int(pool.value):,}",
                *(percent(m.value) for m in recall if m),
                " / ".join(percent(m.value) for m in chance if m),
            )
        )
    heading = ("recall", "among", *(f"at {rank}" for rank in RANKS), "by chance")
    about = f"Compared through: {report.shared_space}."
    return TextTable(about, heading, tuple(lines)) if lines else None


def sphere_table(report: AuditReport) -> TextTable | None:
    """How the shared space lies on the unit sphere; None for a single sense."""
    found = select(report.measurements, measure=(ms.ALIGNMENT, ms.UNIFORMITY))
    lines = tuple(
        (m.measure, " with ".join(filter(None, (m.part, m.against))), f"{m.value:.3f}")
        for m in found
    )
    return TextTable("On the unit sphere.", ("", "of", "value"), lines) if lines else None


def cluster_table(report: AuditReport) -> TextTable | None:
    """Clusters against classes; None if they were not computed."""
    found = select(report.measurements, measure=ms.SILHOUETTE)
    lines = []
    for m in found:
        nmi = only(report.measurements, measure=ms.NMI, part=m.part)
        assert nmi is not None
        lines.append((m.part, f"{m.value:.3f}", f"{nmi.value:.3f}"))
    if not lines:
        return None
    about = f"Against the connector, over {found[0].rows:,} rows."
    return TextTable(about, ("", ms.SILHOUETTE, "ms.NMI with k-means"), tuple(lines))


def comparison_table(reports: Sequence[AuditReport]) -> TextTable:
    """Encoders side by side, on the rows that decide.

    Args:
        reports: One for each encoder; the first has the baselines.
    """
    first = reports[0]
    view = first.views[0]
    columns = {h: (first, *of) for h, of in audit_columns(first).items() if of[0] != ENCODER}
    columns |= {report.name: (report, ENCODER, FUSED) for report in reports}
    lines = []
    for variable in (*first.variables, CLASS):
        found = [r.answer(variable, view, *of) for r, *of in columns.values()]
        if any(found):
            lines.append((title(variable), *map(cell, found)))
    if first.gate:
        met = [
            f"{sum(m is not None and m.passed for m in r.gate.values())} of {len(r.gate)}"
            for r in reports
        ]
        lines.append(("bounds met", *([""] * (len(columns) - len(met))), *met))
    about = f"Mean absolute error{_where(first, view)}."
    return TextTable(about, ("", *columns), tuple(lines))


def _limit(variable: str, bound: float) -> str:
    return f"at least {bound:.0%}" if variable == CLASS else f"at most {bound:g}"


def _where(report: AuditReport, view: View) -> str:
    region, fitted = view
    return (
        f", {report.regions[region]} ({report.heldout_rows[region]:,} held-out rows), probes "
        f"fitted on {fitted_on(report, fitted)}"
    )
