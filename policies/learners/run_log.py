"""How training goes: tables in the run's folder, curves in TensorBoard, a bar on stderr."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from typing import Any, Self

from vtenv.progress import progress_bar
from vtenv.run_folder import RunFolder

Row = dict[str, float]

_NOT_PLOTTED = ("steps", "seconds", "episodes")


class RunLog:
    """Keeps the rows of both tables, and shows the latest. A context manager.

    Args:
        files: The run's folder.
        steps: Steps there will be.
        shown: Whether to show a bar.
    """

    def __init__(self, files: RunFolder, steps: int, shown: bool) -> None:
        self.metrics: list[Row] = []
        self.evaluations: list[Row] = []
        self._files = files
        self._bar = progress_bar(shown=shown)
        self._task = self._bar.add_task("Training", total=steps)
        self._said: dict[str, str] = {}
        self._writer: Any = None
        self._purge: int | None = None

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

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._bar.stop()
        if self._writer is not None:
            # A full disk must not hide what went wrong before it.
            with contextlib.suppress(OSError) if error else contextlib.nullcontext():
                self._writer.close()

    def state_dict(self) -> dict[str, Any]:
        """What a log needs to go on from here."""
        return {"metrics": self.metrics, "evaluations": self.evaluations}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another log stood."""
        self.metrics, self.evaluations = list(state["metrics"]), list(state["evaluations"])
        self._purge = int(self.metrics[-1]["steps"]) if self.metrics else None
        self._bar.update(self._task, completed=self._purge or 0)

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
        # Success while learning is no news: a curriculum makes it easy.
        part = row.get("curriculum", 1.0)
        self._describe("curriculum", f"curriculum at {part:.0%}" if part < 1 else "")

    def evaluate(self, row: Row) -> None:
        """Add a row on an evaluation.

        Args:
            row: Numbers by name; "steps" and "success" among them.
        """
        self.evaluations.append(row)
        self._files.write_table("evaluations", self.evaluations)
        self._plot("evaluation", row)
        self._describe("success", f"success {row['success']:.0%} when evaluated")

    def _plot(self, group: str, row: Row) -> None:
        if self._writer is None:
            return
        for name, value in row.items():
            if name not in _NOT_PLOTTED:
                tag = name if "/" in name else f"{group}/{name}"
                self._writer.add_scalar(tag, value, int(row["steps"]))
        self._writer.flush()

    def _describe(self, name: str, text: str) -> None:
        self._said[name] = text
        parts = filter(None, ("Training", *self._said.values()))
        self._bar.update(self._task, description=", ".join(parts))
