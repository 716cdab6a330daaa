"""A cell of an ablation as a process: it trains a policy and evaluates it."""

from __future__ import annotations

import json
import sys
import traceback
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from policies.ablation.executors import interrupt_with_parent
from policies.ablation.folder import Ablation
from policies.ablation.grid import AblationConfig, Cell
from policies.learners.train_config import TrainConfig
from vtenv.json_document import from_document

if TYPE_CHECKING:
    from policies.evaluation.episodes import EpisodeRecord


def command(ablation: Ablation, cell: Cell, threads: int, filmed: int) -> tuple[str, ...]:
    """The command of a cell's process; `filmed` is about the policies of the first seed alone."""
    about = {**asdict(cell), "threads": threads, "filmed": filmed}
    return (sys.executable, "-m", __name__, str(ablation.path), json.dumps(about))


def train_config(
    ablation: Ablation, config: AblationConfig, cell: Cell, threads: int, held_out: str = ""
) -> TrainConfig:
    """What a cell is trained from, in one of its folds.

    Raises:
        ValueError: If the grid's fields of training are not allowed.
    """
    source = cell.begins_with
    start = None if source is None else str(ablation.training(source, held_out))
    given = {**config.training_of(cell, held_out), "start": start, "num_threads": threads}
    return from_document(TrainConfig, given)


def run_cell(ablation: Ablation, cell: Cell, threads: int, filmed: int) -> None:
    """Train the policies of a cell, or go on with them, and evaluate them."""
    # Slow to import, and the process that only waits for cells can do without.
    from policies.deployable import load_policy
    from policies.evaluation.conditions import condition
    from policies.evaluation.evaluate import evaluate
    from policies.learners.training import train
    from policies.learners.training_folder import TrainingFolder

    config = ablation.read_grid()
    trained = Ablation(config.policies) if config.policies else ablation
    again = f"vtinsert ablate --output {ablation.path}"
    records: list[EpisodeRecord] = []
    for number, held_out in enumerate(config.folds):
        training = train_config(ablation, config, cell, threads, held_out)
        training = replace(training, filmed=filmed if cell.seed == 0 else 0)
        folder = TrainingFolder(trained.training(cell, held_out))
        if trained is ablation:
            train(training, folder.path, progress=False, command=again, resume=again)
            folder.drop_checkpoints()  # a grid has many cells, and replay buffers are large
        policy = load_policy(folder.best)
        final = config.evaluation
        left_out = {"connectors": [held_out]} if held_out else {}
        # Shared out evenly among the connectors, as where one policy plays them all.
        more = number < final.episodes % len(config.folds)
        played = evaluate(
            policy,
            condition(final.condition).changed(left_out, policy.settings),
            final.episodes // len(config.folds) + more,
            final.seeds,
            engine=training.engine,
            device=training.device,
            num_threads=threads,
        )
        records += [replace(each, episode=len(records) + each.episode) for each in played]
    rows = []
    for record in records:
        row = record.row()
        # As everywhere in an ablation, the seed of a row is that of the policy's training.
        numbers = {"episode": row.pop("episode"), "episode_seed": row.pop("seed")}
        rows.append({**asdict(cell), **numbers, **row})
    TrainingFolder(ablation.folder(cell)).write_table("episodes", rows)


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
