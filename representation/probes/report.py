"""What an audit found: one table of measurements, and the facts that it rests on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from representation.probes import measurements as ms

View = tuple[str, str]
"""Region of the held-out rows, and region of those that the probes were fitted on."""


@dataclass(frozen=True)
class Point:
    """A held-out row's place in a t-SNE picture.

    Attributes:
        space: "shared" for the senses in their joint space; else a part of the embedding.
        part: The sense, or "fused".
        connector: Name of its class; empty if unknown.
        row: Row of the held-out split.
        x: Where it is.
        y: Where it is.
    """

    space: str
    part: str
    connector: str
    row: int
    x: float
    y: float


@dataclass(frozen=True)
class AuditReport:
    """What an encoder knows.

    Attributes:
        name: The encoder, as it was asked for.
        senses: What it perceives with, such as "vision" and "touch".
        embedding_size: Width of its embedding.
        variables: Pose variables that were probed.
        classes: Names of the classes, by number.
        regions: Regions that the data tell apart, and what people call them: that which decides
            first, all rows last.
        bounds: What the encoder should reach where it decides; empty for no gate.
        seed: Seed of all that was drawn.
        train_rows: Training rows by region.
        heldout_rows: Held-out rows by region.
        train_episodes: Episodes that the training rows are of.
        heldout_episodes: Episodes that the held-out rows are of.
        shared_space: How vision and touch are compared: "projection heads", "ridge map of vision
            to touch", or empty where they are not.
        measurements: All numbers.
        notes: What was left out, and why.
        points: t-SNE pictures.
    """

    name: str
    senses: tuple[str, ...]
    embedding_size: int
    variables: tuple[str, ...]
    classes: tuple[str, ...]
    regions: Mapping[str, str]
    bounds: Mapping[str, float]
    seed: int
    train_rows: Mapping[str, int]
    heldout_rows: Mapping[str, int]
    train_episodes: int
    heldout_episodes: int
    shared_space: str
    measurements: tuple[ms.Measurement, ...]
    notes: tuple[str, ...]
    points: tuple[Point, ...] = ()

    @property
    def views(self) -> list[View]:
        """Pairs of a region and the rows that its probes were fitted on, the deciding one first."""
        there = {(m.region, m.fitted_on) for m in self.measurements if m.measure == ms.ERROR}
        fits = dict.fromkeys((next(iter(self.regions)), ms.ALL))
        wanted = [(region, fitted_on) for fitted_on in fits for region in self.regions]
        return [view for view in wanted if view in there]

    def answer(
        self, variable: str, view: View, subject: str = ms.ENCODER, part: str = ms.FUSED
    ) -> ms.Measurement | None:
        """Error of a pose variable, or accuracy of "connector"; None if it was not measured."""
        measure = ms.ACCURACY if variable == ms.CLASS else ms.ERROR
        where = {"region": view[0], "fitted_on": view[1], "subject": subject, "part": part}
        return ms.only(self.measurements, measure=measure, variable=variable, **where)

    @property
    def gate(self) -> dict[str, ms.Measurement | None]:
        """By bounded variable what the encoder reaches where it decides; None if not measured."""
        return {variable: self.answer(variable, self.views[0]) for variable in self.bounds}

    @property
    def passed(self) -> bool:
        """Whether there is a gate, and the encoder meets every bound."""
        return bool(self.gate) and all(found and found.passed for found in self.gate.values())

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values for `vtenv.json_document.from_document`; all but the points."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del fields["points"]
        return fields | {"measurements": [row.to_dict() for row in self.measurements]}
