"""An audit's report as Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from representation.probes.bootstrap import Estimate
from representation.probes.embed import BOTH
from representation.probes.gate import CONNECTOR
from representation.probes.regions import ALL, FREE, JAMMED, NEAR, REGIONS
from representation.probes.report import (
    ENCODER,
    MEAN,
    PIXELS,
    RANDOM,
    AuditReport,
    ClassAccuracy,
)
from representation.probes.variables import unit

_NONE = "-"
FITTED = {ALL: "all rows", NEAR: "rows near contact"}
"""Rows that a probe was fitted on, in words."""


def report_page(report: AuditReport) -> str:
    """A page with all that an audit found.

    Args:
        report: The report.

    Returns:
        Markdown.
    """
    size = f"{report.embedding_size} numbers" if report.embedding_size else "baselines alone"
    rows = ", ".join(f"{REGIONS[r]} {n:,}" for r, n in report.heldout_rows.items())
    sections = [
        f"# What {report.name} knows",
        f"{size}; perceives with {' and '.join(report.modalities)}. Probes are fitted on "
        f"{report.train_rows[ALL]:,} training rows of {report.train_episodes:,} episodes and "
        f"measured on held-out ones of {report.heldout_episodes:,}: {rows}. Seed {report.seed}.",
    ]
    if report.gate:
        sections += ["## Gate", gate_table(report)]
    sections.append("## Information audit")
    for region, fitted_on in audit_views(report):
        sections.append(
            f"Mean absolute error, {REGIONS[region]} ({report.heldout_rows[region]:,} held-out "
            f"rows), probes fitted on {FITTED[fitted_on]}; in brackets the 95% interval over "
            "episodes."
        )
        sections.append(audit_table(report, region, fitted_on))
    if report.connector:
        sections += ["## Connector", *_connector(report)]
    if report.retrieval:
        sections += ["## Across the senses", *_across(report)]
    if report.clusters:
        sections += ["## Clusters", _clusters(report)]
    if report.notes:
        sections += ["## Notes", "\n".join(f"- {note}" for note in report.notes)]
    return "\n\n".join(sections) + "\n"


def audit_views(report: AuditReport) -> list[tuple[str, str]]:
    """Pairs of a region and the rows that its probes were fitted on, the deciding one first."""
    wanted = [(NEAR, NEAR), (JAMMED, NEAR), (NEAR, ALL), (JAMMED, ALL), (FREE, ALL), (ALL, ALL)]
    there = {(e.region, e.fitted_on) for e in report.pose if e.error.rows}
    return [view for view in wanted if view in there]


def audit_columns(report: AuditReport) -> list[tuple[str, str, str]]:
    """Columns of the audit's table: heading, subject and part."""
    parts = [*report.modalities, *([BOTH] if len(report.modalities) > 1 else [])]
    subjects = {e.subject for e in report.pose}
    columns = [("guessing the mean", MEAN, "none")]
    columns += [(f"{s}, {parts[-1]}", s, parts[-1]) for s in (PIXELS, RANDOM) if s in subjects]
    return columns + [(part, ENCODER, part) for part in parts if ENCODER in subjects]


def audit_table(report: AuditReport, region: str, fitted_on: str) -> str:
    """Errors of every variable and accuracy of the class, by what was probed.

    Args:
        report: The report.
        region: Region of the held-out rows.
        fitted_on: Region of the training rows.

    Returns:
        A table.
    """
    columns = audit_columns(report)
    lines = []
    for variable in report.variables:
        found = [
            report.error(subject, part, variable, region, fitted_on) for _, subject, part in columns
        ]
        yardstick = report.yardsticks.get(variable)
        slack = _NONE if yardstick is None else f"{number(yardstick)} {unit(variable)}"
        lines.append([f"`{variable}`", *map(_with_interval, found), slack])
    accuracies = [report.accuracy(subject, part, region, fitted_on) for _, subject, part in columns]
    if any(accuracies):
        cells = [_NONE if a is None else percent(a.accuracy.mean) for a in accuracies]
        lines.append(["connector, accuracy", *cells, _NONE])
    return table(["", *(heading for heading, _, _ in columns), "capture range"], lines)


def gate_table(report: AuditReport) -> str:
    """The bounds, and whether the encoder meets them."""
    lines = []
    for check in report.gate:
        if check.variable == CONNECTOR:
            value, bound = percent(check.value), f"at least {percent(check.bound)}"
        else:
            of = unit(check.variable)
            value = _NONE if check.value is None else f"{number(check.value)} {of}"
            bound = f"at most {number(check.bound)} {of}"
        verdict = "pass" if check.passed else "**fail**"
        lines.append([f"`{check.variable}`", value, bound, verdict])
    fitted_on = FITTED[report.gate[0].fitted_on]
    return (
        f"Held-out rows near contact, probes fitted on {fitted_on}: "
        f"{'every bound is met' if report.passed else 'not every bound is met'}.\n\n"
        + table(["", "measured", "bound", ""], lines)
    )


