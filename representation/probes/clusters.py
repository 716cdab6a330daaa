"""Do clusters of an embedding agree with the classes? The paper judged by eye."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import normalized_mutual_info_score


def cluster_agreement(points: NDArray[np.float32], classes: NDArray[np.int64], seed: int) -> float:
    """Normalised mutual information of classes and k-means: 1 the same, 0 unrelated.

    Args:
        points: Embeddings, (N, D).
        classes: Class of each, (N,); k is the number of classes.
        seed: Seed of k-means.
    """
    means = KMeans(n_clusters=len(np.unique(classes)), n_init=4, random_state=seed)
    with warnings.catch_warnings():
        # Fewer distinct points than clusters: a collapsed embedding, which the score shows.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = means.fit_predict(points)
    return float(normalized_mutual_info_score(classes, found))
