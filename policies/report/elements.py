"""What the page is put together from: tables, figures, legends and videos as HTML."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from policies.evaluation.statistics import Estimate
from policies.report.drawing import Drawing
from policies.report.numbers import percent
from policies.report.palette import Look
from policies.report.tables import Entry, Table
from policies.report.videos import Video

_POINTS = {
    "circle": "M1.5 5a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0",
    "square": "M2 2h6v6h-6z",
    "diamond": "M5 .5L9.5 5L5 9.5L.5 5z",
    "triangle-up": "M5 1L9.5 9h-9z",
    "triangle-down": "M5 9L9.5 1h-9z",
    "cross": "M3.5 .5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    "x": "M2.5 .5L5 3L7.5 .5L9.5 2.5L7 5L9.5 7.5L7.5 9.5L5 7L2.5 9.5L.5 7.5L3 5L.5 2.5z",
    "star": "M5 0L6.2 3.5H10L7 5.7L8.1 9.5L5 7.2L1.9 9.5L3 5.7L0 3.5H3.8z",
}
"""Outlines of points within a square of 10, by Plotly's name."""
_DASHES = {"solid": "", "dash": "5 3", "dot": "1.5 2.5", "dashdot": "6 2 1.5 2"}
"""Patterns of SVG lines, by Plotly's name."""


def paragraphs(texts: Iterable[str], kind: str = "") -> str:
    """Texts as paragraphs, of a CSS class."""
    attribute = f' class="{kind}"' if kind else ""
    return "\n".join(f"<p{attribute}>{escape(text)}</p>" for text in texts)


