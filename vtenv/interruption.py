"""Ctrl-C, SIGTERM and SIGHUP as a request: what runs is brought to where it can go on from."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from types import FrameType
from typing import Any, Self

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""What asks a program to end: Ctrl-C; a scheduler or container; a terminal that is closed."""


class Interruption:
    """Takes the first signal that asks to end as a request; the second one ends at once.

    A context manager. Where it is not in the main thread, signals are left as they are, and what
    is ignored stays so: `nohup` lets a program outlive its terminal.

    Attributes:
        requested: Whether to stop.
        insisted: Whether to stop at once.
    """

    def __init__(self) -> None:
        self.requested = self.insisted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # Shells let what runs in the background ignore Ctrl-C, and schedulers send it.
                if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            self.insisted = True
            raise KeyboardInterrupt
        self.requested = True
        with contextlib.suppress(OSError, RuntimeError):  # a closed terminal; a print cut in two
            print("Stopping; once more to stop at once", file=sys.stderr)
