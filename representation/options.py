"""Options of things that are chosen by name."""

from __future__ import annotations

from collections.abc import Collection


def require_chosen(options: Collection[str], chosen: Collection[str], what: str) -> None:
    """Check that options are for things that are made.

    Raises:
        ValueError: If some are for others; names both.
    """
    if unused := sorted(set(options) - set(chosen)):
        raise ValueError(f"options are given for {unused}, but the {what} are {[*chosen]}")


def require_known(options: Collection[str], allowed: Collection[str], what: str) -> None:
    """Check that a thing has the options that are given.

    Raises:
        ValueError: If one is unknown; names those there are.
    """
    if unknown := sorted(set(options) - set(allowed)):
        raise ValueError(f"{what} has no option {', '.join(unknown)}; it has {', '.join(allowed)}")
