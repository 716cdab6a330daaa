"""The linear probe: ridge regression, its penalties chosen on episodes that were not fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

Floats = NDArray[np.floating]

PENALTIES = tuple(10.0**power for power in range(-8, 3))
"""Penalties tried, by row: the penalty on the squared weights over the number of rows."""
_FLAT = 1e-6


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
class LinearProbe:
    """A fitted linear map.

    Attributes:
        standardise: What comes before it.
        weights: (D, K), float64.
        intercept: (K,), float64.
        penalties: That of each target, by row.
    """

    standardise: Standardiser
    weights: NDArray[np.float64]
    intercept: NDArray[np.float64]
    penalties: tuple[float, ...]

    def __call__(self, features: Floats) -> NDArray[np.float64]:
        """Predicted targets, (N, K), of features, (N, D)."""
        predicted: NDArray[np.float64] = self.standardise(features) @ self.weights + self.intercept
        return predicted


def fit_probe(features: Floats, targets: Floats, validation: NDArray[np.bool_]) -> LinearProbe:
    """Fit a linear probe: ridge on standardised features.

    Each target takes the penalty that predicts it best, by squared error, on validation rows after
    a fit to the others; then all rows are fitted. (scikit-learn's `RidgeCV` chooses a penalty for
    each target only by leaving out single rows, and the rows of an episode resemble each other.)

    Args:
        features: (N, D), floating.
        targets: (N, K), float64.
        validation: Rows that choose penalties, (N,): whole episodes.

    Returns:
        The probe.
    """
    standardise = Standardiser.of(features)
    x, intercept = standardise(features), targets.mean(axis=0)
    y = targets - intercept
    chosen = np.full(y.shape[1], PENALTIES[0])
    if validation.any() and not validation.all():
        chosen = _choose(x[~validation], y[~validation], x[validation], y[validation])
    gram, cross = x.T @ x, x.T @ y
    weights = np.empty_like(cross)
    for penalty in np.unique(chosen):
        penalised = gram + penalty * len(x) * np.eye(len(gram))
        of = chosen == penalty
        weights[:, of] = solve(penalised, cross[:, of], assume_a="pos")
    return LinearProbe(standardise, weights, intercept, tuple(chosen.tolist()))


def _choose(x: Floats, y: Floats, held_x: Floats, held_y: Floats) -> NDArray[np.float64]:
    """The penalty of each target with the least squared error on the held rows.

    One eigendecomposition serves all penalties.
    """
    mean, intercept = x.mean(axis=0), y.mean(axis=0)
    x, held_x = x - mean, held_x - mean
    values, vectors = np.linalg.eigh(x.T @ x)
    values, cross = values.clip(min=0.0)[:, None], vectors.T @ (x.T @ (y - intercept))
    held_x, held_y = held_x @ vectors, held_y - intercept
    errors = [
        np.square(held_y - held_x @ (cross / (values + penalty * len(x)))).sum(axis=0)
        for penalty in PENALTIES
    ]
    chosen: NDArray[np.float64] = np.array(PENALTIES)[np.argmin(errors, axis=0)]
    return chosen
