"""The linear probe: ridge regression in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

PENALTIES = tuple(10.0**power for power in range(-8, 3))
"""Penalties tried, by row: the penalty on the squared weights over the number of rows."""
_BLOCK = 4096
_FLAT = 1e-6


@dataclass(frozen=True)
class Moments:
    """All that least squares needs of some rows: sums of products, so that parts add up.

    Attributes:
        count: Number of rows.
        x: Sum of features, (D,), float64.
        y: Sum of targets, (K,), float64.
        xx: Sum of products of features, (D, D).
        xy: Sum of products of features and targets, (D, K).
        yy: Sum of squared targets, (K,).
    """

    count: int
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor

    @classmethod
    def of(
        cls, features: Tensor, targets: Tensor, shift: Tensor, rows: Tensor | None = None
    ) -> Moments:
        """Moments of rows, block by block: float64 copies stay small.

        Args:
            features: (N, D), floating.
            targets: (N, K), float64.
            shift: Taken off the features, (D,), float64: close to their mean, for precision.
            rows: Numbers of the rows that count, (M,), int64; None for all.

        Returns:
            The moments.
        """
        if rows is None:
            rows = torch.arange(len(features), device=features.device)
        blocks = rows.split(_BLOCK)  # of no rows, one empty block
        return reduce(
            Moments.__add__,
            (cls._of_block(features[b].double() - shift, targets[b]) for b in blocks),
        )

    @classmethod
    def _of_block(cls, x: Tensor, y: Tensor) -> Moments:
        return cls(len(x), x.sum(dim=0), y.sum(dim=0), x.T @ x, x.T @ y, (y * y).sum(dim=0))

    def __add__(self, other: Moments) -> Moments:
        values = zip(vars(self).values(), vars(other).values(), strict=True)
        return Moments(*(a + b for a, b in values))

    def columns(self, of: slice) -> Moments:
        """Moments of some of the features."""
        return Moments(self.count, self.x[of], self.y, self.xx[of, of], self.xy[of], self.yy)

    def about(self, x: Tensor, y: Tensor) -> Moments:
        """Moments about other origins.

        Args:
            x: Taken off the features, (D,).
            y: Taken off the targets, (K,).

        Returns:
            The moments of what is left.
        """
        cross = torch.outer(self.x, x)
        return Moments(
            self.count,
            self.x - self.count * x,
            self.y - self.count * y,
            self.xx - cross - cross.T + self.count * torch.outer(x, x),
            self.xy - torch.outer(self.x, y) - torch.outer(x, self.y - self.count * y),
            self.yy - 2 * y * self.y + self.count * y * y,
        )

    def centred(self) -> tuple[Tensor, Tensor, Moments]:
        """Means of features and targets, and the moments about them."""
        x, y = self.x / self.count, self.y / self.count
        return x, y, self.about(x, y)


@dataclass(frozen=True)
class LinearProbe:
    """A fitted linear map: targets = (features - mean) @ weights + intercept.

    Attributes:
        mean: (D,), float64.
        weights: (D, K), float64.
        intercept: (K,), float64.
        penalties: That of each target, by row.
    """

    mean: Tensor
    weights: Tensor
    intercept: Tensor
    penalties: tuple[float, ...]

    def __call__(self, features: Tensor) -> Tensor:
        """Predict.

        Args:
            features: (N, D).

        Returns:
            Predicted targets, (N, K), float64.
        """
        blocks = features.split(_BLOCK)
        parts = [(b.double() - self.mean) @ self.weights + self.intercept for b in blocks]
        return torch.cat(parts)


def ridge(moments: Moments, penalty: float) -> Tensor:
    """Ridge regression: weights that minimise sum ||y - x w||^2 + penalty ||w||^2.

    Args:
        moments: Of centred features and targets.
        penalty: The penalty.

    Returns:
        Weights, (D, K).
    """
    eye = torch.eye(len(moments.xx), dtype=moments.xx.dtype, device=moments.xx.device)
    return torch.linalg.solve(moments.xx + penalty * eye, moments.xy)


def fit_probe(fit: Moments, validation: Moments, shift: Tensor) -> LinearProbe:
    """Fit a linear probe: ridge on standardised features, the penalty chosen by validation.

    Each target takes the penalty that predicts it best, by squared error, on rows that were not
    fitted; then all rows are fitted.

    Args:
        fit: Moments of the rows that penalties are tried on.
        validation: Moments of the rows that choose among them; of both, the features were
            shifted alike.
        shift: What the features were shifted by, (D,).

    Returns:
        The probe.
    """
    every = fit + validation if validation.count else fit
    mean, intercept, centred = every.centred()
    deviation = (centred.xx.diagonal() / every.count).clamp(min=0.0).sqrt()
    # A feature that never changes says nothing; rounding must not be blown up to a signal.
    flat = deviation <= _FLAT * (1.0 + (shift + mean).abs())
    scale = torch.where(flat, torch.inf, deviation)
    chosen = [PENALTIES[0]] * len(intercept)
    if fit.count and validation.count:
        chosen = _choose(_scaled(fit, mean, intercept, scale), validation, mean, intercept, scale)
    standardised = _scaled(every, mean, intercept, scale)
    weights = torch.empty_like(every.xy)
    for penalty in sorted(set(chosen)):
        of = [k for k, own in enumerate(chosen) if own == penalty]
        solved = ridge(standardised, penalty * every.count)
        weights[:, of] = solved[:, of] / scale[:, None]
    return LinearProbe(shift + mean, weights, intercept, tuple(chosen))


def _choose(
    fit: Moments, validation: Moments, mean: Tensor, intercept: Tensor, scale: Tensor
) -> list[float]:
    """The penalty of each target with the least squared error on the validation rows."""
    x, y, centred = fit.centred()
    held = _scaled(validation, mean, intercept, scale).about(x, y)
    values, vectors = torch.linalg.eigh(centred.xx)
    values = values.clamp(min=0.0)[:, None]
    cross, held_cross = vectors.T @ centred.xy, vectors.T @ held.xy
    held_square = vectors.T @ held.xx @ vectors
    errors = []
    for penalty in PENALTIES:
        weights = cross / (values + penalty * fit.count)
        explained = 2 * (weights * held_cross).sum(dim=0)
        errors.append(held.yy - explained + (weights * (held_square @ weights)).sum(dim=0))
    best = torch.stack(errors).argmin(dim=0).tolist()
    return [PENALTIES[i] for i in best]


def _scaled(moments: Moments, mean: Tensor, intercept: Tensor, scale: Tensor) -> Moments:
    about = moments.about(mean, intercept)
    return Moments(
        about.count,
        about.x / scale,
        about.y,
        about.xx / torch.outer(scale, scale),
        about.xy / scale[:, None],
        about.yy,
    )
