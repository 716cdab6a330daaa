"""From the features of each image to one embedding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class CrossAttentionFusion(nn.Module):
    """The tokens of each image attend to those of the others, once, both ways.

    A pre-norm transformer block for each image: its tokens are the queries, the tokens of all
    the other images the keys and values; residual connections around the attention and the
    feed-forward layers. The attended tokens are averaged and normalised. Positions within an
    image, and which image it is, are learned.

    Source: Vaswani et al. 2017, section 3, with the pre-norm of Xiong et al. 2020; attention
    across modalities as in Lu et al. 2019 (ViLBERT), section 3.1.

    Args:
        num_tokens: Number of tokens of each image.
        width: Width of every token.
        num_heads: Attention heads; must divide `width`.
    """

    def __init__(self, num_tokens: Mapping[str, int], width: int, num_heads: int) -> None:
        super().__init__()
        self.positions = nn.ParameterDict(
            {
                name: nn.Parameter(nn.init.trunc_normal_(torch.empty(1, count, width), std=0.02))
                for name, count in num_tokens.items()
            }
        )
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in num_tokens})
        self.attentions = nn.ModuleDict(
            {name: nn.MultiheadAttention(width, num_heads, batch_first=True) for name in num_tokens}
        )
        self.feed_forwards = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.LayerNorm(width),
                    nn.Linear(width, 4 * width),
                    nn.GELU(),
                    nn.Linear(4 * width, width),
                )
                for name in num_tokens
            }
        )
        self.out_norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in num_tokens})

    def forward(self, tokens: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A vector for each image that knows of the others, (B, width), from (B, N_m, width)."""
        placed = {name: tokens[name] + self.positions[name] for name in self.positions}
        normed = {name: self.norms[name](value) for name, value in placed.items()}
        fused = {}
        for name, value in placed.items():
            others = torch.cat([normed[other] for other in placed if other != name], dim=1)
            attended, _ = self.attentions[name](normed[name], others, others, need_weights=False)
            value = value + attended
            value = value + self.feed_forwards[name](value)
            fused[name] = self.out_norms[name](value.mean(dim=1))
        return fused
