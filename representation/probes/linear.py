"""Linear probes: ridge regression of pose variables, logistic regression of classes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

Floats = NDArray[np.floating]

PENALTIES = tuple(10.0**power for power in range(-8, 3))
"""Penalties tried, by row: the penalty on the squared weights over the number of rows."""
_FLAT = 1e-6
_ITERATIONS = 300


@dataclass(frozen=True)
class Standardiser:
    """Features to mean 0 and deviation 1; one that hardly changes, to 0.

    scikit-learn's `StandardScaler` would blow up float32 rounding of a collapsed embedding to a
    signal.

    Attributes:
        mean: (D,), float64.
        scale: (D,), float64.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, features: Floats) -> Standardiser:
        """That of some rows, (N, D)."""
        mean = features.mean(axis=0, dtype=np.float64)
        deviation = features.std(axis=0, dtype=np.float64)
        flat = deviation <= _FLAT * (1.0 + np.abs(mean))
        return cls(mean, np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, deviation)))

    def __call__(self, features: Floats) -> NDArray[np.float64]:
        """Standardised features, (N, D)."""
        standard: NDArray[np.float64] = (features.astype(np.float64) - self.mean) * self.scale
        return standard


@dataclass(frozen=True)
class RidgeProbe:
    """A linear map of standardised features to targets.

    Attributes:
        standardise: What comes before it.
        model: The `Ridge`.
        penalties: That of each target, by row, (K,).
    """

    standardise: Standardiser
    model: Any
    penalties: NDArray[np.float64]

    @classmethod
    def fit(cls, features: Floats, targets: Floats, validation: NDArray[np.bool_]) -> RidgeProbe:
        """Fit a probe.

        Each target takes the penalty that predicts it best, by squared error, on validation rows
        after a fit to the others; then all rows are fitted. (scikit-learn's `RidgeCV` chooses a
        penalty for each target only by leaving out single rows, and the rows of an episode resemble
        each other.)

        Args:
            features: (N, D), floating.
            targets: (N, K), float64.
            validation: Rows that choose penalties, (N,): whole episodes.
        """
        standardise = Standardiser.of(features)
        x, rest = standardise(features), ~validation
        penalties = np.full(targets.shape[1], PENALTIES[0])
        if validation.any() and rest.any():
            errors = []
            for penalty in PENALTIES:
                model = Ridge(alpha=penalty * rest.sum()).fit(x[rest], targets[rest])
                predicted = model.predict(x[validation]).reshape(-1, targets.shape[1])
                errors.append(np.square(predicted - targets[validation]).sum(axis=0))
            penalties = np.array(PENALTIES)[np.argmin(errors, axis=0)]
        return cls(standardise, Ridge(alpha=penalties * len(x)).fit(x, targets), penalties)

    def __call__(self, features: Floats) -> NDArray[np.float64]:
        """Predicted targets, (N, K), of features, (N, D)."""
        predicted: NDArray[np.float64] = self.model.predict(self.standardise(features))
        return predicted.reshape(len(features), -1)


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

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.int64]:
        """Most likely classes, (N,), of features, (N, D)."""
        predicted: NDArray[np.int64] = self._model.predict(self._standardised(features))
        return predicted

    def _standardised(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._standardise(features).astype(np.float32)  # half the time of float64
