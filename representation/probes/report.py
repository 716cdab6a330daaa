"""What an audit found: plain values, to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from representation.probes.bootstrap import Estimate
from representation.probes.gate import GateCheck

ENCODER, RANDOM, PIXELS, MEAN = "encoder", "untrained encoder", "raw pixels", "mean"
"""What is probed: the encoder, and what stands beside it."""


@dataclass(frozen=True)
class PoseError:
    """Mean absolute error of a linear probe of one variable.

    Attributes:
        subject: What is probed: "encoder", "untrained encoder", "raw pixels", or "mean".
        part: Part of the embedding: "vision", "touch" or "both"; of the mean, "none".
        variable: The pose variable; its unit is the last word of its name.
        fitted_on: Region of the training rows that the probe was fitted on.
        region: Region of the held-out rows that it was measured on.
        error: Mean absolute error, in the variable's unit.
    """

    subject: str
    part: str
    variable: str
    fitted_on: str
    region: str
    error: Estimate


@dataclass(frozen=True)
class ClassAccuracy:
    """Accuracy of a linear probe of the connector.

    Attributes:
        subject: What is probed.
        part: Part of the embedding.
        fitted_on: Region of the training rows.
        region: Region of the held-out rows.
        accuracy: Part of the rows that are told right.
        confusion: Rows by actual connector, then by predicted one.
        converged: Whether the fit came to rest; if not, the accuracy is a lower bound.
    """

    subject: str
    part: str
    fitted_on: str
    region: str
    accuracy: Estimate
    confusion: tuple[tuple[int, ...], ...]
    converged: bool


@dataclass(frozen=True)
class Retrieval:
    """Recall of partners across modalities.

    Attributes:
        query: Modality that asks.
        key: Modality that is searched.
        region: Region of the held-out rows.
        pool: Moments among which the partner is sought.
        pools: Pools that the recall is the mean of.
        recall: Part of the queries whose partner is found, by rank: "1", "5", "10".
    """

    query: str
    key: str
    region: str
    pool: int
    pools: int
    recall: dict[str, float]


@dataclass(frozen=True)
class Sphere:
    """How the joint space lies on the unit sphere.

    Attributes:
        alignment: Mean squared distance of partners.
        uniformity: Of each modality, the logarithm of the mean Gaussian potential.
    """

    alignment: float
    uniformity: dict[str, float]


@dataclass(frozen=True)
class ClusterScores:
    """Clusters against the connectors.

    Attributes:
        space: "vision", "touch" or "both": that part of the embedding, standardised; "shared
            vision" and "shared touch": the unit vectors of the joint space.
        silhouette: Of the connectors.
        nmi: Normalised mutual information of k-means and the connectors.
        rows: Rows that were clustered.
    """

    space: str
    silhouette: float
    nmi: float
    rows: int


@dataclass(frozen=True)
class Places:
    """A t-SNE of one space.

    Attributes:
        space: "shared" for both modalities in the joint space; else a part of the embedding.
        modality: Of each point.
        connector: Of each point; -1 where unknown.
        row: Row of the held-out split that each point is.
        x: Where it is.
        y: Where it is.
    """

    space: str
    modality: tuple[str, ...]
    connector: tuple[int, ...]
    row: tuple[int, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class AuditReport:
    """What an encoder knows.

    Attributes:
        name: The encoder, as it was asked for; "no encoder" for baselines alone.
        config: Its configuration.
        modalities: What it perceives with.
        embedding_size: Width of its embedding; 0 for no encoder.
        variables: Pose variables that were probed.
        circular: Those of them that come round at 360°.
        classes: Names of the connectors, by number.
        seed: Seed of all that was drawn.
        train_rows: Training rows by region.
        heldout_rows: Held-out rows by region.
        train_episodes: Episodes that the training rows are of.
        heldout_episodes: Episodes that the held-out rows are of.
        yardsticks: How far off a plug may be and still slide in, by variable.
        pose: Errors of the linear probes.
        connector: Accuracies of the class probes.
        shared_space: How vision and touch are compared: "projection heads", "ridge map of vision
            to touch", or empty where they are not.
        retrieval: Recall across modalities.
        sphere: Alignment and uniformity of the shared space.
        clusters: Clusters against connectors.
        places: t-SNE pictures.
        gate: Bounds that the encoder meets or fails.
        notes: What was left out, and why.
        seconds: Time taken, by stage.
    """

    name: str
    config: dict[str, Any]
    modalities: tuple[str, ...]
    embedding_size: int
    variables: tuple[str, ...]
    circular: tuple[str, ...]
    classes: tuple[str, ...]
    seed: int
    train_rows: dict[str, int]
    heldout_rows: dict[str, int]
    train_episodes: int
    heldout_episodes: int
    yardsticks: dict[str, float]
    pose: tuple[PoseError, ...]
    connector: tuple[ClassAccuracy, ...]
    shared_space: str
    retrieval: tuple[Retrieval, ...]
    sphere: Sphere | None
    clusters: tuple[ClusterScores, ...]
    places: tuple[Places, ...]
    gate: tuple[GateCheck, ...]
    notes: tuple[str, ...]
    seconds: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether there is a gate, and the encoder meets every bound."""
        return bool(self.gate) and all(check.passed for check in self.gate)

    def error(
        self, subject: str, part: str, variable: str, region: str, fitted_on: str
    ) -> Estimate | None:
        """A variable's mean absolute error; None if it was not measured.

        Args:
            subject: What is probed.
            part: Part of the embedding.
            variable: The pose variable.
            region: Region of the held-out rows.
            fitted_on: Region of the training rows.
        """
        wanted = (subject, part, variable, fitted_on, region)
        for e in self.pose:
            if (e.subject, e.part, e.variable, e.fitted_on, e.region) == wanted:
                return e.error
        return None

    def accuracy(
        self, subject: str, part: str, region: str, fitted_on: str
    ) -> ClassAccuracy | None:
        """An accuracy of the class probe; None if it was not measured.

        Args:
            subject: What is probed.
            part: Part of the embedding.
            region: Region of the held-out rows.
            fitted_on: Region of the training rows.
        """
        wanted = (subject, part, fitted_on, region)
        for a in self.connector:
            if (a.subject, a.part, a.fitted_on, a.region) == wanted:
                return a
        return None

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, which JSON can hold."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """JSON text."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> AuditReport:
        """A report from its JSON text.

        Args:
            text: What `to_json` returned.
        """
        report: AuditReport = _restored(json.loads(text), cls)
        return report

    def to_markdown(self) -> str:
        """Tables for people to read."""
        from representation.probes.markdown import report_page

        return report_page(self)


def _restored(value: Any, kind: Any) -> Any:
    """Plain values as the type that a field is annotated with."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        assert isinstance(kind, type)
        return kind(**{name: _restored(item, hints[name]) for name, item in value.items()})
    if origin is tuple:
        return tuple(_restored(item, arguments[0]) for item in value)
    if origin in (types.UnionType, typing.Union):
        of = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _restored(value, of)
    if origin is dict and not isinstance(value, Mapping):
        raise ValueError(f"{value!r} is not a mapping")
    return value
