"""The timing harness: cases that take turns, warmed up, repeated, and bounded in time.

Work for a GPU is queued, and done later: a time ends when the device has caught up. Parts of a step
are told by CUDA events between the queued work, which do not make anything wait.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

PHYSICS, SENSING, RESETS, REST = "physics", "sensing", "resets", "task, bookkeeping"
"""Parts of a step of the environment."""

_ENOUGH_S = 1.0
"""A repetition takes no longer than this, or one step."""
_MOST_S = 6.0
"""A case whose repetitions have taken a step of this long in all is not repeated again."""
_WARM_UP_STEPS = 3
_CALLS = {"step": PHYSICS, "sense": SENSING, "reset": RESETS, "reset_prepared": RESETS}
"""Calls of an engine, and the part of a step that they are."""


class Clock:
    """Times work on a device.

    Args:
        device: PyTorch's name of a CUDA device, or "cpu", where work is done when it is asked for.
    """

    def __init__(self, device: str) -> None:
        self._cuda: Any = None
        if device.startswith("cuda"):
            import torch

            self._cuda, self._device = torch.cuda, torch.device(device)

    def wait(self) -> None:
        """Wait until the device has caught up."""
        if self._cuda is not None:
            self._cuda.synchronize(self._device)

    def mark(self) -> Any:
        """A moment in the device's queue."""
        if self._cuda is None:
            return time.perf_counter()
        event = self._cuda.Event(enable_timing=True)
        event.record(self._cuda.current_stream(self._device))
        return event

    def between(self, start: Any, end: Any) -> float:
        """Seconds between two moments, after `wait`."""
        return float(end - start if self._cuda is None else start.elapsed_time(end) * 1e-3)

    def memory_used(self) -> float:
        """Bytes that are taken on the device, by whomever; not a number on a CPU."""
        if self._cuda is None:
            return math.nan
        self.wait()
        self._cuda.empty_cache()
        free, total = self._cuda.mem_get_info(self._device)
        return float(total - free)


class PartTimer:
    """Times parts of a step.

    Args:
        clock: That of the device where they run.
        parts: Their names.
    """

    def __init__(self, clock: Clock, parts: Sequence[str]) -> None:
        self._clock, self._parts = clock, parts
        self._marks: list[tuple[str, Any, Any]] = []

    def timed(self, part: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call what is a part of a step; its result."""
        start = self._clock.mark()
        result = call(*arguments)
        self._marks.append((part, start, self._clock.mark()))
        return result

    def take(self) -> dict[str, float]:
        """Seconds by part since the last call, after `Clock.wait`."""
        seconds = dict.fromkeys(self._parts, 0.0)
        for part, start, end in self._marks:
            seconds[part] += self._clock.between(start, end)
        self._marks.clear()
        return seconds


class EngineProbe(PartTimer):
    """Stands in front of an engine and times its calls by part of a step."""

    def __init__(self, engine: Any, clock: Clock) -> None:
        super().__init__(clock, (PHYSICS, SENSING, RESETS))
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._engine, name)
        part = _CALLS.get(name)
        if part is None:
            return value

        def timed(worlds: Any, *arguments: Any) -> Any:
            # Images of the few worlds that were reset are a part of the reset.
            whole = part != SENSING or len(worlds) == self._engine.num_worlds
            return self.timed(part if whole else RESETS, value, worlds, *arguments)

        return timed


@dataclass
class Case:
    """What is timed."""

    name: str
    step: Callable[[], object]
    worlds: int
    """Worlds that a step advances, or observations that it encodes."""
    threads: int | None = None
    """None on a GPU."""
    probe: PartTimer | None = None
    """Tells parts of the step."""
    seconds: list[float] = field(default_factory=list)
    """Of a step, by repetition."""
    parts: list[dict[str, float]] = field(default_factory=list)
    """Seconds of a step by part, by repetition."""

    def measurements(self) -> list[dict[str, Any]]:
        """Rows of the table of measurements: the case, then its parts, medians over repetitions."""
        rows = [self._row(self.name, self.seconds, 1.0)] if self.seconds else []
        for part in self.parts[0] if self.parts else ():
            seconds = [parts[part] for parts in self.parts]
            whole = zip(seconds, self.seconds, strict=True)
            rows.append(self._row(part, seconds, statistics.median(a / b for a, b in whole)))
        return rows

    def _row(self, part: str, seconds: Sequence[float], share: float) -> dict[str, Any]:
        row = {"case": self.name, "part": part, "worlds": self.worlds, "threads": self.threads}
        rates = [] if part == RESETS else [self.worlds / s for s in seconds]  # few are reset
        return row | {
            "steps_per_second": statistics.median(rates) if rates else None,
            "lowest": min(rates, default=None),
            "highest": max(rates, default=None),
            "step_ms": statistics.median(seconds) * 1e3,
            "share": share,
        }


def time_cases(
    cases: Sequence[Case],
    clock: Clock,
    *,
    steps: int,
    repetitions: int,
    advance: Callable[[], object] = lambda: None,
) -> None:
    """Time cases in turn, so that ratios compare neighbours in time.

    Args:
        cases: What to time; filled.
        clock: That of the device where they run.
        steps: Most steps of a repetition; fewer where there is no time for so many.
        repetitions: Turns.
        advance: Called after each of a case.
    """
    for _ in range(repetitions):
        for case in cases:
            if sum(case.seconds) <= _MOST_S:
                warm_up = _timed(case, clock, 1)
                if warm_up < _ENOUGH_S:
                    warm_up = _timed(case, clock, _WARM_UP_STEPS - 1)
                if case.probe is not None:
                    case.probe.take()
                count = max(1, min(steps, int(_ENOUGH_S / warm_up)))
                case.seconds.append(_timed(case, clock, count))
                if case.probe is not None:
                    parts = {part: s / count for part, s in case.probe.take().items()}
                    case.parts.append(parts | {REST: case.seconds[-1] - sum(parts.values())})
            advance()


def _timed(case: Case, clock: Clock, count: int) -> float:
    """Seconds of a step, the mean over a number of them."""
    clock.wait()
    start = time.perf_counter()
    for _ in range(count):
        case.step()
    clock.wait()
    return (time.perf_counter() - start) / count
