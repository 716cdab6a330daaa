"""The rows that probes read: of a data set on disk, or arrays in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


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
        self._length = next(iter(lengths.values()))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what there is to read."""
        return tuple(self._columns)

    def __len__(self) -> int:
        return self._length

    def read(self, rows: NDArray[np.int64], columns: Sequence[str] | None = None) -> dict[str, Any]:
        """Some rows.

        Args:
            rows: Their numbers, (N,).
            columns: Names of columns; None for all.

        Returns:
            The columns by name, (N, ...).
        """
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
