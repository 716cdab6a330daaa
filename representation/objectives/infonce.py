"""Which touch belongs to which image? The paper's contrastive loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import permutations
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from representation.objectives.gather import gather, process_rank
from representation.objectives.objective import (
    Batch,
    Objective,
    ObjectiveOutput,
    require_positive,
    require_senses,
)
from representation.objectives.projection import ProjectionHeads
from vtenv.validation import require

if TYPE_CHECKING:  # it imports timm, which takes seconds
    from representation.timm_encoder import VisuotactileEncoder

MIN_TEMPERATURE = 0.01
"""The floor, so that similarities are scaled by at most 100.

Source: Radford et al. 2021 (CLIP), section 2.5.
"""
MAX_TEMPERATURE = 1.0

Vectors = Mapping[str, Tensor]
"""Unit vectors by sense."""


def info_nce(queries: Tensor, keys: Tensor, temperature: Tensor | float, first: int = 0) -> Tensor:
    """InfoNCE: the cross-entropy of finding each query's own key among all keys.

    loss = -mean_i log( exp(q_i . k_{first+i} / T) / sum_j exp(q_i . k_j / T) )

    Args:
        queries: Unit vectors, (N, D).
        keys: Unit vectors, (M, D), M >= N.
        temperature: T.
        first: Row of the first query's key.

    Source: van den Oord et al. 2018 (CPC), equation 4.
    """
    labels = first + torch.arange(len(queries), device=queries.device)
    return cross_entropy(queries @ keys.T / temperature, labels)


def retrieval_accuracy(queries: Tensor, keys: Tensor, first: int = 0) -> Tensor:
    """Part of the queries whose own key is the most similar one; arguments as of `info_nce`."""
    nearest = (queries.detach() @ keys.detach().T).argmax(dim=1)
    labels = first + torch.arange(len(queries), device=queries.device)
    return (nearest == labels).float().mean()


def accuracies(queries: Vectors, keys: Vectors, first: int) -> dict[str, Tensor]:
    """Metrics `accuracy_SENSE`: part of the samples whose partner is retrieved first.

    Args:
        queries: (N, D) for each sense.
        keys: (M, D) for each sense; a mean over the other senses is taken.
        first: Row of the first query's key.
    """
    return {
        f"accuracy_{sense}": torch.stack(
            [retrieval_accuracy(values, keys[other], first) for other in keys if other != sense]
        ).mean()
        for sense, values in queries.items()
    }


class Temperature(nn.Module):
    """A temperature between `MIN_TEMPERATURE` and `MAX_TEMPERATURE`, learned as its logarithm.

    Args:
        initial: Where it starts. 0.07 is CLIP's.
    """

    def __init__(self, initial: float = 0.07) -> None:
        super().__init__()
        require_positive(temperature=initial)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self) -> Tensor:
        """The temperature, a scalar with gradients."""
        # The parameter itself is clamped: beyond a bound it would have no gradient to come back.
        with torch.no_grad():
            self.log_temperature.clamp_(math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))
        return self.log_temperature.exp()


class InfoNCE(Objective):
    """Symmetric InfoNCE between vision and touch, or between any two senses of the encoder.

    The positive of an image is the touch of the same moment; the negatives are the touches of
    the rest of the batch, over all processes. All directions count alike. Learns what the senses
    share, and nothing that only one of them knows.

    Args:
        encoder: For its sizes.
        projection_dim: Width of the projections that are compared.
        temperature: Initial temperature; it is learned.
        layers: Layers of the projection heads; see `ProjectionHeads`.

    Raises:
        ValueError: If the encoder has a single sense, or the senses' features differ in width and
            there are no heads.

    Source: the paper, section C, "Joint representation network", and figure 6; the symmetric
    loss with a learned temperature of Radford et al. 2021 (CLIP), figure 3.
    """

    name: ClassVar[str] = "infonce"
    trains_fusion = False

    def __init__(
        self,
        encoder: VisuotactileEncoder,
        *,
        projection_dim: int = 128,
        temperature: float = 0.07,
        layers: int = 2,
    ) -> None:
        super().__init__()
        require_senses(encoder, self.name)
        require_positive(projection_dim=projection_dim)
        sizes = encoder.feature_sizes
        alike = layers > 0 or len(set(sizes.values())) == 1
        require(alike, "layers", layers, f"at least 1 for features of different widths, {sizes}")
        self.projections = ProjectionHeads(sizes, projection_dim, layers)
        self.temperature = Temperature(temperature)

    def forward(
        self, encoder: VisuotactileEncoder, batch: Batch, generator: Generator | None = None
    ) -> ObjectiveOutput:
        """The loss; metrics `accuracy_SENSE` and `temperature`."""
        queries = self.projections(encoder.features(batch))
        keys = {sense: gather(value) for sense, value in queries.items()}
        first = process_rank() * len(next(iter(queries.values())))
        temperature = self.temperature()
        losses, metrics = self._losses(queries, keys, temperature, first)
        metrics |= accuracies(queries, keys, first) | {"temperature": temperature.detach()}
        return ObjectiveOutput(torch.stack(losses).mean(), metrics)

    def _losses(
        self, queries: Vectors, keys: Vectors, temperature: Tensor, first: int
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The loss of each direction, and metrics."""
        pairs = permutations(queries, 2)
        return [info_nce(queries[q], keys[k], temperature, first) for q, k in pairs], {}
