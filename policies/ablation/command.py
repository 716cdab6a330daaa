"""What `vtinsert ablate` does with its options: the grid, its folder, and what is shown of it."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from rich.console import Console
from rich.markup import escape

from policies.ablation.cell import train_config
from policies.ablation.executors import (
    Jobs,
    Start,
    local_executor,
    ray_executor,
    visible_devices,
)
from policies.ablation.folder import Ablation, read_json_or_yaml
from policies.ablation.grid import PRESETS, AblationConfig, AblationError
from policies.ablation.run import GridStatus, run_grid
from vtenv import provenance

_LOCK_FILE = ".lock"
_MOST_WORKERS = 4
"""Cells that are trained at once on a CPU unless told otherwise: each takes 1 to 2 GiB."""
_AXES = ("representations", "algorithms", "starts", "seeds")
_TRAINING = ("steps", "max_minutes", "num_envs", "engine", "device")
_SETTINGS = ("connectors", "clearance_mm")
_EVALUATION = ("episodes", "condition")


def train_grid(
    given: Mapping[str, Any],
    output: Path,
    executor: Literal["local", "ray"],
    workers: int | None,
    threads: int | None,
    filmed: int,
    retry: bool,
) -> int:
    """Train the cells of a grid that are not done, and show what came out.

    Args:
        given: Options of the command that were given, by name.
        output: Folder of the ablation.
        executor: Where cells are trained.
        workers: Cells at once; None for one a GPU, or one a core and at most 4.
        threads: Threads of each; None to share out the cores.
        filmed: Most successes and failures of each connector in the videos.
        retry: Whether to try cells that failed once more.

    Returns:
        The exit code.

    Raises:
        AblationError, ExecutorError, DependencyNotInstalled: What the user can put right.
    """
    ablation = Ablation(output)
    config = _config(ablation, _asked(given))
    devices = visible_devices() if executor == "local" else []
    cores = provenance.cores()
    workers = workers or _workers(config, cores, len(devices))
    threads = threads or max(1, cores // workers)
    _check(ablation, config, threads)
    where = (
        ray_executor(workers, threads) if executor == "ray" else local_executor(threads, devices)
    )
    with _locked(ablation):
        if not ablation.exists or ablation.read_config() != config:
            ablation.write_config(config, _made())
        if retry:
            for cell in config.cells:
                ablation.forget_failure(cell)
        status = GridStatus.of(ablation, config)
        if status.ready():
            _run(ablation, config, status, where, workers, threads, filmed)
        ablation.write_episodes(config.cells)
    return show_results(ablation, status)


def _made() -> dict[str, Any]:
    return {
        "command": shlex.join(["vtinsert", *sys.argv[1:]]),
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "hardware": provenance.hardware(),
    }


@contextlib.contextmanager
def _locked(ablation: Ablation) -> Iterator[None]:
    """Keep other processes from the folder."""
    try:
        ablation.path.mkdir(parents=True, exist_ok=True)
        with FileLock(ablation.path / _LOCK_FILE, timeout=0):
            yield
    except Timeout:
        raise AblationError(
            f"another vtinsert ablate is at work in {ablation.path}; wait for it, or choose "
            "another folder with --output"
        ) from None
    except OSError as error:
        raise AblationError(
            f"cannot work in {ablation.path}: {error}. Policies that are done are kept; when that "
            "is mended, the same command goes on"
        ) from None


def _config(ablation: Ablation, asked: dict[str, Any]) -> AblationConfig:
    """The grid that is asked for, together with the one that is there."""
    if ablation.exists:
        return ablation.read_config().grown(asked)
    if "representations" not in asked:
        raise AblationError(
            "--preset, --grid or --representations is needed, to say what to compare"
        )
    return AblationConfig.from_json(asked)


def _asked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a grid that the options name."""
    path = PRESETS / f"{given['preset']}.yml" if "preset" in given else given.get("grid")
    asked = {} if path is None else AblationConfig.from_json(read_json_or_yaml(path)).as_json()
    asked |= {name: given[name] for name in _AXES if name in given}
    if "training_by_algorithm" in asked:
        # Of a preset or a file, less what the options leave out.
        asked["training_by_algorithm"] = {
            name: fields
            for name, fields in asked["training_by_algorithm"].items()
            if name in asked["algorithms"]
        }
    for field, names in (("training", _TRAINING), ("evaluation", _EVALUATION)):
        asked[field] = {**asked.get(field, {}), **{n: given[n] for n in names if n in given}}
    if settings := {name: given[name] for name in _SETTINGS if name in given}:
        before = asked["training"].get("settings", {})
        asked["training"]["settings"] = {**before, **settings}
    return asked


