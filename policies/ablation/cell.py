"""A cell of an ablation as a process: it trains a policy and evaluates it."""

from __future__ import annotations

import json
import sys
import traceback
from dataclasses import asdict, replace

from policies.ablation.executors import interrupt_with_parent
from policies.ablation.folder import Ablation
from policies.ablation.grid import AblationConfig, Cell
from policies.learners.train_config import TrainConfig
from vtenv.json_document import from_document


def command(ablation: Ablation, cell: Cell, threads: int, filmed: int) -> tuple[str, ...]:
    """The command of a cell's process; `filmed` is about the policies of the first seed alone."""
    about = {**asdict(cell), "threads": threads, "filmed": filmed}
    return (sys.executable, "-m", __name__, str(ablation.path), json.dumps(about))


def train_config(
    ablation: Ablation, config: AblationConfig, cell: Cell, threads: int
) -> TrainConfig:
    """What a cell is trained from.

    Raises:
        ValueError: If the grid's fields of training are not allowed.
    """
    source = cell.begins_with
    start = None if source is None else str(ablation.folder(source))
    given = {**config.training_of(cell), "start": start, "num_threads": threads}
    return from_document(TrainConfig, given)


def run_cell(ablation: Ablation, cell: Cell, threads: int, filmed: int) -> None:
    """Train the policy of a cell, or go on with it, and evaluate it."""
    # Slow to import, and the process that only waits for cells can do without.
    from policies.deployable import load_policy
    from policies.evaluation.evaluate import evaluate
    from policies.learners.training import train
    from policies.learners.training_folder import TrainingFolder

    config = ablation.read_grid()
    training = train_config(ablation, config, cell, threads)
    training = replace(training, filmed=filmed if cell.seed == 0 else 0)
    folder = TrainingFolder(ablation.folder(cell))
    again = f"vtinsert ablate --output {ablation.path}"
    train(training, folder.path, progress=False, command=again, resume=again)
    folder.drop_checkpoints()  # a grid has many cells, and replay buffers are large
    records = evaluate(
        load_policy(folder.best),
        **asdict(config.evaluation),
        engine=training.engine,
        device=training.device,
        num_threads=threads,
    )
    rows = []
    for record in records:
        row = record.row()
        # As everywhere in an ablation, the seed of a row is that of the policy's training.
        numbers = {"episode": row.pop("episode"), "episode_seed": row.pop("seed")}
        rows.append({**asdict(cell), **numbers, **row})
    folder.write_table("episodes", rows)


def main(folder: str, about: str) -> int:
    """Run the cell that `command` describes; the exit code."""
    interrupt_with_parent()
    ablation, fields = Ablation(folder), json.loads(about)
    threads, filmed = fields.pop("threads"), fields.pop("filmed")
    cell = Cell(**fields)
    try:
        run_cell(ablation, cell, threads, filmed)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        text = traceback.format_exc()
        print(text)
        ablation.write_failure(cell, f"{type(error).__name__}: {error}", text)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
