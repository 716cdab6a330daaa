"""Bounds of configurations, which are shown and judged without loading the simulator."""

from __future__ import annotations


def require(condition: bool, name: str, given: object, allowed: str) -> None:
    """As `vtenv.validation.require`, which is imported only where it has something to say."""
    if not condition:
        from vtenv.validation import require as refuse

        refuse(False, name, given, allowed)
