from __future__ import annotations

from collections.abc import Callable

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Heads are drawn from torch's own generator."""
    torch.manual_seed(0)


@pytest.fixture
def unit_vectors() -> Callable[..., torch.Tensor]:
    """Random rows of length 1."""

    def make(count: int, width: int, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(count, width, generator=generator)
        return torch.nn.functional.normalize(values, dim=1)

    return make
