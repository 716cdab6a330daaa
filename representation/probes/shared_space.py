"""The space in which vision and touch can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from representation.objectives.projection import ProjectionHeads
from representation.probes.linear import Moments, fit_probe
from representation.probes.retrieval import unit_vectors

PROJECTED = "projection heads"
MAPPED = "ridge map of vision to touch"


def projection_heads(objective: nn.Module) -> ProjectionHeads | None:
    """The projection heads that an objective was trained with; None if it has none.

    Args:
        objective: The objective, or a weighted sum of several, of which the first counts.
    """
    heads: Iterator[ProjectionHeads] = (
        module
        # A momentum copy comes after what it copies.
        for module in objective.modules()
        if isinstance(module, ProjectionHeads)
    )
    return next(heads, None)


def project(heads: ProjectionHeads, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Unit vectors by modality, from the heads that contrast was trained with.

    Args:
        heads: The heads.
        parts: Features by modality, (N, D_m).

    Returns:
        Projections by modality, (N, P).
    """
    with torch.inference_mode():
        device = next(heads.parameters()).device
        features = {modality: parts[modality].to(device) for modality in heads.heads}
        return {name: value.to(parts[name].device) for name, value in heads(features).items()}


class RidgeMap:
    """A linear map of vision's features to touch's, for encoders without projection heads.

    Touch is standardised, and vision predicts it: what cannot be predicted stays at the mean and
    does not count in a cosine. Fitted on training rows.

    Args:
        vision: (N, D_vision).
        touch: (N, D_touch).
        validation: Rows that choose the penalties, (N,), bool.
    """

    def __init__(self, vision: Tensor, touch: Tensor, validation: Tensor) -> None:
        self._mean = touch.double().mean(dim=0)
        self._scale = touch.double().std(dim=0).clamp(min=1e-6)
        shift = vision.double().mean(dim=0)
        fit, held = (
            Moments.of(vision, self._standardised(touch), shift, rows.nonzero()[:, 0])
            for rows in (~validation, validation)
        )
        self._probe = fit_probe(fit, held, shift)

    def __call__(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Unit vectors by modality, (N, D_touch), from features by modality."""
        return {
            "vision": unit_vectors(self._probe(parts["vision"]).float()),
            "touch": unit_vectors(self._standardised(parts["touch"]).float()),
        }

    def _standardised(self, touch: Tensor) -> Tensor:
        return (touch.double() - self._mean) / self._scale
