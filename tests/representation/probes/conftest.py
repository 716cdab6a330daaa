from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from representation import VisuotactileEncoder
from representation.objectives.pose import POSE_LABELS
from representation.probes.split import ArraySplit, ProbeTargets
from vtenv.registry import make_task

SIZE = 32
TASK = make_task("VTInsert-v0")


@pytest.fixture
def make_encoder(make_encoder) -> Callable[..., VisuotactileEncoder]:
    """A small encoder with projections."""
    return partial(make_encoder, embedding_dim=16)


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
