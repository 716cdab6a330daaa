from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from policies.evaluation.statistics import (
    area_over_log_steps,
    hierarchical_interval,
    holm,
    interquartile_interval,
    interquartile_mean,
    normalised_score,
    paired_contrast,
    performance_profile,
    probability_of_improvement,
    sample_efficiency,
    steps_to,
)

SCORES = arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 4)),
    elements=st.floats(0, 1, width=16),
)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def all_resamples(scores):
    """Every way to draw as many runs as there are, with replacement: the exact bootstrap."""
    runs = range(len(scores))
    return [scores[list(drawn)] for drawn in itertools.product(runs, repeat=len(scores))]


# Hierarchical draws
ENCODERS, POLICIES, CONNECTORS, EPISODES = 3, 4, 2, 30
STRATA = np.repeat(np.arange(CONNECTORS), EPISODES)


def additive(rng, encoders=ENCODERS, policies=POLICIES):
    """Scores that are a sum of an encoder's, a policy's and an episode's part, and the parts."""
    parts = (
        rng.normal(size=(encoders, 1, 1)),
        rng.normal(size=(encoders, policies, 1)),
        rng.normal(size=(1, 1, STRATA.size)),
    )
    return sum(parts), parts


def test_the_hierarchical_error_is_the_sum_of_what_each_level_has() -> None:
    scores, (encoder, policy, episode) = additive(generator(3))
    found = hierarchical_interval(list(scores), STRATA, generator(), resamples=20_000)
    # Means of E encoders, of R policies of each, and of N episodes in each of C strata.
    variance = (
        (encoder[:, 0, 0] + policy.mean((1, 2))).var() / ENCODERS
        + policy.var(1).mean() / POLICIES / ENCODERS
        + episode.reshape(CONNECTORS, EPISODES).var(1).mean() / EPISODES / CONNECTORS
    )
    assert found.value == pytest.approx(scores.mean())
    assert found.error == pytest.approx(np.sqrt(variance), rel=0.02)
    assert found.levels == ("encoders", "policies", "episodes")
    assert found.low < found.value < found.high


def test_a_level_of_one_is_not_drawn() -> None:
    scores, (*_, episode) = additive(generator(3), encoders=1, policies=1)
    found = hierarchical_interval(list(scores), STRATA, generator(), resamples=20_000)
    variance = episode.reshape(CONNECTORS, EPISODES).var(1).mean() / EPISODES / CONNECTORS
    assert found.error == pytest.approx(np.sqrt(variance), rel=0.02)
    assert found.levels == ("episodes",)
    two, _ = additive(generator(3), encoders=1, policies=2)
    assert hierarchical_interval(list(two), STRATA, generator()).levels == ("policies", "episodes")
    alone = hierarchical_interval([[[0.5]]], [0], generator())
    assert (alone.error, alone.levels) == (0.0, ())


def test_strata_count_alike() -> None:
    found = hierarchical_interval([[[1.0, 0.0, 0.0, 0.0]]], ["a", "b", "b", "b"], generator())
    assert found.value == found.low == found.high == 0.5


def test_a_paired_contrast_is_narrower_than_an_unpaired_one() -> None:
    rng = generator(5)
    hard = rng.random(STRATA.size)  # episodes are hard for both alike
    one, other = (
        [(rng.random((3, STRATA.size)) * 0.2 + hard < limit).astype(float)] for limit in (0.7, 0.6)
    )
    found = paired_contrast(one, other, STRATA)
    apart = [hierarchical_interval(each, STRATA, generator()) for each in (one, other)]
    assert found.value == pytest.approx(np.mean(one) - np.mean(other))
    assert found.error < 0.7 * np.hypot(*(each.error for each in apart))
    assert found.p < 0.05 and found.low > 0


