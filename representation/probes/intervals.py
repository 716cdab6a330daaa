"""How sure is a mean? Percentile intervals, by resampling whole episodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

RESAMPLES = 500


@dataclass(frozen=True)
class Estimate:
    """A mean over rows.

    Attributes:
        value: The mean.
        low: 2.5th percentile of the mean over resampled episodes; None for a single episode.
        high: 97.5th percentile.
        rows: Number of rows.
        episodes: Number of episodes they are from.
    """

    value: float
    low: float | None
    high: float | None
    rows: int
    episodes: int


def episode_means(
    values: NDArray[np.floating], episodes: NDArray[np.int64], seed: int
) -> list[Estimate]:
    """Means of columns, with intervals over episodes.

    Rows of an episode resemble each other, so rows that are resampled one by one would look more
    certain than they are.

    Args:
        values: (N, L), N > 0.
        episodes: Episode of each row, (N,).
        seed: Seed of the resamples, which are the same for all columns.

    Returns:
        An estimate for each column.

    Source: Cameron, Gelbach and Miller 2008, section II.A (the pairs cluster bootstrap).
    """
    found, episode = np.unique(episodes, return_inverse=True)
    counts = np.bincount(episode)
    means = values.mean(axis=0, dtype=np.float64)
    if len(found) < 2:
        return [Estimate(float(mean), None, None, len(values), len(found)) for mean in means]
    sums = np.stack([np.bincount(episode, column) for column in values.T])
    interval = bootstrap(
        (sums, counts[None]),
        lambda total, count, axis: total.sum(axis=axis) / count.sum(axis=axis),
        axis=-1,
        paired=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return [
        Estimate(float(mean), float(low), float(high), len(values), len(found))
        for mean, low, high in zip(means, interval.low, interval.high, strict=True)
    ]
