"""What encoders know, from probe reports and from the cards beside their weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from policies.representation_names import DEFAULT_ENCODER, UNTRAINED, split_part
from representation.bundled import bundled_encoders, encoders_folder
from representation.model_card import CARD_FILE
from representation.probes.embed import BOTH
from representation.probes.gate import CONNECTOR, ERROR_BOUNDS
from representation.probes.regions import ALL, NEAR
from representation.probes.report import ENCODER, RANDOM, AuditReport

REPORT_FILE = "report.json"
"""What `vtinsert probe` writes."""

_CARD_LINE = re.compile(r"\| probe near contact, (\w+) \| ([\d.]+)(%?)[^|]*\|")


class ProbeFileError(ValueError):
    """A probe report cannot be read; the message names it."""


@dataclass(frozen=True)
class Probed:
    """What a representation's encoder knows near contact.

    Attributes:
        errors: Mean absolute errors of linear probes, by pose variable, in its unit.
        accuracy: Part of the rows whose connector is told right; None if not measured.
        source: Where this is from, in words.
    """

    errors: Mapping[str, float]
    accuracy: float | None
    source: str

    @property
    def worst(self) -> float | None:
        """The largest part of its bound that an error is; None if not all were measured."""
        if not ERROR_BOUNDS.keys() <= self.errors.keys():
            return None
        return max(self.errors[name] / bound for name, bound in ERROR_BOUNDS.items())


@dataclass(frozen=True)
class Probes:
    """Probes of a study's encoders.

    Attributes:
        found: By the representation's label, in the study's order.
        bounds: What an encoder is held to, by pose variable: the largest error.
        notes: Reports that are of no use to the study, and why.
    """

    found: Mapping[str, Probed]
    bounds: Mapping[str, float]
    notes: tuple[str, ...]


def probes(folder: Path, representations: Mapping[str, str], files: Iterable[Path]) -> Probes:
    """Find what is known of a study's encoders.

    A report that is given counts before one in the study's folder `probes`, and that before the
    card of a bundled encoder or of one in a folder.

    Args:
        folder: The study's.
        representations: Names of its representations, by label.
        files: Reports of `vtinsert probe`, or their folders.

    Returns:
        The probes.

    Raises:
        ProbeFileError: If a report cannot be read.
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
        for label, (subject, part) in parts.items():
            probed = _probed(report, subject, part, f"the probe report {_shown(path, folder)}")
            if probed is None:
                notes.append(f"{path} has no errors near contact.")
                break
            found.setdefault(label, probed)
    for label, name in representations.items():
        card = _card(name)
        if label not in found and card is not None:
            found[label] = card
    ordered = {label: found[label] for label in representations if label in found}
    return Probes(ordered, ERROR_BOUNDS, tuple(notes))


def _read(path: Path) -> AuditReport:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return AuditReport.from_json(json.dumps(document["audit"]))
    except OSError as error:
        raise ProbeFileError(
            f"cannot read the probe report {path}: {error.strerror or error}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ProbeFileError(
            f"{path} is no probe report; give the report.json that `vtinsert probe` writes"
        ) from None


def _part(representation: str, report: AuditReport) -> tuple[str, str] | None:
    """Subject and part of a report that are about a representation; None if none is."""
    whole = BOTH if len(report.modalities) > 1 else "".join(report.modalities)
    if representation == UNTRAINED:
        # Its network is the default encoder's, and that is what such a report holds untrained.
        return (RANDOM, whole) if report.name == DEFAULT_ENCODER else None
    encoder, part = split_part(representation)
    return (ENCODER, part or whole) if _plain(encoder) == _plain(report.name) else None


def _plain(name: str) -> str:
    """An encoder's name; of a folder, that of the run that it lies in."""
    path = Path(name)
    return str(path.parent if path.name == "encoder" and len(path.parts) > 1 else path)


def _shown(path: Path, folder: Path) -> Path:
    """A report's path, from the study's folder on if it lies there."""
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def _probed(report: AuditReport, subject: str, part: str, source: str) -> Probed | None:
    for fitted_on in (NEAR, ALL):
        estimates = {v: report.error(subject, part, v, NEAR, fitted_on) for v in ERROR_BOUNDS}
        errors = {v: e.mean for v, e in estimates.items() if e is not None and e.mean is not None}
        if errors:
            of = report.accuracy(subject, part, NEAR, fitted_on)
            accuracy = None if of is None else of.accuracy.mean
            return Probed(errors, accuracy, source)
    return None


def _card(representation: str) -> Probed | None:
    """What an encoder's card says of it; None if it has none, or says nothing."""
    folder = (
        encoders_folder() / representation
        if representation in bundled_encoders()
        else Path(representation).expanduser()
    )
    card = folder / CARD_FILE
    if not card.is_file():
        return None
    values = {
        name: float(value) / (100 if sign else 1)
        for name, value, sign in _CARD_LINE.findall(card.read_text(encoding="utf-8"))
    }
    errors = {name: value for name, value in values.items() if name in ERROR_BOUNDS}
    if not errors:
        return None
    return Probed(errors, values.get(CONNECTOR), f"the card of {representation}")
