"""What `vtinsert ablate` shows while it works: every cell, and the time left."""

from __future__ import annotations

import csv
import functools
import io
import json
from pathlib import Path
from statistics import fmean
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from policies.ablation.folder import EPISODES_FILE, Ablation
from policies.ablation.grid import AblationConfig, Cell
from policies.ablation.labels import labelled
from policies.ablation.run import GridStatus

_TAIL_BYTES = 8192
"""How much of the end of a table is read to find its last row."""
_STYLES = {"waiting": "dim", "failed": "red", "blocked": "red", "running": "cyan", "done": "green"}


class GridDisplay:
    """A table of the cells, a row for each representation, algorithm and start, on stderr.

    A context manager. Where nobody watches a terminal it prints a line for each cell that ends.

    Args:
        ablation: The folder.
        config: The grid.
        console: Where to show it; None for stderr.
    """

    def __init__(
        self, ablation: Ablation, config: AblationConfig, console: Console | None = None
    ) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._ablation = ablation
        self._config = config
        self._shown = labelled(config.cells)
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._progress = Progress(
            BarColumn(40),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._bar = self._progress.add_task("", total=len(config.cells))
        self._reported: set[Cell] | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self, status: GridStatus) -> None:
        """Show the status of the grid."""
        over = status.cells("done", "failed")
        count = f"{len(over)} of {len(status.states)}"
        if self._reported is None:
            self._reported = set(over)
        for cell in over:
            if cell not in self._reported:
                self._reported.add(cell)
                name, failed = escape(self._shown[cell].name), status.errors.get(cell)
                said = (
                    f"[green]done[/] {count}: {name}: success {self._rate(cell):.1%}"
                    if failed is None
                    else f"[red]failed[/] {count}: {name}: {escape(failed)}"
                )
                self.console.print(said, soft_wrap=True)
        if self._live.is_started:
            table, done = self._table(status)
            self._progress.update(self._bar, completed=done, description=f"{count} cells")
            # A terminal that is too low cuts off what comes last.
            self._live.update(Group(self._progress, table), refresh=True)

    def _table(self, status: GridStatus) -> tuple[Table, float]:
        """The table of cells, and how many are done, with parts of those that run."""
        table = Table()
        table.add_column("representation", overflow="fold")
        table.add_column("algorithm")
        for seed in range(self._config.seeds):
            table.add_column(f"seed {seed}", justify="right")
        rows: dict[tuple[str, str, str], list[str]] = {}
        done = 0.0
        for cell, state in status.states.items():
            text, part = self._cell(cell, state)
            done += part
            rows.setdefault(self._shown[cell].variant, []).append(f"[{_STYLES[state]}]{text}[/]")
        for (representation, algorithm, start), cells in rows.items():
            method = algorithm if start == "scratch" else f"{algorithm}, {start}"
            table.add_row(escape(representation), method, *cells)
        return table, done

    def _cell(self, cell: Cell, state: str) -> tuple[str, float]:
        """What is said of a cell, and how much of it is done, 0 to 1."""
        if state == "done":
            return f"{self._rate(cell):.0%}", 1.0
        if state != "running":
            return ("no start" if state == "blocked" else state), float(state != "waiting")
        folder = self._ablation.folder(cell)
        row = last_row(folder / "metrics.csv")
        budget = _budget(folder / "config.json")
        part = max((float(row[n]) / most for n, most in budget.items() if row.get(n)), default=0.0)
        if part >= 1:
            return "final episodes", 1.0
        success = f", success {float(row['success']):.0%}" if row.get("success") else ""
        return f"at {part:.0%}{success}", part

    def _rate(self, cell: Cell) -> float:
        return _success(self._ablation.folder(cell) / EPISODES_FILE)


@functools.cache
def _success(path: Path) -> float:
    with path.open(encoding="utf-8", newline="") as file:
        return fmean(float(row["success"]) for row in csv.DictReader(file))


def last_row(path: Path) -> dict[str, str]:
    """The last row of a CSV table; nothing where there is none yet."""
    try:
        with path.open("rb") as file:
            header = file.readline().decode()
            start = file.tell()
            file.seek(max(start, file.seek(0, 2) - _TAIL_BYTES))
            rows = file.read().decode().splitlines()
    except OSError:
        return {}
    if not rows:
        return {}
    return next(csv.DictReader(io.StringIO(f"{header}{rows[-1]}\n")), {})


def _budget(path: Path) -> dict[str, float]:
    """What a training run may use up, by the column of its metrics; nothing if that is unknown."""
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # what is wrong with it, the run itself says
    steps, minutes = config.get("steps"), config.get("max_minutes")
    budget = {"steps": steps, "seconds": None if minutes is None else 60 * minutes}
    return {name: most for name, most in budget.items() if most}
