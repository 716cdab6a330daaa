"""Numbers and tables as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

NONE = "-"
"""What stands where nothing was measured."""


def number(value: float) -> str:
    """Three significant digits, and at most four after the point."""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(max(digits, 0), 4)}f}"


def percent(value: float | None) -> str:
    """A part as percent, to a tenth."""
    return NONE if value is None else f"{100 * value:.1f}%"


def table(heading: Iterable[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table of any text; all columns but the first to the right."""
    rows = [
        [cell.replace("|", "\\|").replace("\n", " ") for cell in cells]
        for cells in (heading, *lines)
    ]
    rule = ["---", *(["---:"] * (len(rows[0]) - 1))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (rows[0], rule, *rows[1:]))
