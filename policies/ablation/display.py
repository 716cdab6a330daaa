"""What `vtinsert ablate` shows while it works: every cell, and the time left."""

from __future__ import annotations

import csv
import io
import json
import time
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
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
        self._success: dict[Cell, float] = {}
        self._reported: set[Cell] = set()
        self._begun = time.monotonic()
        self._begun_with: float | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def update(self, status: GridStatus) -> None:
        """Show the status of the grid."""
        parts = {cell: self._part(cell, status) for cell in status.states}
        if self._begun_with is None:
            self._begun_with = sum(parts.values())
            self._reported |= set(status.cells("done", "failed", "blocked"))
        for cell in status.cells("done", "failed"):
            if cell not in self._reported:
                self._reported.add(cell)
                self.console.print(self._line(cell, status), soft_wrap=True)
        if self._live.is_started:
            self._live.update(self._render(status, parts), refresh=True)

    def _line(self, cell: Cell, status: GridStatus) -> str:
        """What is said of a cell that is over."""
        over = len(status.cells("done", "failed"))
        count = f"{over} of {len(status.states)}"
        name = self._shown[cell].name
        if status.states[cell] == "failed":
            error = status.errors[cell]
            return f"[red]failed[/] {count}: {escape(name)}: {escape(error)}"
        return f"[green]done[/] {count}: {escape(name)}: success {self._rate(cell):.1%}"

    def _render(self, status: GridStatus, parts: dict[Cell, float]) -> RenderableType:
        table = Table()
        table.add_column("representation", overflow="fold")
        table.add_column("algorithm")
        for seed in range(self._config.seeds):
            table.add_column(f"seed {seed}", justify="right")
        rows: dict[tuple[str, str, str], list[str]] = {}
        for cell in status.states:
            style = _STYLES[status.states[cell]]
            text = self._text(cell, status, parts[cell])
            rows.setdefault(self._shown[cell].variant, []).append(f"[{style}]{text}[/]")
        for (representation, algorithm, start), cells in rows.items():
            method = algorithm if start == "scratch" else f"{algorithm}, {start}"
            table.add_row(escape(representation), method, *cells)
        done, total = sum(parts.values()), len(parts)
        footer = Table.grid(padding=(0, 1))
        over = len(status.cells("done", "failed"))
        footer.add_row(
            ProgressBar(total=total, completed=done, width=40),
            f"{over} of {total} cells",
            self._time(done, total),
        )
        # A terminal that is too low cuts off what comes last.
        return Group(footer, table)

    def _text(self, cell: Cell, status: GridStatus, part: float) -> str:
        state = status.states[cell]
        if state == "done":
            return f"{self._rate(cell):.0%}"
        if state == "blocked":
            return "no start"
        if state != "running":
            return state
        if part == 1:
            return "final episodes"
        row = last_row(self._ablation.folder(cell) / "metrics.csv")
        success = f", success {float(row['success']):.0%}" if row.get("success") else ""
        return f"at {part:.0%}{success}"

    def _time(self, done: float, total: int) -> str:
        """How long it took, and how long it takes still."""
        elapsed = time.monotonic() - self._begun
        text = str(timedelta(seconds=int(elapsed)))
        gained = done - (self._begun_with or 0.0)
        if gained > 0.02:
            left = timedelta(seconds=int(elapsed / gained * (total - done)))
            text += f", {left} left"
        return text

    def _part(self, cell: Cell, status: GridStatus) -> float:
        """How much of a cell is done, 0 to 1."""
        state = status.states[cell]
        if state != "running":
            return float(state in ("done", "failed", "blocked"))
        folder = self._ablation.folder(cell)
        row = last_row(folder / "metrics.csv")
        budget = _budget(folder / "config.json")
        parts = [float(row[name]) / most for name, most in budget.items() if row.get(name)]
        return min(max(parts, default=0.0), 1.0)

    def _rate(self, cell: Cell) -> float:
        if cell not in self._success:
            path = self._ablation.folder(cell) / EPISODES_FILE
            with path.open(encoding="utf-8", newline="") as file:
                self._success[cell] = fmean(float(row["success"]) for row in csv.DictReader(file))
        return self._success[cell]


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
