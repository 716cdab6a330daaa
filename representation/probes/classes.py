"""The class probe: which connector is it, by multinomial logistic regression?"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from representation.probes.linear import Standardiser

_ITERATIONS = 300


class ClassProbe:
    """A linear classifier of standardised features.

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
