"""The variables that probes predict: their units, and angles that come round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WRAP_SPAN_DEG = 180.0
"""An angle whose values span more than this is taken to come round."""


def unit(variable: str) -> str:
    """Unit of a variable, from a name such as "hand_z_mm": "mm", "°", "N", or none."""
    return {"mm": "mm", "deg": "°", "n": "N"}.get(variable.rpartition("_")[2], "")


def title(variable: str) -> str:
    """A variable's name for people, with its unit: "hand z mm"."""
    of = unit(variable)
    return f"{variable.rpartition('_')[0].replace('_', ' ')} {of}" if of else variable


@dataclass(frozen=True)
class PoseVariables:
    """Columns of pose labels, (N, L), and how a linear map predicts them.

    A circular variable, an angle that comes round at 360°, is predicted through its cosine and
    sine.

    Attributes:
        names: Names of the columns; the unit is the last word.
        circular: Which of them come round.
    """

    names: tuple[str, ...]
    circular: tuple[bool, ...]

    @classmethod
    def of(cls, names: Sequence[str], pose: NDArray[np.float32]) -> PoseVariables:
        """The variables of labels: an angle in degrees that spans over 180° comes round."""
        wide = np.ptp(pose, axis=0) > _WRAP_SPAN_DEG
        circular = [bool(w) and unit(name) == "°" for name, w in zip(names, wide, strict=True)]
        return cls(tuple(names), tuple(circular))

    def targets(self, pose: NDArray[np.floating]) -> NDArray[np.float64]:
        """What a linear map is fitted to: a column a variable, two for a circular one, (N, K)."""
        columns = []
        for value, circular in zip(pose.T.astype(np.float64), self.circular, strict=True):
            angle = np.deg2rad(value)
            columns += [np.cos(angle), np.sin(angle)] if circular else [value]
        return np.stack(columns, axis=1)

    def errors(
        self, predicted: NDArray[np.float64], pose: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Absolute errors of predicted targets, the short way round.

        Args:
            predicted: Predictions of `targets`, (N, K) or, of one for all rows, (1, K).
            pose: Labels, (N, L).

        Returns:
            Errors, (N, L), in the units of the labels.
        """
        columns, predictions = [], iter(predicted.T)
        for value, circular in zip(pose.T.astype(np.float64), self.circular, strict=True):
            guess = next(predictions)
            if circular:
                angle = np.rad2deg(np.arctan2(next(predictions), guess))
                columns.append(np.abs((angle - value + 180.0) % 360.0 - 180.0))
            else:
                columns.append(np.abs(guess - value))
        return np.stack(columns, axis=1)
