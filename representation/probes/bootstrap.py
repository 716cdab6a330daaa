"""How sure is a mean? Percentile intervals, by resampling whole episodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 500
_LEVELS = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A mean over rows.

    Attributes:
        mean: The mean; None over no rows.
        low: 2.5th percentile of the mean over resampled episodes.
        high: 97.5th percentile.
        rows: Number of rows.
        episodes: Number of episodes they are from.
    """

    mean: float | None
    low: float | None
    high: float | None
    rows: int
    episodes: int


class Bootstrap:
    """Resamples episodes, the same way for every mean.

    Rows of an episode resemble each other, so rows that are resampled one by one would look more
    certain than they are.

    Args:
        episodes: Episode of each row, (N,).
        generator: Draws the resamples.

    Source: Cameron, Gelbach and Miller 2008, section II.A (the pairs cluster bootstrap).
    """

    def __init__(self, episodes: NDArray[np.int64], generator: np.random.Generator) -> None:
        _, self._episode = np.unique(episodes, return_inverse=True)
        self._count = int(self._episode.max()) + 1 if len(episodes) else 0
        draws = (generator.integers(0, self._count, self._count) for _ in range(RESAMPLES))
        self._weights = (
            np.stack([np.bincount(draw, minlength=self._count) for draw in draws]).astype(float)
            if self._count
            else np.zeros((RESAMPLES, 0))
        )

    def means(self, values: NDArray[np.float64], rows: NDArray[np.bool_]) -> list[Estimate]:
        """Means of columns over some rows.

        Args:
            values: (N, L).
            rows: Which rows count, (N,).

        Returns:
            An estimate for each column.
        """
        episode, kept = self._episode[rows], values[rows]
        if not len(kept):
            return [Estimate(None, None, None, 0, 0)] * values.shape[1]
        counts = np.bincount(episode, minlength=self._count).astype(float)
        sums = np.stack(
            [np.bincount(episode, column, minlength=self._count) for column in kept.T], axis=1
        )
        drawn = self._weights @ counts
        means = (self._weights @ sums)[drawn > 0] / drawn[drawn > 0, None]
        low, high = np.percentile(means, _LEVELS, axis=0)
        episodes = int((counts > 0).sum())
        return [
            Estimate(float(mean), float(a), float(b), len(kept), episodes)
            for mean, a, b in zip(kept.mean(axis=0), low, high, strict=True)
        ]
