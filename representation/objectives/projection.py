"""Projection heads: from features to the unit sphere on which contrastive losses compare."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.functional import normalize

from vtenv.validation import require


class ProjectionHeads(nn.Module):
    """A head for each sense, by default a two-layer perceptron, its output scaled to length 1.

    Thrown away after training: the embedding is taken before it.

    Args:
        feature_sizes: Width of each sense's features.
        projection_dim: Width of the projections, unless there are no layers.
        layers: 2 for a perceptron with one hidden layer; 1 for a linear layer, such as the one that
            ends in a classifier's logits; 0 for the features themselves.

    Raises:
        ValueError: If `layers` is none of these.

    Source: Chen et al. 2020 (SimCLR), section 4.2.
    """

    def __init__(
        self, feature_sizes: Mapping[str, int], projection_dim: int, layers: int = 2
    ) -> None:
        super().__init__()
        require(layers in (0, 1, 2), "layers", layers, "0, 1 or 2")
        self.heads = nn.ModuleDict(
            {sense: _head(size, projection_dim, layers) for sense, size in feature_sizes.items()}
        )

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Unit vectors by sense, (B, projection_dim), of features, (B, D_s)."""
        return {
            sense: normalize(self.heads[sense](value), dim=1) for sense, value in features.items()
        }


def _head(size: int, projection_dim: int, layers: int) -> nn.Module:
    if layers == 0:
        return nn.Identity()
    last = nn.Linear(size, projection_dim)
    return last if layers == 1 else nn.Sequential(nn.Linear(size, size), nn.ReLU(), last)
