"""How sure is a mean? Percentile intervals, by resampling whole episodes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

RESAMPLES = 500


class Estimate(NamedTuple):
    """A mean, and its 2.5th and 97.5th percentile over resampled episodes; None for one episode."""

    value: float
    low: float | None
    high: float | None


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

    Source: Cameron, Gelbach and Miller 2008, section II.A (the pairs cluster bootstrap).
    """
    found, episode = np.unique(episodes, return_inverse=True)
    means = values.mean(axis=0, dtype=np.float64).tolist()
    if len(found) < 2:
        return [Estimate(mean, None, None) for mean in means]
    sums = np.stack([np.bincount(episode, column) for column in values.T])
    interval = bootstrap(
        (sums, np.bincount(episode)[None]),
        lambda total, count, axis: total.sum(axis=axis) / count.sum(axis=axis),
        axis=-1,
        paired=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    ends = zip(means, interval.low.tolist(), interval.high.tolist(), strict=True)
    return [Estimate(*each) for each in ends]
