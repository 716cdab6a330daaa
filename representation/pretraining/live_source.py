"""Batches of what a simulator renders meanwhile: no files, and on a GPU no copies either."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from representation.data.ring import Ring
from representation.data.sources import NEXT
from vtenv.collection.experience import Experience
from vtenv.engines import ENGINE_NAMES

COLUMNS = (
    "depth",
    "contact",
    "proprio",
    "action",
    "connector",
    "episode",
    "pose",
    "insertion_depth_mm",
    "lateral_mm",
    "contact_force_n",
)
"""What `Experience.rows` yields."""

SHORTEST_STREAM = 128
"""Steps that every world plays at least: more than the longest episode."""

_WORLDS = {"cpu": 64, "warp": 4096}
"""Worlds that are stepped together, unless given."""
_STREAM = 1
"""Seeds other episodes than those of a data set that is made with the same seed."""
_UNTIMED_STEPS = 8
"""Steps before the rate is measured: the first ones compile and record."""


@dataclass(frozen=True)
class LiveConfig:
    """What is rendered for training, and how often.

    Raises:
        ValueError: If a value is not allowed; names it and what is.
    """

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
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Keyword arguments of `VTInsert-v0`, but for `modalities`."""

    def __post_init__(self) -> None:
        _require(self.engine in ENGINE_NAMES, "engine", self.engine, " or ".join(ENGINE_NAMES))
        _require(self.worlds is None or self.worlds >= 1, "worlds", self.worlds, "at least 1")
        _require(
            self.pairs is None or self.pairs >= SHORTEST_STREAM,
            "pairs",
            self.pairs,
            f"at least {SHORTEST_STREAM}, which is more than an episode has",
        )
        _require(self.reuse > 0, "reuse", self.reuse, "positive")

    @property
    def plan(self) -> tuple[int, int]:
        """Steps and worlds of the ring.

        Few pairs are of few worlds, so that their episodes come to an end.
        """
        worlds = self.worlds or _WORLDS[self.engine]
        if self.pairs is None:
            return SHORTEST_STREAM, worlds
        worlds = min(worlds, self.pairs // SHORTEST_STREAM)
        return math.ceil(self.pairs / worlds), worlds

    def describe(self) -> str:
        """What is rendered, in words, for a card."""
        _, worlds = self.plan
        count = "without end" if self.pairs is None else f"{self.pairs:,} pairs"
        settings = "".join(f", {name}={value}" for name, value in self.settings.items())
        return f"VTInsert-v0 rendered for training, {count}: {self.engine}, {worlds:,} worlds" + (
            settings
        )


class LiveSource:
    """Batches of the latest moments of a stream of experience; implements `Source`.

    Moments of many worlds and times are kept in a ring on the device of training, and each batch
    is drawn from all of them with replacement. The ring is filled before the first batch; then,
    if rendering has no end, the worlds take a step every few batches.

    What is rendered follows from the seed, what is drawn of it from the seed and the epoch. A run
    that is resumed renders from the beginning again.

    Args:
        experience: The worlds; the source closes them.
        batch_size: Rows of a batch, over all processes.
        keys: Columns that are needed, or `next_` and a column for its value one control step
            later; then only moments that have a next one are drawn.
        steps: Steps that the ring holds.
        seed: Seed of worlds, behaviours and order.
        device: Where the ring is and the batches go.
        fingers: Contact masks to keep, from the first one; None for all.
        reuse: How often a moment is drawn, on average, before it is written over; None to render
            the ring's moments alone.
        batches_per_epoch: Batches that are called an epoch.
        rank: This process's place among those that train together; each renders its own worlds.
        world_size: Number of these processes.

    Raises:
        ValueError: If there is no such column, or the processes do not divide the batch.
    """

    def __init__(
        self,
        experience: Experience,
        batch_size: int,
        keys: Sequence[str],
        *,
        steps: int = SHORTEST_STREAM,
        seed: int = 0,
        device: str | torch.device = "cpu",
        fingers: int | None = None,
        reuse: float | None = 2.0,
        batches_per_epoch: int = 1000,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size % world_size:
            raise ValueError(
                f"batch_size={batch_size} cannot be divided among {world_size} processes; "
                f"choose a multiple of {world_size}"
            )
        names = [key.removeprefix(NEXT) for key in keys]
        if unknown := [name for name in names if name not in COLUMNS]:
            raise ValueError(f"experience has no {', '.join(unknown)}; it has {', '.join(COLUMNS)}")
        self._keys = tuple(dict.fromkeys(keys))
        self._followed = any(key.startswith(NEXT) for key in keys)
        self._experience, self._share = experience, batch_size // world_size
        self._seed, self._rank, self._device = seed, rank, torch.device(device)
        self._reuse, self._batches = reuse, batches_per_epoch
        self.ring = Ring(steps, experience.num_envs, names, device=device, fingers=fingers)
        self._stream: Iterator[Mapping[str, Any]] | None = None
        self._due = 0.0
        self.steps = steps
        """Steps that fill the ring."""
        self.rendered = 0
        """Moments rendered so far, in this process."""
        self.rate: float | None = None
        """Moments rendered a second while the ring was filled; None before."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of a batch's tensors."""
        return self._keys

    @property
    def batches_per_epoch(self) -> int:
        """Batches in each epoch."""
        return self._batches

    def fill(self, advance: Callable[[int], object] = lambda count: None) -> None:
        """Render until the ring is full; at the first batch at the latest.

        Args:
            advance: Told of every step how many moments it rendered.
        """
        begun, before = time.perf_counter(), 0
        while not self.ring.full:
            self._step()
            if self.rendered == _UNTIMED_STEPS * self._experience.num_envs:
                self._wait()
                begun, before = time.perf_counter(), self.rendered
            advance(self._experience.num_envs)
            if self.ring.full:
                self._wait()
                self.rate = (self.rendered - before) / (time.perf_counter() - begun)

    def epoch(self, number: int) -> Iterator[dict[str, Tensor]]:
        """Batches of an epoch; see `Source`.

        Args:
            number: The epoch, from 0.

        Yields:
            Tensors by key, (B, ...).
        """
        self.fill()
        sequence = np.random.SeedSequence((self._seed, number, self._rank))
        drawn = int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
        generator = torch.Generator(self._device).manual_seed(drawn)
        for _ in range(self._batches):
            self._keep_up()
            places = self.ring.places(followed=self._followed)
            chosen = torch.randint(
                len(places), (self._share,), generator=generator, device=self._device
            )
            yield self.ring.gather(places[chosen], self._keys)

    def close(self) -> None:
        """Release the worlds; may be called twice."""
        self._experience.close()

    def _keep_up(self) -> None:
        """Take the steps that are due before the next batch."""
        if self._reuse is None:
            return
        self._due += self._share / (self._reuse * self._experience.num_envs)
        while self._due >= 1.0:
            self._step()
            self._due -= 1.0

    def _step(self) -> None:
        if self._stream is None:
            self._stream = self._experience.rows((self._seed, self._rank, _STREAM))
        self.ring.append(next(self._stream))
        self.rendered += self._experience.num_envs

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def live_source(
    live: LiveConfig,
    batch_size: int,
    keys: Sequence[str],
    *,
    device: torch.device,
    **options: Any,
) -> LiveSource:
    """The source that a configuration describes.

    Args:
        live: The configuration.
        batch_size: As `LiveSource`.
        keys: As `LiveSource`.
        device: The device of training.
        options: Further arguments of `LiveSource`.

    Returns:
        The source; its ring is not filled yet.

    Raises:
        ValueError, TypeError: If a setting is not allowed, or the worlds do not fit the device.
        DependencyNotInstalled: If the engine's extra is not installed.
    """
    steps, worlds = live.plan
    warp = live.engine == "warp"
    experience = Experience(
        worlds,
        engine=live.engine,
        device=(live.device or str(device)) if warp else live.device,
        observations="torch" if warp else "numpy",
        **live.settings,
    )
    reuse = live.reuse if live.pairs is None else None
    return LiveSource(
        experience, batch_size, keys, steps=steps, device=device, reuse=reuse, **options
    )


def _require(condition: bool, name: str, given: object, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{name}={given!r} is not allowed; it must be {allowed}")
