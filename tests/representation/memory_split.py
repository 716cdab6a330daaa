"""A split that lies in memory, in which touch and labels follow from what is seen; and a signal."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtenv.tasks.insertion.pose_labels import POSE_LABELS

SIZE = 32


class MemorySplit:
    """Rows with the columns and the interface of a data set's split."""

    def __init__(self, rows: int = 48, *, size: int = SIZE, seed: int = 0, episode: int = 6):
        rng = np.random.default_rng(seed)
        connector = np.arange(rows) % 4
        depth = np.full((rows, 1, size, size), 0.4, np.float32)
        contact = np.zeros((rows, 2, size, size), np.uint8)
        half = size // 2
        for row, kind in enumerate(connector):
            top, left = half * (kind // 2), half * (kind % 2)
            depth[row, :, top : top + half, left : left + half] = 0.3
            contact[row, :, left : left + half, top : top + half] = 1
        depth += rng.normal(0.0, 0.002, depth.shape).astype(np.float32)
        self.arrays: dict[str, NDArray[Any]] = {
            "depth": depth,
            "contact": contact,
            "connector": connector,
            "pose": rng.normal(size=(rows, 8)).astype(np.float32),
            "action": rng.uniform(-1, 1, (rows, 5)).astype(np.float32),
            "episode": np.arange(rows) // episode,
        }
        self.labels: tuple[str, ...] = POSE_LABELS
        self.codes = {"connector": ("aux", "pin", "usb", "stud")}
        self.reads = 0

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays["depth"])

    def read(
        self, rows: NDArray[np.int64], columns: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        self.reads += 1
        return {name: self.arrays[name][rows] for name in columns or self.columns}

    def transitions(self) -> NDArray[np.int64]:
        episode = self.arrays["episode"]
        return np.flatnonzero(episode[1:] == episode[:-1])


class Interrupted:
    """A source in which a signal comes."""

    def __init__(self, source, step, number):
        self.source, self.step, self.signal = source, step, number
        self.keys, self.batches_per_epoch = source.keys, source.batches_per_epoch

    def epoch(self, number, first=0):
        for index, batch in enumerate(self.source.epoch(number, first), start=first):
            if number * self.batches_per_epoch + index + 1 == self.step:
                signal.raise_signal(self.signal)
            yield batch
