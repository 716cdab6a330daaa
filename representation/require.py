"""Bounds of configurations, which are shown and judged without loading the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def require(condition: bool, name: str, given: object, allowed: str) -> None:
    """As `vtenv.validation.require`, which is imported only where it has something to say."""
    if not condition:
        from vtenv.validation import require as refuse

        refuse(False, name, given, allowed)


def unbox_scalars(config: Any) -> None:
    """Make NumPy's scalars in a frozen dataclass's fields Python's numbers, which JSON takes."""
    for field in fields(config):
        object.__setattr__(config, field.name, _unboxed(getattr(config, field.name)))


def _unboxed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _unboxed(part) for key, part in value.items()}
    if type(value) in (tuple, list):
        return type(value)(map(_unboxed, value))
    return value.item() if getattr(value, "shape", None) == () else value
