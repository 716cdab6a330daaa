"""The report's tables as Markdown."""

from __future__ import annotations

from policies.report import document, tables
from policies.report.document import Document
from policies.report.summary import Section
from policies.report.tables import Table
from representation.probes.markdown import table as markdown_table


def markdown(of: Document) -> str:
    """The report without its figures.

    Args:
        of: The report.

    Returns:
        Markdown.
    """
    parts = [
        f"# Ablation {of.study.folder.name}",
        document.lead(of),
        "\n".join(f"- {finding}" for finding in document.findings(of)),
    ]
    for section in of.sections:
        parts += [f"## {section.method.title}", *_method(of, section)]
    known = tables.probe_table(of.sections, of.probes)
    if known is not None:
        parts += ["## Probes and success", f"{known.caption}.", _table(known)]
    missing, short = document.unfinished(of), document.names(of.study)
    if missing is not None:
        parts += ["## Missing policies", _table(missing)]
    parts += [
        "## How this was made",
        "\n".join(
            f"- {name}: {f'`{text}`' if name == 'Command' else text}"
            for name, text in document.provenance(of).items()
        ),
        "\n".join(f"- {note}" for note in of.notes),
        "" if short is None else f"{short.caption}.\n\n{_table(short)}",
        _table(document.every_run(of.study)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _method(of: Document, section: Section) -> list[str]:
    parts = document.about(section)
    if section.rows:
        shown = [
            tables.headline(section),
            tables.connector_table(section),
            tables.improvement_table(section) if len(section.rows) > 1 else None,
            tables.failure_table(section),
        ]
        for content in shown:
            if content is not None:
                parts += [f"{content.caption}.", _table(content)]
    return [*parts, "\n".join(f"- {note}" for note in section.notes)]


def _table(content: Table) -> str:
    rows = [
        [entry.text.replace("|", "\\|").replace("\n", " ") for entry in row] for row in content.rows
    ]
    return markdown_table((h.replace("|", "\\|") for h in content.headings), rows)
