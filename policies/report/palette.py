"""A style for each representation, the same in every figure, on a light page and on a dark one.

Colours are CSS variables, so that the page's style sheet alone decides about them: a figure names
`var(--series-1)`, and the page's script puts in what that is at the moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

ORACLE = "state"
"""The representation that the others are held against; it has the text's colour."""

INK = ("#1b212b", "#e8ebf0")
"""Colour of the text: on a light page, and on a dark one."""

SERIES = (
    ("#2027cb", "#b3b8fc"),
    ("#c78431", "#fd6627"),
    ("#06a0c3", "#1caaa2"),
    ("#da0f77", "#bf0d82"),
    ("#124b0b", "#48fd69"),
    ("#6363fc", "#4954dc"),
    ("#7c6106", "#905802"),
    ("#79007f", "#d46aff"),
)
"""Colours of representations, light and dark.

Eight hues whose lightness and chroma were searched for, so that any two of them, and the text's
colour, keep a distance of 0.1 in Oklab to full sight and to each of the three kinds of colour
blindness, as Machado, Oliveira and Fernandes 2009 simulate them, and a contrast of 3 to 1 to the
page."""

CAUSES = (
    ("#79007f", "#c27bd0"),
    ("#3a4454", "#a3adbb"),
    ("#8f1d2c", "#d9485f"),
    ("#c2521b", "#e8824f"),
    ("#6f9bc8", "#4f7fb0"),
    ("#e0a800", "#d9a400"),
    ("#b3bac5", "#525c6b"),
)
"""Colours of causes of failure, light and dark, the last for the most frequent; each has a pattern
too."""

_DASHES = ("solid", "dash", "dot", "dashdot")
_PATTERNS = ("", "/", ".", "x")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")


class Style(NamedTuple):
    """How a representation is drawn.

    Attributes:
        color: Of its line, marker and bar, as a CSS variable.
        dash: Plotly's name of its line's pattern: tells apart those that share a colour.
        symbol: Plotly's name of its marker.
        pattern: Plotly's name of its bar's pattern, which tells apart like `dash`.
    """

    color: str
    dash: str
    symbol: str
    pattern: str


def styles(representations: Iterable[str]) -> dict[str, Style]:
    """A style for each representation, by its label."""
    names = list(representations)
    found = {ORACLE: Style("var(--ink)", "dash", "star", "")} if ORACLE in names else {}
    for number, name in enumerate(name for name in names if name != ORACLE):
        cycle, i = divmod(number, len(SERIES))
        found[name] = Style(
            f"var(--series-{i + 1})",
            _DASHES[cycle % len(_DASHES)],
            _SYMBOLS[(i + cycle) % len(_SYMBOLS)],
            _PATTERNS[cycle % len(_PATTERNS)],
        )
    return found
