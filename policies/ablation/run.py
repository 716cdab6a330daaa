"""Running the cells of an ablation: each in a process of its own, in the order they can be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Literal

from policies.ablation import cell as cell_process
from policies.ablation.executors import Executor
from policies.ablation.folder import LOG_FILE, Ablation
from policies.ablation.grid import AblationConfig, Cell

State = Literal["waiting", "running", "done", "failed", "blocked"]
"""The state of a cell. A blocked one waits for the policy of a cell that failed."""

_POLL_SECONDS = 1.0


@dataclass
class GridStatus:
    """The state of each cell of a grid, and why cells failed, each in a line."""

    states: dict[Cell, State]
    errors: dict[Cell, str] = field(default_factory=dict)

    @classmethod
    def of(cls, ablation: Ablation, config: AblationConfig) -> GridStatus:
        """The status of a grid that no process works on."""
        status = cls(dict.fromkeys(config.cells, "waiting"))
        status.settle(ablation, *config.cells)
        return status

    def settle(self, ablation: Ablation, *cells: Cell) -> None:
        """Take over what the files of some cells say, and block those that cannot start by it."""
        for cell in cells:
            state = ablation.state(cell)
            if state == "failed":
                self.errors[cell] = ablation.read_failure(cell)
            if state != "missing":
                self.states[cell] = state
        for cell in self.cells("waiting"):
            source = cell.begins_with
            if source is not None and self.states[source] == "failed":
                self.states[cell] = "blocked"

    def cells(self, *states: State) -> list[Cell]:
        """The cells in one of some states, in the grid's order."""
        return [cell for cell, state in self.states.items() if state in states]

    def ready(self) -> Cell | None:
        """The first cell that can be started; None if there is none."""
        for cell in self.cells("waiting"):
            source = cell.begins_with
            if source is None or self.states[source] == "done":
                return cell
        return None


def run_grid(
    ablation: Ablation,
    status: GridStatus,
    executor: Executor,
    threads: int,
    filmed: int = 1,
    *,
    on_poll: Callable[[GridStatus], None] = lambda _: None,
    on_interrupt: Callable[[], None] = lambda: None,
) -> None:
    """Run the cells that wait, until none can be run any more.

    Args:
        ablation: The folder, with its grid.
        status: The status of the grid; kept up to date.
        executor: Where cells run.
        threads: Threads of each cell.
        filmed: `TrainConfig.filmed` of the policies of the first seed.
        on_poll: Called about once a second, and whenever a cell ends.
        on_interrupt: Called when interrupted, before the running cells are.

    Raises:
        KeyboardInterrupt: When interrupted. The running cells were interrupted too, and have
            written what they need to go on.
    """
    running: dict[Future[str], Cell] = {}
    try:
        while True:
            while len(running) < executor.workers and (cell := status.ready()):
                command = cell_process.command(ablation, cell, threads, filmed)
                running[executor.submit(command, ablation.folder(cell) / LOG_FILE)] = cell
                status.states[cell] = "running"
            on_poll(status)
            if not running:
                return
            for ended in wait(running, _POLL_SECONDS, FIRST_COMPLETED).done:
                _settle(ablation, status, running.pop(ended), ended)
                # A full disk is no reason to end the others; the cell is just tried again.
                with contextlib.suppress(OSError):
                    ablation.write_episodes(status.states)
    except KeyboardInterrupt:
        on_interrupt()
        executor.interrupt()
        wait(running)
        raise


def _settle(ablation: Ablation, status: GridStatus, cell: Cell, ended: Future[str]) -> None:
    """Find out the state of a cell whose process has ended."""
    if ablation.state(cell) == "missing":
        if error := ended.exception():
            cause = getattr(error, "cause", None) or error  # what a task of Ray raised
            failure = f"its process could not be run: {type(cause).__name__}: {cause}"
        else:
            nothing = f"it left nothing in {ablation.folder(cell)}; every node must see this folder"
            failure = ended.result() or nothing
        status.states[cell], status.errors[cell] = "failed", failure
        with contextlib.suppress(OSError):
            ablation.write_failure(cell, failure)
    status.settle(ablation, cell)
