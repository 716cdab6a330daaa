"""Curves in TensorBoard."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def scalar_log(folder: Path | None, step: int) -> Iterator[Callable[[str, float, int], None]]:
    """Open a log for TensorBoard.

    Args:
        folder: Where it is written; None for a log that forgets.
        step: Where training goes on; what an earlier log says of later steps is hidden.

    Yields:
        What writes a scalar: its name, its value, the step.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        if folder is not None:
            warnings.warn(
                "TensorBoard is not installed: metrics.csv is written, and tensorboard/ is not",
                stacklevel=2,
            )
            folder = None
    if folder is None:
        yield lambda name, value, step: None
        return
    writer = SummaryWriter(str(folder), purge_step=step or None)
    try:
        yield writer.add_scalar
    finally:
        writer.close()
