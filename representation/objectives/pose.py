"""Where is everything? Regression on privileged labels, the supervised upper bound."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import mse_loss

from representation.objectives.objective import Batch, Objective, ObjectiveOutput
from representation.timm_encoder import VisuotactileEncoder
from vtenv.tasks.insertion.pose_labels import POSE_LABELS

POSE_MEAN = (0.0, 0.0, 0.0, 30.0, 0.0, 0.0, 0.0, 0.0)
POSE_STD = (1.7, 2.3, 7.0, 12.0, 7.0, 2.5, 6.0, 6.0)
"""Round figures for the default ranges of `VTInsert-v0`: uniform, width / sqrt(12). Better:
`pose_statistics` of the data set."""


def pose_statistics(poses: Tensor) -> tuple[list[float], list[float]]:
    """Means and standard deviations of labels, (N, P), N > 1, for `PoseRegression`.

    A label that never changes has deviation 1.
    """
    poses = poses.double()
    std = poses.std(dim=0)
    return poses.mean(dim=0).tolist(), torch.where(std > 1e-6, std, 1.0).tolist()


class PoseRegression(Objective):
    """Mean squared error of standardised pose labels, linear in the embedding.

    No self-supervision: the labels are the simulator's. Bounds what an encoder of its size can
    know, and what a policy on a frozen encoder can reach. With a perceptron for a head the
    embedding would hold the pose in a form that only such a head reads: linear, the first layer
    of a policy does.

    Args:
        encoder: For its sizes.
        labels: Names of the P labels, each with its unit at the end: those of the task.
        mean: Mean of each label, in its unit.
        std: Standard deviation of each label, in its unit.

    Raises:
        ValueError: If there are not a mean and a positive deviation for each label.
    """

    keys = ("pose",)
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: VisuotactileEncoder,
        *,
        labels: Sequence[str] = POSE_LABELS,
        mean: Sequence[float] = POSE_MEAN,
        std: Sequence[float] = POSE_STD,
    ) -> None:
        super().__init__()
        if not len(mean) == len(std) == len(labels) > 0 or not min(std) > 0:
            raise ValueError(
                f"mean={mean!r} and std={std!r} are not allowed; they must be a number, and a "
                f"positive number, for each of {', '.join(labels)}"
            )
        self.labels = tuple(labels)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.head = nn.Linear(encoder.embedding_size, len(labels))

    def forward(
        self, encoder: VisuotactileEncoder, batch: Batch, generator: Generator | None = None
    ) -> ObjectiveOutput:
        """The loss; metrics are mean absolute errors by label, in its unit."""
        standardised = self.head(encoder(batch))
        loss = mse_loss(standardised, (batch["pose"] - self.mean) / self.std)
        errors = (standardised.detach() * self.std + self.mean - batch["pose"]).abs().mean(dim=0)
        return ObjectiveOutput(loss, dict(zip(self.labels, errors, strict=True)))

    def poses(self, encoder: VisuotactileEncoder, batch: Batch) -> Tensor:
        """Predicted labels of observations, (B, P), each in its unit."""
        predicted: Tensor = self.head(encoder(batch)) * self.std + self.mean
        return predicted
