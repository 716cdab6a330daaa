"""What is rendered for training, and how often."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from representation.require import require, unbox_scalars

SHORTEST_STREAM = 128
"""Steps that every world plays at least: more than the longest episode."""

_WORLDS = {"cpu": 64, "warp": 4096}


@dataclass(frozen=True)
class LiveConfig:
    """What is rendered for training, and how often."""

    engine: str = "warp"
    """The physics engine, one of `vtenv.engines.ENGINE_NAMES`."""
    device: str | None = None
    """Device of the Warp engine; None for the one of training."""
    worlds: int | None = None
    """Worlds that are stepped together, in each process; None for 64, or 4096 with the Warp
    engine."""
    pairs: int | None = None
    """Render so many pairs of images first, in each process, and train on those alone; None to
    render without end."""
    reuse: float = 2.0
    """How often a moment is drawn, on average, before it is written over, where rendering has no
    end."""
    task: str = "VTInsert-v0"
    """What is rendered: an id of Gymnasium's registry."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Its keyword arguments; `modalities` are what the encoder reads unless given."""

    def __post_init__(self) -> None:
        unbox_scalars(self)
        require(self.engine in _WORLDS, "engine", self.engine, " or ".join(_WORLDS))
        require(self.worlds is None or self.worlds >= 1, "worlds", self.worlds, "at least 1")
        enough = self.pairs is None or self.pairs >= SHORTEST_STREAM
        allowed = f"at least {SHORTEST_STREAM}, which is more than an episode has"
        require(enough, "pairs", self.pairs, allowed)
        require(self.reuse > 0, "reuse", self.reuse, "positive")

    @property
    def plan(self) -> tuple[int, int]:
        """Steps and worlds of the replay buffer.

        Few pairs are of few worlds, so that their episodes come to an end.
        """
        worlds = self.worlds or _WORLDS[self.engine]
        if self.pairs is None:
            return SHORTEST_STREAM, worlds
        worlds = min(worlds, self.pairs // SHORTEST_STREAM)
        return math.ceil(self.pairs / worlds), worlds

    def describe(self) -> str:
        """What is rendered, in words, for a card."""
        count = "without end" if self.pairs is None else f"{self.pairs:,} pairs"
        settings = "".join(f", {name}={value}" for name, value in self.settings.items())
        return (
            f"{self.task} rendered for training, {count}: {self.engine}, {self.plan[1]:,} worlds"
            f"{settings}"
        )
