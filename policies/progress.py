"""The bar that long commands show: how far, how fast, how long still."""

from __future__ import annotations

import datetime

import rich.progress
from rich.console import Console
from rich.text import Text


class _Rate(rich.progress.ProgressColumn):
    """How many a second."""

    def render(self, task: rich.progress.Task) -> Text:
        rate = task.finished_speed or task.speed
        text = "" if rate is None else f"{rate:,.{0 if rate >= 10 else 1}f} a second"
        return Text(text, "progress.data.speed")


class _Left(rich.progress.ProgressColumn):
    """How long still: what the rate says, or the task's field `seconds_left` if that is less."""

    max_refresh = 0.5

    def render(self, task: rich.progress.Task) -> Text:
        said = (task.time_remaining, task.fields.get("seconds_left"))
        known = [max(0, int(seconds)) for seconds in said if seconds is not None]
        text = str(datetime.timedelta(seconds=min(known))) if known else "-:--:--"
        return Text(text, "progress.remaining")


def progress_bar() -> rich.progress.Progress:
    """A progress bar on stderr, with the rate and the time left.

    A task whose budget is a time says what is left of it in its field `seconds_left`.
    """
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        _Rate(),
        _Left(),
        console=Console(stderr=True),
    )
