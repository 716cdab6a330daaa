"""What a study's runs come to: for each method, what the tables and figures show."""

from __future__ import annotations

import statistics as central
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from policies.evaluation.statistics import (
    Band,
    Estimate,
    interquartile_interval,
    performance_profile,
    probability_of_improvement,
    sample_efficiency,
    steps_to,
)
from policies.report.study import Floats, Method, Run, Study, Unfinished
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES

REACHED = 0.9
"""Success rate that "steps to" is about."""
THRESHOLDS = np.linspace(0.0, 1.0, 101)
"""Success rates at which performance profiles are known."""


@dataclass(frozen=True)
class Reached:
    """When runs reached a success rate.

    Attributes:
        median: Median step over all runs, those that never did counted as later than any; None if
            that is one of them.
        runs: How many of them did.
        of: How many there are.
    """

    median: float | None
    runs: int
    of: int


@dataclass(frozen=True, eq=False)
class Row:
    """What one representation came to with one method.

    Attributes:
        representation: Its label.
        runs: Its runs with a final evaluation of every connector, by seed.
        success: Interquartile mean over runs and connectors.
        mean: Mean success over runs and connectors.
        connectors: Interquartile mean over runs, by connector.
        failures: Part of all final episodes, by cause of failure.
        episodes: Number of final episodes.
        reached: When runs reached 90% while they learned; None if they were not evaluated then.
        seconds: Median wall-clock time of training, in [s]; None if unknown.
        embedding: Width of the embedding, 0 without an encoder; None if unknown.
        mflop: Millions of operations to encode an observation; None if unknown.
        curve: Success while learning; None if runs were not evaluated then.
        profile: Part of runs and connectors with more than each success rate.
    """

    representation: str
    runs: tuple[Run, ...]
    success: Estimate
    mean: float
    connectors: Mapping[str, Estimate]
    failures: Mapping[str, float]
    episodes: int
    reached: Reached | None
    seconds: float | None
    embedding: int | None
    mflop: float | None
    curve: Band | None
    profile: Band

    @property
    def single(self) -> bool:
        """Whether it has one run, so that its intervals mean nothing."""
        return len(self.runs) == 1


@dataclass(frozen=True, eq=False)
class Section:
    """One method of a study.

    Attributes:
        method: The method.
        connectors: Connectors that all runs were evaluated on.
        rows: What each representation came to, in the study's order.
        improvement: How likely a run of the first representation beats one of the second.
        unfinished: Cells of the grid without a policy.
        notes: What was left out, and why.
    """

    method: Method
    connectors: tuple[str, ...]
    rows: tuple[Row, ...]
    improvement: Mapping[tuple[str, str], Estimate]
    unfinished: tuple[Unfinished, ...]
    notes: tuple[str, ...]

    @property
    def single(self) -> bool:
        """Whether no representation has more than one run."""
        return all(row.single for row in self.rows)

    @property
    def unsure(self) -> tuple[str, ...]:
        """Representations with one run."""
        return tuple(row.representation for row in self.rows if row.single)


def sections(study: Study, costs: Mapping[str, float], seed: int = 0) -> list[Section]:
    """Sum up a study, each method by itself.

    Args:
        study: The study.
        costs: Millions of operations to encode an observation, by representation.
        seed: Seed of the bootstrap: the same study and seed give the same numbers.

    Returns:
        Sections in the order of their methods.
    """
    methods = sorted({Method.of(cell) for cell in study.cells})
    return [_section(study, method, costs, seed) for method in methods]


