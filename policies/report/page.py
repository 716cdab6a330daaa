"""The report as one page that needs nothing beside it."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from policies.report import document, elements, figures, palette, probe_figures, tables
from policies.report.document import Document
from policies.report.numbers import spoken_list
from policies.report.study import Method
from policies.report.summary import Section
from policies.report.videos import choose

_HERE = Path(__file__).parent
_ABOUT = {"training", "training_by_algorithm", "evaluation"}
"""Fields of the grid that say how every cell was made."""

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data: 'self' file:; font-src data:"
)
"""Content Security Policy: the browser itself holds the page to asking nobody for anything."""


def page(of: Document) -> str:
    """The page.

    Args:
        of: The report.

    Returns:
        HTML. Figures are drawn by the plotly.js that it holds; it asks for nothing from elsewhere,
        but for videos that are too large for it, which it links to where they lie.
    """
    title = f"Ablation {of.study.folder.name}"
    parts = [(f"method-{i}", s.method.title, _method(of, s, i)) for i, s in enumerate(of.sections)]
    parts += [
        ("probes", "Probes and success", _probes(of)),
        ("videos", "Videos", _videos(of)),
        ("missing", "Missing policies", _missing(of)),
        ("provenance", "How this was made", _provenance(of)),
    ]
    links = "".join(f'<li><a href="#{key}">{escape(name)}</a></li>' for key, name, _ in parts)
    body = "\n".join(
        f'<section id="{key}" aria-labelledby="{key}-heading">'
        f'<h2 id="{key}-heading">{escape(name)}</h2>\n{content}\n</section>'
        for key, name, content in parts
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)} - VTInsert</title>
<style>
:root {{ {" ".join(palette.variables(dark=False))} }}
@media (prefers-color-scheme: dark) {{ :root {{ {" ".join(palette.variables(dark=True))} }} }}
{_read("page.css")}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the results</a>
<header>
<p class="kind">VTInsert: which representation makes policies learn?</p>
<h1>{escape(title)}</h1>
<p>{escape(document.lead(of))}</p>
{elements.bullets(document.findings(of), "findings")}
<nav aria-label="Contents"><ul>{links}</ul></nav>
<noscript>
<p class="note">The figures need JavaScript. The tables hold the same numbers.</p>
</noscript>
</header>
<main id="main">
{body}
</main>
<footer>Success is that of final policies on fixed seeds. Interquartile means, intervals of 95% by
bootstrap over runs, performance profiles and probabilities of improvement as in Agarwal et al.,
"Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021.</footer>
<script>{get_plotlyjs()}</script>
<script>
{_read("page.js")}</script>
</body>
</html>
"""


def _method(of: Document, section: Section, number: int) -> str:
    said = elements.paragraphs(document.about(section), "note")
    if not section.rows:
        return said
    names = [row.representation for row in section.rows]
    parts = [
        said,
        elements.table(tables.headline(section), of.looks),
        elements.legend(names, of.looks, section.unsure),
        elements.figures(
            [
                figures.curves(section, of.looks),
                figures.connector_bars(section, of.looks),
                figures.profiles(section, of.looks),
                figures.failures(section),
            ],
            f"figure-{number}",
        ),
    ]
    if all(row.curve is None for row in section.rows):
        parts.append(
            '<p class="note">No run was evaluated while it learned, so there are no curves.</p>'
        )
    if not any(row.failures for row in section.rows):
        parts.append('<p class="note">No final episode failed.</p>')
    if len(names) > 1:
        parts += [
            "<h3>Probability of improvement</h3>",
            elements.chances(tables.improvement_table(section), of.looks),
        ]
    parts += [
        "<details><summary>The numbers behind the figures</summary>",
        elements.table(tables.connector_table(section), of.looks),
        elements.table(tables.failure_table(section), of.looks),
        "</details>",
        elements.bullets(section.notes, "notes"),
    ]
    return "\n".join(parts)


def _probes(of: Document) -> str:
    content = tables.probe_table(of.sections, of.probes)
    if content is None:
        return (
            '<p class="note">Nothing is known of what the encoders of this study know. Give the '
            "report.json of <code>vtinsert probe</code> with <code>--probes</code>.</p>"
        )
    parts = [
        "<p>Linear probes tell what can be read from an encoder's embedding near contact, before "
        "any policy is trained on it. The dotted line is the error that an encoder is allowed. A "
        "plug goes in where all poses fit, and so an encoder's worst error, as a part of what it "
        "is allowed, comes first.</p>"
    ]
    encoders = [row.representation for s in of.sections for row in s.rows if row.embedding]
    if unknown := [name for name in dict.fromkeys(encoders) if name not in of.probes.found]:
        parts.append(elements.paragraphs([f"No probe is known of {spoken_list(unknown)}."], "note"))
    parts.append(elements.legend(list(of.probes.found), of.looks, points=True))
    for number, section in enumerate(of.sections):
        drawings = probe_figures.probe_scatters(section, of.probes, of.looks)
        if drawings:
            parts += [
                f"<h3>{escape(section.method.title)}</h3>",
                elements.figures(drawings, f"probe-{number}", level=4),
            ]
    parts.append(elements.table(content, of.looks))
    return "\n".join(parts)


def _videos(of: Document) -> str:
    chosen = choose(of.study.runs)
    if not chosen:
        return '<p class="note">The runs of this study have no videos.</p>'
    folder = of.study.folder
    opened = " open"
    parts = ["<p>Of each representation the filmed run of median success.</p>"]
    for section in of.sections:
        shown = [video for video in chosen if Method.of(video.run.cell) == section.method]
        if shown:
            inside = "\n".join(elements.video(video, folder) for video in shown)
            filmed = {video.run.cell.representation for video in shown}
            names = [row.representation for row in section.rows]
            others = [name for name in names if name not in filmed]
            said = [f"Not filmed: {spoken_list(others)}."] if others else []
            parts.append(
                f"<details{opened}><summary>{escape(section.method.title)}</summary>"
                f'<div class="videos">\n{inside}\n</div>'
                f"{elements.paragraphs(said, 'note')}</details>"
            )
            opened = ""  # one way to train is enough to see at once
    links = "".join(
        f'<li><a href="{elements.link(path, folder)}">{escape(run.cell.name)}: '
        f"{escape(path.name)}</a></li>"
        for run in of.study.runs
        for path in run.videos
    )
    parts.append(
        f"<details><summary>All files, beside this page</summary><ul>{links}</ul></details>"
    )
    return "\n".join(parts)


def _missing(of: Document) -> str:
    content = document.unfinished(of)
    if content is None:
        return '<p class="note">None: every policy of the grid was trained and evaluated.</p>'
    return elements.table(content, of.looks)


def _provenance(of: Document) -> str:
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{_fact(name, text)}</dd>"
        for name, text in document.provenance(of).items()
    )
    short = document.names(of.study)
    grid = {name: value for name, value in of.study.grid.items() if name in _ABOUT}
    return "\n".join(
        [
            f"<dl>{facts}</dl>",
            "" if short is None else elements.table(short, of.looks),
            elements.bullets(of.notes, "notes"),
            "<details><summary>Options of every run</summary>"
            f"<pre>{escape(json.dumps(grid, indent=2))}</pre></details>",
            "<details><summary>Every run</summary>",
            elements.table(document.every_run(of.study), of.looks),
            "</details>",
        ]
    )


def _fact(name: str, text: str) -> str:
    return f"<code>{escape(text)}</code>" if name == "Command" else escape(text)


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
