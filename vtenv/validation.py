"""Bounds of what can be set, and what is said of a value beyond them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real

import numpy as np

Range = tuple[float, float]
"""Lower and upper bound, in the unit that the field's name ends with."""


def require(condition: bool, name: str, given: object, allowed: str) -> None:
    """Refuse a value unless `condition` holds.

    Raises:
        ValueError: If it does not; names the value and what is allowed.
    """
    if not condition:
        raise ValueError(f"{name}={given!r} is not allowed; {name} must be {allowed}")


def as_number(value: object) -> float | None:
    """A finite number, NumPy's included, as a float; None for anything else, flags included."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer too large for a float
        return None
    return number if math.isfinite(number) else None


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
    numbers = [number for number in map(as_number, pair) if number is not None]
    valid = len(pair) == len(numbers) == 2 and low <= numbers[0] <= numbers[1] <= high
    allowed = f"a pair (low, high) with {low:g} <= low <= high <= {high:g}"
    require(valid, name, given, allowed)
    return numbers[0], numbers[1]
