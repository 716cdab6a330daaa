"""Running the cells of an ablation: each in a process of its own, in the order they can be."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from policies.ablation.executors import Executor, Job
from policies.ablation.folder import EPISODES_FILE, LOG_FILE, Ablation, write_rows
from policies.ablation.grid import AblationConfig, Cell

if TYPE_CHECKING:
    from policies.learners.train_config import TrainConfig

Status = Literal["waiting", "running", "done", "failed", "blocked"]
"""Where a cell stands. A blocked one waits for the policy of a cell that failed."""

_POLL_SECONDS = 1.0


@dataclass
class Standing:
    """Where the cells of a grid stand.

    Attributes:
        status: Of each cell.
        errors: Why cells failed, each in a line.
    """

    status: dict[Cell, Status]
    errors: dict[Cell, str] = field(default_factory=dict)

    @classmethod
    def of(cls, ablation: Ablation, config: AblationConfig) -> Standing:
        """Where the cells stand that nobody works on.

        Args:
            ablation: The folder.
            config: The grid.
        """
        standing = cls({})
        for cell in config.cells:
            state = ablation.state(cell)
            standing.status[cell] = "waiting" if state == "missing" else state
            if state == "failed":
                standing.errors[cell] = ablation.read_failure(cell)
        standing.block()
        return standing

    def cells(self, *statuses: Status) -> list[Cell]:
        """The cells that stand so, in the grid's order."""
        return [cell for cell, status in self.status.items() if status in statuses]

    def ready(self) -> Cell | None:
        """The first cell that can be started; None if there is none."""
        for cell in self.cells("waiting"):
            source = cell.begins_with
            if source is None or self.status[source] == "done":
                return cell
        return None

    def fail(self, cell: Cell, error: str) -> None:
        """A cell has failed."""
        self.status[cell] = "failed"
        self.errors[cell] = error
        self.block()

    def block(self) -> None:
        """Mark the cells that cannot start, because what they begin with has failed."""
        for cell in self.cells("waiting"):
            source = cell.begins_with
            if source is not None and self.status[source] == "failed":
                self.status[cell] = "blocked"


def run_grid(
    ablation: Ablation,
    config: AblationConfig,
    standing: Standing,
    executor: Executor,
    threads: int,
    filmed: int = 1,
    *,
    on_poll: Callable[[Standing], None] = lambda _: None,
    on_interrupt: Callable[[], None] = lambda: None,
) -> None:
    """Run the cells that wait, until none can be run any more.

    Args:
        ablation: The folder.
        config: The grid, as it is there.
        standing: Where its cells stand; kept up to date.
        executor: Where cells run.
        threads: Threads of each cell.
        filmed: Most successes and failures of each connector in the videos, which show the
            policies of the first seed; 0 for none.
        on_poll: Called about once a second, and whenever a cell ends.
        on_interrupt: Called when interrupted, before the running cells are.

    Raises:
        KeyboardInterrupt: When interrupted. The running cells have been told, and have written
            what they need to go on.
    """
    running: dict[str, Cell] = {}
    try:
        while True:
            while executor.free and (cell := standing.ready()):
                job = Job(
                    cell.name,
                    run_cell,
                    (ablation, config, cell, threads, filmed),
                    ablation.folder(cell) / LOG_FILE,
                )
                executor.start(job)
                running[job.name] = cell
                standing.status[cell] = "running"
            on_poll(standing)
            if not running:
                return
            for ended in executor.wait(_POLL_SECONDS):
                _settle(ablation, standing, running.pop(ended.name), ended.failure)
                # A full disk is no reason to end the others; the cell is just tried again.
                with contextlib.suppress(OSError):
                    ablation.write_episodes(standing.status)
    except KeyboardInterrupt:
        on_interrupt()
        executor.interrupt()
        raise


def _settle(ablation: Ablation, standing: Standing, cell: Cell, failure: str) -> None:
    """Find out what has become of a cell that is over."""
    state = ablation.state(cell)
    if state == "done":
        standing.status[cell] = "done"
    elif state == "failed":
        standing.fail(cell, ablation.read_failure(cell))
    else:
        failure = failure or (
            f"it left nothing in {ablation.folder(cell)}; every node must see this folder"
        )
        standing.fail(cell, failure)
        with contextlib.suppress(OSError):
            ablation.write_failure(cell, failure)


def run_cell(
    ablation: Ablation, config: AblationConfig, cell: Cell, threads: int, filmed: int
) -> None:
    """Train the policy of a cell, or go on with it, and evaluate it.

    What goes wrong is written down, and is not raised.

    Args:
        ablation: The folder.
        config: The grid.
        cell: The cell.
        threads: Threads to use.
        filmed: As `run_grid`.
    """
    try:
        _train_and_evaluate(ablation, config, cell, threads, filmed)
    except Exception as error:
        text = traceback.format_exc()
        print(text)
        ablation.write_failure(cell, f"{type(error).__name__}: {error}", text)


def train_config(
    ablation: Ablation, config: AblationConfig, cell: Cell, threads: int
) -> TrainConfig:
    """What a cell is trained from.

    Args:
        ablation: The folder.
        config: The grid.
        cell: The cell.
        threads: Threads to use.

    Raises:
        ValueError, TypeError: If the grid's fields of training are not allowed.
    """
    # Slow to import, and the process that only waits for cells can do without.
    from policies.learners.train_config import TrainConfig

    source = cell.begins_with
    start = None if source is None else str(ablation.folder(source))
    return TrainConfig.from_json(
        {**config.training_of(cell), "start": start, "num_threads": threads}
    )


def _train_and_evaluate(
    ablation: Ablation, config: AblationConfig, cell: Cell, threads: int, filmed: int
) -> None:
    from policies.deployable import load_policy
    from policies.evaluation.evaluate import evaluate
    from policies.learners.training import train

    training = train_config(ablation, config, cell, threads)
    folder = ablation.folder(cell)
    again = f"vtinsert ablate --output {ablation.path}"
    training = replace(training, filmed=filmed if cell.seed == 0 else 0)
    train(training, folder, progress=False, command=again, resume=again)
    records = evaluate(
        load_policy(folder / "best"),
        **{"condition": "training", **config.evaluation},
        engine=training.engine,
        device=training.device,
        num_threads=threads,
    )
    about = {
        "representation": cell.representation,
        "algorithm": cell.algorithm,
        "start": cell.start,
        "seed": cell.seed,
    }
    rows = []
    for record in records:
        row = record.row()
        # As everywhere in an ablation, the seed of a row is that of the policy's training.
        numbers = {"episode": row.pop("episode"), "episode_seed": row.pop("seed")}
        rows.append({**about, **numbers, **row})
    write_rows(folder / EPISODES_FILE, rows)
