"""What `vtinsert ablate` shows while it works: every cell, and the time left."""

from __future__ import annotations

import csv
import functools
from collections import deque
from pathlib import Path
from statistics import fmean
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from policies.ablation.folder import EPISODES_FILE, Ablation
from policies.ablation.grid import AblationConfig, Cell
from policies.ablation.labels import labelled
from policies.ablation.run import GridStatus, State
from policies.learners.training_folder import TrainingFolder

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
        self._ablation, self._seeds = ablation, config.seeds
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
        for cell in over:
            if self._reported is not None and cell not in self._reported:
                failed = status.errors.get(cell)
                head = f"[green]done[/] {count}" if failed is None else f"[red]failed[/] {count}"
                told = f"success {self._rate(cell):.1%}" if failed is None else escape(failed)
                name = escape(self._shown[cell].name)
                self.console.print(f"{head}: {name}: {told}", soft_wrap=True)
        self._reported = set(over)
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
        for seed in range(self._seeds):
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

    def _cell(self, cell: Cell, state: State) -> tuple[str, float]:
        """What is said of a cell, and how much of it is done, 0 to 1."""
        if state == "done":
            return f"{self._rate(cell):.0%}", 1.0
        if state != "running":
            return ("no start" if state == "blocked" else state), float(state != "waiting")
        folder = self._ablation.folder(cell)
        row = last_row(folder / "metrics.csv")
        part = _part(folder, row)
        if part == 1:
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
        with path.open(encoding="utf-8", newline="") as file:
            rows = deque(csv.DictReader(file), maxlen=1)
    except OSError:
        return {}
    return rows[0] if rows else {}


def _part(folder: Path, row: dict[str, str]) -> float:
    """How much of its budget a run has used up, 0 to 1, by the last row of its metrics."""
    try:
        config, _ = TrainingFolder(folder).read()
    except ValueError:
        return 0.0  # what is wrong with it, the run itself says
    budget = {"steps": config.steps, "seconds": 60 * (config.max_minutes or 0)}
    used = [float(row[name]) / most for name, most in budget.items() if most and row.get(name)]
    return min(max(used, default=0.0), 1.0)
