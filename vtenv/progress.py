"""The progress of long commands: how far, how fast, how long still."""

from __future__ import annotations

import datetime
import time
from typing import Any

import rich.progress
from rich.console import Console
from rich.text import Text

LINE_EVERY_S = 30.0
"""Time between two lines where there is no terminal, in [s]."""


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


class _Progress(rich.progress.Progress):
    """A bar on a terminal; elsewhere, such as in a cluster's log, a line now and then."""

    _next_line = 0.0
    _said: tuple[str, float] | None = None

    def start(self) -> None:
        self._next_line = time.monotonic() + LINE_EVERY_S
        if self.console.is_terminal:
            super().start()

    def stop(self) -> None:
        if self.console.is_terminal:
            super().stop()
            return
        for task in self.tasks:
            if task.completed and self._said != (task.description, task.completed):
                self._print(task)

    def advance(self, task_id: rich.progress.TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._print_if_due(task_id)

    def update(self, task_id: rich.progress.TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._print_if_due(task_id)

    def _print_if_due(self, task_id: rich.progress.TaskID) -> None:
        if self.console.is_terminal or self.disable or time.monotonic() < self._next_line:
            return
        self._next_line = time.monotonic() + LINE_EVERY_S
        self._print(self._tasks[task_id])

    def _print(self, task: rich.progress.Task) -> None:
        self._said = (task.description, task.completed)
        columns = [column for column in self.columns if isinstance(column, _Rate | _Left)]
        rate, left = (column.render(task).plain for column in columns)
        of = "" if task.total is None else f" of {task.total:,.0f} ({task.percentage:.0f}%)"
        parts = [f"{task.description} {task.completed:,.0f}{of}", rate, f"{left} left"]
        self.console.print(", ".join(filter(None, parts)), soft_wrap=True, highlight=False)


def progress_bar(*, shown: bool = True) -> rich.progress.Progress:
    """A progress bar on stderr, with the rate and the time left.

    A task whose budget is a time says what is left of it in its field `seconds_left`. Where there
    is no terminal, a line is printed every `LINE_EVERY_S` and at the end.

    Args:
        shown: Whether to show anything.
    """
    return _Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        _Rate(),
        _Left(),
        console=Console(stderr=True),
        disable=not shown,
    )
