"""A replay buffer of the latest moments of many worlds, kept on a device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from representation.data.columns import LARGEST
from representation.data.sources import NEXT, free_memory
from representation.preprocessing import flat_channels
from vtenv.modalities import Modality

_MEMORY_PART = 0.8
"""Largest part of the free memory that moments may take: training needs some too."""
_OFFSET = 1 << 15
"""torch computes with signed 16-bit numbers alone."""


class ReplayBuffer:
    """The last steps of N worlds, a row for each world and step; the oldest are written over.

    Stored as in a data set on disk, as each column's `Modality` says. A `Split`, whose rows are
    those in which the physics held.

    Args:
        steps: Steps that are kept.
        worlds: Worlds, N.
        columns: What is kept of each row, besides `episode`.
        modalities: Records of columns by name; those without one are stored as they are.
        labels: Names of the columns of `pose`.
        codes: Names that the whole numbers of a column stand for, by column.
        device: Where.
        channels: Channels to keep of images by column, from the first one; all of the others.
    """

    def __init__(
        self,
        steps: int,
        worlds: int,
        columns: Sequence[str],
        *,
        modalities: Mapping[str, Modality] | None = None,
        labels: Sequence[str] = (),
        codes: Mapping[str, Sequence[str]] | None = None,
        device: str | torch.device = "cpu",
        channels: Mapping[str, int] | None = None,
    ) -> None:
        self.columns = tuple(dict.fromkeys((*columns, "episode")))
        self.labels, self.codes = tuple(labels), dict(codes or {})
        self._storage = {name: record.storage for name, record in (modalities or {}).items()}
        self._steps, self._worlds, self._channels = steps, worlds, dict(channels or {})
        self._device = torch.device(device)
        self._stored: dict[str, Tensor] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._next, self._filled = 0, 0
        self._places: dict[bool, Tensor] = {}

    @property
    def full(self) -> bool:
        """Whether another step writes over the oldest one."""
        return self._filled == self._steps

    def __len__(self) -> int:
        return len(self.places())

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a step.

        Args:
            row: Arrays or tensors by column, (N, ...), as
                `vtenv.collection.experience.Experience.rows` yields them; what is not kept is
                left alone.

        Raises:
            ValueError: If a buffer of such rows does not fit into the memory; says what does.
        """
        values = {name: self._encoded(name, row[name]) for name in self.columns}
        if not self._stored:
            self._check_memory(sum(value[0].nbytes for value in values.values()))
            self._stored = {
                name: value.new_empty((self._steps, *value.shape)) for name, value in values.items()
            }
        for name, value in values.items():
            self._stored[name][self._next] = value
        self._next = (self._next + 1) % self._steps
        self._filled = min(self._filled + 1, self._steps)
        self._places = {}

    def places(self, *, followed: bool = False) -> Tensor:
        """Where the rows are, for `gather`: (n,), int64, on the device.

        Args:
            followed: Whether to leave out those whose next moment is not there.
        """
        if followed not in self._places:
            episode = self._stored["episode"][: self._filled]
            there = episode >= 0
            if followed:
                there &= episode.roll(-1, dims=0) == episode
                there[self._next - 1] = False  # the newest
            self._places[followed] = there.flatten().nonzero()[:, 0]
        return self._places[followed]

    def gather(self, places: Tensor, keys: Sequence[str]) -> dict[str, Tensor]:
        """Some rows, as new tensors by key, (B, ...).

        Args:
            places: Where they are, (B,), of `places`.
            keys: Columns, or `next_` and a column for its value one step later.
        """
        later = (places + self._worlds) % (self._steps * self._worlds)
        rows = {}
        for key in keys:
            name = key.removeprefix(NEXT)
            stored = self._stored[name].flatten(0, 1)
            rows[key] = self._decoded(name, stored[later if key.startswith(NEXT) else places])
        return rows

    def read(
        self, rows: NDArray[np.int64], columns: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Rows on the host; see `Split`."""
        places = self.places()[torch.as_tensor(rows, device=self._device)]
        there = self.gather(places, self.columns if columns is None else columns)
        return {name: value.cpu().numpy() for name, value in there.items()}

    def transitions(self) -> NDArray[np.int64]:
        """Rows that are followed by the next moment of their episode; see `Split`."""
        followed = torch.isin(self.places(), self.places(followed=True))
        rows: NDArray[np.int64] = followed.nonzero()[:, 0].cpu().numpy()
        return rows

    def _encoded(self, name: str, values: Any) -> Tensor:
        tensor = torch.as_tensor(values).to(self._device)
        if name in self._channels:
            tensor = flat_channels(tensor)[:, : self._channels[name]]
        storage = self._storage.get(name, "raw")
        if storage == "raw":
            return tensor
        if storage == "bits":
            self._shapes[name] = tuple(tensor.shape[1:])
            bits = tensor.flatten(1)
            bits = pad(bits, (0, -bits.shape[1] % 8)).reshape(len(bits), -1, 8)
            return (bits << self._shifts()).sum(-1, dtype=torch.uint8)
        steps = (tensor / float(storage)).round().clamp(0, LARGEST)
        return (steps - _OFFSET).to(torch.int16)

    def _decoded(self, name: str, stored: Tensor) -> Tensor:
        storage = self._storage.get(name, "raw")
        if storage == "raw":
            return stored
        if storage == "bits":
            bits = (stored[..., None] >> self._shifts() & 1).flatten(1)
            shape = self._shapes[name]
            return bits[:, : math.prod(shape)].reshape(-1, *shape)
        return (stored.to(torch.float32) + _OFFSET) * float(storage)

    def _shifts(self) -> Tensor:
        return torch.arange(8, dtype=torch.uint8, device=self._device)

    def _check_memory(self, row_bytes: int) -> None:
        rows, room = self._steps * self._worlds, _MEMORY_PART * free_memory(self._device)
        if room and rows * row_bytes > room:
            raise ValueError(
                f"{rows:,} moments need {rows * row_bytes / 2**30:.1f} GiB, and {self._device} has "
                f"room for {int(room // row_bytes):,}; ask for fewer, or for smaller images"
            )
