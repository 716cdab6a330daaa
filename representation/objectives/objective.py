"""What every objective is: a loss of an encoder on a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Generator, Tensor, nn

from vtenv.validation import require

if TYPE_CHECKING:  # it imports timm, which takes seconds
    from representation.timm_encoder import VisuotactileEncoder

Batch = Mapping[str, Tensor]
"""Tensors by name with a leading axis B."""


@dataclass(frozen=True)
class ObjectiveOutput:
    """What an objective says about a batch."""

    loss: Tensor
    """To be minimised; a scalar with gradients."""
    metrics: dict[str, Tensor]
    """For people to read; scalars without gradients."""


class Objective(nn.Module, ABC):
    """A loss of an encoder on a batch, with the heads that only training needs.

    An objective is constructed with the encoder, for its sizes, and does not hold it. A batch
    maps names to tensors with a leading axis B: the encoder's images by key, (B, C, H, W), as the
    environment observes them; `connector` (B,), int64; `pose` (B, P), float32; `action`
    (B, A), float32; and the images one control step later, as `next_KEY`.
    """

    keys: tuple[str, ...] = ()
    """What it reads of a batch, besides the encoder's images."""
    reads_next: bool = False
    """Whether it reads the encoder's images one control step later too."""
    trains_fusion: bool = True
    """Whether its gradients reach a learned fusion, or only the features before it."""

    @abstractmethod
    def forward(
        self, encoder: VisuotactileEncoder, batch: Batch, generator: Generator | None = None
    ) -> ObjectiveOutput:
        """The loss and its metrics.

        Args:
            encoder: The encoder to train.
            batch: Tensors on the encoder's device.
            generator: Draws what is random, if anything is; None for torch's own.
        """


def require_senses(encoder: VisuotactileEncoder, objective: str) -> None:
    """Check that an encoder has senses to relate to each other, as an objective needs them.

    Raises:
        ValueError: If it has one alone.
    """
    if len(encoder.feature_sizes) < 2:
        raise ValueError(
            f"objective {objective!r} relates senses to each other, and this encoder has "
            f"{next(iter(encoder.feature_sizes))!r} alone; build it with images of several, such "
            "as depth and contact"
        )


def require_positive(**values: float) -> None:
    """Check that settings are positive.

    Raises:
        ValueError: If one is not; names it.
    """
    for name, value in values.items():
        require(value > 0, name, value, "positive")
