"""Running the cells of an ablation: each in a process of its own, in the order they can be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from policies.ablation import cell as cell_process
from policies.ablation.executors import Job, Jobs
from policies.ablation.folder import LOG_FILE, Ablation
from policies.ablation.grid import AblationConfig, Cell

State = Literal["waiting", "running", "done", "failed", "blocked"]
"""The state of a cell. A blocked one waits for the policy of a cell that failed."""

_POLL_SECONDS = 1.0


@dataclass
class GridStatus:
    """The state of each cell of a grid.

    Attributes:
        states: Of each cell.
        errors: Why cells failed, each in a line.
    """

    states: dict[Cell, State]
    errors: dict[Cell, str] = field(default_factory=dict)

    @classmethod
    def of(cls, ablation: Ablation, config: AblationConfig) -> GridStatus:
        """The status of a grid that no process works on."""
        status = cls({})
        for cell in config.cells:
            state = ablation.state(cell)
            status.states[cell] = "waiting" if state == "missing" else state
            if state == "failed":
                status.errors[cell] = ablation.read_failure(cell)
        status.block()
        return status

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

    def fail(self, cell: Cell, error: str) -> None:
        """Mark a cell as failed."""
        self.states[cell] = "failed"
        self.errors[cell] = error
        self.block()

    def block(self) -> None:
        """Mark the cells that cannot start, because what they begin with has failed."""
        for cell in self.cells("waiting"):
            source = cell.begins_with
            if source is not None and self.states[source] == "failed":
                self.states[cell] = "blocked"


def run_grid(
    ablation: Ablation,
    status: GridStatus,
    jobs: Jobs,
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
        jobs: Where cells run.
        threads: Threads of each cell.
        filmed: `TrainConfig.filmed` of the policies of the first seed.
        on_poll: Called about once a second, and whenever a cell ends.
        on_interrupt: Called when interrupted, before the running cells are.

    Raises:
        KeyboardInterrupt: When interrupted. The running cells were interrupted too, and have
            written what they need to go on.
    """
    running: dict[str, Cell] = {}
    try:
        while True:
            while jobs.free and (cell := status.ready()):
                command = cell_process.command(ablation, cell, threads, filmed)
                jobs.start(Job(cell.name, command, ablation.folder(cell) / LOG_FILE))
                running[cell.name] = cell
                status.states[cell] = "running"
            on_poll(status)
            if not running:
                return
            for name, failure in jobs.wait(_POLL_SECONDS).items():
                _settle(ablation, status, running.pop(name), failure)
                # A full disk is no reason to end the others; the cell is just tried again.
                with contextlib.suppress(OSError):
                    ablation.write_episodes(status.states)
    except KeyboardInterrupt:
        on_interrupt()
        jobs.interrupt()
        raise


def _settle(ablation: Ablation, status: GridStatus, cell: Cell, failure: str) -> None:
    """Find out the state of a cell whose process has ended."""
    state = ablation.state(cell)
    if state == "done":
        status.states[cell] = "done"
    elif state == "failed":
        status.fail(cell, ablation.read_failure(cell))
    else:
        failure = failure or (
            f"it left nothing in {ablation.folder(cell)}; every node must see this folder"
        )
        status.fail(cell, failure)
        with contextlib.suppress(OSError):
            ablation.write_failure(cell, failure)
