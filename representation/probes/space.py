"""How embeddings lie in space: partners across the senses, the sphere, clusters, t-SNE."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.manifold import TSNE
from sklearn.metrics import normalized_mutual_info_score
from sklearn.preprocessing import normalize
from torch import nn

from representation.objectives.projection import ProjectionHeads
from representation.probes.linear import RidgeProbe, Standardiser

Vectors = NDArray[np.float32]
"""Rows, (N, D)."""

_TEMPERATURE = 2.0
_COMPONENTS = 50
_PERPLEXITY = 30.0


def projection_heads(objective: nn.Module) -> ProjectionHeads | None:
    """The first projection heads that an objective was trained with; None if it has none."""
    # A momentum copy comes after what it copies.
    return next((m for m in objective.modules() if isinstance(m, ProjectionHeads)), None)


def project(heads: ProjectionHeads, parts: Mapping[str, Vectors]) -> dict[str, Vectors]:
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
    fitted: Mapping[str, Vectors],
    held: Mapping[str, Vectors],
    senses: tuple[str, str],
    validation: NDArray[np.bool_],
) -> dict[str, Vectors]:
    """Unit vectors through a linear map of one sense to another, without projection heads.

    The second is standardised, and the first predicts it: what cannot be predicted stays at the
    mean and does not count in a cosine.

    Args:
        fitted: Features of training rows by part, which the map is fitted on.
        held: Features of the rows to compare.
        senses: The part that predicts, and the one that is predicted.
        validation: Training rows that choose the penalties, (N,).

    Returns:
        Unit vectors of the held rows, by part, (N, D of the second).
    """
    first, second = senses
    standardise = Standardiser.of(fitted[second])
    probe = RidgeProbe.fit(fitted[first], standardise(fitted[second]), validation)
    spaces = {first: probe(held[first]), second: standardise(held[second])}
    return {part: normalize(value.astype(np.float32)) for part, value in spaces.items()}


def recall_at(queries: Vectors, keys: Vectors, ranks: Sequence[int]) -> dict[int, float]:
    """Part of the queries whose own key is among the most similar ones.

    Keys that are as similar as the own one are ranked before it in half of all cases, as a draw
    would have it, so that a constant embedding scores as chance does.

    Args:
        queries: Unit vectors, (N, D); the own key of row i is row i.
        keys: Unit vectors, (N, D).
        ranks: How many most similar keys count.

    Returns:
        The part by rank.
    """
    similarities = queries @ keys.T
    own = similarities.diagonal()[:, None]
    better = (similarities > own).sum(axis=1)
    ties = (similarities == own).sum(axis=1)  # itself among them
    # Its place is better + 1 ... better + ties, each as likely.
    return {rank: float(((rank - better) / ties).clip(0.0, 1.0).mean()) for rank in ranks}


def pooled_recall(
    queries: Vectors, keys: Vectors, ranks: Sequence[int], pool: int, order: NDArray[np.int64]
) -> dict[int, float]:
    """Mean recall among pools of one size: it falls with the size, whatever the embedding.

    Args:
        queries: Unit vectors, (N, D).
        keys: Unit vectors, (N, D).
        ranks: How many most similar keys count.
        pool: Rows of a pool; rows left over are not used.
        order: Rows in the order to deal them out by, (M,).
    """
    pools = order[: len(order) // pool * pool].reshape(-1, pool)
    found = [recall_at(queries[rows], keys[rows], ranks) for rows in pools]
    return {rank: float(np.mean([recall[rank] for recall in found])) for rank in ranks}


def alignment(first: Vectors, second: Vectors) -> float:
    """Mean squared distance of unit vectors and their partners; 0 where equal, 2 where unrelated.

    Source: Wang and Isola 2020, section 4.1.1, with an exponent of 2.
    """
    return float(np.square(first - second, dtype=np.float64).sum(axis=1).mean())


def uniformity(points: Vectors) -> float:
    """Logarithm of the mean Gaussian potential between points; lower is more uniform.

    0 where all coincide; its least value, on a sphere of many dimensions, is close to -4.

    Args:
        points: Unit vectors, (N, D), N > 1; each pair counts, so a few thousand are enough.

    Source: Wang and Isola 2020, section 4.1.2, with t = 2.
    """
    square = pdist(points, "sqeuclidean")
    return float(logsumexp(-_TEMPERATURE * square) - np.log(len(square)))


def cluster_agreement(points: Vectors, classes: NDArray[np.int64], seed: int) -> float:
    """Normalised mutual information of classes, (N,), and as many clusters of k-means.

    1 where they are the same, 0 where they are unrelated.
    """
    means = KMeans(n_clusters=len(np.unique(classes)), n_init=4, random_state=seed)
    with warnings.catch_warnings():
        # Fewer distinct points than clusters: a collapsed embedding, which the score shows.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = means.fit_predict(points)
    return float(normalized_mutual_info_score(classes, found))


def tsne(points: Vectors, seed: int) -> Vectors:
    """Places in a plane, (N, 2), N > 3, where neighbours stay neighbours.

    Distances between clusters mean little.

    Source: van der Maaten and Hinton 2008.
    """
    # Rounding noise of a collapsed embedding is not structure.
    points = points.astype(np.float64)
    components = min(_COMPONENTS, *points.shape, len(points) - 1)
    if points.shape[1] > components:
        points = PCA(components, random_state=seed).fit_transform(points)
    perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
    init = "pca" if points.shape[1] > 1 and points.std(axis=0)[0] > 0 else "random"
    placed: Vectors = TSNE(perplexity=perplexity, init=init, random_state=seed).fit_transform(
        points
    )
    return placed
