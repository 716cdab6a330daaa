"""A study as it lies in its folder: the runs that are done, those that are not, every episode."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.ablation.folder import EPISODES_FILE, GRID_FILE, Ablation, read_json_or_yaml
from policies.ablation.grid import DISTILLATION, AblationError, Cell
from policies.ablation.labels import labelled
from policies.learners.algorithms import ALGORITHMS

Floats = NDArray[np.float64]

CONFIG_FILE, RESULT_FILE, EVALUATIONS_FILE, VIDEOS = (
    "config.json",
    "result.json",
    "evaluations.csv",
    "videos",
)

_VIDEO_SUFFIXES = (".mp4", ".webm")
_WARM = 2
"""Where reinforcement learning from a warm start stands among methods."""


@dataclass(frozen=True, order=True)
class Method:
    """How policies were trained; methods are never compared with each other.

    Attributes:
        rank: Where its section stands.
        title: What people call it.
    """

    rank: int
    title: str

    @property
    def warm(self) -> bool:
        """Whether its runs went on from a distilled policy."""
        return self.rank == _WARM

    @classmethod
    def of(cls, cell: Cell) -> Method:
        """The method of a cell."""
        if cell.algorithm == DISTILLATION:
            return cls(0, "Distilled from the scripted expert (DAgger)")
        known = ALGORITHMS.get(cell.algorithm)
        name = cell.algorithm if known is None else known.title
        if cell.start == "scratch":
            return cls(1, f"{name} from scratch")
        return cls(_WARM, f"{name} from a warm start")


@dataclass(frozen=True)
class Episodes:
    """Final evaluation episodes of one policy on one connector.

    Attributes:
        count: How many there are.
        successes: How many of them succeeded.
        failures: How many of the others there are, by cause.
    """

    count: int
    successes: int
    failures: Mapping[str, int]

    @property
    def rate(self) -> float:
        """Part of them that succeeded."""
        return self.successes / self.count


@dataclass(frozen=True, eq=False)
class Run:
    """A policy that was trained and evaluated.

    Attributes:
        cell: Which one of the grid; its representation is a label.
        folder: Where it lies.
        config: Its options, as they were stored.
        result: What its training came to, as it was stored.
        steps: Steps at which it was evaluated while it learned, rising, (E,).
        success: Its success rates there, (E,).
        success_by_connector: The same for each connector that was told apart, (E, T), T from 0.
        episodes: Its final evaluation, by connector.
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
        total = sum(e.count for e in self.episodes.values())
        return sum(e.successes for e in self.episodes.values()) / total

    def number(self, name: str) -> float | None:
        """A number of `result`; None if it has none of that name."""
        value = self.result.get(name)
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class Unfinished:
    """A cell of the grid without a policy.

    Attributes:
        cell: Which one; its representation is a label.
        error: What went wrong; empty if nothing did.
        begun: Whether its training has begun.
    """

    cell: Cell
    error: str
    begun: bool


@dataclass(frozen=True, eq=False)
class Study:
    """A grid of runs.

    Attributes:
        folder: Where it lies.
        representations: Their names, by the label that stands for each from here on; in the order
            in which they were asked for.
        made: What it was made with: command, commit, versions, hardware.
        grid: What was asked for, as it was stored.
        runs: Runs that are done.
        unfinished: The other cells.
    """

    folder: Path
    representations: Mapping[str, str]
    made: Mapping[str, Any]
    grid: Mapping[str, Any]
    runs: tuple[Run, ...]
    unfinished: tuple[Unfinished, ...]

    @property
    def cells(self) -> list[Cell]:
        """All cells of the grid."""
        return [run.cell for run in self.runs] + [each.cell for each in self.unfinished]


