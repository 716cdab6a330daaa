"""Where training gets its batches from."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.preprocessing import flat_channels
from vtenv.validation import require

NEXT = "next_"
"""What a key begins with that asks for its column one control step later."""

_HELD_PART = 0.4
"""Largest part of the free memory that a held split may take."""
_READ_AT_ONCE = 1024
"""Rows decoded at a time when a split is held."""


class Source(Protocol):
    """Batches for an objective, epoch by epoch."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of a batch's tensors."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches in each epoch."""

    def epoch(self, number: int, first: int = 0) -> Iterator[dict[str, Tensor]]:
        """Batches of an epoch.

        Args:
            number: The epoch, from 0; the batches depend on it and on the source's seed alone.
            first: The batch to begin with: those before it are left out, and change nothing.

        Yields:
            Tensors by name, with a leading axis B, on the device of training.
        """


class Rows(Protocol):
    """Rows by number, columns by name."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of the columns."""

    def __len__(self) -> int: ...

    def read(self, rows: NDArray[np.int64], columns: Sequence[str] | None = None) -> dict[str, Any]:
        """Columns of some rows, in their order, decoded: arrays, or tensors; all by default."""


class Split(Rows, Protocol):
    """Part of a data set; see `representation.data.dataset`."""

    @property
    def labels(self) -> Sequence[str]:
        """Names of the columns of `pose`."""

    @property
    def codes(self) -> Mapping[str, Sequence[str]]:
        """Names that the whole numbers of a column stand for, by column."""

    def transitions(self) -> NDArray[np.int64]:
        """Rows that are followed by the next moment of their episode."""


