"""Starting from the policy of another run."""

from __future__ import annotations

from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm

from policies.learners.algorithms import ALGORITHMS
from policies.learners.checkpoint import MODEL, load_parameters
from policies.learners.train_config import TrainConfig
from policies.learners.training_folder import TrainingFolder
from policies.representations import Representation
from vtenv.run_folder import RunFolderError, reading


def check_start(config: TrainConfig, representation: Representation) -> Path:
    """Check that a run can start from the one it names, on what its policy sees.

    Returns:
        The model to start from: that of the best evaluation, or the last.

    Raises:
        RunFolderError: If there is no such run, or its policy does not fit; says why.
    """
    assert config.start is not None
    folder = Path(config.start)
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
            f"{_with_encoder(digest)}, and this run is on {config.representation!r}"
            f"{_with_encoder(representation.digest)}; its policy can make nothing of that. Take "
            "the same representation"
        )
    for path in (files.best / MODEL, files.model):
        if path.is_file():
            return path
    raise RunFolderError(f"{folder} holds no model yet; let it go on first, with --resume")


def start_from(path: Path, model: BaseAlgorithm) -> None:
    """Take over the weights of another model, from `check_start`: actor, critic and deviation.

    Its optimizers and its replay buffer stay behind.

    Raises:
        RunFolderError: If the networks differ, or the file is damaged.
    """
    with reading(path, "train with the policy_kwargs of the run it comes from, or copy it again"):
        load_parameters(path, model, optimizers=False)


def _with_encoder(digest: str) -> str:
    return f" with the encoder {digest[:12]}" if digest else ""
