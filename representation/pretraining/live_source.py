"""Batches of what a simulator renders meanwhile: no files, and on a GPU no copies either."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from representation.data.replay_buffer import ReplayBuffer
from representation.data.sources import NEXT, seed_of, share_of
from representation.pretraining.live_config import SHORTEST_STREAM, LiveConfig
from vtenv.collection.experience import Experience

_STREAM = 1
"""Seeds other episodes than those of a data set that is made with the same seed."""
_UNTIMED_STEPS = 8
"""Steps before the rate is measured: the first ones compile and record."""


class LiveSource:
    """Batches of the latest moments of a stream of experience; implements `Source`.

    Moments of many worlds and times are kept in a replay buffer on the device of training, and each
    batch is drawn from all of them with replacement. The buffer is filled before the first batch;
    then, if rendering has no end, the worlds take a step every few batches.

    What is rendered follows from the seed, what is drawn of it from the seed and the epoch. A run
    that is resumed renders from the beginning again.

    Args:
        experience: The worlds; the source closes them.
        batch_size: Rows of a batch, over all processes.
        keys: Columns that are needed, or `next_` and a column for its value one control step
            later; then only moments that have a next one are drawn.
        steps: Steps that the buffer holds.
        seed: Seed of worlds, behaviours and order.
        device: Where the buffer is and the batches go.
        channels: Channels to keep of images by column, from the first one; all of the others.
        reuse: How often a moment is drawn, on average, before it is written over; None to render
            the buffer's moments alone.
        batches_per_epoch: Batches that are called an epoch.
        rank: This process's place among those that train together; each renders its own worlds.
        world_size: Number of these processes.

    Raises:
        ValueError: If the processes do not divide the batch; or, at the first row, if there is no
            such column.
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
        channels: Mapping[str, int] | None = None,
        reuse: float | None = 2.0,
        batches_per_epoch: int = 1000,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.keys = tuple(dict.fromkeys(keys))
        self.batches_per_epoch = batches_per_epoch
        self._share = share_of(batch_size, world_size)
        self._followed = any(key.startswith(NEXT) for key in keys)
        self._experience, self._reuse = experience, reuse
        self._seed, self._rank, self._device = seed, rank, torch.device(device)
        self.buffer = ReplayBuffer(
            steps,
            experience.num_envs,
            [key.removeprefix(NEXT) for key in keys],
            modalities=experience.modalities,
            labels=experience.task.pose_labels,
            codes=experience.codes,
            device=device,
            channels=channels,
        )
        self._stream = experience.rows((seed, rank, _STREAM))
        self._due = 0.0
        self.rendered = 0
        """Moments rendered so far, in this process."""
        self.rate: float | None = None
        """Moments rendered a second while the buffer was filled; None before."""

    def fill(self, advance: Callable[[int], object] = lambda count: None) -> None:
        """Render until the buffer is full; at the first batch at the latest.

        Args:
            advance: Told of every step how many moments it rendered.
        """
        begun, before = time.perf_counter(), 0
        while not self.buffer.full:
            self._step()
            if self.rendered == _UNTIMED_STEPS * self._experience.num_envs:
                self._wait()
                begun, before = time.perf_counter(), self.rendered
            advance(self._experience.num_envs)
            if self.buffer.full:
                self._wait()
                self.rate = (self.rendered - before) / (time.perf_counter() - begun)

    def epoch(self, number: int, first: int = 0) -> Iterator[dict[str, Tensor]]:
        """Batches of an epoch; see `Source`."""
        self.fill()
        seed = seed_of(self._seed, number, self._rank)
        generator = torch.Generator(self._device).manual_seed(seed)
        for index in range(self.batches_per_epoch):
            if index >= first:
                self._keep_up()
            places = self.buffer.places(followed=self._followed)
            chosen = torch.randint(
                len(places), (self._share,), generator=generator, device=self._device
            )
            if index >= first:
                yield self.buffer.gather(places[chosen], self.keys)

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
        row = next(self._stream)
        if unknown := [name for name in self.buffer.columns if name not in row]:
            raise ValueError(f"experience has no {', '.join(unknown)}; it has {', '.join(row)}")
        self.buffer.append(row)
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
    """The `LiveSource` that a configuration describes; its buffer is not filled yet.

    Raises:
        ValueError, TypeError: If a setting is not allowed, or the worlds do not fit the device.
        DependencyNotInstalled: If the engine's extra is not installed.
    """
    steps, worlds = live.plan
    warp = live.engine == "warp"
    experience = Experience(
        worlds,
        task=live.task,
        engine=live.engine,
        device=(live.device or str(device)) if warp else live.device,
        observations="torch" if warp else "numpy",
        **live.settings,
    )
    reuse = live.reuse if live.pairs is None else None
    return LiveSource(
        experience, batch_size, keys, steps=steps, device=device, reuse=reuse, **options
    )