def _workers(config: AblationConfig, cores: int, devices: int) -> int:
    """How many cells to train at once."""
    most = devices if config.training.get("engine") == "warp" else min(cores, _MOST_WORKERS)
    return max(1, min(most, len(config.cells)))


def _check(ablation: Ablation, config: AblationConfig, threads: int) -> None:
    """Say what cannot work before anything is trained."""
    from policies.evaluation.conditions import condition
    from policies.learners.algorithms import ALGORITHMS
    from policies.representations import make_representation
    from policies.worlds import DEFAULT_TASK, make_task

    try:
        condition(config.evaluation.get("condition", "training"))
        task = config.training.get("task", DEFAULT_TASK)
        representations = {name: make_representation(name, task) for name in config.representations}
        for cell in config.cells:
            if cell.seed > 0:
                continue
            training = train_config(ablation, config, cell, threads)
            source = cell.begins_with
            if source and source.algorithm not in ALGORITHMS[cell.algorithm].starts_from:
                raise AblationError(
                    f"{cell.algorithm} cannot go on from a policy of {source.algorithm}; leave it "
                    "to a grid of its own, from scratch"
                )
            settings = representations[cell.representation].environment_settings(training.settings)
            make_task(training.task, settings)
    except (ValueError, TypeError, RuntimeError) as error:
        raise AblationError(str(error)) from None


def _run(
    ablation: Ablation,
    config: AblationConfig,
    status: GridStatus,
    executor: contextlib.AbstractContextManager[Start],
    workers: int,
    threads: int,
    filmed: int,
) -> None:
    """Run what is missing, and show how it goes."""
    from policies.ablation.display import GridDisplay

    again = shlex.join(["vtinsert", "ablate", "--output", str(ablation.path)])
    try:
        with (
            executor as start,
            Jobs(start, workers) as jobs,
            GridDisplay(ablation, config) as display,
        ):
            run_grid(
                ablation,
                status,
                jobs,
                threads,
                filmed,
                on_poll=display.update,
                on_interrupt=lambda: display.console.print(
                    "Interrupted. Policies in training are brought to a checkpoint; once more to "
                    "stop at once.",
                    soft_wrap=True,
                ),
            )
    except KeyboardInterrupt:
        done = GridStatus.of(ablation, config).cells("done")
        print(
            f"{len(done)} of {len(config.cells)} policies are done, and nothing is lost. Go on "
            f"with: {again}",
            file=sys.stderr,
        )
        raise


def show_results(ablation: Ablation, status: GridStatus) -> int:
    """Print what a grid came to, and what to do next.

    Args:
        ablation: The folder.
        status: The status of its grid.

    Returns:
        The exit code: 1 if cells failed.
    """
    from policies.ablation.labels import labelled
    from policies.report.measurements import sections
    from policies.report.study import read_study
    from policies.report.terminal import print_sections

    console = Console(highlight=False)
    print_sections(console, sections(read_study(ablation.path), {}))
    shown = labelled(status.states)
    failed = status.cells("failed")
    for cell in failed:
        name, error = shown[cell].name, status.errors[cell]
        console.print(f"[red]failed[/]: {escape(name)}: {escape(error)}", soft_wrap=True)
        # A full disk may have kept them from being written.
        told = [path for path in ablation.accounts(cell) if path.is_file()]
        if told:
            where = " and ".join(str(path) for path in told)
            console.print(f"  what happened is in {escape(where)}", soft_wrap=True)
    blocked = len(status.cells("blocked"))
    if blocked:
        console.print(f"[red]{blocked} had no policy to start from[/]", soft_wrap=True)
    console.print(f"Ablation: {ablation.path}", soft_wrap=True)
    folder = shlex.quote(str(ablation.path))
    if failed:
        again = f"vtinsert ablate --output {folder} --retry"
        console.print(f"Try the failed ones again with: {again}", soft_wrap=True)
        return 1
    console.print(f"Write its report with: vtinsert report {folder}", soft_wrap=True)
    return 0
