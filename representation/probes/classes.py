"""Classes: which connector is it, by a linear probe, and do clusters agree?"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score

from representation.probes.linear import Standardiser

_ITERATIONS = 300


class ClassProbe:
    """A linear classifier of standardised features: multinomial logistic regression.

    Args:
        features: (N, D), float32.
        classes: Class of each row, (N,), int64; at least two of them.
    """

    converged: bool
    """Whether the fit converged; if not, its accuracy is a lower bound."""

    def __init__(self, features: NDArray[np.float32], classes: NDArray[np.int64]) -> None:
        self._standardise = Standardiser.of(features)
        self._model = LogisticRegression(max_iter=_ITERATIONS)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            self._model.fit(self._standardised(features), classes)
        self.converged = not any(w.category is ConvergenceWarning for w in caught)

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """Most likely classes, (N,), of features, (N, D)."""
        predicted: NDArray[np.int64] = self._model.predict(self._standardised(features))
        return predicted

    def _standardised(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._standardise(features).astype(np.float32)  # half the time of float64


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
