"""How training goes: tables and a curve in the run's folder, TensorBoard, a bar on stderr."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from representation.tensorboard_log import tensorboard_log
from vtenv.atomic_write import atomic_write
from vtenv.progress import progress_bar
from vtenv.run_folder import RunFolder

Row = dict[str, float]
"""Numbers by name; "steps" and "seconds" among them."""

_NOT_PLOTTED = ("steps", "seconds", "episodes")


class RunLog:
    """Keeps the rows of both tables, and shows the latest.

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

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Take rows, and show them, while the block runs."""
        # What was plotted after the last checkpoint is plotted anew.
        plots = tensorboard_log(self._files.tensorboard, self._last_step)
        with plots as self._plot, self._bar:
            yield

    def state_dict(self) -> dict[str, list[Row]]:
        """What a log needs to go on from here."""
        return {"metrics": self.metrics, "evaluations": self.evaluations}

    def load_state_dict(self, state: Mapping[str, list[Row]]) -> None:
        """Go on from where another log stood."""
        self.metrics, self.evaluations = list(state["metrics"]), list(state["evaluations"])
        self._bar.update(self._task, completed=self._last_step)

    @property
    def _last_step(self) -> int:
        return int(self.metrics[-1]["steps"]) if self.metrics else 0

    def show(self, steps: int, seconds_left: float | None) -> None:
        """Move the bar to so many steps; with what is left of a budget of time, if there is one."""
        self._bar.update(self._task, completed=steps, seconds_left=seconds_left)

    def train(self, row: Row) -> None:
        """Add a row on training."""
        self.metrics.append(row)
        self._files.write_table("metrics", self.metrics)
        self._curve("rollout", row)
        self._describe()

    def evaluate(self, row: Row) -> None:
        """Add a row on an evaluation; "success" is among its numbers."""
        self.evaluations.append(row)
        self._files.write_table("evaluations", self.evaluations)
        self._curve("evaluation", row)
        self._describe()

    def draw(self, path: Path, title: str) -> None:
        """Draw success over steps, while learning and on fixed seeds, as a PNG."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            warnings.warn("Matplotlib is not installed: curve.png is not drawn", stacklevel=2)
            return
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        learning = [row for row in self.metrics if "success" in row]
        for rows, label, style in (
            (learning, "episodes of training", {"color": "0.7", "linewidth": 1.0}),
            (self.evaluations, "fixed seeds, mean actions", {"color": "tab:blue", "marker": "o"}),
        ):
            steps, success = ([row[name] for row in rows] for name in ("steps", "success"))
            axes.plot(steps, success, label=label, **style)
        axes.set(xlabel="control steps", ylabel="success", ylim=(-0.02, 1.02), title=title)
        axes.xaxis.set_major_formatter(lambda steps, _: f"{steps:,.0f}")
        axes.grid(alpha=0.3)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=120)

    def _curve(self, group: str, row: Row) -> None:
        plotted = {name: value for name, value in row.items() if name not in _NOT_PLOTTED}
        tags = {(name if "/" in name else f"{group}/{name}"): v for name, v in plotted.items()}
        self._plot(tags, int(row["steps"]))

    def _describe(self) -> None:
        parts = ["Training"]
        if self.evaluations:
            parts.append(f"success {self.evaluations[-1]['success']:.0%} when evaluated")
        # Success while learning is no news: a curriculum makes it easy.
        narrowed = self.metrics[-1]["curriculum"] if self.metrics else 1.0
        if narrowed < 1:
            parts.append(f"curriculum at {narrowed:.0%}")
        self._bar.update(self._task, description=", ".join(parts))
