"""Starting from the policy of another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file, recursive_setattr

from policies.learners.algorithms import ALGORITHMS
from policies.learners.checkpoint import MODEL
from policies.learners.run_files import RunError, RunFiles
from policies.learners.train_config import TrainConfig
from policies.representations import Representation


def check_start(config: TrainConfig, representation: Representation) -> Path:
    """Check that a run can start from the one it names.

    Args:
        config: The run's configuration, with a `start`.
        representation: What its policy sees.

    Returns:
        The model to start from: that of the best evaluation, or the last.

    Raises:
        RunError: If there is no such run, or its policy does not fit; says why.
    """
    assert config.start is not None
    folder = Path(config.start)
    if not folder.is_dir():
        raise RunError(f"there is no folder {folder} to start from; name the folder of a run")
    files = RunFiles(folder)
    started, document = files.read_config()
    fitting = ALGORITHMS[config.algorithm].starts_from
    if started.algorithm not in fitting:
        raise RunError(
            f"{config.algorithm} cannot start from {folder}, a run of {started.algorithm}; it can "
            f"from one of {' or '.join(fitting)}"
        )
    digest = document.get("encoder_digest", "")
    if digest != representation.digest or (
        not digest and started.representation != config.representation
    ):
        raise RunError(
            f"{folder} was trained on the representation {started.representation!r}"
            f"{f' with the encoder {digest[:12]}' if digest else ''}, and this run is on "
            f"{config.representation!r}"
            f"{f' with the encoder {representation.digest[:12]}' if representation.digest else ''}"
            "; its policy can make nothing of that. Take the same representation"
        )
    for path in (files.best / MODEL, files.model):
        if path.is_file():
            return path
    raise RunError(f"{folder} holds no model yet; let it go on first, with --resume")


def start_from(path: Path, model: BaseAlgorithm) -> None:
    """Take over the weights of another model: actor, critic and the deviation of actions.

    Its optimizers and its replay buffer stay behind. Tensors alone are unpickled.

    Args:
        path: A zip of Stable-Baselines3, from `check_start`.
        model: The model to change.

    Raises:
        RunError: If the networks differ, or the file is damaged.
    """
    try:
        _, parameters, variables = load_from_zip_file(path, device=model.device, load_data=False)
        model.policy.load_state_dict(cast(Any, parameters)["policy"])
    except (RuntimeError, KeyError, ValueError) as error:
        raise RunError(
            f"{path} has another network than this run, or is damaged: {error}. Train with the "
            "policy_kwargs of the run it comes from"
        ) from error
    for name, value in (variables or {}).items():
        recursive_setattr(model, f"{name}.data", value.data)
