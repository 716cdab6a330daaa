"""Projection heads: from features to the unit sphere on which contrastive losses compare."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.functional import normalize


class ProjectionHeads(nn.Module):
    """A two-layer perceptron for each sense, its output scaled to length 1.

    Thrown away after training: the embedding is taken before it.

    Args:
        feature_sizes: Width of each sense's features.
        projection_dim: Width of the projections.

    Source: Chen et al. 2020 (SimCLR), section 4.2.
    """

    def __init__(self, feature_sizes: Mapping[str, int], projection_dim: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {
                sense: nn.Sequential(
                    nn.Linear(size, size), nn.ReLU(), nn.Linear(size, projection_dim)
                )
                for sense, size in feature_sizes.items()
            }
        )

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Unit vectors by sense, (B, projection_dim), of features, (B, D_s)."""
        return {
            sense: normalize(self.heads[sense](value), dim=1) for sense, value in features.items()
        }
