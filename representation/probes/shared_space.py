"""The space in which vision and touch can be compared, and how they lie in it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from scipy.special import logsumexp
from sklearn.preprocessing import normalize
from torch import nn

from representation.objectives.projection import ProjectionHeads
from representation.probes.linear import Standardiser, fit_probe

Vectors = Mapping[str, NDArray[np.float32]]
"""Rows by part, (N, D_part)."""

PROJECTED = "projection heads"
MAPPED = "ridge map of {} to {}"

_TEMPERATURE = 2.0


def projection_heads(objective: nn.Module) -> ProjectionHeads | None:
    """The first projection heads that an objective was trained with; None if it has none."""
    # A momentum copy comes after what it copies.
    return next((m for m in objective.modules() if isinstance(m, ProjectionHeads)), None)


def project(heads: ProjectionHeads, parts: Vectors) -> dict[str, NDArray[np.float32]]:
    """Unit vectors by part, (N, P), from the heads that contrast was trained with.

    Args:
        heads: The heads.
        parts: Features; parts without a head are left out.
    """
    device = next(heads.parameters()).device
    features = {part: torch.from_numpy(parts[part]).to(device) for part in heads.heads}
    with torch.inference_mode():
        return {part: value.cpu().numpy() for part, value in heads(features).items()}


def ridge_map(
    fitted: Vectors, held: Vectors, senses: tuple[str, str], validation: NDArray[np.bool_]
) -> dict[str, NDArray[np.float32]]:
    """Unit vectors through a linear map of one sense to another, without projection heads.

    The second is standardised, and the first predicts it: what cannot be predicted stays at the
    mean and does not count in a cosine.

    Args:
        fitted: Features of training rows, which the map is fitted on.
        held: Features of the rows to compare.
        senses: The part that predicts, and the one that is predicted.
        validation: Training rows that choose the penalties, (N,).

    Returns:
        Unit vectors of the held rows, by part, (N, D of the second).
    """
    first, second = senses
    standardise = Standardiser.of(fitted[second])
    probe = fit_probe(fitted[first], standardise(fitted[second]), validation)
    spaces = {first: probe(held[first]), second: standardise(held[second])}
    return {part: normalize(value.astype(np.float32)) for part, value in spaces.items()}


def alignment(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Mean squared distance between partners; 0 where they coincide, 2 where unrelated.

    Args:
        first: Unit vectors, (N, D).
        second: Their partners, (N, D).

    Source: Wang and Isola 2020, section 4.1.1, with an exponent of 2.
    """
    return float(np.square(first - second, dtype=np.float64).sum(axis=1).mean())


def uniformity(points: NDArray[np.float32]) -> float:
    """Logarithm of the mean Gaussian potential between points; lower is more uniform.

    0 where all coincide; its least value, on a sphere of many dimensions, is close to -4.

    Args:
        points: Unit vectors, (N, D), N > 1; each pair counts, so a few thousand are enough.

    Source: Wang and Isola 2020, section 4.1.2, with t = 2.
    """
    square = pdist(points, "sqeuclidean")
    return float(logsumexp(-_TEMPERATURE * square) - np.log(len(square)))
