"""Where the seeds of worlds come from: ranges that share none, one for each purpose.

What a policy was trained or chosen on is never what it is judged on: evaluations name a range, and
play no seed outside it. A range's seeds are those of worlds: a vector of N worlds that is reset
with seed s takes s to s + N - 1. Seeds that a generator draws, as for data sets and the rounds of
DAgger, have 64 bits, and are in no range but for one in 4 trillion.
"""

from __future__ import annotations

from typing import Literal

from representation.require import require

SeedRange = Literal["training", "development", "checkpoint", "test"]
"""What a seed is for: to train with; to look at while a method is developed; to choose among a
run's checkpoints; and to report, once a method is fixed."""

SEED_RANGES: dict[SeedRange, range] = {
    "training": range(0, 1_000_000),
    "development": range(1_000_000, 2_000_000),
    "checkpoint": range(2_000_000, 3_000_000),
    "test": range(3_000_000, 4_000_000),
}
"""Seeds by purpose."""


def seeds_from(name: SeedRange, first: int = 0, count: int = 1) -> range:
    """A range's seeds from one of them on.

    Args:
        name: One of `SEED_RANGES`.
        first: How far from the first of the range they start.
        count: How many there have to be at least.

    Raises:
        ValueError: If there is no such range, or fewer seeds are left in it.
    """
    require(name in SEED_RANGES, "seeds", name, f"one of {', '.join(SEED_RANGES)}")
    seeds = SEED_RANGES[name]
    if first < 0 or count < 1 or first + count > len(seeds):
        raise ValueError(
            f"first={first!r} and {count!r} seeds are not allowed; {name} has {len(seeds):,}, and "
            "they have to start at 0 or more, and to end in it"
        )
    return seeds[first:]
