"""A training step as a CUDA graph: one launch, where small networks wait for launches alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from representation.names import chosen_augmentations
from representation.pretraining.config import PretrainConfig
from vtenv.engines.cuda_graph import CaptureError, capture_graph
from vtenv.import_string import is_import_string
from vtenv.validation import require

Step = Callable[[Mapping[str, Tensor], float | Tensor], dict[str, Tensor]]
"""Trains on a batch at a learning rate; returns loss and metrics."""

_WARMUP_STEPS = 3
"""Steps that run as they are before the capture, as many as in PyTorch's documentation."""
_log = logging.getLogger(__name__)


def runs_as_graph(config: PretrainConfig, device: torch.device, world_size: int) -> bool:
    """Whether the steps of a run are to be captured.

    Args:
        config: The run's.
        device: The device of training.
        world_size: Number of processes that train together.

    Raises:
        ValueError: If that is asked for and cannot be.
    """
    possible = device.type == "cuda" and world_size == 1 and not config.compile
    if config.cuda_graph is not None:
        require(
            possible or not config.cuda_graph,
            "cuda_graph",
            config.cuda_graph,
            "None or False on a CPU, with several processes, and with compile",
        )
        return config.cuda_graph
    # A graph repeats what Python computed at the capture, such as a weight that falls with time.
    names = (*config.objectives, *chosen_augmentations(config.augment))
    own = ", ".join(filter(is_import_string, names))
    if possible and own:
        _log.warning(
            "Steps run without a CUDA graph, as %s may compute in Python what changes from step to "
            "step; cuda_graph=True captures them",
            own,
        )
    return possible and not own


def graph_step(step: Step, device: torch.device) -> Step:
    """A step that is captured after its first calls, and then replayed.

    Args:
        step: The step. It draws from the device's default generator alone. It leaves no gradients
            behind, and nothing that holds its autograd graph: what did would tie the capture to
            the stream of the calls before.
        device: The CUDA device.

    Returns:
        The same step, for each set of shapes a graph; a seed that is set before a replay holds for
        it. It raises ValueError where the step cannot be captured.
    """
    captured = capture_graph(step, device, warmup=_WARMUP_STEPS)

    def call(batch: Mapping[str, Tensor], rate: float | Tensor) -> dict[str, Tensor]:
        try:
            return captured(dict(batch), torch.full((), float(rate), device=device))
        except CaptureError as error:
            raise ValueError(
                f"a training step cannot run as a CUDA graph ({error}); set cuda_graph=False, and "
                "begin again in a new process"
            ) from error

    return call