def test_a_contrast_of_encoders_alone_is_the_t_test_of_welch() -> None:
    means = generator(1).normal(size=(2, 4))
    one, other = ([np.full((1, STRATA.size), mean) for mean in side] for side in means)
    found = paired_contrast(one, other[:3], STRATA)
    welch = scipy.stats.ttest_ind(means[0], means[1, :3], equal_var=False)
    interval = welch.confidence_interval()
    assert found.p == pytest.approx(welch.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    quantiles = scipy.stats.t.ppf([0.975, 0.8], welch.df)
    assert found.smallest_visible == pytest.approx(sum(quantiles) * found.error)


def test_a_contrast_of_episodes_alone_is_the_paired_t_test() -> None:
    one, other = generator(1).random((2, 1, 30))
    found = paired_contrast([one], [other], np.zeros(30))
    assert found.p == pytest.approx(scipy.stats.ttest_rel(one[0], other[0]).pvalue)
    assert found.levels == ("episodes",)


def successes(rng, difficulty, mean, spread, encoders=3):
    """Successes of one policy on each encoder, (1, N) each."""
    parts = rng.normal(0, spread, (encoders, 1, 1)), rng.normal(size=(encoders, 1, STRATA.size))
    return list(sum(parts) + mean > difficulty)


def test_a_large_difference_is_found_among_sixty() -> None:
    rng = generator(2)
    difficulty = rng.normal(size=STRATA.size)
    pairs = [[successes(rng, difficulty, mean, 0.2) for mean in (0.0, 0.0)] for _ in range(59)]
    pairs.append([successes(rng, difficulty, mean, 0.2) for mean in (1.5, -1.5)])
    adjusted = holm([paired_contrast(*pair, STRATA).p for pair in pairs])
    assert adjusted[-1] < 0.05 < adjusted[:-1].min()


def test_p_values_of_no_difference_are_not_too_small() -> None:
    rng = generator(3)
    p = []
    for _ in range(400):
        difficulty = rng.normal(size=STRATA.size)
        p.append(paired_contrast(*(successes(rng, difficulty, 0.0, 1.5) for _ in "ab"), STRATA).p)
    for limit in (0.01, 0.05, 0.2, 0.5):
        # 99.9% of samples of uniform p-values have fewer below.
        assert np.sum(np.array(p) < limit) <= scipy.stats.binom.ppf(0.999, len(p), limit)
    assert np.mean(np.array(p) < 0.5) > 0.25


@pytest.mark.parametrize(
    ("one", "other", "episodes", "p"), [(1, 1, 8, 1), (1, 0, 1, 1), (1, 0, 8, 2**-7)]
)
def test_a_contrast_in_which_nothing_varies(one, other, episodes, p) -> None:
    sides = ([np.full((1, episodes), float(each))] for each in (one, other))
    found = paired_contrast(*sides, np.zeros(episodes))
    assert (found.value, found.low, found.high, found.p) == (one - other,) * 3 + (p,)


def test_no_difference_has_a_p_of_one() -> None:
    same = [np.tile([1.0, 0.0], (2, STRATA.size // 2))]
    found = paired_contrast(same, same, STRATA)
    assert (found.value, found.p) == (0.0, 1.0)


@pytest.mark.parametrize("scores", [[[[0.1]]], [[[0.1, 0.2]], [[0.1]]], [[[0.1, np.nan]]]])
def test_policies_that_played_other_episodes_are_refused(scores) -> None:
    with pytest.raises(ValueError, match=r"same episodes|finite numbers"):
        hierarchical_interval(scores, [0, 1], generator())


def test_holm_multiplies_the_smallest_by_all_and_never_falls() -> None:
    # Each p times how many are left, no less than those before: 4, 3, 2 and 1.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_array_equal(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).shape == (0,)


def test_a_score_is_normalised_between_the_search_and_the_expert() -> None:
    assert [normalised_score(x, 0.3, 0.9) for x in (0.3, 0.6, 0.9)] == pytest.approx([0, 0.5, 1])
    with pytest.raises(ValueError, match=r"must be above that of the search, 0\.4"):
        normalised_score(0.5, 0.4, 0.4)


def test_the_area_over_log_steps() -> None:
    steps = [0, 10, 100, 1000]
    # A straight line over the logarithm has the mean of its ends, wherever it is cut.
    assert area_over_log_steps(steps, [1.0, 0.0, 0.5, 1.0], 10, 1000) == pytest.approx(0.5)
    assert area_over_log_steps(steps, [1.0, 0.0, 0.5, 1.0], 100, 500) == pytest.approx(
        0.5 + 0.5 * np.log10(5) / 2
    )
    for limits in ((1, 1000), (10, 2000), (100, 100)):
        with pytest.raises(ValueError, match="does not go from"):
            area_over_log_steps(steps, [0, 0, 0, 0], *limits)


# Interquartile mean
def test_interquartile_mean_leaves_out_a_quarter_at_either_end():
    scores = np.array([[0.0, 0.5], [0.6, 0.7], [0.8, 0.9], [1.0, 1.0]])
    assert interquartile_mean(scores) == pytest.approx((0.6 + 0.7 + 0.8 + 0.9) / 4)
    # One run that went wrong altogether moves a mean of these by 0.25, and this by less.
    wrong = scores.copy()
    wrong[3] = 0.0
    assert interquartile_mean(wrong) == pytest.approx((0 + 0.5 + 0.6 + 0.7) / 4)


def test_interquartile_mean_takes_leading_axes():
    batch = generator().random((5, 7, 3, 4))
    each = [[interquartile_mean(scores) for scores in row] for row in batch]
    np.testing.assert_allclose(interquartile_mean(batch), each)


# Intervals
def test_interval_draws_runs_with_all_their_tasks():
    """Two tasks that a run does equally well say no more than one."""
    one = generator().random((8, 1))
    both = interquartile_interval(np.hstack([one, one]), generator(1), resamples=20_000)
    exact = [interquartile_mean(np.hstack([r, r])) for r in all_resamples(one[:4])]
    few = interquartile_interval(np.hstack([one, one])[:4], generator(1), resamples=20_000)
    assert few.low == pytest.approx(np.quantile(exact, 0.025), abs=0.01)
    assert few.high == pytest.approx(np.quantile(exact, 0.975), abs=0.01)
    # Drawing the tasks apart would narrow the interval by a factor of about 1.4.
    apart = scipy.stats.bootstrap(
        (one[:, 0], one[:, 0]),
        lambda a, b, axis: scipy.stats.trim_mean(np.concatenate([a, b], axis), 0.25, axis),
        method="percentile",
        n_resamples=5000,
        rng=generator(2),
    ).confidence_interval
    assert both.high - both.low > 1.2 * (apart.high - apart.low)


@given(SCORES, st.integers(0, 2**32))
def test_interval_is_seeded_and_within_the_scores(scores, seed):
    first = interquartile_interval(scores, generator(seed), resamples=50)
    assert first == interquartile_interval(scores, generator(seed), resamples=50)
    assert scores.min() - 1e-12 <= first.low <= first.high <= scores.max() + 1e-12


# Probability of improvement
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(0, 1000))
def test_improvement_is_mann_whitneys_u_over_the_pairs(runs, others, tasks, seed):
    rng = generator(seed)
    x, y = rng.integers(0, 4, (runs, tasks)) / 4, rng.integers(0, 4, (others, tasks)) / 4
    expected = np.mean(
        [
            scipy.stats.mannwhitneyu(x[:, t], y[:, t], method="asymptotic").statistic
            for t in range(tasks)
        ]
    ) / (runs * others)
    assert probability_of_improvement(x, y, rng, resamples=10).value == pytest.approx(expected)


def test_improvement_is_certain_even_or_impossible():
    low, high = np.full((3, 2), 0.2), np.full((4, 2), 0.8)
    for x, y, expected in ((high, low, 1.0), (low, low, 0.5), (low, high, 0.0)):
        estimate = probability_of_improvement(x, y, generator())
        assert (estimate.value, estimate.low, estimate.high) == (expected,) * 3


def test_improvement_draws_either_representation_by_itself():
    x, y = np.array([[0.1], [0.5]]), np.array([[0.3], [0.4]])
    exact = [(a > b.T).mean() for a, b in itertools.product(all_resamples(x), all_resamples(y))]
    estimate = probability_of_improvement(x, y, generator(), resamples=20_000)
    assert estimate.low == np.quantile(exact, 0.025)
    assert estimate.high == np.quantile(exact, 0.975)


def test_improvement_needs_the_same_tasks():
    with pytest.raises(ValueError, match="2 and 3 tasks"):
        probability_of_improvement(np.ones((2, 2)), np.ones((2, 3)), generator())


# Performance profiles
def test_profile_is_the_part_that_scores_more():
    scores = np.array([[0.2, 0.4], [0.6, 1.0]])
    band = performance_profile(scores, [0.0, 0.2, 0.5, 0.99, 1.0], generator())
    np.testing.assert_array_equal(band.estimate, [1.0, 0.75, 0.5, 0.25, 0.0])
    np.testing.assert_array_equal(band.x, [0.0, 0.2, 0.5, 0.99, 1.0])
    # Both runs alike give the widest bands there can be; here they go from one run to the other.
    np.testing.assert_array_equal(band.low, [1.0, 0.5, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(band.high, [1.0, 1.0, 1.0, 0.5, 0.0])


@given(SCORES)
def test_profiles_fall_and_their_area_is_the_mean(scores):
    thresholds = (np.arange(2000) + 0.5) / 2000
    band = performance_profile(scores, thresholds, generator(), resamples=20)
    for curve in (band.low, band.estimate, band.high):
        assert (np.diff(curve) <= 0).all()
    assert (band.low <= band.high).all()
    assert band.estimate.mean() == pytest.approx(scores.mean(), abs=1e-3)


# Curves
def test_curve_interpolates_on_steps_common_to_all_runs():
    steps = [np.array([0, 100, 200]), np.array([50, 150, 250]), np.array([0, 250])]
    success = [s / 1000 for s in steps]
    band = sample_efficiency(steps, success, generator(), points=4)
    np.testing.assert_allclose(band.x, [50, 100, 150, 200])
    for curve in (band.estimate, band.low, band.high):
        np.testing.assert_allclose(curve, band.x / 1000)


def test_curve_is_the_interquartile_mean_of_runs_and_tasks():
    rng = generator(5)
    steps = np.arange(6) * 10
    success = rng.random((5, 6, 4))  # runs, evaluations, tasks
    band = sample_efficiency([steps] * 5, list(success), generator(), points=6)
    for i in range(6):
        alone = interquartile_interval(success[:, i], generator())
        assert band.estimate[i] == pytest.approx(alone.value)
        assert (band.low[i], band.high[i]) == pytest.approx((alone.low, alone.high))


def test_curve_of_a_single_evaluation_is_a_point():
    band = sample_efficiency([[100], [100]], [[0.2], [0.4]], generator())
    np.testing.assert_allclose(band.x, [100])
    np.testing.assert_allclose(band.estimate, [0.3])


@pytest.mark.parametrize(
    ("steps", "scores", "expected"),
    [
        ([], [], "0 runs"),
        ([[1, 2]], [], "0 runs' scores"),
        ([[1, 2], []], [[0, 0], []], "never evaluated"),
        ([[1, 2], [5, 6]], [[0, 0], [0, 0]], "begin at step 5, after another's end at 2"),
    ],
)
def test_runs_that_make_no_curve_are_refused(steps, scores, expected):
    with pytest.raises(ValueError, match=expected):
        sample_efficiency(steps, scores, generator())


def test_steps_to_is_the_first_evaluation_that_reached_it():
    steps, success = [10, 20, 30, 40], [0.5, 0.9, 0.8, 0.95]
    assert steps_to(steps, success) == 20
    assert steps_to(steps, success, 0.91) == 40
    assert steps_to(steps, success, 0.99) is None
    assert steps_to([], []) is None


@pytest.mark.parametrize(
    "scores", [[], [[]], [0.1, 0.2], [[0.1, np.nan]], [[np.inf]], np.zeros((2, 2, 2))]
)
def test_scores_that_are_no_table_of_numbers_are_refused(scores):
    with pytest.raises(ValueError, match="table of finite numbers"):
        interquartile_interval(scores, generator())
