"""The rows that probes read, of a data set or of arrays, and what can be asked of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from representation.data.dataset import Dataset
from representation.data.sources import Rows
from representation.probes.measurements import ALL, CLASS
from vtenv.registry import make_task

POSE, EPISODE, REGION = "pose", "episode", "region"
"""Columns that probes read beside `CLASS`: labels, episode and region of each row."""


class ProbeError(ValueError):
    """What cannot be probed, and what to do about it."""


@dataclass(frozen=True)
class ProbeTargets:
    """What can be asked of a data set.

    Attributes:
        variables: What to predict: names of the columns of `pose`, then of columns (N,) of their
            own; the unit is the last word ("mm", "deg", "n").
        classes: Names of the classes, by number.
        regions: Names of the regions, by number: elsewhere, then one within the other; the widest
            of these decides.
        bounds: What an encoder should reach where it decides: the largest mean absolute error by
            variable, and the least accuracy as "connector".
        capture_range: How far off the plug may be and the task still succeeds without a
            correction, by variable: a yardstick for errors.
    """

    variables: tuple[str, ...]
    classes: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    bounds: Mapping[str, float] = field(default_factory=dict)
    capture_range: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset) -> ProbeTargets:
        """What a data set says of itself, and the task that it is of, if it is of one."""
        codes, settings = dataset.codes, dataset.settings
        targets = cls(dataset.labels, codes.get(CLASS, ()), codes.get(REGION, ()))
        if "task" not in settings:
            return targets
        fields = vars(make_task(settings["task"]).config)
        known = {name: settings[name] for name in fields if name in settings}
        task = make_task(settings["task"], **known)
        return dataclasses.replace(
            targets,
            variables=(*dataset.labels, *(n for n in task.probe_labels if n in dataset.columns)),
            bounds=task.probe_bounds,
            capture_range=task.capture_range(),
        )


class ArraySplit:
    """Rows that are in memory already, as a split.

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
    """Row numbers, ascending: all, or as many as allowed, drawn without repetition."""
    if length <= limit:
        return np.arange(length, dtype=np.int64)
    return np.sort(generator.choice(length, limit, replace=False)).astype(np.int64)


@dataclass(frozen=True)
class LabelledRows:
    """Rows of a split, and all that is known of them but their images.

    Attributes:
        split: Where they are.
        numbers: Which they are, (N,).
        labels: Values of the variables, (N, L).
        classes: Class of each, (N,); None if unknown.
        episode: Episode of each, (N,); the row itself if unknown.
        regions: Masks by region, (N,): those that the split has columns of, and all rows, the last.
    """

    split: Rows
    numbers: NDArray[np.int64]
    labels: NDArray[np.float32]
    classes: NDArray[np.int64] | None
    episode: NDArray[np.int64]
    regions: dict[str, NDArray[np.bool_]]

    @classmethod
    def of(
        cls, split: Rows, limit: int, targets: ProbeTargets, generator: np.random.Generator
    ) -> LabelledRows:
        """Rows of a split, all or as many as allowed.

        Raises:
            ProbeError: If their poses do not have the labels of `targets`.
        """
        numbers = choose_rows(len(split), limit, generator)
        own = [name for name in targets.variables if name in split.columns]
        posed = [name for name in targets.variables if name not in own]
        wanted = [name for name in (POSE, CLASS, EPISODE, REGION) if name in split.columns]
        columns: dict[str, NDArray[Any]] = {
            name: value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
            for name, value in split.read(numbers, [*wanted, *own]).items()
        }
        if columns[POSE].shape[1] != len(posed):
            raise ProbeError(
                f"the data's pose has {columns[POSE].shape[1]} columns, but "
                f"{len(posed)} labels are given: {', '.join(posed)}"
            )
        labels = np.column_stack([columns[POSE], *(columns[name] for name in own)])
        regions = {}
        if REGION in columns and targets.regions:
            elsewhere, *nested = targets.regions  # each within the one before
            regions = {name: columns[REGION] >= k for k, name in enumerate(nested, start=1)}
            regions[elsewhere] = columns[REGION] == 0
        regions[ALL] = np.ones(len(numbers), bool)
        episode = columns.get(EPISODE, numbers)
        return cls(split, numbers, labels, columns.get(CLASS), episode, regions)

    def counts(self) -> dict[str, int]:
        """Number of rows by region."""
        return {region: int(mask.sum()) for region, mask in self.regions.items()}
