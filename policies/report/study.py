"""A study as its folder holds it: runs that are done, and cells that are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from policies.ablation.folder import EPISODES_FILE, GRID_FILE, Ablation, iter_episodes
from policies.ablation.grid import Cell
from policies.ablation.labels import labelled
from policies.evaluation.statistics import Floats
from policies.learners.algorithms import ALGORITHMS
from policies.learners.train_config import DISTILLATION
from vtenv.json_document import read_object
from vtenv.run_folder import iter_table

_VIDEO_SUFFIXES = (".mp4", ".webm")
_BY_CONNECTOR = "success_"
"""What a column of evaluations begins with that is about one connector."""


class Method(NamedTuple):
    """How policies were trained; methods are never compared with each other.

    Attributes:
        rank: Where its section stands: distillation, learning from scratch, from a warm start.
        title: What people call it.
    """

    rank: int
    title: str

    @classmethod
    def of(cls, cell: Cell) -> Method:
        """The method of a cell."""
        if cell.algorithm == DISTILLATION:
            return cls(0, "Distilled from the scripted expert (DAgger)")
        known = ALGORITHMS.get(cell.algorithm)
        name = cell.algorithm if known is None else known.title
        if cell.start == "scratch":
            return cls(1, f"{name} from scratch")
        return cls(2, f"{name} from a warm start")


Episodes = Counter[str]
"""Episodes of one policy on one connector by cause of failure, successes under ""."""


def success_rate(episodes: Episodes) -> float:
    """The part of episodes that succeeded."""
    return episodes[""] / episodes.total()


@dataclass(frozen=True, eq=False)
class Run:
    """A policy that was trained and evaluated.

    Attributes:
        cell: Which one of the grid; its representation is a label.
        folder: Its folder.
        config: Its options, as they were stored.
        result: The result of its training, as it was stored.
        steps: Steps at which it was evaluated while it learned, rising, (E,).
        success: Its success rates there, (E,).
        success_by_connector: The same for each connector with a column of its own, (E, T), T >= 0.
        episodes: Its final evaluation, by connector: in the order of the columns of evaluations,
            and then of the episodes.
        videos: Videos of it.
    """

    cell: Cell
    folder: Path
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    steps: Floats
    success: Floats
    success_by_connector: Floats
    episodes: Mapping[str, Episodes]
    videos: tuple[Path, ...]

    @property
    def rate(self) -> float:
        """Success over all final episodes."""
        return success_rate(sum(self.episodes.values(), Counter()))

    def number(self, name: str) -> float | None:
        """A number of `result`; None if it has none of that name."""
        value = self.result.get(name)
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True, eq=False)
class Study:
    """A grid of runs. Cells have labels for representations.

    Attributes:
        folder: Its folder.
        representations: Their names, by label, in the order in which they were asked for.
        grid: What was asked for, as it was stored.
        runs: Runs that are done.
        unfinished: Why the other cells have no policy, in words.
    """

    folder: Path
    representations: Mapping[str, str]
    grid: Mapping[str, Any]
    runs: tuple[Run, ...]
    unfinished: Mapping[Cell, str]

    @property
    def cells(self) -> list[Cell]:
        """All cells of the grid."""
        return [*(run.cell for run in self.runs), *self.unfinished]


def read_study(folder: str | Path) -> Study:
    """Read the folder of an ablation, however far it has come.

    Raises:
        ValueError: If the folder holds no ablation, or one of its files cannot be read; names the
            file.
    """
    ablation = Ablation(folder)
    cells = labelled(ablation.read_grid())
    runs, unfinished = [], {}
    for cell, shown in cells.items():
        state, place = ablation.state(cell), ablation.folder(cell)
        if state == "done":
            runs.append(_run(shown, place))
        elif state == "failed":
            unfinished[shown] = ablation.read_failure(cell)
        else:
            begun = (place / "config.json").is_file()
            unfinished[shown] = "begun, not finished" if begun else "not trained yet"
    return Study(
        ablation.path,
        {shown.representation: cell.representation for cell, shown in cells.items()},
        _mapping(ablation.path / GRID_FILE),
        tuple(runs),
        unfinished,
    )


def _run(cell: Cell, folder: Path) -> Run:
    names, evaluated = _evaluations(folder / "evaluations.csv")
    episodes = _episodes(folder / EPISODES_FILE)
    ordered = dict.fromkeys((*(name for name in names if name in episodes), *episodes))
    # A hidden file is still being written.
    videos = (folder / "videos").glob("[!.]*")
    return Run(
        cell,
        folder,
        _mapping(folder / "config.json"),
        _mapping(folder / "result.json"),
        *(evaluated[:, 0], evaluated[:, 1], evaluated[:, 2:]),
        {name: episodes[name] for name in ordered},
        tuple(sorted(path for path in videos if path.suffix in _VIDEO_SUFFIXES)),
    )


def _mapping(path: Path) -> Mapping[str, Any]:
    """What a JSON file holds; nothing if there is none."""
    return read_object(path, ValueError) if path.is_file() else {}


def _episodes(path: Path) -> dict[str, Episodes]:
    """Final episodes by connector, in the order of the file."""
    found: dict[str, Episodes] = {}
    for _, row, success in iter_episodes(path, ("connector", "failure")):
        failure = "" if success else row["failure"] or "unknown"
        found.setdefault(row["connector"], Counter())[failure] += 1
    if not found:
        raise ValueError(f"{path} has no episodes")
    return found


def _evaluations(path: Path) -> tuple[list[str], Floats]:
    """Connectors with columns of their own; steps, success and success of each, (E, 2 + T)."""
    found: dict[float, list[float]] = {}
    names: list[str] = []
    if path.is_file():
        for line, row in iter_table(path, ("steps", "success")):
            names = [name for name in row if name and name.startswith(_BY_CONNECTOR)]
            try:
                # One that went on after an interruption may have a step twice: the later counts.
                found[float(row["steps"])] = [float(row[name]) for name in ("success", *names)]
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {line}: {error}") from None
    table = np.array([[step, *found[step]] for step in sorted(found)])
    return [name.removeprefix(_BY_CONNECTOR) for name in names], table.reshape(-1, 2 + len(names))