def _section(study: Study, method: Method, costs: Mapping[str, float], seed: int) -> Section:
    runs = [run for run in study.runs if Method.of(run.cell) == method]
    connectors = tuple(sorted({name for run in runs for name in run.episodes}, key=_place))
    notes = []
    whole = [run for run in runs if set(run.episodes) == set(connectors)]
    for run in runs:
        if run not in whole:
            missing = ", ".join(name for name in connectors if name not in run.episodes)
            notes.append(f"{run.cell.name} has no final episodes of {missing} and is left out.")
    rows = [
        _row(
            name,
            [run for run in whole if run.cell.representation == name],
            connectors,
            costs,
            seed,
            notes,
        )
        for name in study.representations
        if any(run.cell.representation == name for run in whole)
    ]
    scores = {row.representation: _scores(row.runs, connectors) for row in rows}
    improvement: dict[tuple[str, str], Estimate] = {}
    for one, other in combinations(scores, 2):
        found = probability_of_improvement(scores[one], scores[other], np.random.default_rng(seed))
        improvement[one, other] = found
        # Ties count half, so the other way round is what is left of one.
        improvement[other, one] = Estimate(1 - found.value, 1 - found.high, 1 - found.low)
    unfinished = tuple(each for each in study.unfinished if Method.of(each.cell) == method)
    return Section(method, connectors, tuple(rows), improvement, unfinished, tuple(notes))


def _row(
    name: str,
    runs: Sequence[Run],
    connectors: Sequence[str],
    costs: Mapping[str, float],
    seed: int,
    notes: list[str],
) -> Row:
    scores = _scores(runs, connectors)
    episodes = [run.episodes[connector] for run in runs for connector in connectors]
    count = sum(e.count for e in episodes)
    failures: Counter[str] = Counter()
    for e in episodes:
        failures.update(e.failures)
    evaluated = [run for run in runs if run.steps.size]
    if 0 < len(evaluated) < len(runs):
        notes.append(
            f"The curve of {name} is of {len(evaluated)} of its {len(runs)} runs: the others were "
            "not evaluated while they learned."
        )

    def generator() -> np.random.Generator:
        return np.random.default_rng(seed)

    return Row(
        representation=name,
        runs=tuple(runs),
        success=interquartile_interval(scores, generator()),
        mean=float(scores.mean()),
        connectors={
            connector: interquartile_interval(scores[:, [i]], generator())
            for i, connector in enumerate(connectors)
        },
        failures={cause: number / count for cause, number in sorted(failures.items())},
        episodes=count,
        reached=_reached(evaluated),
        seconds=_median(run.number("seconds") for run in runs),
        embedding=_embedding(runs),
        mflop=costs.get(name),
        curve=_curve(evaluated, generator(), name, notes),
        profile=performance_profile(scores, THRESHOLDS, generator()),
    )


def _scores(runs: Iterable[Run], connectors: Sequence[str]) -> Floats:
    """Success rates, a row for each run and a column for each connector, (R, T)."""
    return np.array([[run.episodes[name].rate for name in connectors] for run in runs])


def _place(connector: str) -> tuple[int, str]:
    """Where a connector stands among others: one of another version last."""
    known = connector in CONNECTOR_NAMES
    return (CONNECTOR_NAMES.index(connector) if known else len(CONNECTOR_NAMES)), connector


def _reached(runs: Sequence[Run]) -> Reached | None:
    if not runs:
        return None
    steps = [steps_to(run.steps, run.success, REACHED) for run in runs]
    median = central.median(float("inf") if step is None else step for step in steps)
    reached = sum(step is not None for step in steps)
    return Reached(median if np.isfinite(median) else None, reached, len(runs))


def _curve(
    runs: Sequence[Run], generator: np.random.Generator, name: str, notes: list[str]
) -> Band | None:
    if not runs:
        return None
    try:
        return sample_efficiency([run.steps for run in runs], _while_learning(runs), generator)
    except ValueError as error:
        notes.append(f"{name} has no curve: {error}.")
        return None


def _while_learning(runs: Sequence[Run]) -> list[Floats]:
    """Scores of evaluations: by connector if every run has the same ones, else all together."""
    widths = {run.success_by_connector.shape[1] for run in runs}
    if len(widths) == 1 and widths != {0}:
        return [run.success_by_connector for run in runs]
    return [run.success for run in runs]


def _embedding(runs: Sequence[Run]) -> int | None:
    width = runs[0].number("embedding_dim")
    return None if width is None else int(width)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return central.median(known) if known else None
