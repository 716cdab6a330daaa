"""Statistics of a few runs: aggregates with 95% bootstrap intervals, seeded.

Scores are arrays (R, T): R runs, which differ in their seed, and T tasks, here the connectors that
each run's policy was evaluated on. Intervals are percentiles of `resamples` draws of runs by `rng`.
A run is drawn with all its tasks: they share one policy, so their scores rise and fall together,
and drawing them apart would make intervals too narrow. Each representation is a stratum: its runs
are drawn from its own. Scores that are no table of finite numbers raise a ValueError.

Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A number and the lower and upper end of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Band:
    """A curve: where it is known, its values, and the ends of its intervals there, each (P,)."""

    x: Floats
    estimate: Floats
    low: Floats
    high: Floats


def interquartile_mean(scores: ArrayLike) -> Floats:
    """Mean of the middle half of all runs and tasks, (..., R, T) to (...).

    One failed run moves it less than a mean, and it uses more than a median. A quarter of the
    scores, rounded down, is left out at either end.
    """
    from scipy.stats import trim_mean  # slow to import, and training starts without

    array = np.asarray(scores, np.float64)
    pooled = array.reshape(*array.shape[:-2], -1)
    middle: Floats = trim_mean(pooled, 0.25, axis=-1)
    return middle


def interquartile_interval(
    scores: ArrayLike, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Estimate:
    """The interquartile mean of scores (R, T) with its interval."""
    found = _bootstrap(interquartile_mean, [_table(scores)], rng, resamples)
    return Estimate(*map(float, found))


def probability_of_improvement(
    scores: ArrayLike, others: ArrayLike, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Estimate:
    """How likely a run of one representation beats a run of another on a task; ties count half.

    Per task this is Mann and Whitney's U over the number of pairs; the tasks' mean is taken.

    Args:
        scores: Scores of the one, (R, T).
        others: Scores of the other, (Q, T), on the same tasks.
        rng: Draws the runs, of either independently.
        resamples: As everywhere here.

    Raises:
        ValueError: If they are not of as many tasks.
    """
    tables = [_table(scores), _table(others)]
    if tables[0].shape[1] != tables[1].shape[1]:
        raise ValueError(
            f"the scores have {tables[0].shape[1]} and {tables[1].shape[1]} tasks; compare runs on "
            "the same ones"
        )
    return Estimate(*map(float, _bootstrap(_improvement, tables, rng, resamples)))


def performance_profile(
    scores: ArrayLike, thresholds: ArrayLike, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Band:
    """The part of runs and tasks, of scores (R, T), that score more than each threshold, (P,)."""
    x = np.asarray(thresholds, np.float64)
    above = (_table(scores) > x[:, None, None]).astype(np.float64)  # (P, R, T)
    return Band(x, *_bootstrap(lambda a: a.mean((-2, -1)), [above], rng, resamples))


def sample_efficiency(
    steps: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    rng: np.random.Generator,
    *,
    points: int = 101,
    resamples: int = RESAMPLES,
) -> Band:
    """The interquartile mean over training, on steps that all runs have been through.

    Runs are evaluated at different steps, so each is interpolated, linearly, on steps common to
    all: from the latest first evaluation to the earliest last one. Nothing is extrapolated.

    Args:
        steps: Steps at which each run was evaluated, rising, R times (E,).
        scores: What it scored there, R times (E,) or (E, T).
        rng: Draws the runs.
        points: Steps of the curve.
        resamples: As everywhere here.

    Raises:
        ValueError: If there are no runs, or two of them have no steps in common.
    """
    if not len(steps) or len(steps) != len(scores):
        raise ValueError(f"{len(steps)} runs' steps and {len(scores)} runs' scores make no curve")
    at = [np.asarray(run, np.float64) for run in steps]
    if not all(run.size for run in at):
        raise ValueError("a run was never evaluated; leave it out of the curve")
    first, last = max(run[0] for run in at), min(run[-1] for run in at)
    if first > last:
        raise ValueError(
            f"a run's evaluations begin at step {first:g}, after another's end at {last:g}"
        )
    x = np.linspace(first, last, points if first < last else 1)
    curves = np.stack(
        [
            [np.interp(x, run, column) for column in np.atleast_2d(np.asarray(score).T)]
            for run, score in zip(at, scores, strict=True)
        ]
    )  # (R, T, P)
    by_step = np.moveaxis(curves, -1, 0)
    return Band(x, *_bootstrap(interquartile_mean, [by_step], rng, resamples))


def steps_to(steps: ArrayLike, success: ArrayLike, threshold: float = 0.9) -> int | None:
    """The first of some rising steps (E,) whose success (E,) reached a threshold; None if none."""
    reached = np.flatnonzero(np.asarray(success) >= threshold)
    return int(np.asarray(steps)[reached[0]]) if reached.size else None


def wilson(successes: int, episodes: int) -> tuple[float, float]:
    """Wilson's score interval of a success rate, 95%; (0, 1) without episodes.

    Its coverage holds for few episodes and for rates near 0 and 1, where that of the mean plus and
    minus two standard errors does not: for 100 successes in 100 episodes that has no width.

    Raises:
        ValueError: If no episodes come to that many successes.
    """
    if not episodes:
        return 0.0, 1.0
    from scipy.stats import binomtest

    found = binomtest(successes, episodes).proportion_ci(method="wilson")
    # The bounds at rates of 0 and 1 are exact; rounding is not to move them.
    low = 0.0 if successes == 0 else float(found.low)
    return low, 1.0 if successes == episodes else float(found.high)


def _improvement(scores: Floats, others: Floats) -> Floats:
    # SciPy's `mannwhitneyu` would rank 2,000 resamples for p-values that nobody asks for.
    difference = np.sign(scores[..., :, None, :] - others[..., None, :, :])  # (..., R, Q, T)
    probability: Floats = (0.5 + 0.5 * difference).mean((-3, -2, -1))
    return probability


def _table(scores: ArrayLike) -> Floats:
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ValueError(
            f"scores of shape {table.shape} will not do; give a table of finite numbers, a row for "
            "each run and a column for each task"
        )
    return table


def _bootstrap(
    statistic: Callable[..., Floats],
    strata: Sequence[Floats],
    rng: np.random.Generator,
    resamples: int,
) -> tuple[Floats, Floats, Floats]:
    """A statistic of strata (..., R, T), and the ends of its interval over draws of their runs."""
    value = statistic(*strata)
    # SciPy refuses a sample of one; drawing from it anew changes nothing.
    drawn = [i for i, scores in enumerate(strata) if scores.shape[-2] > 1]
    if not drawn:
        return value, value, value

    def of_runs(*runs: NDArray[np.int64], axis: int) -> Floats:
        resampled = list(strata)
        for i, chosen in zip(drawn, runs, strict=True):
            resampled[i] = strata[i][..., chosen, :]
        return statistic(*resampled)

    samples = [np.arange(strata[i].shape[-2]) for i in drawn]
    from scipy.stats import bootstrap

    interval = bootstrap(
        samples, of_runs, n_resamples=resamples, method="percentile", rng=rng
    ).confidence_interval
    return value, interval.low, interval.high
