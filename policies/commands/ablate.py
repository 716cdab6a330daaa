"""`vtinsert ablate`: a grid of policies, trained and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from policies.commands import CommandError


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
    connectors: tuple[str, ...] | None = None,
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
        connectors: Connectors, of which one is drawn each episode; by default those of the task.
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
    if connectors:
        given["connectors"] = list(connectors)  # as a file has it
    for name in ("workers", "threads"):
        if given.get(name, 1) < 1:
            raise CommandError(f"--{name} {given[name]} is not allowed; it must be at least 1")
    if filmed < 0:
        raise CommandError(f"--filmed {filmed} is not allowed; it must be 0 or more")
    if preset and grid:
        raise CommandError("of --preset and --grid, only one can be given")
    # After the options are known to be good: this is slow to import.
    from gymnasium.error import DependencyNotInstalled

    from policies.ablation.command import train_grid
    from policies.ablation.executors import ExecutorError
    from policies.ablation.grid import AblationError

    try:
        return train_grid(given, output, executor, workers, threads, filmed, retry)
    except (AblationError, ExecutorError, DependencyNotInstalled) as error:
        raise CommandError(str(error)) from None
