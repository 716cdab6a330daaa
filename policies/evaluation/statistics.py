"""Statistics of a few runs: aggregates with 95% bootstrap intervals, seeded.

A score is the mean success of `hierarchical_interval`, whose draws have every level that chance
has: encoder seeds, policy seeds and episodes; `paired_contrast` is the difference of two.

The rest is about runs alone. Scores are arrays (R, T): R runs, which differ in their seed, and T
tasks, here the connectors that each run's policy was evaluated on. Intervals are percentiles of
`resamples` draws of runs by `rng`. A run is drawn with all its tasks: they share one policy, so
their scores rise and fall together, and drawing them apart would make intervals too narrow. Each
representation is a stratum: its runs are drawn from its own. Scores that are no table of finite
numbers raise a ValueError.

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

VISIBLE_ERRORS = 2.80
"""Standard errors that a difference must have to be found with 80% power at 5%, two-sided: the
normal quantiles of 0.975 and 0.8, 1.96 + 0.84.

Source: Bloom, "Minimum Detectable Effects", Evaluation Review 19(5), 1995."""


@dataclass(frozen=True)
class Estimate:
    """A number and the lower and upper end of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class HierarchicalEstimate(Estimate):
    """A mean with the interval of hierarchical draws.

    Attributes:
        error: Standard error, the standard deviation of the draws.
        levels: What was drawn, of "encoders", "policies" and "episodes": a level with one member
            is not, so that the interval says nothing of another one.
    """

    error: float
    levels: tuple[str, ...]


@dataclass(frozen=True)
class Contrast(HierarchicalEstimate):
    """A difference of two means on the same episodes.

    Attributes:
        p: Two-sided p-value of no difference: twice the part of draws on the rarer side of 0, the
            estimate counting as a draw; so it is never 0.
    """

    p: float

    @property
    def smallest_visible(self) -> float:
        """The smallest difference that was likely to be seen: 80% power at 5%, two-sided."""
        return VISIBLE_ERRORS * self.error


@dataclass(frozen=True, eq=False)
class Band:
    """A curve: where it is known, its values, and the ends of its intervals there, each (P,)."""

    x: Floats
    estimate: Floats
    low: Floats
    high: Floats


