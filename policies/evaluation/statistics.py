"""Statistics of a few runs: aggregates with 95% bootstrap intervals, seeded.

A score is the mean success of `hierarchical_interval`, whose draws have every level that chance
has: encoder seeds, policy seeds and episodes. `paired_contrast` is the difference of two, by a t
test: draws of a few seeds give p-values far too small.

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
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A number and the lower and upper end of its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class HierarchicalEstimate(Estimate):
    """A mean with an interval over several levels.

    Attributes:
        error: Standard error.
        levels: What the interval is over, of "encoders", "policies" and "episodes": of a level
            with one member it says nothing of another one.
    """

    error: float
    levels: tuple[str, ...]


@dataclass(frozen=True)
class Contrast(HierarchicalEstimate):
    """A difference of two means on the same episodes.

    Attributes:
        p: Two-sided p-value of no difference.
        smallest_visible: The smallest difference that was likely to be seen: 80% power at 5%,
            two-sided.
    """

    p: float
    smallest_visible: float


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
    stratum, sizes = _strata(strata)
    tables = _tables(scores, stratum.size)
    # A draw is a weight for each policy and episode, so that its mean is a product of matrices.
    episodes = np.empty((resamples, stratum.size))
    for i, size in enumerate(sizes):
        drawn = rng.multinomial(size, np.full(size, 1 / size), resamples)
        episodes[:, stratum == i] = drawn / (size * sizes.size)
    count = len(tables)
    chosen = rng.multinomial(count, np.full(count, 1 / count), resamples)  # (B, E)
    weights = [
        rng.multinomial(times * len(table), np.full(len(table), 1 / len(table)))
        / (count * len(table))
        for times, table in zip(chosen.T, tables, strict=True)
    ]  # (B, R) each: an encoder that is drawn twice has its policies drawn twice
    draws = ((np.concatenate(weights, axis=1) @ np.concatenate(tables)) * episodes).sum(1)
    value = np.mean([table.mean(0) for table in tables], axis=0) @ _even(stratum, sizes)
    low, high = np.percentile(draws, [2.5, 97.5])
    return HierarchicalEstimate(
        float(value), float(low), float(high), float(draws.std()), _levels([tables], sizes)
    )


def paired_contrast(
    scores: Sequence[ArrayLike], others: Sequence[ArrayLike], strata: ArrayLike
) -> Contrast:
    """The mean of scores less that of others, on the same episodes, by a t test.

    The variance is a sum of parts: of each side, that of the mean over its encoders (over its
    policies if it has one encoder), and that of the mean over episodes of the paired difference.
    Degrees of freedom are those of Welch and Satterthwaite. What an episode is to one encoder alone
    is in both parts, so the test is rather too careful. Encoders of the two sides are taken to be
    independent. P-values are no smaller than that of a sign test whose episodes all agree.

    Args:
        scores: As in `hierarchical_interval`.
        others: Those of the other side.
        strata: The stratum of each episode, (N,).

    Raises:
        ValueError: As there.

    Source: Satterthwaite, "An Approximate Distribution of Estimates of Variance Components",
    Biometrics Bulletin 2(6), 1946; a variance for each of two crossed factors: MacKinnon, Nielsen
    and Webb, "Wild Bootstrap and Asymptotic Inference with Multiway Clustering", Journal of
    Business & Economic Statistics 39(2), 2021; the smallest visible difference: Bloom, "Minimum
    Detectable Effects", Evaluation Review 19(5), 1995.
    """
    from scipy.stats import t

    stratum, sizes = _strata(strata)
    samples = [_tables(sample, stratum.size) for sample in (scores, others)]
    even = _even(stratum, sizes)
    means, parts = [], []  # parts: variance, and its degrees of freedom
    for tables in samples:
        several = len(tables) > 1
        members = np.stack([table.mean(0) for table in tables]) if several else tables[0]
        means.append(members.mean(0))
        if len(members) > 1:
            parts.append(((members @ even).var(ddof=1) / len(members), len(members) - 1))
    difference = means[0] - means[1]  # (N,)
    for i, size in enumerate(sizes):
        if size > 1:
            variance = difference[stratum == i].var(ddof=1) / size / sizes.size**2
            parts.append((variance, size - 1))
    value = float(difference @ even)
    squared = sum(variance for variance, _ in parts)
    error = float(np.sqrt(squared))
    levels = _levels(samples, sizes)
    if error < _ROUNDING:  # Nothing varies, or there is one of everything.
        p = 1.0 if abs(value) < _ROUNDING or not levels else 0.0
        return Contrast(value, value, value, 0.0, levels, max(p, _sign_test(stratum.size)), 0.0)
    found = t(squared**2 / sum(variance**2 / degrees for variance, degrees in parts))
    half = float(found.ppf(0.975)) * error
    return Contrast(
        value,
        value - half,
        value + half,
        error,
        levels,
        p=max(2 * float(found.sf(abs(value) / error)), _sign_test(stratum.size)),
        smallest_visible=half + float(found.ppf(0.8)) * error,
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


def _strata(strata: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The index of each episode's stratum (N,), and the episodes of each stratum."""
    _, stratum, sizes = np.unique(np.asarray(strata), return_inverse=True, return_counts=True)
    return stratum, sizes


def _even(stratum: NDArray[np.int64], sizes: NDArray[np.int64]) -> Floats:
    """The weight of each episode, (N,), in a mean over strata that count alike."""
    weights: Floats = 1 / (sizes[stratum] * sizes.size)
    return weights


def _tables(scores: Sequence[ArrayLike], episodes: int) -> list[Floats]:
    tables = [_table(each) for each in scores]
    columns = {table.shape[1] for table in tables}
    if columns != {episodes}:
        raise ValueError(
            f"scores of {sorted(columns)} episodes and strata of {episodes}; give every policy the "
            "same episodes"
        )
    return tables


def _levels(samples: Sequence[Sequence[Floats]], sizes: NDArray[np.int64]) -> tuple[str, ...]:
    """The levels that one of the samples has several members of."""
    found = {
        "encoders": any(len(sample) > 1 for sample in samples),
        "policies": any(len(table) > 1 for sample in samples for table in sample),
        "episodes": bool((sizes > 1).any()),
    }
    return tuple(name for name, several in found.items() if several)


def _sign_test(episodes: int) -> float:
    """The two-sided p-value of episodes that all agree; 1 of a single one."""
    return float(np.exp2(1 - episodes))


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