def comparison_table(reports: Sequence[AuditReport]) -> str:
    """Encoders side by side, on the rows that decide.

    Args:
        reports: One for each encoder; the first has the baselines.

    Returns:
        A table.
    """
    region, fitted_on = audit_views(reports[0])[0]
    first = reports[0]
    baselines = [c for c in audit_columns(first) if c[1] != ENCODER]
    heading = [*(title for title, _, _ in baselines), *(report.name for report in reports)]
    sources = [(first, subject, part) for _, subject, part in baselines] + [
        (report, ENCODER, _whole(report)) for report in reports
    ]
    lines = []
    for variable in first.variables:
        found = [r.error(s, part, variable, region, fitted_on) for r, s, part in sources]
        cells = [_NONE if e is None or e.mean is None else number(e.mean) for e in found]
        lines.append([f"`{variable}`", *cells])
    accuracies = [r.accuracy(s, part, region, fitted_on) for r, s, part in sources]
    if any(accuracies):
        cells = [_NONE if a is None else percent(a.accuracy.mean) for a in accuracies]
        lines.append(["connector, accuracy", *cells])
    if first.gate:
        met = [
            f"{sum(check.passed for check in report.gate)} of {len(report.gate)}"
            for report in reports
        ]
        lines.append(["bounds met", *([""] * len(baselines)), *met])
    return (
        f"Mean absolute error, {REGIONS[region]}, probes fitted on {FITTED[fitted_on]}.\n\n"
        + table(["", *heading], lines)
    )


def table(heading: Iterable[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first to the right."""
    heading = list(heading)
    rule = ["---", *(["---:"] * (len(heading) - 1))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, rule, *lines))


def number(value: float) -> str:
    """Three significant digits, and at most four after the point."""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(max(digits, 0), 4)}f}"


def percent(value: float | None) -> str:
    """A part as percent, to a tenth."""
    return _NONE if value is None else f"{100 * value:.1f}%"


def _with_interval(estimate: Estimate | None) -> str:
    if estimate is None or estimate.mean is None:
        return _NONE
    assert estimate.low is not None
    assert estimate.high is not None
    return f"{number(estimate.mean)} ({number(estimate.low)} to {number(estimate.high)})"


def _whole(report: AuditReport) -> str:
    return BOTH if len(report.modalities) > 1 else report.modalities[0]


def deciding_accuracy(report: AuditReport) -> ClassAccuracy | None:
    """The accuracy of all of the embedding on the rows that decide; None if not measured."""
    subjects = {a.subject for a in report.connector}
    subject = ENCODER if ENCODER in subjects else PIXELS
    for region, fitted_on in audit_views(report):
        found = report.accuracy(subject, _whole(report), region, fitted_on)
        if found is not None:
            return found
    return None


def _connector(report: AuditReport) -> list[str]:
    subject = ENCODER if report.embedding_size else PIXELS
    of = [a for a in report.connector if a.subject == subject and a.accuracy.rows]
    lines = [
        [
            f"{a.part}, {REGIONS[a.region]}",
            FITTED[a.fitted_on],
            _percent_interval(a.accuracy),
            "" if a.converged else "at least",
        ]
        for a in of
    ]
    sections = [table(["", "fitted on", "accuracy", ""], lines)]
    chosen = deciding_accuracy(report)
    if chosen is not None:
        rows = [
            [f"**{name}**", *(f"{count:,}" for count in counts)]
            for name, counts in zip(report.classes, chosen.confusion, strict=True)
        ]
        sections.append(
            f"Confusion ({chosen.part}, {REGIONS[chosen.region]}, fitted on "
            f"{FITTED[chosen.fitted_on]}): the actual connector in rows, the predicted one in "
            "columns."
        )
        sections.append(table(["", *report.classes], rows))
    return sections


def _percent_interval(estimate: Estimate) -> str:
    if estimate.mean is None:
        return _NONE
    return f"{percent(estimate.mean)} ({percent(estimate.low)} to {percent(estimate.high)})"


def _across(report: AuditReport) -> list[str]:
    ranks = list(report.retrieval[0].recall)
    lines = [
        [
            f"{r.query} to {r.key}, {REGIONS[r.region]}",
            f"{r.pool:,}",
            *(percent(r.recall[rank]) for rank in ranks),
            " / ".join(percent(int(rank) / r.pool) for rank in ranks),
        ]
        for r in report.retrieval
    ]
    sections = [
        f"Compared through: {report.shared_space}.",
        table(["recall", "among", *(f"at {rank}" for rank in ranks), "by chance"], lines),
    ]
    if report.sphere is not None:
        uniform = ", ".join(f"{n} {v:.2f}" for n, v in report.sphere.uniformity.items())
        sections.append(f"Alignment {report.sphere.alignment:.3f}; uniformity: {uniform}.")
    return sections


def _clusters(report: AuditReport) -> str:
    lines = [[c.space, f"{c.silhouette:.3f}", f"{c.nmi:.3f}"] for c in report.clusters]
    return f"Against the connector, over {report.clusters[0].rows:,} rows.\n\n" + table(
        ["", "silhouette", "NMI with k-means"], lines
    )
