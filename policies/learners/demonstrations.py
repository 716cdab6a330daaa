"""A replay buffer of demonstrations: what a student met, and what the expert would have done."""

from __future__ import annotations

import torch
from torch import Tensor

Observation = Tensor | dict[str, Tensor]
"""Observations of many worlds: one tensor, or several by key, each with a leading world axis."""


class DemonstrationBuffer:
    """A replay buffer of the latest steps of N worlds with the expert's action at each.

    Observations are kept in the type they come in, so that contact masks take a byte a pixel.

    Args:
        capacity: Steps kept, each a row of every world; the oldest make way.
        device: Where they are kept; None for where they come from.
    """

    def __init__(self, capacity: int, device: torch.device | None = None) -> None:
        self.capacity, self.device = capacity, device
        self._columns: dict[str, Tensor] = {}
        self._flat = False
        self._added = 0

    def __len__(self) -> int:
        """Rows kept: steps times worlds."""
        if not self._columns:
            return 0
        return min(self._added, self.capacity) * self._columns[_EXPERT].shape[1]

    def add(self, observation: Observation, expert: Tensor) -> None:
        """Keep a copy of one step of all worlds.

        Args:
            observation: (N, ...), or several by key.
            expert: What the expert would do, (N, A).
        """
        self._flat = isinstance(observation, Tensor)
        values = {_EXPERT: expert} | _columns(observation)
        if not self._columns:
            self._columns = {
                name: value.new_empty((self.capacity, *value.shape), device=self.device)
                for name, value in values.items()
            }
        for name, value in values.items():
            self._columns[name][self._added % self.capacity] = value
        self._added += 1

    def rows(self, index: Tensor) -> tuple[Observation, Tensor]:
        """Rows by number: copies.

        Args:
            index: Numbers below `len(self)`, (B,), int64.

        Returns:
            Observations, (B, ...), and the expert's actions, (B, A).
        """
        taken = {name: column.flatten(0, 1)[index] for name, column in self._columns.items()}
        expert = taken.pop(_EXPERT)
        return taken[_OBSERVATION] if self._flat else taken, expert

    def latest(self, steps: int) -> Tensor:
        """Numbers of the rows of the latest steps, in the order they came.

        Args:
            steps: How many, at most as many as are kept.

        Returns:
            (steps, N), int64.
        """
        expert = self._columns[_EXPERT]
        first, worlds = self._added - steps, expert.shape[1]
        step = torch.arange(first, self._added, device=expert.device) % self.capacity
        return step[:, None] * worlds + torch.arange(worlds, device=expert.device)


_EXPERT, _OBSERVATION = "/expert", "/observation"


def _columns(observation: Observation) -> dict[str, Tensor]:
    return {_OBSERVATION: observation} if isinstance(observation, Tensor) else observation