def hierarchical_interval(
    scores: Sequence[ArrayLike],
    strata: ArrayLike,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> HierarchicalEstimate:
    """The mean of scores, over strata that count alike, with its interval.

    A draw takes encoders, policies within each of them, and episodes within each stratum, all with
    replacement. Every policy played the same episodes, so a draw's episodes are those of all.

    Args:
        scores: What policies scored in each episode: (R, N) for each encoder.
        strata: The stratum of each episode, such as its connector, (N,).
        rng: Draws.
        resamples: How often.

    Raises:
        ValueError: If scores are no tables of finite numbers with a column for each episode.

    Source: Saravanan, Berman and Sober, "Application of the hierarchical bootstrap to multi-level
    data in neuroscience", Neurons, Behavior, Data Analysis and Theory 3(5), 2020.
    """
    value, draws, levels = _hierarchical([scores], strata, rng, resamples)
    low, high = np.percentile(draws[:, 0], [2.5, 97.5])
    return HierarchicalEstimate(
        float(value[0]), float(low), float(high), float(draws[:, 0].std()), levels
    )


def paired_contrast(
    scores: Sequence[ArrayLike],
    others: Sequence[ArrayLike],
    strata: ArrayLike,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Contrast:
    """The mean of scores less that of others, on the same episodes.

    Both have the same episodes in each draw, and encoders and policies of their own. A level counts
    as drawn if one of the two has several members of it. Arguments and errors are those of
    `hierarchical_interval`.
    """
    value, draws, levels = _hierarchical([scores, others], strata, rng, resamples)
    difference = draws[:, 0] - draws[:, 1]
    low, high = np.percentile(difference, [2.5, 97.5])
    # Draws that differ by rounding alone are ties, which count on either side.
    rarer = min((difference <= 1e-12).sum(), (difference >= -1e-12).sum())
    return Contrast(
        float(value[0] - value[1]),
        *(float(low), float(high), float(difference.std()), levels),
        p=min(1.0, 2 * float(rarer + 1) / (resamples + 1)),
    )


def holm(p_values: ArrayLike) -> Floats:
    """P-values (M,) adjusted so that the chance of one false finding among them stays below 5%.

    SciPy's `false_discovery_control` bounds the part of findings that are false instead.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 6(2), 1979.
    """
    p = np.asarray(p_values, np.float64)
    ascending = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[ascending] = np.maximum.accumulate(p[ascending] * np.arange(p.size, 0, -1))
    return np.minimum(adjusted, 1.0)


def normalised_score(success: float, search: float, expert: float) -> float:
    """A success rate from 0, that of a search without touch, to 1, that of the expert.

    Raises:
        ValueError: If the expert is no better than the search.
    """
    if expert <= search:
        raise ValueError(
            f"the expert's success, {expert:g}, must be above that of the search, {search:g}"
        )
    return (success - search) / (expert - search)


def area_over_log_steps(steps: ArrayLike, success: ArrayLike, first: float, last: float) -> float:
    """The mean success between two steps, over the logarithm of steps: all of them to learn is 1.

    Args:
        steps: Steps at which a run was evaluated, rising, (E,); step 0 has no logarithm and is
            left out.
        success: Its success there, (E,), interpolated linearly on the logarithm.
        first: Where the area begins; above 0.
        last: Where it ends; the same for all runs that are compared.

    Raises:
        ValueError: If the run was not evaluated from the first to the last.
    """
    at, rates = np.asarray(steps, np.float64), np.asarray(success, np.float64)
    at, rates = at[at > 0], rates[at > 0]
    if not (at.size and at[0] <= first < last <= at[-1]):
        raise ValueError(f"a run of {at.size} evaluations does not go from {first:g} to {last:g}")
    inside = at[(at > first) & (at < last)]
    x = np.log([first, *inside, last])
    return float(np.trapezoid(np.interp(x, np.log(at), rates), x) / (x[-1] - x[0]))


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


def _hierarchical(
    samples: Sequence[Sequence[ArrayLike]],
    strata: ArrayLike,
    rng: np.random.Generator,
    resamples: int,
) -> tuple[Floats, Floats, tuple[str, ...]]:
    """Means (K,) of K samples, their draws (B, K), and the levels that were drawn.

    A draw is a weight for each policy and each episode, so that its mean is a product of matrices.
    """
    _, stratum, sizes = np.unique(np.asarray(strata), return_inverse=True, return_counts=True)
    tables = [[_table(scores) for scores in sample] for sample in samples]
    columns = {table.shape[1] for sample in tables for table in sample}
    if columns != {stratum.size}:
        raise ValueError(
            f"scores of {sorted(columns)} episodes and strata of {stratum.size}; give every policy "
            "the same episodes"
        )
    episodes = np.empty((resamples, stratum.size))
    for i, size in enumerate(sizes):
        drawn = rng.multinomial(size, np.full(size, 1 / size), resamples)
        episodes[:, stratum == i] = drawn / (size * sizes.size)
    even = 1 / (sizes[stratum] * sizes.size)
    means, draws = [], []
    for sample in tables:
        count = len(sample)
        chosen = rng.multinomial(count, np.full(count, 1 / count), resamples)  # (B, E)
        weights = [
            rng.multinomial(times * len(table), np.full(len(table), 1 / len(table)))
            / (count * len(table))
            for times, table in zip(chosen.T, sample, strict=True)
        ]  # (B, R) each: an encoder that is drawn twice has its policies drawn twice
        policies = np.concatenate(sample)
        draws.append(((np.concatenate(weights, axis=1) @ policies) * episodes).sum(1))
        means.append(np.mean([table.mean(0) @ even for table in sample]))
    found = {
        "encoders": any(len(sample) > 1 for sample in tables),
        "policies": any(len(table) > 1 for sample in tables for table in sample),
        "episodes": bool((sizes > 1).any()),
    }
    levels = tuple(name for name, several in found.items() if several)
    return np.array(means), np.stack(draws, axis=1), levels


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
