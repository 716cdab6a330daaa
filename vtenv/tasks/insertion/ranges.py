"""Configurations whose fields are ranges to draw from, each within limits of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from vtenv.validation import Range, checked_range


@dataclass(frozen=True)
class Ranges:
    """Fields that are `(low, high)` pairs; equal bounds fix a value.

    Raises:
        ValueError: If a pair is out of its limits; names it and them.
    """

    widest: ClassVar[Mapping[str, Range]]
    """Widest bounds that each field may take, in its unit."""
    optional: ClassVar[bool] = False
    """Whether a field may be None, too."""

    def __post_init__(self) -> None:
        for name, limits in self.widest.items():
            given = getattr(self, name)
            if given is not None or not self.optional:
                object.__setattr__(self, name, checked_range(name, given, limits))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the fields, in the order in which they are drawn."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def limits(cls, name: str) -> Range:
        """Widest bounds that the field `name` may take, in its unit."""
        return cls.widest[name]
