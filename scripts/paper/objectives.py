"""Ways to keep a joint classifier from leaning on the sense that it learns first."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from representation.augmentations import Augmentation
from representation.objectives.classification import Classification, told
from representation.objectives.objective import Batch, ObjectiveOutput, require_positive
from representation.timm_encoder import VisuotactileEncoder


def blank(images: Tensor, generator: Generator, *, chance: float = 0.25) -> Tensor:
    """Take an image away from some samples: no return, no contact."""
    drawn = torch.rand(len(images), generator=generator, device=generator.device).to(images.device)
    return torch.where((drawn < chance)[:, None, None, None], torch.zeros_like(images), images)


BLANK_VISION = Augmentation("distance", blank, {"chance": (0.0, 1.0)})
BLANK_TOUCH = Augmentation("mask", blank, {"chance": (0.0, 1.0)})
"""Modality dropout, each sense by itself."""


class SeparateLosses(Classification):
    """The paper's classifier, and a linear classifier of each sense alone, each with its own loss.

    A sense whose features no longer help the joint loss, because the other one has already fitted
    the training set, still learns from its own.

    Args:
        encoder: For its sizes.
        num_classes: Number of classes.
        weight: Weight of each sense's own loss.
    """

    def __init__(
        self, encoder: VisuotactileEncoder, *, num_classes: int = 4, weight: float = 1.0
    ) -> None:
        super().__init__(encoder, num_classes=num_classes)
        require_positive(weight=weight)
        self.weight = weight
        self.alone = nn.ModuleDict(
            {sense: nn.Linear(size, num_classes) for sense, size in encoder.feature_sizes.items()}
        )

    def forward(
        self, encoder: VisuotactileEncoder, batch: Batch, generator: Generator | None = None
    ) -> ObjectiveOutput:
        """The sum of the losses; the metric is `accuracy`, of the joint classifier."""
        labels = batch["connector"]
        encoded = encoder.encode(encoder.preprocess(batch))
        logits = self.classifier(encoder.fuse(encoded))
        loss = cross_entropy(logits, labels)
        for sense, features in encoder.by_sense(encoded).items():
            loss = loss + self.weight * cross_entropy(self.alone[sense](features), labels)
        return told(loss, logits, labels)


class BalancedGradients(Classification):
    """The paper's classifier, in which the sense that is ahead gets smaller gradients.

    How far a sense is ahead is told by how probable its share of the logits makes the true class.

    Args:
        encoder: For its sizes; it must have two senses of one image each, without attention.
        num_classes: Number of classes.
        strength: How much smaller; 0 for not at all.

    Source: Peng et al. 2022 ("Balanced Multimodal Learning via On-the-fly Gradient Modulation"),
    equations 7 to 10, without the noise.
    """

    def __init__(
        self, encoder: VisuotactileEncoder, *, num_classes: int = 4, strength: float = 0.5
    ) -> None:
        super().__init__(encoder, num_classes=num_classes)
        self.strength = strength

    def forward(
        self, encoder: VisuotactileEncoder, batch: Batch, generator: Generator | None = None
    ) -> ObjectiveOutput:
        """The loss; the metric is `accuracy`."""
        labels = batch["connector"]
        encoded = encoder.encode(encoder.preprocess(batch))
        with torch.no_grad():
            ahead = self._scores(encoded, labels)
            ratio = ahead / ahead.flip(0)
            kept = 1.0 - torch.tanh(self.strength * ratio) * (ratio > 1.0)
        for features, part in zip(encoded.values(), kept, strict=True):
            if features.requires_grad:
                features.register_hook(partial(torch.mul, part.to(features.dtype)))
        logits = self.classifier(encoder.fuse(encoded))
        return told(cross_entropy(logits, labels), logits, labels)

    def _scores(self, encoded: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Mean probability of the true class by each sense's share of the logits, (2,)."""
        widths = [value.shape[1] for value in encoded.values()]
        weights = self.classifier.weight.split(widths, dim=1)
        half = self.classifier.bias / 2
        shares = [
            (value @ part.T.to(value.dtype) + half).float().softmax(dim=1)
            for value, part in zip(encoded.values(), weights, strict=True)
        ]
        return torch.stack([share.gather(1, labels[:, None]).mean() for share in shares])
