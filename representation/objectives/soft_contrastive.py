"""Contrast that does not push apart what feels the same."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from representation.objectives.infonce import InfoNCE, Vectors
from representation.objectives.objective import require_positive

if TYPE_CHECKING:  # it imports timm, which takes seconds
    from representation.timm_encoder import VisuotactileEncoder


def soft_targets(
    keys: Tensor, rows: slice, neighbours: int | None, target_temperature: float
) -> Tensor:
    """How much each key counts as a positive of the queries whose own keys are `rows`.

    w_ij = exp(k_i . k_j / S) / sum_n exp(k_i . k_n / S), n over the nearest neighbours of k_i,
    itself among them; 0 for all others.

    Args:
        keys: Unit vectors of one sense, (M, D).
        rows: Those that belong to the N queries.
        neighbours: How many keys count; None for all.
        target_temperature: S.

    Returns:
        Weights, (N, M), each row summing to 1; without gradients.
    """
    with torch.no_grad():
        similarities = keys[rows] @ keys.T
        # Rounding must not rank a twin before the key itself.
        own = torch.arange(len(keys), device=keys.device)[rows]
        ranked = similarities.scatter(1, own[:, None], float("inf"))
        nearest = ranked.topk(min(neighbours or len(keys), len(keys)), dim=1).indices
        kept = torch.zeros_like(similarities, dtype=torch.bool).scatter(1, nearest, True)
        logits = similarities / target_temperature
        return logits.masked_fill(~kept, -float("inf")).softmax(dim=1)


def soft_info_nce(
    queries: Tensor, keys: Tensor, targets: Tensor, temperature: Tensor | float
) -> Tensor:
    """Cross-entropy between target weights w, (N, M), and similarities; else as `info_nce`.

    loss = -mean_i sum_j w_ij log( exp(q_i . k_j / T) / sum_n exp(q_i . k_n / T) )
    """
    return cross_entropy(queries @ keys.T / temperature, targets)


class SoftContrastive(InfoNCE):
    """Symmetric cross-modal contrast in which a sample's look-alikes are positives too.

    Two grasps of one connector a few tenths of a millimetre apart are no negatives. For an image,
    the positives are the touches nearest to its own touch, weighted by their similarity; and the
    other way round. One neighbour makes it InfoNCE.

    Args:
        encoder: For its sizes.
        projection_dim: Width of the projections that are compared.
        temperature: Initial temperature; it is learned.
        neighbours: How many samples of the batch count as positives; None for all.
        target_temperature: Sharpness of the weights; smaller is closer to InfoNCE.

    Raises:
        ValueError: If the encoder has a single sense.

    Source: the idea of ViTaS (Tian et al., "Visual Tactile Soft Fusion Contrastive Learning"),
    where the nearest keys of the same modality are positives, all alike and inside the logarithm.
    Here they are weighted by similarity and outside of it, so the loss is a cross-entropy.
    """

    name = "soft_contrastive"

    def __init__(
        self,
        encoder: VisuotactileEncoder,
        *,
        projection_dim: int = 128,
        temperature: float = 0.07,
        neighbours: int | None = 4,
        target_temperature: float = 0.1,
    ) -> None:
        super().__init__(encoder, projection_dim=projection_dim, temperature=temperature)
        require_positive(target_temperature=target_temperature)
        if neighbours is not None:
            require_positive(neighbours=neighbours)
        self.neighbours = neighbours
        self.target_temperature = target_temperature

    def _losses(
        self, queries: Vectors, keys: Vectors, temperature: Tensor, first: int
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """As `InfoNCE`; `own_weight` is what a sample's own partner has of the target: 1 there."""
        rows = slice(first, first + len(next(iter(queries.values()))))
        targets = {
            sense: soft_targets(value, rows, self.neighbours, self.target_temperature)
            for sense, value in keys.items()
        }
        own = [weights[:, rows].diagonal().mean() for weights in targets.values()]
        losses = [
            soft_info_nce(queries[query], keys[key], targets[key], temperature)
            for query, key in permutations(queries, 2)
        ]
        return losses, {"own_weight": torch.stack(own).mean()}
