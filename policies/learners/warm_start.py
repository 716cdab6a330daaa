"""Starting from the policy of another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file, recursive_setattr

from policies.learners.algorithms import ALGORITHMS
from policies.learners.checkpoint import MODEL, reading
from policies.learners.train_config import TrainConfig
from policies.learners.training_folder import TrainingFolder
from policies.representations import Representation
from vtenv.run_folder import RunFolderError


def check_start(config: TrainConfig, representation: Representation) -> Path:
    """Check that a run can start from the one it names.

    Args:
        config: The run's configuration, with a `start`.
        representation: What its policy sees.

    Returns:
        The model to start from: that of the best evaluation, or the last.

    Raises:
        RunFolderError: If there is no such run, or its policy does not fit; says why.
    """
    assert config.start is not None
    folder = Path(config.start)
    if not folder.is_dir():
        raise RunFolderError(f"there is no folder {folder} to start from; name the folder of a run")
    files = TrainingFolder(folder)
    started, digest = files.read()
    fitting = ALGORITHMS[config.algorithm].starts_from
    if started.algorithm not in fitting:
        raise RunFolderError(
            f"{config.algorithm} cannot start from {folder}, a run of {started.algorithm}; it can "
            f"from one of {' or '.join(fitting)}"
        )
    if digest != representation.digest or (
        not digest and started.representation != config.representation
    ):
        raise RunFolderError(
            f"{folder} was trained on the representation {started.representation!r}"
            f"{f' with the encoder {digest[:12]}' if digest else ''}, and this run is on "
            f"{config.representation!r}"
            f"{f' with the encoder {representation.digest[:12]}' if representation.digest else ''}"
            "; its policy can make nothing of that. Take the same representation"
        )
    for path in (files.best / MODEL, files.model):
        if path.is_file():
            return path
    raise RunFolderError(f"{folder} holds no model yet; let it go on first, with --resume")


def start_from(path: Path, model: BaseAlgorithm) -> None:
    """Take over the weights of another model: actor, critic and the deviation of actions.

    Its optimizers and its replay buffer stay behind. Tensors alone are unpickled.

    Args:
        path: A zip of Stable-Baselines3, from `check_start`.
        model: The model to change.

    Raises:
        RunFolderError: If the networks differ, or the file is damaged.
    """
    with reading(path, "train with the policy_kwargs of the run it comes from, or copy it again"):
        _, parameters, variables = load_from_zip_file(path, device=model.device, load_data=False)
        model.policy.load_state_dict(cast(Any, parameters)["policy"])
    for name, value in (variables or {}).items():
        recursive_setattr(model, f"{name}.data", value.data)
