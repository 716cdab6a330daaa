"""What `vtinsert ablate` shows while it works: cells that end, those that run, the time left."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import fmean
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from policies.ablation.folder import EPISODES_FILE, Ablation
from policies.ablation.grid import AblationConfig, Cell
from policies.ablation.labels import labelled
from policies.ablation.run import GridStatus
from policies.learners.training_folder import TrainingFolder
from vtenv.progress import LINE_EVERY_S
from vtenv.run_folder import read_table


class GridDisplay:
    """A line for each cell that ends, and bars of those that run and of the whole, on stderr.

    A context manager. Where there is no terminal, a line now and then stands for the bars.

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
        self._shown = labelled(config)
        self._folds = config.folds
        self._bars = Progress(
            BarColumn(40),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._whole = self._bars.add_task("", total=len(config.cells))
        self._running: dict[Cell, TaskID] = {}
        self._reported: set[Cell] | None = None
        self._next_line = time.monotonic() + LINE_EVERY_S

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def update(self, status: GridStatus) -> None:
        """Show the status of the grid."""
        over = status.cells("done", "failed")
        count = f"{len(over)} of {len(status.states)}"
        for cell in over:
            if self._reported is not None and cell not in self._reported:
                name = escape(self._shown[cell].name)
                if failed := status.errors.get(cell):
                    told = f"[red]failed[/] {count}: {name}: {escape(failed)}"
                else:
                    rows = read_table(self._ablation.folder(cell) / EPISODES_FILE)
                    success = fmean(float(row["success"]) for row in rows)
                    told = f"[green]done[/] {count}: {name}: success {success:.1%}"
                self.console.print(told, soft_wrap=True)
        self._reported = set(over)
        for cell in self._running.keys() - set(status.cells("running")):
            self._bars.remove_task(self._running.pop(cell))
        done = float(len(status.cells("done", "failed", "blocked")))
        line = [f"{count} cells"]
        for cell in status.cells("running"):
            if cell not in self._running:
                self._running[cell] = self._bars.add_task("", total=1.0)
            part, told = self._standing(cell)
            line.append(f"{self._shown[cell].name}: {told}")
            self._bars.update(self._running[cell], completed=part, description=line[-1])
            done += part
        self._bars.update(self._whole, completed=done, description=line[0])
        self._bars.refresh()
        if not self.console.is_terminal and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_S
            self.console.print("; ".join(line), markup=False, soft_wrap=True)

    def _standing(self, cell: Cell) -> tuple[float, str]:
        """How much of its budget a cell has used up, 0 to 1, and what is said of the last run."""
        runs = [self._ablation.training(cell, held_out) for held_out in self._folds]
        begun = [_standing(run) for run in runs if run.is_dir()]
        parts = [part for part, _ in begun]
        return sum(parts) / len(runs), begun[-1][1] if begun else "begins"


def last_row(path: Path) -> dict[str, str]:
    """The last row of a CSV table; nothing where there is none yet."""
    try:
        return next(reversed(read_table(path)), {})
    except OSError:
        return {}


def _standing(folder: Path) -> tuple[float, str]:
    """How much of its budget a run has used up, 0 to 1, and what is said of it."""
    row = last_row(folder / "metrics.csv")
    try:
        config, _ = TrainingFolder(folder).read()
    except ValueError:
        return 0.0, "begins"  # what is wrong with it, the run itself says
    budget = {"steps": config.steps, "seconds": 60 * (config.max_minutes or 0)}
    used = [float(row[name]) / most for name, most in budget.items() if most and row.get(name)]
    part = min(max(used, default=0.0), 1.0)
    if part == 1:
        return part, "final episodes"
    success = f", success {float(row['success']):.0%}" if row.get("success") else ""
    return part, f"at {part:.0%}{success}"
