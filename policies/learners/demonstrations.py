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
        self._added = 0

    def __len__(self) -> int:
        """Rows kept: steps times worlds."""
        if not self._added:
            return 0
        return min(self._added, self.capacity) * self._columns[_EXPERT].shape[1]

    def add(self, observation: Observation, expert: Tensor) -> None:
        """Keep a copy of one step: what N worlds showed, (N, ...), and the actions, (N, A)."""
        entries = {"": observation} if isinstance(observation, Tensor) else observation
        for name, value in {_EXPERT: expert, **entries}.items():
            if name not in self._columns:
                shape = (self.capacity, *value.shape)
                self._columns[name] = value.new_empty(shape, device=self.device)
            self._columns[name][self._added % self.capacity] = value
        self._added += 1

    def rows(self, index: Tensor) -> tuple[Observation, Tensor]:
        """Copies of rows.

        Args:
            index: Numbers below `len(self)`, (B,), int64.

        Returns:
            Observations, (B, ...), and the expert's actions, (B, A).
        """
        taken = {name: column.flatten(0, 1)[index] for name, column in self._columns.items()}
        expert = taken.pop(_EXPERT)
        return taken.get("", taken), expert

    def latest(self, steps: int) -> Tensor:
        """Numbers of the rows of the latest steps in the order they came, (steps, N), int64."""
        expert = self._columns[_EXPERT]
        worlds = torch.arange(expert.shape[1], device=expert.device)
        last = torch.arange(self._added - steps, self._added, device=expert.device)
        return (last % self.capacity)[:, None] * len(worlds) + worlds


_EXPERT = "/expert"
"""Column of the expert's actions: no key of an observation."""