def bullets(texts: Iterable[str], kind: str) -> str:
    """Texts as a list of a CSS class; nothing for none."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def table(content: Table, looks: Mapping[str, Look]) -> str:
    """A table that can be sorted, and scrolls sideways where it is too wide.

    Args:
        content: The table.
        looks: Looks of representations, for swatches and drawn intervals.
    """
    sortable = [
        any(row[column].value is not None for row in content.rows)
        for column in range(len(content.headings))
    ]
    kinds = [
        ' class="wordy"' if any(row[column].wordy for row in content.rows) else ""
        for column in range(len(content.headings))
    ]
    heading = "".join(
        f'<th scope="col"><button type="button">{escape(name)}</button></th>'
        if sorts
        else f'<th scope="col"{wordy}>{escape(name)}</th>'
        for name, sorts, wordy in zip(content.headings, sortable, kinds, strict=True)
    )
    rows = "\n".join(
        f"<tr>{_row_heading(first.text, looks)}"
        + "".join(_cell(entry, looks.get(first.text)) for entry in rest)
        + "</tr>"
        for first, *rest in content.rows
    )
    return _scrolling(content.caption, heading, rows)


def chances(content: Table, looks: Mapping[str, Look]) -> str:
    """A table of probabilities, coloured by how far they are from one half.

    Args:
        content: The table, as `tables.improvement_table` makes it.
        looks: Looks of representations.
    """
    heading = "".join(f'<th scope="col">{_breakable(name)}</th>' for name in content.headings)
    rows = "\n".join(
        f"<tr>{_row_heading(first.text, looks)}{''.join(map(_chance, rest))}</tr>"
        for first, *rest in content.rows
    )
    return _scrolling(content.caption, heading, rows, "chances")


def legend(
    names: Sequence[str],
    looks: Mapping[str, Look],
    unsure: Collection[str] = (),
    points: bool = False,
) -> str:
    """Buttons that name a section's representations, and hide them in its figures.

    Args:
        names: Labels of the representations.
        looks: Their looks.
        unsure: Those of them with one run, which are drawn more faintly.
        points: Whether the figures show them as points, and not as lines.
    """
    items = "".join(
        f'<li><button type="button" aria-pressed="true" value="{escape(name)}">'
        f"{_point(looks[name]) if points else _line(looks[name], name in unsure)}{escape(name)}"
        f"{' <small>1 seed</small>' if name in unsure else ''}</button></li>"
        for name in names
    )
    return f'<ul class="legend" aria-label="Representations shown in the figures">{items}</ul>'


def figure(drawing: Drawing, key: str, level: int) -> str:
    """A figure; the page's script draws it.

    Args:
        drawing: The figure.
        key: What tells it from the page's other figures.
        level: Of its heading.
    """
    height = drawing.figure.layout.height
    # A script's text ends at the first "</", wherever it stands.
    source = drawing.figure.to_json().replace("</", "<\\/")
    caption = f"<figcaption>{escape(drawing.caption)}</figcaption>" if drawing.caption else ""
    return (
        f'<figure aria-labelledby="{key}-title">'
        f'<h{level} id="{key}-title">{escape(drawing.title)}</h{level}>'
        f'<div class="plot" style="--height:{height}px" data-figure="{key}" role="img" '
        f'aria-label="{escape(drawing.alternative)}"></div>{caption}'
        f'<script type="application/json" id="{key}">{source}</script></figure>'
    )


def figures(drawings: Iterable[Drawing | None], key: str, level: int = 3) -> str:
    """Figures side by side.

    Args:
        drawings: The figures; None is left out.
        key: What tells them from the page's other figures.
        level: Of their headings; below the third they are small.
    """
    shown = [drawing for drawing in drawings if drawing is not None]
    inside = "\n".join(
        figure(drawing, f"{key}-{i}", level) for i, drawing in enumerate(shown, start=1)
    )
    kind = "figures" if level <= 3 else "figures small"
    return f'<div class="{kind}">\n{inside}\n</div>' if shown else ""


def video(of: Video, page: Path) -> str:
    """A video, in the page or beside it.

    Args:
        of: The video.
        page: The page's folder.
    """
    source = of.data or link(of.path, page)
    about = f"{of.run.cell.name}: {percent(of.run.rate)} of its final episodes succeeded"
    return (
        f'<figure><video controls muted playsinline loop preload="metadata" src="{source}" '
        f'aria-label="{escape(about)}"></video><figcaption>{escape(about)}</figcaption></figure>'
    )


def link(path: Path, page: Path) -> str:
    """A file's address, from the page's folder."""
    return quote(Path(os.path.relpath(path, page)).as_posix())


def _scrolling(caption: str, heading: str, rows: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0">'
        f"<table{attribute}>"
        f"<caption><span>{escape(caption)}</span></caption>\n<thead><tr>{heading}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _row_heading(name: str, looks: Mapping[str, Look]) -> str:
    look = looks.get(name)
    swatch = (
        f'<span class="swatch" style="--of:{look.color}" aria-hidden="true"></span>' if look else ""
    )
    return f'<th scope="row">{swatch}{_breakable(name)}</th>'


def _breakable(name: str) -> str:
    """A name that may go on in another line where its words end."""
    return re.sub("([_:])", r"\1<wbr>", escape(name))


def _cell(entry: Entry, look: Look | None) -> str:
    value = "" if entry.value is None else f' data-value="{entry.value:.6g}"'
    if entry.wordy:
        return f'<td class="wrap">{escape(entry.text)}</td>'
    drawn = _range(entry.estimate, look) if entry.estimate is not None and look else ""
    return f"<td{value}>{escape(entry.text)}{drawn}</td>"


def _range(found: Estimate, look: Look) -> str:
    places = (("low", found.low), ("high", found.high), ("at", found.value))
    style = ";".join(f"--{name}:{100 * value:.2f}%" for name, value in places)
    return f'<span class="range" style="{style};--of:{look.color}" aria-hidden="true"></span>'


def _chance(entry: Entry) -> str:
    if entry.value is None:
        return '<td class="chance"></td>'
    kind = "better" if entry.value > 0.5 else "worse"
    far = 0.75 * abs(entry.value - 0.5)
    if entry.estimate is None:
        kind, title, weight = f"{kind} unsure", "", ""
        far /= 3
    else:
        low, high = entry.estimate.low, entry.estimate.high
        title = f' title="95% interval {low:.2f} to {high:.2f}"'
        # Far from one half, the two are as bold as they are coloured.
        weight = "font-weight:600;" if abs(entry.value - 0.5) > 0.4 else ""
    return (
        f'<td class="chance {kind}" style="{weight}--far:{far:.2f}"{title}>'
        f"{escape(entry.text)}</td>"
    )


def _point(look: Look) -> str:
    return (
        '<svg class="point" viewBox="0 0 10 10" aria-hidden="true">'
        f'<path d="{_POINTS[look.symbol]}" fill="{look.color}"/></svg>'
    )


def _line(look: Look, thin: bool) -> str:
    dashes = _DASHES[look.dash]
    pattern = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        '<svg viewBox="0 0 26 10" aria-hidden="true">'
        f'<line x1="0" x2="26" y1="5" y2="5" stroke="{look.color}" '
        f'stroke-width="{1.5 if thin else 3}"{pattern}/></svg>'
    )
