"""The bar that long commands show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from rich.progress import ProgressColumn
from rich.text import Text

from vtenv.progress import progress_bar


@pytest.mark.parametrize(
    ("by_rate", "by_budget", "expected"),
    [
        (None, None, "-:--:--"),
        (50.0, None, "0:00:50"),
        (None, 90.0, "0:01:30"),
        (50.0, 20.0, "0:00:20"),
        (50.0, 4000.0, "0:00:50"),
        (None, -1.0, "0:00:00"),
    ],
)
def test_the_time_left_is_that_of_the_budget_that_ends_first(by_rate, by_budget, expected):
    task: Any = SimpleNamespace(time_remaining=by_rate, fields={"seconds_left": by_budget})
    column = progress_bar().columns[-1]
    assert isinstance(column, ProgressColumn)
    shown = column.render(task)
    assert isinstance(shown, Text)
    assert shown.plain == expected


def test_without_a_terminal_lines_say_how_far_and_how_fast(monkeypatch, capsys):
    monkeypatch.setattr("vtenv.progress.LINE_EVERY_S", 0.0)
    with progress_bar() as progress:
        task = progress.add_task("Playing", total=2000)
        for _ in range(2):
            progress.advance(task, 500)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2  # the last was printed when it was due
    assert lines[0].startswith("Playing 500 of 2,000 (25%)")
    assert lines[-1].startswith("Playing 1,000 of 2,000 (50%)")
    assert " a second, 0:00:0" in lines[-1]
