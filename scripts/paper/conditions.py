"""What held-out grasps are seen through: occluders, and what a real sensor would add.

Each condition is drawn on the CPU, from its own seed: it is the same for every network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from representation.augmentations import Augment
from representation.data.sources import seed_of
from scripts.paper.runs import OCCLUDER_SIZE

Batch = Mapping[str, Tensor]

_SEED = 7
_ABOVE_TABLE = 0.001
"""What is nearer than the table by so much is an object, in [m]."""


@dataclass(frozen=True)
class Condition:
    """A change of the held-out grasps.

    Attributes:
        change: Takes a batch and a generator, and gives a new batch.
        draws: How often the held-out grasps are drawn under it.
    """

    change: Callable[[Batch, torch.Generator], dict[str, Tensor]]
    draws: int = 1


def shift(batch: Batch, generator: torch.Generator, *, most: float = 0.06) -> dict[str, Tensor]:
    """Move each overhead image by up to a part `most` of its side, along both axes."""
    depth = batch["depth"]
    limit = round(most * depth.shape[-1])
    moves = torch.randint(-limit, limit + 1, (len(depth), 2), generator=generator).tolist()
    moved = [image.roll(move, (-2, -1)) for image, move in zip(depth, moves, strict=True)]
    return {**batch, "depth": torch.stack(moved)}


CONDITIONS = {
    "clean": Condition(Augment("none")),
    "occluded": Condition(Augment(["occlusion"], {"occlusion": {"max_size": OCCLUDER_SIZE}}), 8),
    "little occluded": Condition(Augment("occlusion"), 2),
    "depth noise": Condition(Augment(["noise"], {"noise": {"std_mm": 3.0}})),
    "crop": Condition(Augment(["crop"])),
    "shift": Condition(shift),
    "rotation": Condition(Augment(["rotation"], {"rotation": {"max_deg": 15.0}})),
    "morphology": Condition(Augment(["dilation_erosion"])),
}
"""Conditions of tests by name."""


def drawn(name: str, batch: Batch, *, seed: int = _SEED) -> dict[str, Tensor]:
    """Grasps under a condition, draw after draw.

    Args:
        name: A name of `CONDITIONS`.
        batch: All held-out grasps, on the CPU.
        seed: Of the draws.
    """
    condition = CONDITIONS[name]
    number = list(CONDITIONS).index(name)
    draws = []
    for draw in range(condition.draws):
        generator = torch.Generator().manual_seed(seed_of(seed, number, draw))
        draws.append(condition.change(batch, generator))
    return {key: torch.cat([each[key] for each in draws]) for key in batch}


def covered(batch: Batch, name: str = "occluded") -> NDArray[np.float32]:
    """The part of each grasped object that occluders cover, (draws x N,).

    Args:
        batch: All held-out grasps, on the CPU, each alone on the table.
        name: The condition.
    """
    depth = batch["depth"]
    changed = drawn(name, batch)["depth"]
    whole = depth.repeat(len(changed) // len(depth), 1, 1, 1)
    object_ = whole < depth.amax() - _ABOVE_TABLE
    hidden = (object_ & (changed != whole)).flatten(1).sum(dim=1)
    part = hidden / object_.flatten(1).sum(dim=1)
    return part.numpy()
