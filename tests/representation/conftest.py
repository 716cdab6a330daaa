from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from representation import EncoderConfig, VisuotactileEncoder

SIZE = 32

MakeEncoder = Callable[..., VisuotactileEncoder]
MakeBatch = Callable[..., dict[str, torch.Tensor]]


@pytest.fixture
def make_encoder() -> MakeEncoder:
    """A small encoder with weights of its own seed."""

    def make(seed: int = 0, **changes: object) -> VisuotactileEncoder:
        images = {"depth": (1, SIZE, SIZE), "contact": (2, SIZE, SIZE)}
        settings = {"backbone": "test_vit", "images": images} | changes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return VisuotactileEncoder(EncoderConfig(**settings))

    return make


@pytest.fixture
def make_batch() -> MakeBatch:
    """Random samples with all that an objective may read."""

    def make(count: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)

        def depth() -> torch.Tensor:
            return 0.25 + 0.2 * torch.rand(count, 1, SIZE, SIZE, generator=generator)

        def contact() -> torch.Tensor:
            return torch.randint(
                0, 2, (count, 2, SIZE, SIZE), generator=generator, dtype=torch.uint8
            )

        return {
            "depth": depth(),
            "contact": contact(),
            "connector": torch.arange(count) % 4,
            "pose": torch.randn(count, 8, generator=generator),
            "action": torch.rand(count, 5, generator=generator) * 2 - 1,
            "next_depth": depth(),
            "next_contact": contact(),
        }

    return make
