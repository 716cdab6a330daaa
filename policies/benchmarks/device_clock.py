"""Timing work on a device, where it is queued and done later."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vtenv.engines import Engine

STEPPING, SENSING = "physics", "sensing"
"""Calls of an engine that `StepProbe` times."""
ENOUGH_S = 1.0
"""A repetition takes no longer than this, or one step."""

_WARM_UP_STEPS = 3


class DeviceClock:
    """Times work on a device.

    Args:
        device: A CUDA device, or the CPU, where work is done when it is asked for.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def wait(self) -> None:
        """Wait until the device has caught up."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def mark(self) -> Any:
        """A moment in the device's queue."""
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def between(self, start: Any, end: Any) -> float:
        """Seconds between two moments, after `wait`."""
        if self._device.type != "cuda":
            return float(end - start)
        return float(start.elapsed_time(end)) * 1e-3

    def seconds_of(self, step: Callable[[int], object], most: int) -> float:
        """Seconds that a step takes: the mean over `most` steps, or as many as there is time for.

        Args:
            step: Takes a step; told its number.
            most: Most steps.
        """
        begun = self._timed(step, _WARM_UP_STEPS)
        return self._timed(step, max(1, min(most, int(ENOUGH_S / begun))))

    def _timed(self, step: Callable[[int], object], count: int) -> float:
        self.wait()
        start = time.perf_counter()
        for number in range(count):
            step(number)
        self.wait()
        return (time.perf_counter() - start) / count

    def memory_used(self) -> int | None:
        """Bytes that are taken on the device, by whomever; None where it cannot be told."""
        if self._device.type != "cuda":
            return None
        self.wait()
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info(self._device)
        return total - free


class StepProbe:
    """Stands in front of an engine, marks its calls, and keeps the targets of its steps.

    Args:
        engine: The engine that does the work.
        clock: Marks.
    """

    def __init__(self, engine: Engine, clock: DeviceClock) -> None:
        self.targets: list[Any] = []
        self._engine, self._clock = engine, clock
        self._marks: dict[str, list[tuple[Any, Any]]] = {STEPPING: [], SENSING: []}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def step(self, worlds: NDArray[np.int64], target: Any) -> None:
        """As `Engine.step`."""
        self.targets.append(target.clone())
        start = self._clock.mark()
        self._engine.step(worlds, target)
        self._marks[STEPPING].append((start, self._clock.mark()))

    def sense(
        self, worlds: NDArray[np.int64], generators: Sequence[np.random.Generator]
    ) -> dict[str, Any]:
        """As `Engine.sense`; images of worlds that were reset count as part of the reset."""
        start = self._clock.mark()
        images = self._engine.sense(worlds, generators)
        if len(worlds) == self._engine.num_worlds:
            self._marks[SENSING].append((start, self._clock.mark()))
        return images

    def seconds(self) -> dict[str, float]:
        """Seconds by part, after `DeviceClock.wait`."""
        return {
            part: sum(self._clock.between(*marks) for marks in pairs)
            for part, pairs in self._marks.items()
        }
