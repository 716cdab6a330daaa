"""What encoders know, from probe reports and from the measurements beside their weights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from policies import representation_names as named
from representation.bundled import bundled, bundled_folder
from representation.model_card import read_probes
from representation.probes.measurements import (
    ACCURACY,
    CLASS,
    ENCODER,
    ERROR,
    FUSED,
    UNTRAINED,
    Measurement,
    select,
)
from representation.probes.report import AuditReport
from vtenv.json_document import from_document, read_object

REPORT_FILE = "report.json"
"""What `vtinsert probe` writes."""


@dataclass(frozen=True)
class Probed:
    """What a representation's encoder knows near contact.

    Attributes:
        errors: Mean absolute errors of linear probes, by pose variable, in its unit.
        bounds: The largest that they may be, by variable.
        accuracy: Part of the rows whose connector is told right; None if not measured.
        source: Where this is from, in words.
    """

    errors: Mapping[str, float]
    bounds: Mapping[str, float]
    accuracy: float | None
    source: str

    @property
    def worst(self) -> float | None:
        """The largest part of its bound that an error is; None if not all were measured."""
        if not self.bounds or not self.bounds.keys() <= self.errors.keys():
            return None
        return max(self.errors[name] / bound for name, bound in self.bounds.items())


@dataclass(frozen=True)
class Probes:
    """Probes of a study's encoders.

    Attributes:
        found: By the representation's label, in the study's order.
        notes: Reports that are of no use to the study, and why.
    """

    found: Mapping[str, Probed]
    notes: tuple[str, ...]

    @property
    def bounds(self) -> dict[str, float]:
        """What an encoder is held to, by pose variable: the largest error."""
        return {n: bound for probed in self.found.values() for n, bound in probed.bounds.items()}


def probes(folder: Path, representations: Mapping[str, str], files: Iterable[Path]) -> Probes:
    """Find what is known of a study's encoders.

    A report that is given counts before one in the study's folder `probes`, and that before the
    measurements beside a bundled encoder or one in a folder.

    Args:
        folder: The study's.
        representations: Names of its representations, by label.
        files: Reports of `vtinsert probe`, or their folders.

    Raises:
        ValueError: If a report cannot be read; names it.
    """
    given = [path / REPORT_FILE if path.is_dir() else path for path in files]
    inside = sorted((folder / "probes").rglob(REPORT_FILE))
    found: dict[str, Probed] = {}
    notes = []
    for path in (*given, *inside):
        report = _read(path)
        about = {label: _part(name, report) for label, name in representations.items()}
        parts = {label: part for label, part in about.items() if part is not None}
        if not parts:
            notes.append(f"{path} is of {report.name}, which this study does not have.")
        elif not report.views or not report.bounds:
            notes.append(f"{path} has no errors near contact.")
            continue
        shown = path.relative_to(folder) if path.is_relative_to(folder) else path
        for label, (subject, part) in parts.items():
            region, fitted_on = report.views[0]
            of = {"subject": subject, "part": part, "region": region, "fitted_on": fitted_on}
            rows = select(report.measurements, **of)
            if probed := _known(rows, report.bounds, f"the probe report {shown}"):
                found.setdefault(label, probed)
    for label, name in representations.items():
        if label not in found and (probed := _card(name)):
            found[label] = probed
    ordered = {label: found[label] for label in representations if label in found}
    return Probes(ordered, tuple(notes))


def _read(path: Path) -> AuditReport:
    try:
        return from_document(AuditReport, read_object(path, ValueError).get("audit", {}))
    except ValueError as error:
        raise ValueError(
            f"{path} is no probe report ({error}); give the report.json that `vtinsert probe` "
            "writes"
        ) from None


def _part(representation: str, report: AuditReport) -> tuple[str, str] | None:
    """Subject and part of a report that are about a representation; None if none is."""
    if representation == named.UNTRAINED:
        # Its network is the default encoder's, and that is what such a report holds untrained.
        return (UNTRAINED, FUSED) if report.name == named.DEFAULT_ENCODER else None
    encoder, part = named.split_part(representation)
    return (ENCODER, part or FUSED) if _plain(encoder) == _plain(report.name) else None


def _plain(name: str) -> str:
    """An encoder's name; of a folder, that of the run that it lies in."""
    path = Path(name)
    return str(path.parent if path.name == "encoder" and len(path.parts) > 1 else path)


def _card(representation: str) -> Probed | None:
    """What is measured of an encoder beside its weights; None if nothing is."""
    ours = representation in bundled("encoders")
    within = bundled_folder("encoders") if ours else Path()
    rows = read_probes(within / os.path.expanduser(representation))
    bounds = {row.variable: row.bound for row in rows if row.bound is not None}
    return _known(rows, bounds, f"the card of {representation}")


def _known(rows: Sequence[Measurement], bounds: Mapping[str, float], source: str) -> Probed | None:
    """Errors and accuracy among the rows of one part and region; None without errors."""
    errors = {row.variable: row.value for row in select(rows, measure=ERROR)}
    if not errors:
        return None
    accuracy = next((row.value for row in select(rows, measure=ACCURACY)), None)
    bounds = {name: bound for name, bound in bounds.items() if name != CLASS}
    return Probed(errors, bounds, accuracy, source)
