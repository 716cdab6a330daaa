"""What happens or is told a fixed number of control steps late, in N worlds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vtenv.arrays import Array, renewed


class DelayLine:
    """The last values of N worlds, of which the oldest are told; each world moves on by itself.

    Args:
        steps: How many values later one comes out than it went in; 0 for at once.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._kept: list[dict[str, Array]] = []

    @property
    def told(self) -> dict[str, Array]:
        """What comes out now, (N, ...) by name."""
        return self._kept[0]

    def fill(self, values: Mapping[str, Array], worlds: Array | None) -> None:
        """Forget what worlds of a mask (N,), None for all, put in, and hold `values` alone."""
        kept = self._kept or [dict(values)] * (self.steps + 1)
        self._kept = [renewed(worlds, dict(values), old) for old in kept]

    def put(self, values: Mapping[str, Array], worlds: Array | None) -> dict[str, Array]:
        """Put in values of all worlds, of which those of a mask (N,), None for all, move on.

        Returns:
            What comes out.
        """
        if not self._kept:
            self.fill(values, None)
        moved = [*self._kept[1:], dict(values)]
        self._kept = [renewed(worlds, *pair) for pair in zip(moved, self._kept, strict=True)]
        return self.told

    def get_state(self) -> list[dict[str, Array]]:
        """All that is kept, the oldest first."""
        return list(self._kept)

    def set_state(self, state: list[dict[str, Any]]) -> None:
        """Go on from what `get_state` returned."""
        self._kept = [dict(kept) for kept in state]
