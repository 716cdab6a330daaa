"""The report as one page that needs nothing beside it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from policies.report import compose, figures, heat_map, palette, probe_figures, tables
from policies.report.compose import Report
from policies.report.measurements import EMBEDDING
from policies.report.numbers import percent, spoken_list
from policies.report.videos import choose

_HERE = Path(__file__).parent
_HOW = ("training", "training_by_algorithm", "evaluation")
"""Fields of the grid that say how every cell was made."""


def page(report: Report) -> str:
    """The page in HTML.

    Figures are drawn by the plotly.js that it holds; it requests nothing from elsewhere, but for
    videos that are too large for it, which it plays from where they lie.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"breakable": _breakable, "percent": percent, "spoken": spoken_list}
    encoders = [name for s in report.sections for name in s.runs if s.value(name, EMBEDDING)]
    grid = {name: value for name, value in report.study.grid.items() if name in _HOW}
    return environment.get_template("page.html.j2").render(
        report=report,
        methods=[
            (
                section,
                figures.drawings(section, report.styles),
                probe_figures.probe_scatters(section, report.probes, report.styles),
            )
            for section in report.sections
        ],
        probed=tables.probe_table(report.sections, report.probes),
        unprobed=[name for name in dict.fromkeys(encoders) if name not in report.probes.found],
        videos=choose(report.study.runs, report.study.folder),
        options=json.dumps(grid, indent=2),
        about=compose.about,
        picture=base64.b64encode(heat_map.png(heat_map.heat_map(report.scores))).decode(),
        alternative=heat_map.alternative(report.scores),
        tables=tables,
        palette=palette,
        # A script's text ends at the first "</", wherever it stands.
        source=lambda drawing: Markup(drawing.figure.to_json().replace("</", "<\\/")),
        css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((_HERE / "page.js").read_text(encoding="utf-8")),
        plotly=Markup(get_plotlyjs()),
    )


def _breakable(name: str) -> Markup:
    """A name that may go on in another line where its words end."""
    return Markup(re.sub("([_:])", r"\1<wbr>", str(escape(name))))
