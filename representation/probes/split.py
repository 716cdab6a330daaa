"""The rows that probes read: of a data set on disk, or arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from representation.probes.measurements import ALL
from representation.probes.targets import CLASS, EPISODE, POSE, REGION, ProbeTargets


class ProbeError(ValueError):
    """What cannot be probed, and what to do about it."""


class SplitLike(Protocol):
    """Rows by number, columns by name: a split of a data set, or `ArraySplit`."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of what there is to read."""

    def __len__(self) -> int: ...

    def read(self, rows: NDArray[np.int64], columns: Sequence[str] | None = None) -> Any:
        """Columns by name, each with a leading axis of `len(rows)`: arrays, or torch tensors."""


class ArraySplit:
    """A split that is in memory already.

    Args:
        columns: Columns by name, of one length: arrays, or torch tensors of any device.

    Raises:
        ProbeError: If there are no columns, or their lengths differ.
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        lengths = {name: len(value) for name, value in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ProbeError(f"the columns of a split must have one length, not {lengths}")
        self._columns = dict(columns)
        self.columns = tuple(columns)

    def __len__(self) -> int:
        return len(self._columns[self.columns[0]])

    def read(self, rows: NDArray[np.int64], columns: Sequence[str] | None = None) -> dict[str, Any]:
        """Some rows, by number; of all columns, or some."""
        names = self.columns if columns is None else columns
        return {name: self._columns[name][rows] for name in names}


def choose_rows(length: int, limit: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Row numbers, in order: all, or as many as allowed, drawn without repetition.

    Args:
        length: Number of rows there are.
        limit: Most rows to choose.
        generator: Draws them.

    Returns:
        Numbers, (min(length, limit),), ascending.
    """
    if length <= limit:
        return np.arange(length, dtype=np.int64)
    return np.sort(generator.choice(length, limit, replace=False)).astype(np.int64)


@dataclass(frozen=True)
class LabelledRows:
    """Rows of a split, and all that is known of them but their images.

    Attributes:
        split: Where they are.
        numbers: Which they are, (N,).
        pose: Labels, (N, L).
        classes: Class of each, (N,); None if unknown.
        episode: Episode of each, (N,); the row itself if unknown.
        regions: Masks by region, (N,): those that the split has columns of, and all rows.
    """

    split: SplitLike
    numbers: NDArray[np.int64]
    pose: NDArray[np.float32]
    classes: NDArray[np.int64] | None
    episode: NDArray[np.int64]
    regions: dict[str, NDArray[np.bool_]]

    @classmethod
    def of(
        cls, split: SplitLike, limit: int, targets: ProbeTargets, generator: np.random.Generator
    ) -> LabelledRows:
        """Rows of a split, all or as many as allowed.

        Raises:
            ProbeError: If their poses do not have the labels of `targets`.
        """
        numbers = choose_rows(len(split), limit, generator)
        wanted = [name for name in (POSE, CLASS, EPISODE, REGION) if name in split.columns]
        columns: dict[str, NDArray[Any]] = {
            name: value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
            for name, value in split.read(numbers, wanted).items()
        }
        if columns[POSE].shape[1] != len(targets.variables):
            raise ProbeError(
                f"the data's pose has {columns[POSE].shape[1]} columns, but "
                f"{len(targets.variables)} labels are given: {', '.join(targets.variables)}"
            )
        regions = {ALL: np.ones(len(numbers), bool)}
        if REGION in columns and targets.regions:
            elsewhere, *nested = targets.regions  # each within the one before
            regions |= {name: columns[REGION] >= k for k, name in enumerate(nested, start=1)}
            regions[elsewhere] = columns[REGION] == 0
        episode = columns.get(EPISODE, numbers)
        return cls(split, numbers, columns[POSE], columns.get(CLASS), episode, regions)

    def counts(self) -> dict[str, int]:
        """Number of rows by region, all of them last."""
        counts = {region: int(mask.sum()) for region, mask in self.regions.items()}
        return {**{region: n for region, n in counts.items() if region != ALL}, ALL: counts[ALL]}
