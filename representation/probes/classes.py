"""The class probe: which connector is it, by multinomial logistic regression?"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

_ITERATIONS = 300
_INVERSE_PENALTY = 1.0


class ClassProbe:
    """A linear classifier of standardised features.

    Args:
        features: (N, D), float32.
        classes: Class of each row, (N,), int64; at least two of them.
    """

    converged: bool
    """Whether it came to rest; if not, its accuracy is a lower bound."""

    def __init__(self, features: NDArray[np.float32], classes: NDArray[np.int64]) -> None:
        self._mean = features.mean(axis=0)
        deviation = features.std(axis=0)
        flat = deviation <= 1e-6 * (1.0 + np.abs(self._mean))
        self._scale = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, deviation)).astype(np.float32)
        self._model = LogisticRegression(C=_INVERSE_PENALTY, max_iter=_ITERATIONS)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            self._model.fit(self._standardised(features), classes)
        self.converged = not any(w.category is ConvergenceWarning for w in caught)

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """Most likely classes.

        Args:
            features: (N, D).

        Returns:
            Classes, (N,).
        """
        predicted: NDArray[np.int64] = self._model.predict(self._standardised(features))
        return predicted

    def _standardised(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return (features - self._mean) * self._scale


def confusion_counts(
    actual: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> tuple[tuple[int, ...], ...]:
    """Rows by actual class and predicted class.

    Args:
        actual: (N,), in 0 ... classes - 1.
        predicted: (N,).
        classes: Number of classes.

    Returns:
        Counts: one tuple for each actual class, one number in it for each predicted class.
    """
    counts = np.bincount(actual * classes + predicted, minlength=classes * classes)
    return tuple(tuple(map(int, row)) for row in counts.reshape(classes, classes))
