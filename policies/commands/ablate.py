"""`vtinsert ablate`: a grid of policies, trained and compared."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import tyro
from filelock import FileLock, Timeout
from gymnasium.error import DependencyNotInstalled
from rich.console import Console
from rich.markup import escape

from policies.ablation.executors import (
    Executor,
    ExecutorError,
    LocalExecutor,
    RayExecutor,
    visible_devices,
)
from policies.ablation.folder import Ablation, read_json_or_yaml
from policies.ablation.grid import AblationConfig, AblationError
from policies.ablation.run import Standing, run_grid, train_config
from policies.commands import CommandError, ConnectorName
from vtenv import provenance

PRESETS = Path(__file__).parents[1] / "ablation" / "grids"
"""Folder of the grids that come with the package."""

_LOCK_FILE = ".lock"
_MOST_WORKERS = 4
"""Cells that are trained at once on a CPU unless told otherwise: each takes 1 to 2 GiB."""
_AXES = ("representations", "algorithms", "starts", "seeds")
_TRAINING = ("steps", "max_minutes", "num_envs", "engine", "device")
_SETTINGS = ("connector", "clearance_mm")
_EVALUATION = ("episodes", "condition")


def ablate(
    *,
    preset: Literal["quick", "paper"] | None = None,
    grid: Path | None = None,
    representations: tuple[str, ...] | None = None,
    algorithms: tuple[str, ...] | None = None,
    starts: tuple[Literal["scratch", "warm"], ...] | None = None,
    seeds: int | None = None,
    steps: int | None = None,
    max_minutes: float | None = None,
    num_envs: int | None = None,
    engine: Literal["cpu", "warp"] | None = None,
    device: str | None = None,
    connector: ConnectorName | None = None,
    clearance_mm: float | None = None,
    episodes: int | None = None,
    condition: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    filmed: int = 1,
    executor: Literal["local", "ray"] = "local",
    retry: tyro.conf.FlagCreatePairsOff[bool] = False,
    output: Path = Path("outputs/ablation"),
) -> int:
    """Train a grid of representations and seeds, and compare their policies.

    Every policy is a process and a folder of its own. The same command does what is missing, and
    more representations, algorithms or seeds are added to what is there; without options it goes
    on with the grid in the folder.

    Args:
        preset: The grid to begin with: quick, minutes on two cores; paper, the study, for a GPU.
        grid: A file with a grid to begin with, as YAML or JSON, with the fields of ablation.json.
        representations: What policies see: state, proprio, end-to-end, random, imagenet, or
            encoders, with :vision or :touch for a part of them.
        algorithms: How they learn: dagger, ppo, sac, tqc, recurrent-ppo.
        starts: What reinforcement learning begins with: scratch, or warm for the policy that
            dagger distilled on the same representation with the same seed.
        seeds: Policies of each kind.
        steps: Budget of each policy, in control steps.
        max_minutes: Budget of each policy in minutes; the budget that ends first counts.
        num_envs: Worlds that a policy is trained in.
        engine: The physics engine: cpu, or warp for a GPU.
        device: Where policies learn, cpu or cuda; by default cuda with the Warp engine.
        connector: The connector to insert; by default one of the four is drawn each episode.
        clearance_mm: Room between plug and socket on each side, 0.1 to 2.
        episodes: Episodes of each policy's final evaluation.
        condition: What the world is like in it; by default as in training.
        workers: Policies that are trained at once; by default one a GPU, or one a core and at
            most 4.
        threads: Threads of each; by default the cores are shared out evenly.
        filmed: Most successes and failures of each connector in the videos, which show the
            policies of the first seed; 0 for no videos.
        executor: Where: processes of this machine, or tasks of the Ray cluster at RAY_ADDRESS;
            without that, of a Ray that is started here.
        retry: Try cells that failed once more.
        output: Folder of the ablation.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    for name in ("workers", "threads"):
        if given.get(name, 1) < 1:
            raise CommandError(f"--{name} {given[name]} is not allowed; it must be at least 1")
    if filmed < 0:
        raise CommandError(f"--filmed {filmed} is not allowed; it must be 0 or more")
    ablation = Ablation(output)
    with _errors():
        config = _config(ablation, _asked(given))
        devices = visible_devices() if executor == "local" else []
        cores = provenance.cores()
        workers = workers or _workers(config, cores, len(devices))
        threads = threads or max(1, cores // workers)
        _check(ablation, config, threads)
        where = (
            RayExecutor(workers, threads)
            if executor == "ray"
            else LocalExecutor(workers, threads, devices)
        )
        with _locked(ablation):
            if not ablation.exists or ablation.read_config() != config:
                ablation.write_config(config, _made())
            if retry:
                for cell in config.cells:
                    ablation.forget_failure(cell)
            standing = Standing.of(ablation, config)
            if standing.ready():
                _run(ablation, config, standing, where, threads, filmed)
            ablation.write_episodes(config.cells)
        return _report(ablation, standing)


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
        raise CommandError(
            f"another vtinsert ablate is at work in {ablation.path}; wait for it, or choose "
            "another folder with --output"
        ) from None
    except OSError as error:
        raise CommandError(
            f"cannot work in {ablation.path}: {error}. Policies that are done are kept; when that "
            "is mended, the same command goes on"
        ) from None


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Say what the user can put right."""
    try:
        yield
    except (AblationError, ExecutorError, DependencyNotInstalled) as error:
        raise CommandError(str(error)) from None


def _config(ablation: Ablation, asked: dict[str, Any]) -> AblationConfig:
    """The grid that is asked for, together with the one that is there."""
    if ablation.exists:
        return ablation.read_config().grown(asked)
    if "representations" not in asked:
        raise CommandError(
            "--preset, --grid or --representations is needed, to say what to compare"
        )
    return AblationConfig.from_json(asked)


def _asked(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a grid that the options name."""
    if "preset" in given and "grid" in given:
        raise CommandError("of --preset and --grid, only one can be given")
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
    from vtenv.tasks.insertion.config import VTInsertConfig

    try:
        condition(config.evaluation.get("condition", "training"))
        representations = {name: make_representation(name) for name in config.representations}
        for cell in config.cells:
            if cell.seed > 0:
                continue
            training = train_config(ablation, config, cell, threads)
            source = cell.begins_with
            if source and source.algorithm not in ALGORITHMS[cell.algorithm].starts_from:
                raise CommandError(
                    f"{cell.algorithm} cannot go on from a policy of {source.algorithm}; leave it "
                    "to a grid of its own, from scratch"
                )
            settings = representations[cell.representation].environment_settings(training.settings)
            VTInsertConfig.from_settings(**settings)
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from None


def _run(
    ablation: Ablation,
    config: AblationConfig,
    standing: Standing,
    executor: Executor,
    threads: int,
    filmed: int,
) -> None:
    """Run what is missing, and show how it goes."""
    from policies.ablation.display import GridDisplay

    again = shlex.join(["vtinsert", "ablate", "--output", str(ablation.path)])
    try:
        with executor, GridDisplay(ablation, config) as display:
            run_grid(
                ablation,
                config,
                standing,
                executor,
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
        done = Standing.of(ablation, config).cells("done")
        print(
            f"{len(done)} of {len(config.cells)} policies are done, and nothing is lost. Go on "
            f"with: {again}",
            file=sys.stderr,
        )
        raise


def _report(ablation: Ablation, standing: Standing) -> int:
    """Show what came out; the exit code."""
    from policies.ablation.labels import labelled
    from policies.report.study import read_study
    from policies.report.summary import sections
    from policies.report.terminal import print_sections

    console = Console(highlight=False)
    print_sections(console, sections(read_study(ablation.path), {}))
    shown = labelled(standing.status)
    for cell in standing.cells("failed"):
        name, error = shown[cell].name, standing.errors[cell]
        console.print(f"[red]failed[/]: {escape(name)}: {escape(error)}", soft_wrap=True)
    blocked = len(standing.cells("blocked"))
    if blocked:
        console.print(f"[red]{blocked} had no policy to start from[/]", soft_wrap=True)
    console.print(f"Ablation: {ablation.path}", soft_wrap=True)
    if standing.cells("failed"):
        console.print("Their folders have failed.json and log.txt; --retry tries them again.")
        return 1
    command = f"vtinsert report {shlex.quote(str(ablation.path))}"
    console.print(f"Write its report with: {command}", soft_wrap=True)
    return 0
