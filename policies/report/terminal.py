"""A report's main tables in a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from policies.report.measurements import Section
from policies.report.tables import BRIEF, headline


def print_sections(console: Console, sections: Iterable[Section]) -> None:
    """Print what each method came to, as far as there is room for it.

    Args:
        console: Where to.
        sections: The methods; those without runs are left out.
    """
    for section in sections:
        if not section.runs:
            continue
        shown = headline(section)
        kept = [i for i, heading in enumerate(shown.headings) if heading in BRIEF]
        table = Table(title=section.method.title)
        for i in kept:
            table.add_column(shown.headings[i], justify="right" if i else "left")
        for row in shown.rows:
            table.add_row(*(escape(row[i].text) for i in kept))
        console.print(table)
