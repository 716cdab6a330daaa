"""A picture of many dimensions: t-SNE."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

_COMPONENTS = 50
_PERPLEXITY = 30.0


def tsne(points: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Places in a plane where neighbours stay neighbours.

    Args:
        points: Embeddings, (N, D), N > 3.
        seed: Seed.

    Returns:
        Places, (N, 2); distances between clusters mean little.

    Source: van der Maaten and Hinton 2008.
    """
    # Rounding noise of a collapsed embedding is not structure.
    points = points.astype(np.float64)
    components = min(_COMPONENTS, *points.shape, len(points) - 1)
    if points.shape[1] > components:
        points = PCA(components, random_state=seed).fit_transform(points)
    perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
    init = "pca" if points.shape[1] > 1 and points.std(axis=0)[0] > 0 else "random"
    placed: NDArray[np.float32] = TSNE(
        perplexity=perplexity, init=init, random_state=seed
    ).fit_transform(points)
    return placed
