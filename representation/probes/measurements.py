"""The table of measurements: one row each, which every table and picture is made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ENCODER, UNTRAINED, PIXELS, MEAN = "encoder", "untrained encoder", "raw pixels", "mean"
"""What is probed: the encoder, and the baselines that stand beside it."""
CLASS = "connector"
"""What the class of a row is called, beside the pose variables."""
FUSED = "fused"
"""The part of an embedding that is all of it: what a policy gets."""
ALL = "all"
"""The region that every row lies in."""

ERROR, ACCURACY = "error", "accuracy"
"""Measures of linear probes: mean absolute error of a pose variable; part of the rows whose class
is told right."""
CONFUSION = "confusion"
"""Rows of class `variable` that are taken for class `against`."""
RANKS = (1, 5, 10)
"""How many of the most similar moments count in retrieval."""
RECALL, CHANCE = "recall at {}", "chance at {}"
"""Part of the moments whose partner is among the most similar ones, and by chance; by rank."""
POOL = "pool"
"""Moments among which a partner is sought."""
ALIGNMENT, UNIFORMITY = "alignment", "uniformity"
SILHOUETTE, NMI = "silhouette", "normalised mutual information"
CAPTURE_RANGE = "capture range"
"""How far off the plug may be and the task still succeeds without a correction."""


@dataclass(frozen=True)
class Measurement:
    """One number, and what it is of; what does not apply is empty.

    Attributes:
        encoder: The encoder whose audit it is from.
        subject: What is probed: "encoder", "untrained encoder", "raw pixels" or "mean".
        part: Part of the embedding: a sense such as "touch", or "fused".
        measure: What is measured, such as "error".
        variable: Of what: a pose variable, "connector", or a class.
        against: What else the measure compares with: a class, a sense.
        fitted_on: Region of the training rows that the probe was fitted on.
        region: Region of the held-out rows that it was measured on.
        value: The number.
        low: Lower end of its 95% interval; None for none.
        high: Upper end.
        unit: Unit of the three; empty for none.
        rows: Held-out rows.
        episodes: Episodes that they are of.
        bound: The most an error may be, and the least an accuracy may be, in the region that
            decides; None for no bound.
        note: What a reader has to know about it.
    """

    encoder: str
    subject: str
    measure: str
    value: float
    part: str = ""
    variable: str = ""
    against: str = ""
    fitted_on: str = ""
    region: str = ""
    low: float | None = None
    high: float | None = None
    unit: str = ""
    rows: int | None = None
    episodes: int | None = None
    bound: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether it is within its bound; of no bound, it is."""
        if self.bound is None:
            return True
        return self.value >= self.bound if self.measure == ACCURACY else self.value <= self.bound

    def to_dict(self) -> dict[str, Any]:
        """Plain values by column, which JSON can hold; without those that are the default."""
        columns = {field.name: field.default for field in dataclasses.fields(self)}
        return {n: v for n, default in columns.items() if (v := getattr(self, n)) != default}


Rows = Sequence[Measurement]


def select(rows: Rows, **where: object) -> list[Measurement]:
    """Rows whose columns have some values.

    Args:
        rows: The table.
        **where: Values by column; a tuple for any of several.
    """
    allowed = {name: v if isinstance(v, tuple) else (v,) for name, v in where.items()}
    return [r for r in rows if all(getattr(r, name) in v for name, v in allowed.items())]


def only(rows: Rows, **where: object) -> Measurement | None:
    """The row whose columns have some values; None if there is none."""
    return next(iter(select(rows, **where)), None)


def distinct(rows: Rows, column: str) -> list[Any]:
    """Values of a column, in the order in which they first come."""
    return list(dict.fromkeys(getattr(row, column) for row in rows))


def measurements_from(dicts: Iterable[Mapping[str, Any]]) -> tuple[Measurement, ...]:
    """The table from what `to_dict` returned of its rows.

    Raises:
        TypeError: If a column is missing or unknown.
    """
    return tuple(Measurement(**row) for row in dicts)
