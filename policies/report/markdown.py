"""The report's tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from policies.report import tables
from policies.report.compose import Report, about
from policies.report.measurements import Section
from policies.report.tables import Table
from representation.probes.markdown import table as markdown_table


def markdown(report: Report) -> str:
    """The report without its figures, as Markdown."""
    study = report.study
    parts = [f"# {report.title}", report.lead, _bullets(report.findings)]
    tracks = [tables.score_table(report.scores, track) for track in report.scores.tracks]
    if contrasts := tables.contrast_table(report.scores):
        tracks.append(contrasts)
    parts += (
        ["## Scores", tables.SCORES, *map(_captioned, tracks), _bullets(report.scores.notes)]
        if tracks
        else []
    )
    for section in report.sections:
        parts += [f"## {section.method.title}", *about(section), *_tables(section)]
        parts.append(_bullets(section.notes))
    if known := tables.probe_table(report.sections, report.probes):
        parts += ["## Probes and success", _captioned(known)]
    if missing := tables.unfinished(study):
        parts += ["## Missing policies", _table(missing)]
    facts = report.provenance.items()
    parts += [
        "## How this was made",
        _bullets(f"{name}: {f'`{text}`' if name == 'Command' else text}" for name, text in facts),
        _bullets(report.notes),
        _captioned(short) if (short := tables.names(study)) else "",
        _table(tables.every_run(study)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tables(section: Section) -> list[str]:
    if not section.runs:
        return []
    shown = [tables.headline(section), tables.connector_table(section)]
    if len(section.runs) > 1:
        shown.append(tables.improvement_table(section))
    return [_captioned(each) for each in (*shown, tables.failure_table(section))]


def _captioned(content: Table) -> str:
    return f"{content.caption}.\n\n{_table(content)}"


def _table(content: Table) -> str:
    return markdown_table(content.headings, [[entry.text for entry in row] for row in content.rows])


def _bullets(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)
