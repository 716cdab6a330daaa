"""Alignment and uniformity: how a joint embedding lies on the unit sphere."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TEMPERATURE = 2.0


def alignment(vision: Tensor, touch: Tensor) -> float:
    """Mean squared distance between partners; 0 where they coincide, 2 where unrelated.

    Args:
        vision: Unit vectors, (N, D).
        touch: Their partners, (N, D).

    Source: Wang and Isola 2020, section 4.1.1, with an exponent of 2.
    """
    return float((vision - touch).double().square().sum(dim=1).mean())


def uniformity(points: Tensor) -> float:
    """Logarithm of the mean Gaussian potential between points; lower is more uniform.

    0 where all coincide; its least value, on a sphere of many dimensions, is close to -4.

    Args:
        points: Unit vectors, (N, D), N > 1; each pair counts, so a few thousand are enough.

    Source: Wang and Isola 2020, section 4.1.2, with t = 2.
    """
    square = torch.pdist(points.double()).square()
    return float(torch.logsumexp(-_TEMPERATURE * square, dim=0)) - math.log(len(square))
