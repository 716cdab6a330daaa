"""The study's results: predictions by run, and what they say over seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import t as student

from scripts.paper.runs import LATE_FUSION

Floats = NDArray[np.float64]

BINS = (0.0, 1e-6, 0.25, 0.5, 0.75, 0.9, 1.0 + 1e-6)
"""Bounds of how much of an object is covered: not at all, ..., more than 90%."""


class Estimate(NamedTuple):
    """A mean over seeds, and half its 95% interval; None for one seed."""

    value: float
    half: float | None

    def __str__(self) -> str:
        return f"{self.value:.1%}" + ("" if self.half is None else f" ± {100 * self.half:.1f}")


def over_seeds(values: Sequence[float]) -> Estimate:
    """Mean and Student's interval of measurements, one a seed."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Estimate(mean, None)
    half = student.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count)
    return Estimate(mean, float(half))


def share(right: NDArray[np.bool_]) -> Estimate:
    """Accuracy over seeds, of whether predictions were right, (seeds, N)."""
    return over_seeds(right.mean(axis=1).tolist())


class Results:
    """What a study left.

    Args:
        document: What `scripts.reproduce_paper` wrote.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        held = document["heldout"]
        self.connector = from_digits(held["connector"])
        self.covered = np.array(held["covered"])
        self.runs: dict[str, dict[str, Any]] = dict(document["runs"])
        for pair, names in LATE_FUSION.items():
            for seed in self.seeds(names[0]):
                runs = [self.runs.get(f"{name}-s{seed}", {}) for name in names]
                if all("logits" in run for run in runs):
                    predictions = fused([run["logits"] for run in runs], self._classes)
                    self.runs[f"{pair}-s{seed}"] = {"predictions": predictions}

    @classmethod
    def read(cls, path: Path) -> Results:
        """Those of a file."""
        return cls(json.loads(path.read_text()))

    def seeds(self, group: str) -> list[int]:
        """Seeds of the runs of a group, its name without the seed."""
        names = (name.rpartition("-s") for name in self.runs)
        return sorted(int(seed) for name, _, seed in names if name == group)

    def values(self, group: str, key: str) -> list[Any]:
        """What each of a group's runs has by a key: a number, or its losses."""
        return [self.runs[f"{group}-s{seed}"][key] for seed in self.seeds(group)]

    def right(self, group: str, condition: str = "clean") -> NDArray[np.bool_]:
        """Whether each prediction was right, by seed, (seeds, draws x N)."""
        rows = [
            from_digits(self.runs[f"{group}-s{seed}"]["predictions"][condition])
            for seed in self.seeds(group)
        ]
        predicted = np.array(rows)
        return predicted == self._classes(predicted.shape[1])

    def accuracy(self, group: str, condition: str = "clean") -> Estimate:
        """Accuracy of a group's runs."""
        return share(self.right(group, condition))

    def by_covered(self, group: str) -> list[Estimate]:
        """Accuracy by how much of the object is covered, one for each part of `BINS`."""
        right, part = self.right(group, "occluded"), np.digitize(self.covered, BINS[1:-1])
        return [share(right[:, part == place]) for place in range(len(BINS) - 1)]

    def confusion(self, group: str, condition: str = "clean") -> NDArray[np.int64]:
        """Counts of true by predicted class over all seeds, (4, 4)."""
        counts = np.zeros((4, 4), np.int64)
        for seed in self.seeds(group):
            text = self.runs[f"{group}-s{seed}"]["predictions"][condition]
            np.add.at(counts, (self._classes(len(text)), from_digits(text)), 1)
        return counts

    def jumpiness(self, group: str) -> tuple[Estimate, Estimate]:
        """How much the loss changes from step to step in the last half: relative, and absolute.

        Losses of different levels are the smoother ones by one and not by the other.
        """
        parts, changes = [], []
        for losses in self.values(group, "losses"):
            last = np.array(losses[len(losses) // 2 :])
            changes.append(float(np.abs(np.diff(last)).mean()))
            parts.append(changes[-1] / float(last.mean()))
        return over_seeds(parts), over_seeds(changes)

    def public(self) -> dict[str, Any]:
        """The document with late fusion's predictions in place of the logits they are made of."""
        runs = {
            name: {key: value for key, value in run.items() if key != "logits"}
            for name, run in self.runs.items()
        }
        return {**self.document, "runs": runs}

    def _classes(self, count: int) -> NDArray[np.int64]:
        return np.tile(self.connector, count // len(self.connector))


def from_digits(text: str) -> NDArray[np.int64]:
    """Classes from a string of digits."""
    return np.frombuffer(text.encode(), np.uint8).astype(np.int64) - ord("0")


def fused(logits: Sequence[Mapping[str, Any]], classes: Any) -> dict[str, str]:
    """Predictions of networks whose calibrated logarithms of probabilities are added.

    Each network has a temperature, which makes other grasps, under occluders of their own, most
    probable.

    Args:
        logits: Of each network, in hundredths, by condition; "calibration" among them.
        classes: Gives the true classes of so many rows.

    Returns:
        Digits by condition.

    Source: Guo et al. 2017 ("On Calibration of Modern Neural Networks"), section 4.2.
    """
    total: dict[str, Floats] = {}
    for network in logits:
        scores = {name: np.array(rows) / 100 for name, rows in network.items()}
        temperature = calibrated(scores["calibration"], classes(len(scores["calibration"])))
        for name, rows in scores.items():
            total[name] = total.get(name, 0.0) + log_softmax(rows / temperature, axis=1)
    return {
        name: "".join(map(str, rows.argmax(axis=1)))
        for name, rows in total.items()
        if name != "calibration"
    }


def calibrated(scores: Floats, classes: NDArray[np.int64]) -> float:
    """The temperature at which classes, (N,), are most probable by scores, (N, C)."""
    rows = np.arange(len(classes))

    def loss(logarithm: float) -> float:
        return -float(log_softmax(scores / np.exp(logarithm), axis=1)[rows, classes].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-5.0, 5.0), method="bounded").x))
