"""Bounds of what can be set, and what is said of a value beyond them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
from array_api_compat import is_torch_array

T = TypeVar("T")
Range = tuple[float, float]
"""Lower and upper bound, in the unit that the field's name ends with."""


def require(condition: bool, name: str, given: object, allowed: str) -> None:
    """Refuse a value unless `condition` holds.

    Raises:
        ValueError: If it does not; names the value and what is allowed.
    """
    if not condition:
        raise ValueError(f"{name}={shown(given)} is not allowed; {name} must be {allowed}")


def made(name: str, given: object, kind: type[T], *, found: object = None, others: str = "") -> T:
    """A configuration object, from itself or from a mapping of its fields.

    Args:
        name: What is set.
        given: What it is set to.
        kind: The object's class.
        found: What `given` names, where it is a name.
        others: What else is allowed, in words.

    Raises:
        ValueError: If it is neither, or a field is unknown; names what is allowed.
    """
    found = given if found is None else found
    if isinstance(found, kind):
        return found
    allowed = inspect.signature(kind).parameters
    require(
        isinstance(found, Mapping) and set(found) <= set(allowed),
        name,
        given,
        f"{others or f'a {kind.__name__}'}, or a mapping of {', '.join(allowed)}",
    )
    return kind(**found)  # type: ignore[arg-type]


def shown(value: object) -> str:
    """A value for an error's text, which must not be as long as what a hostile file holds."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "a value that is too large to show"
    return text if len(text) <= 200 else f"{text[:197]}..."


def as_number(value: object) -> float | None:
    """A finite number, NumPy's included, as a float; None for anything else, flags included."""
    value = _unboxed(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer too large for a float
        return None
    return number if math.isfinite(number) else None


def as_integer(value: object) -> int | None:
    """A whole number, NumPy's included, as an int; None for anything else, flags included."""
    value = _unboxed(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        return None
    return int(value)


def checked_count(name: str, given: object) -> int:
    """A number of things, at least 1.

    Raises:
        ValueError: If it is none; names it.
    """
    count = as_integer(given)
    require(count is not None and count >= 1, name, given, "a whole number, at least 1")
    return count  # type: ignore[return-value] # refused above


def checked_actions(actions: Any, shape: tuple[int, ...]) -> Any:
    """Actions as a NumPy array of numbers, or as a torch tensor without its graph.

    Args:
        actions: Of any library, or nested sequences.
        shape: The shape that they must have.

    Raises:
        ValueError: If they are not real numbers, or have another shape.
    """
    if is_torch_array(actions):
        actions = actions.detach()
        real = not actions.is_complex()
    else:
        real = not isinstance(actions, np.ma.MaskedArray)
        try:
            actions = np.asarray(actions)
        except (TypeError, ValueError) as error:
            raise ValueError(f"an action is an array of numbers; got {actions!r}") from error
        real = real and actions.dtype.kind in "fiub"
    if not real:
        raise ValueError(
            f"an action is an array of real numbers; got {actions.dtype}, or a masked array"
        )
    if tuple(actions.shape) != shape:
        raise ValueError(f"the action has shape {tuple(actions.shape)}; expected {shape}")
    return actions


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


def _unboxed(value: object) -> object:
    """What an array without axes holds; anything else as it is."""
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
