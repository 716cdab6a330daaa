"""One look for each representation, the same in every figure, on a light page and on a dark one.

Colours are CSS variables, so that the page's style sheet alone decides about them: a figure names
`var(--series-1)`, and the page's script puts in what that is at the moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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
    ("#c2521b", "#e8824f"),
    ("#8f1d2c", "#d9485f"),
    ("#3a4454", "#a3adbb"),
    ("#e0a800", "#d9a400"),
    ("#6f9bc8", "#4f7fb0"),
    ("#b3bac5", "#525c6b"),
)
"""Colours of causes of failure, light and dark; they have patterns too."""

_DASHES = ("solid", "dash", "dot", "dashdot")
_PATTERNS = ("", "/", ".", "x")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")
_BAND = 0.16
"""Opacity of the band about a line."""


@dataclass(frozen=True)
class Look:
    """How a representation is drawn.

    Attributes:
        color: Of its line, marker and bar, as a CSS variable.
        band: Of the band about its line.
        dash: Plotly's name of its line's pattern: tells apart those that share a colour.
        symbol: Plotly's name of its marker.
        pattern: Plotly's name of its bar's pattern, which tells apart like `dash`.
    """

    color: str
    band: str
    dash: str
    symbol: str
    pattern: str


def looks(representations: Iterable[str]) -> dict[str, Look]:
    """A look for each representation.

    Args:
        representations: Their labels, in the study's order.

    Returns:
        Looks by label.
    """
    found: dict[str, Look] = {}
    others = 0
    for name in representations:
        if name == ORACLE:
            found[name] = Look("var(--ink)", "var(--ink-band)", "dash", "star", "")
            continue
        cycle, i = divmod(others, len(SERIES))
        color = f"--series-{i + 1}"
        found[name] = Look(
            f"var({color})",
            f"var({color}-band)",
            _DASHES[cycle % len(_DASHES)],
            _SYMBOLS[(i + cycle) % len(_SYMBOLS)],
            _PATTERNS[cycle % len(_PATTERNS)],
        )
        others += 1
    return found


def variables(dark: bool) -> Iterator[str]:
    """The palette as CSS declarations.

    Args:
        dark: Whether for a dark page.
    """
    colors = {"ink": INK[dark]}
    colors |= {f"series-{i + 1}": pair[dark] for i, pair in enumerate(SERIES)}
    for name, color in colors.items():
        red, green, blue = (int(color[k : k + 2], 16) for k in (1, 3, 5))
        yield f"--{name}: {color};"
        yield f"--{name}-band: rgba({red}, {green}, {blue}, {_BAND});"
    yield from (f"--cause-{i + 1}: {pair[dark]};" for i, pair in enumerate(CAUSES))