def read_study(folder: str | Path) -> Study:
    """Read the folder of an ablation, however far it has come.

    Args:
        folder: The folder.

    Returns:
        The study.

    Raises:
        AblationError: If the folder holds no ablation, or one of its files cannot be read; names
            the file.
    """
    ablation = Ablation(folder)
    config = ablation.read_config()
    cells = labelled(config.cells)
    runs, unfinished = [], []
    for cell, shown in cells.items():
        state, place = ablation.state(cell), ablation.folder(cell)
        if state == "done":
            runs.append(_run(shown, place))
        else:
            error = ablation.read_failure(cell) if state == "failed" else ""
            unfinished.append(Unfinished(shown, error, (place / CONFIG_FILE).is_file()))
    document = read_json_or_yaml(ablation.path / GRID_FILE)
    made = document.get("made")
    return Study(
        ablation.path,
        {shown.representation: cell.representation for cell, shown in cells.items()},
        made if isinstance(made, Mapping) else {},
        document,
        tuple(runs),
        tuple(unfinished),
    )


def _run(cell: Cell, folder: Path) -> Run:
    evaluated = _evaluations(folder / EVALUATIONS_FILE)
    # What is hidden is still being written.
    videos = (folder / VIDEOS).glob("[!.]*") if (folder / VIDEOS).is_dir() else ()
    return Run(
        cell,
        folder,
        _mapping(folder / CONFIG_FILE),
        _mapping(folder / RESULT_FILE),
        evaluated[:, 0],
        evaluated[:, 1],
        evaluated[:, 2:],
        _episodes(folder / EPISODES_FILE),
        tuple(sorted(path for path in videos if path.suffix in _VIDEO_SUFFIXES)),
    )


def _mapping(path: Path) -> Mapping[str, Any]:
    """What a JSON file holds; nothing if there is none."""
    document = read_json_or_yaml(path) if path.is_file() else {}
    if not isinstance(document, Mapping):
        raise AblationError(f"{path} holds no fields")
    return document


def _episodes(path: Path) -> dict[str, Episodes]:
    """Final episodes by connector, in the order of the file."""
    counts: Counter[str] = Counter()
    successes: Counter[str] = Counter()
    failures: dict[str, Counter[str]] = {}
    for line, row in _rows(path, ("connector", "success", "failure")):
        connector = row["connector"]
        counts[connector] += 1
        failures.setdefault(connector, Counter())
        if row["success"] not in ("0", "1"):
            raise AblationError(f"{path}, line {line}: success is {row['success']!r}, not 0 or 1")
        if row["success"] == "1":
            successes[connector] += 1
        else:
            failures[connector][row["failure"]] += 1
    if not counts:
        raise AblationError(f"{path} has no episodes")
    return {name: Episodes(counts[name], successes[name], failures[name]) for name in counts}


def _evaluations(path: Path) -> Floats:
    """Evaluations while it learned, (E, 2 + T): steps, success, and success of each connector."""
    found: dict[float, list[float]] = {}
    if path.is_file():
        for line, row in _rows(path, ("steps", "success")):
            names = ["success", *(name for name in row if name.startswith("success_"))]
            try:
                # One that went on after an interruption may have a step twice: the later counts.
                found[float(row["steps"])] = [float(row[name]) for name in names]
            except (TypeError, ValueError) as error:
                raise AblationError(f"{path}, line {line}: {error}") from None
    if len({len(values) for values in found.values()}) > 1:
        raise AblationError(f"{path} has rows of different lengths")
    return np.array([[step, *found[step]] for step in sorted(found)]).reshape(
        len(found), -1 if found else 2
    )


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file and the lines they end on."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            for name in columns:
                if name not in (reader.fieldnames or ()):
                    raise AblationError(f"{path} has no column {name!r}")
            for row in reader:
                if any(row[name] is None for name in columns):
                    raise AblationError(f"{path}, line {reader.line_num}: the row is cut off")
                yield reader.line_num, row
    except OSError as error:
        raise AblationError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise AblationError(f"{path} cannot be read: {error}") from None
