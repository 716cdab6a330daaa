"""Bounds of what can be set, and what is said of a value beyond them."""

from __future__ import annotations

import math
from collections.abc import Iterable

Range = tuple[float, float]
"""Lower and upper bound, in the unit that the field's name ends with."""


def require(condition: bool, name: str, given: object, allowed: str) -> None:
    """Refuse a value unless `condition` holds.

    Raises:
        ValueError: If it does not; names the value and what is allowed.
    """
    if not condition:
        raise ValueError(f"{name}={given!r} is not allowed; {name} must be {allowed}")


def is_number(value: object) -> bool:
    """Whether a value is a finite number, and no flag."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -math.inf < value < math.inf  # exact for integers too large for a float


def checked_range(name: str, given: object, limits: Range) -> Range:
    """A pair of bounds as two floats.

    Args:
        name: What they bound.
        given: Any iterable of two numbers, low and high.
        limits: Widest bounds that are allowed.

    Raises:
        ValueError: If it is no such pair; names it and the limits.
    """
    low, high = limits
    pair = tuple(given) if isinstance(given, Iterable) else ()
    valid = len(pair) == 2 and all(map(is_number, pair)) and low <= pair[0] <= pair[1] <= high
    allowed = f"a pair (low, high) with {low:g} <= low <= high <= {high:g}"
    require(valid, name, given, allowed)
    return float(pair[0]), float(pair[1])
