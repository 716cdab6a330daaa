"""How training goes: tables in the run's folder, curves in TensorBoard, a bar on stderr."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from policies.learners.run_files import RunFiles
from vtenv.progress import progress_bar

Row = dict[str, float]

_NOT_PLOTTED = ("steps", "seconds", "episodes")


class RunLog:
    """Keeps the rows of both tables, and shows the latest. A context manager.

    Args:
        files: The run's folder.
        steps: Steps there will be.
        state: What `state_dict` returned, to go on from.
        shown: Whether to show a bar.
    """

    def __init__(
        self, files: RunFiles, steps: int, state: Mapping[str, Any] | None, shown: bool
    ) -> None:
        self.metrics: list[Row] = list(state["metrics"]) if state else []
        self.evaluations: list[Row] = list(state["evaluations"]) if state else []
        self._files = files
        self._bar = progress_bar()
        self._bar.disable = not shown
        begun = int(self.metrics[-1]["steps"]) if self.metrics else 0
        self._task = self._bar.add_task("Training", total=steps, completed=begun)
        self._success: dict[str, float] = {}
        self._writer: Any = None
        self._purge = begun or None

    def __enter__(self) -> Self:
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._files.tensorboard), purge_step=self._purge)
        except ImportError:
            warnings.warn(
                "TensorBoard is not installed: metrics.csv is written, and tensorboard/ is not",
                stacklevel=2,
            )
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()
        if self._writer is not None:
            # A full disk must not hide what went wrong before it.
            with contextlib.suppress(OSError) if error else contextlib.nullcontext():
                self._writer.close()

    def state_dict(self) -> dict[str, Any]:
        """What a log needs to go on from here."""
        return {"metrics": self.metrics, "evaluations": self.evaluations}

    def show(self, steps: int, seconds_left: float | None) -> None:
        """Move the bar.

        Args:
            steps: Steps so far.
            seconds_left: What is left of a budget of time; None for none.
        """
        self._bar.update(self._task, completed=steps, seconds_left=seconds_left)

    def train(self, row: Row) -> None:
        """Add a row on training.

        Args:
            row: Numbers by name; "steps" among them.
        """
        self.metrics.append(row)
        self._files.write_table("metrics", self.metrics)
        self._plot("rollout", row)
        self._describe("success", row.get("success"))

    def evaluate(self, row: Row) -> None:
        """Add a row on an evaluation.

        Args:
            row: Numbers by name; "steps" and "success" among them.
        """
        self.evaluations.append(row)
        self._files.write_table("evaluations", self.evaluations)
        self._plot("evaluation", row)
        self._describe("evaluated", row["success"])

    def _plot(self, group: str, row: Row) -> None:
        if self._writer is None:
            return
        for name, value in row.items():
            if name not in _NOT_PLOTTED:
                tag = name if "/" in name else f"{group}/{name}"
                self._writer.add_scalar(tag, value, int(row["steps"]))
        self._writer.flush()

    def _describe(self, name: str, success: float | None) -> None:
        if success is None:
            return
        self._success[name] = success
        parts = [f"{name} {value:.0%}" for name, value in self._success.items()]
        self._bar.update(self._task, description=f"Training, {', '.join(parts)}")
