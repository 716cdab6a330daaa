"""The interval of a success rate: Wilson's score interval."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple


class Interval(NamedTuple):
    """A lower and an upper bound."""

    low: float
    high: float


def wilson(successes: int, episodes: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a success rate.

    It holds what it promises for few episodes and for rates near 0 and 1, where the mean plus and
    minus two standard errors does not: of 100 successes in 100 episodes that would be certain.

    Args:
        successes: Episodes that succeeded.
        episodes: All episodes.
        confidence: How often the interval is to hold the true rate, between 0 and 1.

    Returns:
        Bounds of the rate; (0, 1) without episodes.

    Raises:
        ValueError: If there are more successes than episodes, a negative number of either, or the
            confidence is not between 0 and 1.

    Source:
        Wilson, "Probable inference, the law of succession, and statistical inference", Journal of
        the American Statistical Association 22, 1927.
    """
    if not 0 <= successes <= episodes:
        raise ValueError(f"{successes} successes in {episodes} episodes cannot be")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} is not allowed; it must be between 0 and 1")
    if not episodes:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, share = successes / episodes, z * z / episodes
    centre = (rate + share / 2) / (1 + share)
    spread = z * math.sqrt(rate * (1 - rate) / episodes + share / (4 * episodes)) / (1 + share)
    # The bounds at rates of 0 and 1 are exact; rounding is not to move them.
    low = 0.0 if successes == 0 else max(centre - spread, 0.0)
    high = 1.0 if successes == episodes else min(centre + spread, 1.0)
    return Interval(low, high)
