"""The learned temperature of a contrastive loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from representation.objectives.objective import require_positive

MIN_TEMPERATURE = 0.01
"""The floor, so that similarities are scaled by at most 100.

Source: Radford et al. 2021 (CLIP), section 2.5.
"""
MAX_TEMPERATURE = 1.0


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
