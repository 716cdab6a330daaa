"""Curves of training for TensorBoard."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

Plot = Callable[[Mapping[str, float], int], None]
"""Told numbers by name, and at which step they are so."""


@contextlib.contextmanager
def tensorboard_log(folder: Path | None, step: int) -> Iterator[Plot]:
    """Write curves into a folder; what is there of later steps is hidden.

    Args:
        folder: The folder; None for nowhere.
        step: Where the run stands.

    Raises:
        OSError: If they cannot be written; not where something else went wrong before.
    """
    if folder is None:
        yield lambda numbers, step: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        warnings.warn(
            "TensorBoard is not installed: metrics.csv is written, and tensorboard/ is not",
            stacklevel=2,
        )
        yield lambda numbers, step: None
        return
    writer = SummaryWriter(str(folder), purge_step=step or None)

    def plot(numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    try:
        yield plot
    except BaseException:
        with contextlib.suppress(OSError):
            writer.close()
        raise
    writer.close()
