"""Where the seeds of worlds come from: ranges that share none, one for each purpose.

What a policy was trained or chosen on is never what it is judged on. A range's seeds are those of
worlds: a vector of N worlds that is reset with seed s takes s to s + N - 1.
"""

from __future__ import annotations

from vtenv.validation import as_integer, require

SEED_RANGES = {
    "training": range(0, 1_000_000),
    "development": range(1_000_000, 2_000_000),
    "checkpoint": range(2_000_000, 3_000_000),
    "test": range(3_000_000, 4_000_000),
}
"""Seeds by purpose: to train with; to look at while a method is developed; to choose among a run's
checkpoints; and to report, once a method is fixed."""


def seed_of(purpose: str, index: int = 0, count: int = 1) -> int:
    """The first of `count` consecutive seeds for a purpose.

    Args:
        purpose: One of `SEED_RANGES`.
        index: How far it is from the first of the range.
        count: How many are taken.

    Raises:
        ValueError: If there is no such purpose, or the seeds are not all in its range.
    """
    require(purpose in SEED_RANGES, "purpose", purpose, f"one of {', '.join(SEED_RANGES)}")
    seeds, start, number = SEED_RANGES[purpose], as_integer(index), as_integer(count)
    if start is None or number is None or start < 0 or number < 1 or start + number > len(seeds):
        raise ValueError(
            f"index={index!r} and count={count!r} are not allowed; {purpose} has the "
            f"{len(seeds)} seeds from {seeds.start} on"
        )
    return seeds[start]


def purpose_of(seed: int) -> str:
    """What a seed is for.

    Raises:
        ValueError: If it is in no range.
    """
    for purpose, seeds in SEED_RANGES.items():
        if seed in seeds:
            return purpose
    ends = ", ".join(f"{name} from {r.start} to {r.stop - 1}" for name, r in SEED_RANGES.items())
    raise ValueError(f"seed={seed!r} is in no range; there are {ends}")
