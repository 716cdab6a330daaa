"""`vtinsert train`: train a policy on a representation."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from policies.commands import CommandError, ConnectorName

if TYPE_CHECKING:
    from policies.learners.training import TrainConfig, TrainResult


def train(
    *,
    representation: str | None = None,
    algorithm: Literal["ppo", "sac", "tqc", "recurrent-ppo", "dagger"] | None = None,
    connector: ConnectorName | None = None,
    clearance_mm: float | None = None,
    lead_in_mm: float | None = None,
    depth_noise_mm: float | None = None,
    reward: Literal["dense", "sparse"] | None = None,
    steps: int | None = None,
    max_minutes: float | None = None,
    num_envs: int | None = None,
    seed: int | None = None,
    output: Path = Path("outputs/train"),
    resume: tyro.conf.FlagCreatePairsOff[bool] = False,
    start: Path | None = None,
    engine: Literal["cpu", "warp"] | None = None,
    device: str | None = None,
    num_threads: int | None = None,
    curriculum: float | None = None,
    evaluate_every: int | None = None,
    evaluation_episodes: int | None = None,
    checkpoint_every: int | None = None,
    filmed: int = 1,
    set: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME=VALUE [NAME=VALUE ...]"),
    ] = (),
) -> int:
    """Train a policy on a representation: PPO, SAC, TQC, RecurrentPPO or DAgger.

    What is not given is the algorithm's preset. Writes the best policy and the last one, tables,
    TensorBoard's log, a curve and a video; Ctrl-C leaves a run that --resume goes on with.

    Args:
        representation: What the policy sees: state, proprio, end-to-end, random, imagenet; or an
            encoder: a bundled name, a folder or an id on the Hub, with :vision or :touch for a
            part of it. By default state.
        algorithm: How it learns; dagger is distillation from the scripted expert. By default ppo.
        connector: The connector to insert; by default one of the four is drawn each episode.
        clearance_mm: Room between plug and socket on each side, 0.1 to 2.
        lead_in_mm: Width of the chamfer around the socket's mouth.
        depth_noise_mm: Noise of the depth camera.
        reward: The environment's reward.
        steps: The budget in control steps, all worlds together.
        max_minutes: The budget in minutes; the budget that ends first counts.
        num_envs: Worlds that are stepped together.
        seed: Seed of weights, worlds and exploration.
        output: Folder for the result; must not exist, or be empty.
        resume: Go on with the run in that folder, from its last checkpoint, with its own options.
        start: Folder of a run whose policy to start from.
        engine: The physics engine: cpu, or warp for thousands of worlds on a GPU.
        device: Where the policy learns, and the Warp engine runs.
        num_threads: Threads on the CPU; by default one a core.
        curriculum: Part of the initial state's ranges to begin with, 0 to 1; 1 for no curriculum.
        evaluate_every: Steps between evaluations.
        evaluation_episodes: Episodes of each.
        checkpoint_every: Steps between checkpoints.
        filmed: Most successes and failures of each connector in the video; 0 for no video.
        set: Hyperparameters that differ from the preset, such as learning_rate=1e-4 or
            policy_kwargs.log_std_init=-1.
    """
    given = {
        name: value
        for name, value in locals().items()
        if name in _FIELDS | _SETTINGS and value is not None
    }
    if filmed < 0:
        raise CommandError(f"--filmed {filmed} is not allowed; it must be 0 or more")
    assignments = [text for texts in set for text in texts]
    config = (_resumed if resume else _new)(output, given, assignments)
    again = shlex.join(["vtinsert", "train", "--resume", "--output", str(output)])
    _print(_train(config, output, filmed, again))
    return 0


_FIELDS = {
    *("representation", "algorithm", "steps", "max_minutes", "num_envs", "seed", "start"),
    *("engine", "device", "num_threads", "curriculum"),
    *("evaluate_every", "evaluation_episodes", "checkpoint_every"),
}
_SETTINGS = {"connector", "clearance_mm", "lead_in_mm", "depth_noise_mm", "reward"}


def _new(output: Path, given: dict[str, Any], assignments: Sequence[str]) -> TrainConfig:
    from policies.learners.training import TrainConfig

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise CommandError(
            f"{output} is there already; --resume goes on with it, or choose another folder with "
            "--output"
        )
    settings = {name: given.pop(name) for name in _SETTINGS & given.keys()}
    if "start" in given:
        given["start"] = str(given["start"])
    try:
        return TrainConfig(
            **given, settings=settings, hyperparameters=_hyperparameters(assignments)
        ).resolved()
    except ValueError as error:
        raise CommandError(str(error)) from None


def _resumed(output: Path, given: dict[str, Any], assignments: Sequence[str]) -> TrainConfig:
    from policies.learners.run_files import RunError, RunFiles

    named = [name.replace("_", "-") for name in given if name != "num_threads"]
    named += ["set"] if assignments else []
    if named:
        raise CommandError(
            f"--resume goes on with the options of {output}; leave out "
            f"{', '.join(f'--{name}' for name in named)}"
        )
    try:
        config, _ = RunFiles(output).read_config()
    except RunError as error:
        raise CommandError(str(error)) from None
    return config


def _hyperparameters(assignments: Sequence[str]) -> dict[str, Any]:
    """Hyperparameters from NAME=VALUE, with dots in names for dictionaries in them."""
    import yaml

    from policies.hyperparameters import merge

    chosen: dict[str, Any] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CommandError(f"--set {text} is not allowed; write --set learning_rate=1e-4")
        try:
            found: Any = yaml.safe_load(value)
        except yaml.YAMLError:
            raise CommandError(f"--set {text}: {value!r} is no value of YAML") from None
        if isinstance(found, str):
            # To YAML, 1e-4 is a word.
            with contextlib.suppress(ValueError):
                found = float(found)
        for part in reversed(name.split(".")):
            found = {part: found}
        chosen = merge(chosen, found)
    return chosen


def _train(config: TrainConfig, output: Path, filmed: int, again: str) -> TrainResult:
    """Train; what goes wrong in words."""
    from gymnasium.error import DependencyNotInstalled

    from policies.learners.run_files import RunFiles
    from policies.learners.training import RunError, TrainError, train

    command = shlex.join(["vtinsert", *sys.argv[1:]])
    try:
        return train(config, output, filmed=filmed, command=command, resume=again)
    except (RunError, TrainError, DependencyNotInstalled, ValueError, TypeError) as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        checkpoint = RunFiles(output).checkpoint()
        saved = (
            f"The checkpoint of step {int(checkpoint.name):,} is kept; when that is mended, go on "
            f"with: {again}"
            if checkpoint is not None
            else "There is no checkpoint yet: begin again when that is mended"
        )
        raise CommandError(f"cannot write to {output}: {error}. {saved}") from None


def _print(result: TrainResult) -> None:
    print(
        f"Success {result.success:.0%} on new episodes, after {result.steps:,} steps in "
        f"{result.seconds / 60:.1f} min"
    )
    print(f"Policy: {result.folder / 'best'}")
