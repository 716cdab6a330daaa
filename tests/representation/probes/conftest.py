from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from representation import EncoderConfig, VisuotactileEncoder
from representation.objectives.pose import POSE_LABELS
from representation.probes.split import ArraySplit, ProbeTargets
from vtenv.registry import make_task

SIZE = 32
TASK = make_task("VTInsert-v0")


@pytest.fixture
def make_encoder() -> Callable[..., VisuotactileEncoder]:
    """A small encoder with weights of its own seed."""

    def make(seed: int = 0, **changes: object) -> VisuotactileEncoder:
        settings = {
            "backbone": "test_vit",
            "images": {"depth": (1, SIZE, SIZE), "contact": (2, SIZE, SIZE)},
            "embedding_dim": 16,
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return VisuotactileEncoder(EncoderConfig(**settings | changes))

    return make


@pytest.fixture
def make_batch() -> Callable[..., dict[str, torch.Tensor]]:
    """Random observations."""

    def make(count: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        depth = 0.25 + 0.2 * torch.rand(count, 1, SIZE, SIZE, generator=generator)
        contact = torch.rand(count, 2, SIZE, SIZE, generator=generator) > 0.5
        return {"depth": depth, "contact": contact.to(torch.uint8)}

    return make


def columns(count: int, seed: int) -> dict[str, np.ndarray]:
    """Rows of an imagined task: vision shows the socket's x and y, touch shows hand x and class."""
    generator = np.random.default_rng(seed)
    pose = generator.uniform(-1, 1, (count, len(POSE_LABELS))).astype(np.float32)
    connector = generator.integers(0, 4, count)
    grid = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    hand_x, socket_x, socket_y = pose[:, 0], pose[:, 3], pose[:, 4]
    away_x = grid[None, None, :] - 0.5 * socket_x[:, None, None]
    away_y = grid[None, :, None] - 0.5 * socket_y[:, None, None]
    depth = 0.4 - 0.1 * np.exp(-(away_x**2 + away_y**2) / 0.1)
    wide = 0.15 + 0.15 * connector
    stripe = np.abs(grid[None, None, :] - 0.5 * hand_x[:, None, None]) < wide[:, None, None]
    masks = np.broadcast_to(stripe[:, None], (count, 2, SIZE, SIZE))
    rows = {
        "depth": depth[:, None].astype(np.float32),
        "contact": masks.astype(np.uint8),
        "connector": connector.astype(np.int64),
        "episode": np.arange(count) // 10 + 1000 * seed,
        "pose": pose,
        "insertion_depth_mm": generator.uniform(-8, 4, count).astype(np.float32),
        "lateral_mm": generator.uniform(0, 5.5, count).astype(np.float32),
        "contact_force_n": generator.exponential(1.0, count).astype(np.float32),
    }
    near, jammed = TASK.regions(rows).values()
    return rows | {"region": near.astype(np.int64) + jammed}


@pytest.fixture(scope="session")
def targets() -> ProbeTargets:
    """What the task asks of its data."""
    return ProbeTargets(
        TASK.pose_labels,
        TASK.code_names["connector"],
        ("elsewhere", "near", "jammed"),
        TASK.probe_bounds,
        TASK.capture_range(),
    )


@pytest.fixture(scope="session")
def splits() -> tuple[ArraySplit, ArraySplit]:
    """Training and held-out rows."""
    return ArraySplit(columns(600, 0)), ArraySplit(columns(300, 1))
