"""What training shows while it runs: a line on stderr, and curves in TensorBoard."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class TrainingBar:
    """A line on stderr: epoch, part of the budget, loss, rate, time left.

    Args:
        epochs: How many there will be; None if that is not known.
        shown: Whether to show it.
    """

    def __init__(self, epochs: int | None, shown: bool) -> None:
        self._of = f"/{epochs}" if epochs else ""
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("loss {task.fields[loss]}  {task.fields[speed]} steps/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=Console(stderr=True),
            disable=not shown,
        )
        self._task = self._progress.add_task(
            "", total=1.0, epoch=f"1{self._of}", loss="-", speed="-"
        )

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, used: float, epoch: int, loss: float, speed: float) -> None:
        """Show where training stands.

        Args:
            used: Part of the budget that is used up.
            epoch: The epoch, from 0.
            loss: The latest loss.
            speed: Steps a second.
        """
        self._progress.update(
            self._task,
            completed=min(used, 1.0),
            epoch=f"{epoch + 1}{self._of}",
            loss=f"{loss:.4g}",
            speed=f"{speed:.3g}",
        )


@contextlib.contextmanager
def scalar_log(folder: Path | None, step: int) -> Iterator[Callable[[str, float, int], None]]:
    """Open a log for TensorBoard.

    Args:
        folder: Where it is written; None for a log that forgets.
        step: Where training goes on; what an earlier log says of later steps is hidden.

    Yields:
        What writes a scalar: its name, its value, the step.
    """
    if folder is None:
        yield lambda name, value, step: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        warnings.warn(
            "TensorBoard is not installed: metrics.csv is written, and tensorboard/ is not",
            stacklevel=2,
        )
        yield lambda name, value, step: None
        return
    writer = SummaryWriter(str(folder), purge_step=step or None)
    try:
        yield writer.add_scalar
    finally:
        writer.close()
