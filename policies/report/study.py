"""A study as its folder holds it: runs that are done, and cells that are not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from policies.ablation.folder import (
    EPISODES_FILE,
    EVALUATIONS_FILE,
    GRID_FILE,
    Ablation,
    episodes_table,
    iter_episodes,
)
from policies.ablation.grid import CELL_COLUMNS, AblationConfig, Cell
from policies.ablation.labels import labelled, representation_labels
from policies.evaluation.conditions import condition
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
        short: The same where there is little room.
    """

    rank: int
    title: str
    short: str

    @classmethod
    def of(cls, cell: Cell) -> Method:
        """The method of a cell."""
        if cell.algorithm == DISTILLATION:
            return cls(0, "Distilled from the scripted expert (DAgger)", "DAgger")
        known = ALGORITHMS.get(cell.algorithm)
        name = cell.algorithm if known is None else known.title
        if cell.start == "scratch":
            return cls(1, f"{name} from scratch", name)
        return cls(2, f"{name} from a warm start", f"{name}, warm")


Episodes = Counter[str]
"""Episodes of one policy on one connector by cause of failure, successes under ""."""


def success_rate(episodes: Episodes) -> float:
    """The part of episodes that succeeded."""
    return episodes[""] / episodes.total()


class Final(NamedTuple):
    """An episode of a policy's final evaluation; None for what the table does not have."""

    success: bool
    force_n: float | None
    """Peak force between plug and socket, [N]."""
    steps: float | None


@dataclass(frozen=True, eq=False)
class Run:
    """A policy that was trained and evaluated.

    Attributes:
        cell: Which one of the grid; its representation is a label of what it was trained on.
        representation: Label of the representation, which several encoder seeds share.
        folder: Its folder.
        config: Its options, as they were stored.
        result: The result of its training, as it was stored.
        steps: Steps at which it was evaluated while it learned, rising, (E,).
        success: Its success rates there, (E,).
        success_by_connector: The same for each connector with a column of its own, (E, T), T >= 0.
        episodes: Its final evaluation, by connector: in the order of the columns of evaluations,
            and then of the episodes.
        finals: The same, each by its connector and the seed of its world.
        videos: Videos of it.
    """

    cell: Cell
    representation: str
    folder: Path
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    steps: Floats
    success: Floats
    success_by_connector: Floats
    episodes: Mapping[str, Episodes]
    finals: Mapping[tuple[str, str], Final]
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
        track: The track that policies were judged on, or nominal, and what settings change of it.
        representations: Their names, by label, in the order in which they were asked for; of
            encoder seeds all their names.
        contrasts: Pairs of labels that were named beforehand.
        grid: What was asked for, as it was stored.
        runs: Runs that are done.
        unfinished: Why the other cells have no policy, in words.
        missing: How many cells those are, by method and representation.
    """

    folder: Path
    track: str
    representations: Mapping[str, str]
    contrasts: Sequence[tuple[str, str]]
    grid: Mapping[str, Any]
    runs: tuple[Run, ...]
    unfinished: Mapping[Cell, str]
    missing: Counter[tuple[Method, str]]

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
    grid = ablation.read_grid()
    label = representation_labels(grid)
    names: dict[str, list[str]] = {}
    for name, representation in grid.trained_on.items():
        names.setdefault(label[representation], []).append(name)
    runs, unfinished = [], {}
    missing: Counter[tuple[Method, str]] = Counter()
    published = {} if (ablation.path / "runs").is_dir() else _published(ablation.path)
    for cell, shown in labelled(grid).items():
        representation = label[grid.trained_on[cell.representation]]
        state, place = ablation.state(cell), ablation.folder(cell)
        if state == "done" or cell.key in published:
            tables = _tables(place) if state == "done" else published[cell.key]
            runs.append(_run(shown, representation, place, tables))
            continue
        missing[Method.of(cell), representation] += 1
        if state == "failed":
            unfinished[shown] = ablation.read_failure(cell)
        else:
            begun = (place / "config.json").is_file()
            unfinished[shown] = "begun, not finished" if begun else "not trained yet"
    return Study(
        ablation.path,
        _track(grid),
        {label: ", ".join(several) for label, several in names.items()},
        [(label[one], label[other]) for one, other in grid.contrasts],
        _mapping(ablation.path / GRID_FILE),
        tuple(runs),
        unfinished,
        missing,
    )


def _track(grid: AblationConfig) -> str:
    """The track that a grid's policies are judged on, and what settings change of it."""
    told = condition(grid.evaluation.condition).settings
    settings = dict(grid.training.get("settings", {}) if told is None else told)
    parts = [str(settings.pop("track", "nominal"))]  # that of `gymnasium.make` if none is named
    for name, value in settings.items():
        alike = value if isinstance(value, list | tuple) else [value]
        parts.append(f"{name.replace('_', ' ')} {' '.join(map(str, alike))}")
    return ", ".join(parts)


