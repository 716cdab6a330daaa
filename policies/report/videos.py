"""Which videos a report shows, and which of them it holds."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from policies.report.study import Run

MAX_BYTES = 5 * 2**20
"""A larger video is linked to, and does not become a part of the page."""
MAX_TOTAL_BYTES = 32 * 2**20
"""Videos that would make a page hold more than this are linked to."""

_TYPES = {".mp4": "video/mp4", ".webm": "video/webm"}


class Video(NamedTuple):
    """A video of a report: the run that it is of, and its address, which may be all of its data."""

    run: Run
    address: str


def choose(runs: Iterable[Run], folder: Path) -> list[Video]:
    """A video of each representation and method: of its run of median success.

    Args:
        runs: The study's.
        folder: Where the page is, which links to videos that are too large for it.
    """
    variants: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        if run.videos:
            variants.setdefault((run.representation, *run.cell.variant[1:]), []).append(run)
    chosen = []
    left = MAX_TOTAL_BYTES
    for alike in variants.values():
        run = sorted(alike, key=lambda run: run.rate)[(len(alike) - 1) // 2]
        path = run.videos[-1]
        size = path.stat().st_size
        address = quote(path.relative_to(folder).as_posix())
        if size <= min(MAX_BYTES, left):
            left -= size
            content = base64.b64encode(path.read_bytes()).decode()
            address = f"data:{_TYPES[path.suffix]};base64,{content}"
        chosen.append(Video(run, address))
    return chosen
