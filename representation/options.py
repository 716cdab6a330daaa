"""Things by name, made with options that their constructors take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def require_chosen(options: Collection[str], chosen: Collection[str], what: str) -> None:
    """Check that options are for things that are made.

    Raises:
        ValueError: If some are for others; names both.
    """
    if unused := sorted(set(options) - set(chosen)):
        raise ValueError(f"options are given for {unused}, but the {what} are {[*chosen]}")


def make_with_options(
    what: str, kind: Callable[..., T], options: Mapping[str, Any], *given: object
) -> T:
    """Make something.

    Args:
        what: What an error calls it.
        kind: Its constructor.
        options: Keyword arguments.
        given: Positional arguments, which are no options.

    Raises:
        ValueError: If an option is unknown, and names those there are; or a value is not allowed.
    """
    allowed = list(inspect.signature(kind).parameters)[len(given) :]
    if unknown := sorted(set(options) - set(allowed)):
        raise ValueError(f"{what} has no option {', '.join(unknown)}; it has {', '.join(allowed)}")
    return kind(*given, **options)