class _Tables(NamedTuple):
    """What a policy did: rows of its final episodes, and of its evaluations while it learned.

    Each after where it stands, and of an episode whether it succeeded.
    """

    episodes: list[tuple[str, dict[str, str], bool]]
    evaluations: list[tuple[str, dict[str, str]]]


def _tables(folder: Path, extra: Sequence[str] = ()) -> _Tables:
    """The tables in a folder, with columns that they must have besides."""
    path = episodes_table(folder) or folder / EPISODES_FILE
    other = folder / EVALUATIONS_FILE
    episodes = [
        (f"{path}, line {line}", row, success)
        for line, row, success in iter_episodes(path, ("connector", "failure", *extra))
    ]
    if not episodes:
        raise ValueError(f"{path} has no episodes")
    rows = iter_table(other, ("steps", "success", *extra)) if other.is_file() else ()
    return _Tables(episodes, [(f"{other}, line {line}", row) for line, row in rows])


def _published(folder: Path) -> dict[tuple[str, ...], _Tables]:
    """The tables of a study that is published without its runs, by policy."""
    found: dict[tuple[str, ...], _Tables] = defaultdict(lambda: _Tables([], []))
    if episodes_table(folder) is not None:
        tables = _tables(folder, CELL_COLUMNS)
        for episode in tables.episodes:
            found[tuple(episode[1][name] for name in CELL_COLUMNS)].episodes.append(episode)
        for evaluation in tables.evaluations:
            found[tuple(evaluation[1][name] for name in CELL_COLUMNS)].evaluations.append(
                evaluation
            )
    return found


def _run(cell: Cell, representation: str, folder: Path, tables: _Tables) -> Run:
    names, evaluated = _evaluations(tables.evaluations)
    episodes, finals = _episodes(tables.episodes)
    ordered = dict.fromkeys((*(name for name in names if name in episodes), *episodes))
    # A hidden file is still being written.
    videos = (folder / "videos").glob("[!.]*")
    return Run(
        cell,
        representation,
        folder,
        _mapping(folder / "config.json"),
        _mapping(folder / "result.json"),
        *(evaluated[:, 0], evaluated[:, 1], evaluated[:, 2:]),
        {name: episodes[name] for name in ordered},
        finals,
        tuple(sorted(path for path in videos if path.suffix in _VIDEO_SUFFIXES)),
    )


def _mapping(path: Path) -> Mapping[str, Any]:
    """What a JSON file holds; nothing if there is none."""
    return read_object(path, ValueError) if path.is_file() else {}


def _episodes(
    rows: Iterable[tuple[str, dict[str, str], bool]],
) -> tuple[dict[str, Episodes], dict[tuple[str, str], Final]]:
    """Final episodes by connector, in the order of the table; and each by itself."""
    found: dict[str, Episodes] = {}
    finals: dict[tuple[str, str], Final] = {}
    for number, (where, row, success) in enumerate(rows):
        failure = "" if success else row["failure"] or "unknown"
        found.setdefault(row["connector"], Counter())[failure] += 1
        try:
            force, steps = (
                float(row[n]) if row.get(n) else None for n in ("peak_force_n", "steps")
            )
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        # A table without seeds is of episodes in the order that all policies played them in.
        seed = row.get("episode_seed") or str(number)
        finals[row["connector"], seed] = Final(success, force, steps)
    return found, finals


def _evaluations(rows: Iterable[tuple[str, dict[str, str]]]) -> tuple[list[str], Floats]:
    """Connectors with columns of their own; steps, success and success of each, (E, 2 + T)."""
    found: dict[float, list[float]] = {}
    names: list[str] = []
    for where, row in rows:
        names = [name for name in row if name and name.startswith(_BY_CONNECTOR)]
        try:
            # One that went on after an interruption may have a step twice: the later counts.
            found[float(row["steps"])] = [float(row[name]) for name in ("success", *names)]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from None
    table = np.array([[step, *found[step]] for step in sorted(found)])
    return [name.removeprefix(_BY_CONNECTOR) for name in names], table.reshape(-1, 2 + len(names))
