"""The interval of a success rate: Wilson's score interval."""

from __future__ import annotations

from typing import NamedTuple

from scipy.stats import binomtest


class Interval(NamedTuple):
    """A lower and an upper bound."""

    low: float
    high: float


def wilson(successes: int, episodes: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a success rate.

    Its coverage holds for few episodes and for rates near 0 and 1, where that of the mean plus and
    minus two standard errors does not: for 100 successes in 100 episodes that has no width.

    Args:
        successes: Episodes that succeeded.
        episodes: All episodes.
        confidence: How often the interval is to hold the true rate, between 0 and 1.

    Returns:
        Bounds of the rate; (0, 1) without episodes.

    Raises:
        ValueError: If there are more successes than episodes, a negative number of either, or the
            confidence is not between 0 and 1.
    """
    if not 0 <= successes <= episodes:
        raise ValueError(f"{successes} successes in {episodes} episodes cannot be")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} is not allowed; it must be between 0 and 1")
    if not episodes:
        return Interval(0.0, 1.0)
    found = binomtest(successes, episodes).proportion_ci(confidence, "wilson")
    # The bounds at rates of 0 and 1 are exact; rounding is not to move them.
    low = 0.0 if successes == 0 else float(found.low)
    return Interval(low, 1.0 if successes == episodes else float(found.high))
