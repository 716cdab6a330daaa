"""`vtinsert train`: train a policy on a representation."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from policies.learners.train_config import TrainConfig
from policies.representation_names import check_representation


def train(
    config: TrainConfig = TrainConfig(),  # noqa: B008 (it is frozen)
    *,
    output: Path = Path("outputs/train"),
    resume: tyro.conf.FlagCreatePairsOff[bool] = False,
    set: Annotated[
        tuple[tuple[str, ...], ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(metavar="NAME=VALUE [NAME=VALUE ...]"),
    ] = (),
    settings: tyro.conf.Suppress[dict[str, Any] | None] = None,
) -> int:
    """Train a policy on a representation: PPO, SAC, TQC, RecurrentPPO or DAgger.

    Writes the best policy and the last one, tables, TensorBoard's log, a curve and a video. Ctrl-C,
    SIGTERM and SIGHUP leave a run that --resume goes on with.

    Args:
        config: What to train. What is not given is the algorithm's preset.
        output: Folder for the result; must not exist, or be empty.
        resume: Go on with the run in that folder, from its last checkpoint, with its own options;
            with more --steps or --max-minutes also if it has ended.
        set: Hyperparameters that differ from the preset, such as learning_rate=1e-4 or
            policy_kwargs.log_std_init=-1.
        settings: Settings of the task's environment.
    """
    from policies.learners.ranks import Ranks

    ranks = Ranks.started()
    assignments = [text for texts in set for text in texts]
    if resume:
        config = _resumed(config, output, ["set"] * bool(assignments), settings or {})
    else:
        check_representation(config.representation)
        from policies.learners.training_folder import TrainingFolder

        if not ranks.rank:
            TrainingFolder(output).require_new()
        if config.start:
            TrainingFolder(config.start).read()  # says what is wrong with it
        chosen = _hyperparameters(assignments)
        if settings or config.task != TrainConfig().task:
            from vtenv.registry import make_task

            make_task(config.task, **(settings or {}))
        config = replace(config, settings=settings or {}, hyperparameters=chosen)

    from policies.learners.training import follow
    from policies.learners.training import train as learn

    if ranks.rank:
        follow(config)
        return 0
    again, command = (
        shlex.join([*ranks.launcher, "vtinsert", *words])
        for words in (["train", "--resume", "--output", str(output)], sys.argv[1:])
    )
    try:
        result = learn(config, output, command=command, resume=again)
    except OSError as error:
        begun = (output / "config.json").is_file()
        then = f"go on with: {again}" if begun else "begin again"
        reason = error.strerror or error
        raise OSError(f"cannot write to {output}: {reason}. Make room there, and {then}") from error
    print(
        f"Success {result.success:.0%} on new episodes, after {result.steps:,} steps in "
        f"{result.seconds / 60:.1f} min"
    )
    print(f"Policy: {result.folder / 'best'}")
    return 0


def _resumed(
    config: TrainConfig, output: Path, given: Sequence[str], settings: Mapping[str, Any]
) -> TrainConfig:
    """The configuration of a run, with what may differ when it goes on."""
    from policies.learners.training_folder import MAY_DIFFER, TrainingFolder

    default = TrainConfig()
    changed = [
        f.name for f in fields(config) if getattr(config, f.name) != getattr(default, f.name)
    ]
    free = {name: getattr(config, name) for name in MAY_DIFFER if name in changed}
    refused = [*(n.replace("_", "-") for n in (*changed, *settings) if n not in free), *given]
    if refused:
        raise ValueError(
            f"--resume goes on with the options of {output}; leave out "
            f"{', '.join(f'--{name}' for name in refused)}"
        )
    there, _ = TrainingFolder(output).read()
    return replace(there, **free)


def _hyperparameters(assignments: Sequence[str]) -> dict[str, Any]:
    """Hyperparameters from NAME=VALUE, with dots in names for dictionaries in them."""
    if not assignments:
        return {}
    from policies.hyperparameters import merge, parse_value

    chosen: dict[str, Any] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ValueError(f"--set {text} is not allowed; write --set learning_rate=1e-4")
        found = parse_value(value)
        for part in reversed(name.split(".")):
            found = {part: found}
        chosen = merge(chosen, found)
    return chosen
