"""What `vtinsert ablate` does with its options: the grid, its folder, and what is shown of it."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from policies.ablation.cell import train_config
from policies.ablation.executors import local_executor, ray_executor, visible_devices
from policies.ablation.folder import FAILED_FILE, LOG_FILE, Ablation
from policies.ablation.grid import AblationConfig
from policies.ablation.published import Row, compare, published_row, with_presets
from policies.ablation.run import GridStatus, run_grid
from policies.hyperparameters import merge
from policies.representation_names import split_part
from vtenv import provenance

if TYPE_CHECKING:
    from policies.commands.ablate import RunOptions

_MOST_WORKERS = 4
"""Cells that are trained at once on a CPU unless told otherwise: each takes 1 to 2 GiB."""


def train_row(run: RunOptions, row: Row, base: AblationConfig, asked: dict[str, Any]) -> int:
    """Train a row of a published ablation again, and say whether it comes to the same.

    Args:
        run: Where and how.
        row: The row.
        base: Its grid, or the one in the folder.
        asked: Fields of its grid that the options change.

    Returns:
        The exit code, which does not depend on what comes out.

    Raises:
        ValueError, OSError, DependencyNotInstalled: What the user can put right.
    """
    representation = asked.get("representations", base.representations)[0]
    about = {"name": row.name, "published": str(row.study), "representation": representation}
    ablation = Ablation(run.output)
    ablation.require_own()
    if ablation.begun and ablation.read_config()["made"].get("row") != about:
        raise ValueError(
            f"{ablation.path} holds something else than the row {row.name} of {row.study}; choose "
            "another folder with --output"
        )
    left = {n: alike for n, alike in base.encoders.items() if n == split_part(representation)[0]}
    grid = replace(base, representations=(representation,), encoders=left)
    return train_grid(run, with_presets(grid), asked, about)


def train_grid(
    run: RunOptions,
    base: AblationConfig,
    asked: dict[str, Any],
    row: Mapping[str, str] | None = None,
) -> int:
    """Train the cells of a grid that are not done, and show what came out.

    Args:
        run: Where and how.
        base: The grid of the preset or the file; without either, that in the folder.
        asked: Fields of a grid that the options change.
        row: The published row that the grid is of: name, folder of its study, and the
            representation it is trained on; None for what the folder says.

    Returns:
        The exit code.

    Raises:
        ValueError, OSError, DependencyNotInstalled: What the user can put right.
    """
    ablation = Ablation(run.output)
    ablation.require_own()
    if ablation.begun:
        row = ablation.read_config().get("made", {}).get("row")
    if run.preset or run.grid or not ablation.begun:
        options = asked.get("training", {}).keys() - {"settings"}
        asked = merge(asdict(base), asked)
        for fields in asked["training_by_algorithm"].values():
            for name in options & fields.keys():
                del fields[name]
        of_others = asked["training_by_algorithm"].keys() - set(asked["algorithms"])
        for name in of_others:
            del asked["training_by_algorithm"][name]
        left = {*asked["representations"]}
        asked["contrasts"] = [pair for pair in asked["contrasts"] if {*pair} <= left]
        several = asked["seeds_by_representation"].items()
        asked["seeds_by_representation"] = {n: seeds for n, seeds in several if n in left}
    config = (
        ablation.read_grid().grown(asked) if ablation.begun else AblationConfig.from_json(asked)
    )
    devices = visible_devices() if run.executor == "local" else []
    cores = provenance.cores()
    most = len(devices) if config.training.get("engine") == "warp" else min(cores, _MOST_WORKERS)
    workers = run.workers or max(1, min(most, len(config.cells)))
    threads = run.threads or max(1, cores // workers)
    encoders = _check(ablation, config, threads)
    of = published_row(Path(row["published"]), row["name"]) if row else None
    if row and of and row["representation"] == of.variant[0]:
        for name, digest in encoders.items():
            of.published.require_digest(name, digest)
    try:
        with ablation.lock():
            if not ablation.begun or ablation.read_grid() != config:
                made = {**provenance.record(), "encoders": encoders}
                ablation.write_grid(config, made | ({"row": dict(row)} if row else {}))
            if run.retry:
                for cell in config.cells:
                    ablation.forget_failure(cell)
            status = GridStatus.of(ablation, config)
            if status.ready():
                _run(run, ablation, status, workers, threads, devices)
            ablation.write_episodes(config.cells)
    except OSError as error:
        raise OSError(
            f"cannot work in {ablation.path}: {error}. Policies that are done are kept; when that "
            "is mended, the same command goes on"
        ) from None
    code = show_results(ablation, status)
    if code == 0 and row and of:
        said = compare(ablation, of, row["representation"])
        Console(highlight=False).print(said, markup=False, soft_wrap=True)
    return code


def _check(ablation: Ablation, config: AblationConfig, threads: int) -> dict[str, str]:
    """Say what cannot work before anything is trained; the digests of encoders, by name."""
    from policies.learners.algorithms import ALGORITHMS
    from policies.representations import make_representation
    from policies.worlds import DEFAULT_TASK
    from vtenv.registry import make_task

    try:
        task = config.training.get("task", DEFAULT_TASK)
        seen = [config.seen(held_out) for held_out in config.folds]
        names = dict.fromkeys(name for each in seen for name in each.values())
        representations = {name: make_representation(name, task) for name in names}
        first = [cell for cell in config.cells if cell.seed == 0]
        for cell, held_out in itertools.product(first, config.folds):
            training = train_config(ablation, config, cell, threads, held_out)
            source = cell.begins_with
            if source and source.algorithm not in ALGORITHMS[cell.algorithm].starts_from:
                raise ValueError(
                    f"{cell.algorithm} cannot go on from a policy of {source.algorithm}; leave it "
                    "to a grid of its own, from scratch"
                )
            settings = representations[training.representation].environment_settings(
                training.settings
            )
            make_task(training.task, **settings)
    except (TypeError, RuntimeError) as error:
        raise ValueError(str(error)) from None
    if config.policies is not None:
        trained = Ablation(config.policies)
        if lacking := [cell.name for cell in config.cells if trained.state(cell) != "done"]:
            raise ValueError(
                f"{trained.path} lacks policies of {len(lacking)} of {len(config.cells)} cells, "
                f"such as {lacking[0]}; train them with vtinsert ablate --output {config.policies}"
            )
    return {name: one.digest for name, one in representations.items() if one.digest}


def _run(
    run: RunOptions,
    ablation: Ablation,
    status: GridStatus,
    workers: int,
    threads: int,
    devices: list[str],
) -> None:
    """Run what is missing, and show how it goes."""
    from policies.ablation.display import GridDisplay

    where = (
        ray_executor(workers, threads)
        if run.executor == "ray"
        else local_executor(workers, threads, devices)
    )
    try:
        with where as executor, GridDisplay(ablation, ablation.read_grid()) as display:
            run_grid(
                ablation,
                status,
                executor,
                threads,
                run.filmed,
                on_poll=display.update,
                on_interrupt=lambda: display.console.print(
                    "Interrupted. Policies in training are brought to a checkpoint; once more to "
                    "stop at once.",
                    soft_wrap=True,
                ),
            )
    except KeyboardInterrupt:
        done = [cell for cell in status.states if ablation.state(cell) == "done"]
        print(
            f"{len(done)} of {len(status.states)} policies are done, and nothing is lost. Go on "
            f"with: {shlex.join(['vtinsert', 'ablate', '--output', str(ablation.path)])}",
            file=sys.stderr,
        )
        raise


def show_results(ablation: Ablation, status: GridStatus) -> int:
    """Print what a grid came to, and what to do next; the exit code, 1 if cells failed."""
    from policies.ablation.labels import labelled
    from policies.report.measurements import sections
    from policies.report.study import read_study
    from policies.report.tables import print_sections

    console = Console(highlight=False)
    print_sections(console, sections(read_study(ablation.path), {}))
    shown = labelled(ablation.read_grid())
    failed = status.cells("failed")
    for cell in failed:
        name, error = shown[cell].name, status.errors[cell]
        console.print(f"[red]failed[/]: {escape(name)}: {escape(error)}", soft_wrap=True)
        # A full disk may have kept them from being written.
        accounts = [ablation.folder(cell) / file for file in (FAILED_FILE, LOG_FILE)]
        if where := " and ".join(str(path) for path in accounts if path.is_file()):
            console.print(f"  what happened is in {escape(where)}", soft_wrap=True)
    if blocked := len(status.cells("blocked")):
        console.print(f"[red]{blocked} had no policy to start from[/]", soft_wrap=True)
    console.print(f"Ablation: {ablation.path}", soft_wrap=True)
    folder = shlex.quote(str(ablation.path))
    if failed:
        again = f"vtinsert ablate --output {folder} --retry"
        console.print(f"Try the failed ones again with: {again}", soft_wrap=True)
        return 1
    console.print(f"Write its report with: vtinsert report {folder}", soft_wrap=True)
    return 0
