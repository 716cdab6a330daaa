"""The pose variables that probes predict: their units, and angles that come round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_WRAP_SPAN_DEG = 180.0
"""An angle whose values span more than this is taken to come round."""


def unit(variable: str) -> str:
    """Unit of a variable, from its name: "mm", "°", or none.

    Args:
        variable: Its name, such as "hand_z_mm".
    """
    return {"mm": "mm", "deg": "°"}.get(variable.rpartition("_")[2], "")


@dataclass(frozen=True)
class PoseVariables:
    """Columns of pose labels, and how a linear map predicts them.

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
        """The variables of labels: an angle in degrees that spans over 180° comes round.

        Args:
            names: Names of the columns.
            pose: Labels that show the range, (N, L).

        Returns:
            The variables.
        """
        spans = pose.max(axis=0) - pose.min(axis=0)
        circular = [
            unit(name) == "°" and float(span) > _WRAP_SPAN_DEG
            for name, span in zip(names, spans, strict=True)
        ]
        return cls(tuple(names), tuple(circular))

    def targets(self, pose: Tensor) -> Tensor:
        """What a linear map is fitted to.

        Args:
            pose: Labels, (N, L), float64.

        Returns:
            A column for each variable, two for a circular one: (N, K), float64.
        """
        columns = []
        for i, circular in enumerate(self.circular):
            value = pose[:, i]
            columns += [value.deg2rad().cos(), value.deg2rad().sin()] if circular else [value]
        return torch.stack(columns, dim=1)

    def errors(self, predicted: Tensor, pose: Tensor) -> Tensor:
        """Absolute errors of predicted targets, the short way round.

        Args:
            predicted: Predictions of `targets`, (N, K) or, of one for all rows, (1, K).
            pose: Labels, (N, L), float64.

        Returns:
            Errors, (N, L), in the units of the labels.
        """
        columns, k = [], 0
        for i, circular in enumerate(self.circular):
            if circular:
                angle = torch.atan2(predicted[:, k + 1], predicted[:, k]).rad2deg()
                columns.append(((angle - pose[:, i] + 180.0) % 360.0 - 180.0).abs())
            else:
                columns.append((predicted[:, k] - pose[:, i]).abs())
            k += 1 + circular
        return torch.stack(columns, dim=1)
