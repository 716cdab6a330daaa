"""The bar that long commands show: how far, how fast, how long still."""

from __future__ import annotations

import rich.progress
from rich.console import Console
from rich.text import Text


class _Rate(rich.progress.ProgressColumn):
    """How many a second."""

    def render(self, task: rich.progress.Task) -> Text:
        rate = task.finished_speed or task.speed
        text = "" if rate is None else f"{rate:,.{0 if rate >= 10 else 1}f} a second"
        return Text(text, "progress.data.speed")


def progress_bar() -> rich.progress.Progress:
    """A progress bar on stderr, with the rate and the time left."""
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        _Rate(),
        rich.progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
