"""Which touch belongs to which image? The paper's contrastive loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from representation.objectives.gather import gather, process_rank
from representation.objectives.objective import (
    Objective,
    ObjectiveOutput,
    require_both_modalities,
    require_positive,
)
from representation.objectives.projection import ProjectionHeads
from representation.objectives.temperature import Temperature

if TYPE_CHECKING:
    from representation.encoder import VisuotactileEncoder


def info_nce(queries: Tensor, keys: Tensor, temperature: Tensor | float, first: int = 0) -> Tensor:
    """InfoNCE: the cross-entropy of finding each query's own key among all keys.

    loss = -mean_i log( exp(q_i . k_{first+i} / T) / sum_j exp(q_i . k_j / T) )

    Args:
        queries: Unit vectors, (N, D).
        keys: Unit vectors, (M, D), M >= N.
        temperature: T.
        first: Row of the first query's key.

    Returns:
        The loss, a scalar.

    Source: van den Oord et al. 2018 (CPC), equation 4.
    """
    labels = first + torch.arange(len(queries), device=queries.device)
    return cross_entropy(queries @ keys.T / temperature, labels)


def retrieval_accuracy(queries: Tensor, keys: Tensor, first: int = 0) -> Tensor:
    """Part of the queries whose own key is the most similar one.

    Args:
        queries: Unit vectors, (N, D).
        keys: Unit vectors, (M, D).
        first: Row of the first query's key.

    Returns:
        The part, a scalar without gradients.
    """
    nearest = (queries.detach() @ keys.detach().T).argmax(dim=1)
    labels = first + torch.arange(len(queries), device=queries.device)
    return (nearest == labels).float().mean()


class InfoNCE(Objective):
    """Symmetric InfoNCE between vision and touch.

    The positive of an image is the touch of the same moment; the negatives are the touches of
    the rest of the batch, over all processes. Both directions count alike. Learns what the two
    modalities share, and nothing that only one of them knows.

    Args:
        encoder: For its sizes.
        projection_dim: Width of the projections that are compared.
        temperature: Initial temperature; it is learned.

    Raises:
        ValueError: If the encoder has a single modality.

    Source: the paper, section C, "Joint representation network", and figure 6; the symmetric
    loss with a learned temperature of Radford et al. 2021 (CLIP), figure 3.
    """

    trains_fusion = False

    def __init__(
        self,
        encoder: VisuotactileEncoder,
        *,
        projection_dim: int = 128,
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        require_both_modalities(encoder, "infonce")
        require_positive(projection_dim=projection_dim)
        self.projections = ProjectionHeads(encoder.feature_sizes, projection_dim)
        self.temperature = Temperature(temperature)

    def forward(
        self,
        encoder: VisuotactileEncoder,
        batch: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
    ) -> ObjectiveOutput:
        """The loss; metrics `accuracy_vision`, `accuracy_touch` and `temperature`.

        An accuracy is the part of that modality's samples whose partner is retrieved first.

        Args:
            encoder: The encoder to train.
            batch: Observations.
            generator: Not used.

        Returns:
            The loss and its metrics.
        """
        projections = self.projections(encoder.features(batch))
        vision, touch = projections["vision"], projections["touch"]
        all_vision, all_touch = gather(vision), gather(touch)
        first = process_rank() * len(vision)
        temperature = self.temperature()
        loss = 0.5 * (
            info_nce(vision, all_touch, temperature, first)
            + info_nce(touch, all_vision, temperature, first)
        )
        metrics = {
            "accuracy_vision": retrieval_accuracy(vision, all_touch, first),
            "accuracy_touch": retrieval_accuracy(touch, all_vision, first),
            "temperature": temperature.detach(),
        }
        return ObjectiveOutput(loss, metrics)
