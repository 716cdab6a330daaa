"""What happens or is told a fixed number of control steps late, in N worlds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtenv.arrays import Array, ArrayBackend, renewed


class DelayLine:
    """The last values of N worlds, of which the oldest are told; each world moves on by itself.

    Args:
        steps: How many values later one comes out than it went in; 0 for at once.
        num_worlds: N.
        arrays: The library of the values.
    """

    def __init__(self, steps: int, num_worlds: int, arrays: ArrayBackend) -> None:
        self.steps = steps
        self._arrays = arrays
        self._kept: list[dict[str, Array]] = []
        self._age = np.zeros(num_worlds, np.int64)
        """Values that each world has put in since it was filled, at most `steps`. What it has kept
        from before does not count."""

    @property
    def told(self) -> dict[str, Array]:
        """What comes out now, (N, ...) by name: new arrays."""
        return self._at(0)

    def fill(self, values: Mapping[str, Array], worlds: NDArray[np.int64]) -> None:
        """Forget what worlds put in, and hold their `values` alone.

        Args:
            values: Of all worlds, (N, ...) by name.
            worlds: The worlds to fill.
        """
        if not self._kept or len(worlds) == len(self._age):
            self._kept = [dict(values)] * (self.steps + 1)
        else:
            newest = self._arrays.copy(self._kept[-1])
            self._write(newest, values, worlds)
            self._kept = [*self._kept[:-1], newest]
        self._age[worlds] = 0

    def put(
        self, values: Mapping[str, Array], worlds: NDArray[np.int64], mask: Array | None
    ) -> None:
        """Put in values of worlds, which move on.

        Args:
            values: Of all worlds, (N, ...) by name.
            worlds: The worlds that move on.
            mask: Their mask, (N,), bool; None for all.
        """
        if not self._kept:
            self.fill(values, worlds)
        moved = [*self._kept[1:], dict(values)]
        self._kept = [renewed(mask, *pair) for pair in zip(moved, self._kept, strict=True)]
        self._age[worlds] = np.minimum(self._age[worlds] + 1, self.steps)

    def get_state(self) -> list[dict[str, Array]]:
        """All that is kept, the oldest first: new arrays."""
        return [self._at(place) for place in range(len(self._kept))]

    def set_state(self, state: list[dict[str, Any]]) -> None:
        """Go on from what `get_state` returned."""
        self._kept = [dict(kept) for kept in state]
        self._age[:] = self.steps

    def _at(self, place: int) -> dict[str, Array]:
        """What the worlds have at a place, 0 for the oldest.

        Of a world that was filled since then it is what it was filled with.
        """
        values = self._arrays.copy(self._kept[place])
        for age in range(self.steps - place):
            filled = np.flatnonzero(self._age == age)
            if filled.size:
                self._write(values, self._kept[self.steps - age], filled)
        return values

    def _write(
        self, values: dict[str, Array], new: Mapping[str, Array], worlds: NDArray[np.int64]
    ) -> None:
        """Write the rows of worlds, which are few as a rule: a choice would be among all."""
        rows = self._arrays.asarray(worlds)
        for name, value in values.items():
            value[rows] = new[name][rows]