class DatasetSource:
    """Batches of a split, shuffled anew each epoch without replacement, read ahead by threads.

    A process of several reads its part of each batch, and all of them together read what one
    alone would.

    Args:
        split: The rows.
        batch_size: Rows of a batch, over all processes.
        keys: Columns that are needed, or `next_` and a column for its value one control step
            later; then only rows that have a next step are drawn.
        seed: Seed of the order.
        device: Where the batches go.
        channels: Channels to keep of images by column, from the first one; all of the others.
        shuffle: Whether to draw the rows in random order, and drop those that do not fill the
            last batch. Without it, for evaluation, one process keeps these too.
        hold: Whether to decode the split once and hold it on the device; None to do so where it
            takes at most 40% of the free memory. Held or read ahead, the batches are the same.
        rank: This process's place among those that train together.
        world_size: Number of these processes.
        workers: Threads that read ahead.
        ahead: Batches that are read ahead.

    Raises:
        ValueError: If a column is missing, or the rows do not fill a batch, or the processes do
            not divide it.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        keys: Sequence[str],
        *,
        seed: int,
        device: str | torch.device = "cpu",
        channels: Mapping[str, int] | None = None,
        shuffle: bool = True,
        hold: bool | None = None,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 2,
        ahead: int = 4,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("workers", workers), ("ahead", ahead)):
            require(value >= 1, name, value, "at least 1")
        require_columns(split, keys)
        self.keys = tuple(dict.fromkeys(keys))
        self._split, self._seed, self._shuffle = split, seed, shuffle
        self._channels = dict(channels or {})
        self._device = torch.device(device)
        self._batch_size, self._share = batch_size, share_of(batch_size, world_size)
        self._first = rank * self._share
        self._workers, self._ahead = workers, ahead
        self._rows = np.arange(len(split), dtype=np.int64)
        if any(key.startswith(NEXT) for key in self.keys):
            self._rows = split.transitions()
        partial = not shuffle and world_size == 1
        if len(self._rows) < (1 if partial else batch_size):
            raise ValueError(
                f"batch_size={batch_size} is more than the {len(self._rows)} rows there are; "
                "choose a smaller one, or make a larger data set"
            )
        whole, rest = divmod(len(self._rows), batch_size)
        self.batches_per_epoch = whole + (rest > 0 and partial)
        self._names = tuple(dict.fromkeys(key.removeprefix(NEXT) for key in self.keys))
        self._hold = self._fits() if hold is None else hold

    def epoch(self, number: int, first: int = 0) -> Iterator[dict[str, Tensor]]:
        """Batches of an epoch; see `Source`."""
        rows = self._rows
        if self._shuffle:
            rows = np.random.default_rng([self._seed, number]).permutation(rows)
        parts = [
            rows[self._first + batch * self._batch_size :][: self._share]
            for batch in range(first, self.batches_per_epoch)
        ]
        if not self._hold:
            for batch in self._read_ahead(self._read_batch, parts):
                yield {key: v.to(self._device, non_blocking=True) for key, v in batch.items()}
            return
        for part in parts:
            now = torch.from_numpy(part).to(self._device)
            rows_of = {False: now, True: now + 1}
            yield {
                key: self._held[key.removeprefix(NEXT)][rows_of[key.startswith(NEXT)]]
                for key in self.keys
            }

    @cached_property
    def _held(self) -> dict[str, Tensor]:
        """The split's columns on the device."""
        count = len(self._split)
        parts = np.split(np.arange(count), range(_READ_AT_ONCE, count, _READ_AT_ONCE))
        held: dict[str, Tensor] = {}
        for rows, part in zip(parts, self._read_ahead(self._read, parts), strict=True):
            for name, value in part.items():
                if name not in held:
                    held[name] = value.new_empty((count, *value.shape[1:]), device=self._device)
                held[name][rows[0] : rows[0] + len(rows)] = value
        return held

    def _read_batch(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """One batch, in memory that the device can copy from by itself."""
        now = [key for key in self.keys if not key.startswith(NEXT)]
        later = [key.removeprefix(NEXT) for key in self.keys if key.startswith(NEXT)]
        batch = self._read(rows, now) if now else {}
        if later:
            batch |= {NEXT + name: v for name, v in self._read(rows + 1, later).items()}
        if self._device.type == "cuda":
            batch = {key: value.pin_memory() for key, value in batch.items()}
        return batch

    def _read(
        self, rows: NDArray[np.int64], names: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        columns = dict(self._split.read(rows, names or self._names))
        for name in self._channels.keys() & columns.keys():
            columns[name] = flat_channels(columns[name])[:, : self._channels[name]]
        return {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in columns.items()}

    def _read_ahead(
        self,
        read: Callable[[NDArray[np.int64]], dict[str, Tensor]],
        requests: Iterable[NDArray[np.int64]],
    ) -> Iterator[dict[str, Tensor]]:
        """What threads read, in the order it was asked for, a few requests ahead."""
        waiting: deque[Future[dict[str, Tensor]]] = deque()
        with ThreadPoolExecutor(self._workers, "batches") as pool:
            try:
                for rows in requests:
                    waiting.append(pool.submit(read, rows))
                    if len(waiting) > self._ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _fits(self) -> bool:
        row = self._read(np.zeros(1, dtype=np.int64))
        needed = len(self._split) * sum(value.nbytes for value in row.values())
        return needed <= _HELD_PART * free_memory(self._device)


def seed_of(*parts: int) -> int:
    """One seed for torch from several numbers, far from those of their neighbours."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def share_of(batch_size: int, world_size: int) -> int:
    """Rows of a batch that each of several processes reads.

    Raises:
        ValueError: If they do not divide it.
    """
    if batch_size % world_size:
        raise ValueError(
            f"batch_size={batch_size} cannot be divided among {world_size} processes; "
            f"choose a multiple of {world_size}"
        )
    return batch_size // world_size


def require_columns(split: Split, keys: Sequence[str]) -> None:
    """Check that a split has what an objective and its encoder read.

    Raises:
        ValueError: If it lacks one; names it and those it has.
    """
    missing = [key for key in keys if key.removeprefix(NEXT) not in split.columns]
    if any(key.startswith(NEXT) for key in keys) and "episode" not in split.columns:
        missing.append("episode")
    if missing:
        raise ValueError(
            f"the data set has no {', '.join(dict.fromkeys(missing))}; it has "
            f"{', '.join(split.columns)}. Choose an objective that reads these, or make a data "
            "set of experience, which has what every objective reads"
        )


def free_memory(device: torch.device) -> int:
    """Bytes free on a device; 0 where it cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu" and "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0
