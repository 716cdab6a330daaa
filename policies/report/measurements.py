"""A study's measurements as one tidy table; tables, figures and prose are pivots of it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from policies.evaluation.statistics import (
    Band,
    Estimate,
    Floats,
    interquartile_interval,
    performance_profile,
    probability_of_improvement,
    sample_efficiency,
    steps_to,
)
from policies.report.study import Method, Run, Study, success_rate

REACHED = 0.9
"""Success rate that "steps to" is about."""
THRESHOLDS = np.linspace(0.0, 1.0, 101)
"""Success rates at which performance profiles are known."""

SUCCESS, MEAN, FAILED, EPISODES = "success", "mean", "failed", "episodes"
STEPS, REACHING, EVALUATED = "steps to", "runs that reached", "runs evaluated"
SECONDS, EMBEDDING, MFLOP = "seconds", "embedding", "MFLOP"
LEARNING, PROFILE, BETTER = "success while learning", "profile", "better than"

Row = tuple[str, str, str | float]
"""What a measurement is of: the representation's label; the quantity, one of this module's names;
and which part of it, a connector, a cause of failure, another representation, a step or a success
rate, empty for the whole."""


@dataclass(frozen=True, eq=False)
class Section:
    """The measurements of one method.

    Attributes:
        method: The method.
        connectors: Connectors that all runs were evaluated on.
        causes: Causes of failure, the rarest first.
        runs: Runs with a final evaluation of every connector, by representation.
        table: All measurements, with 95% intervals; without one, both ends are the number itself.
        missing: Cells of the grid without a policy, by representation.
        notes: What was left out, and why.
    """

    method: Method
    connectors: tuple[str, ...]
    causes: tuple[str, ...]
    runs: Mapping[str, Sequence[Run]]
    table: Mapping[Row, Estimate]
    missing: Counter[str]
    notes: tuple[str, ...]

    @property
    def single(self) -> bool:
        """Whether no representation has more than one run."""
        return len(self.unsure) == len(self.runs)

    @property
    def unsure(self) -> list[str]:
        """Representations with one run, so that their intervals mean nothing."""
        return [name for name, runs in self.runs.items() if len(runs) == 1]

    def estimate(self, name: str, quantity: str, about: str = "") -> Estimate | None:
        """A measurement of a representation; None if it was not made."""
        return self.table.get((name, quantity, about))

    def value(self, name: str, quantity: str, about: str = "") -> float | None:
        """The same without its interval."""
        found = self.estimate(name, quantity, about)
        return None if found is None else found.value

    def bands(self, quantity: str) -> dict[str, Band]:
        """Curves by representation, of those that have one."""
        points: dict[str, list[tuple[float, ...]]] = {}
        for (name, what, x), found in self.table.items():
            if what == quantity:
                points.setdefault(name, []).append((float(x), found.value, found.low, found.high))
        return {name: Band(*np.array(rows).T) for name, rows in points.items()}


def sections(study: Study, costs: Mapping[str, float]) -> list[Section]:
    """Measure a study, each method by itself, in the order of the methods.

    Args:
        study: The study.
        costs: Millions of operations to encode an observation, by representation.
    """
    outcomes = sum((e for run in study.runs for e in run.episodes.values()), Counter())
    rarest_first = [cause for cause, _ in reversed(outcomes.most_common()) if cause]
    methods = sorted({Method.of(cell) for cell in study.cells})
    return [_section(study, method, rarest_first, costs) for method in methods]


def _section(
    study: Study, method: Method, causes: Sequence[str], costs: Mapping[str, float]
) -> Section:
    done = [run for run in study.runs if Method.of(run.cell) == method]
    connectors = tuple(dict.fromkeys(name for run in done for name in run.episodes))
    notes = []
    runs: dict[str, list[Run]] = {name: [] for name in study.representations}
    for run in done:
        if missing := [name for name in connectors if name not in run.episodes]:
            notes.append(
                f"{run.cell.name} has no final episodes of {', '.join(missing)} and is left out."
            )
        else:
            runs[run.representation].append(run)
    runs = {name: alike for name, alike in runs.items() if alike}
    scores = {
        name: np.array([[success_rate(run.episodes[each]) for each in connectors] for run in alike])
        for name, alike in runs.items()
    }
    table: dict[Row, Estimate] = {}
    for name, alike in runs.items():
        rows = [*_final(alike, scores[name], connectors), *_training(alike, notes)]
        table |= {(name, what, about): found for what, about, found in rows}
        if name in costs:
            table[name, MFLOP, ""] = _exact(costs[name])
    for one, other in combinations(runs, 2):
        found = probability_of_improvement(scores[one], scores[other], _rng())
        table[one, BETTER, other] = found
        # Ties count half, so the other way round is what is left of one.
        table[other, BETTER, one] = Estimate(1 - found.value, 1 - found.high, 1 - found.low)
    here = {cause for name, quantity, cause in table if quantity == FAILED}
    return Section(
        method,
        connectors,
        tuple(cause for cause in causes if cause in here),
        runs,
        table,
        Counter({name: count for (of, name), count in study.missing.items() if of == method}),
        tuple(notes),
    )


_Found = tuple[str, str | float, Estimate]
"""A quantity, what part of it, and the number."""


def _final(runs: Sequence[Run], scores: Floats, connectors: Sequence[str]) -> Iterator[_Found]:
    """What a representation's final evaluations, success rates (R, T), come to."""
    yield SUCCESS, "", interquartile_interval(scores, _rng())
    for i, connector in enumerate(connectors):
        yield SUCCESS, connector, interquartile_interval(scores[:, [i]], _rng())
    yield MEAN, "", _exact(scores.mean())
    outcomes = sum((each for run in runs for each in run.episodes.values()), Counter())
    for cause, count in outcomes.items():
        if cause:
            yield FAILED, cause, _exact(count / outcomes.total())
    yield EPISODES, "", _exact(outcomes.total())
    yield from _points(PROFILE, performance_profile(scores, THRESHOLDS, _rng()))


def _training(runs: Sequence[Run], notes: list[str]) -> Iterator[_Found]:
    """What a representation's trainings come to."""
    for quantity, stored in ((SECONDS, "seconds"), (EMBEDDING, "embedding_dim")):
        known = [value for run in runs if (value := run.number(stored)) is not None]
        if known:
            yield quantity, "", _exact(statistics.median(known))
    evaluated = [run for run in runs if run.steps.size]
    if not evaluated:
        return
    name = runs[0].representation
    if len(evaluated) < len(runs):
        notes.append(
            f"The curve of {name} is of {len(evaluated)} of its {len(runs)} runs: the others were "
            "not evaluated while they learned."
        )
    steps = [steps_to(run.steps, run.success, REACHED) for run in evaluated]
    # A run that never did counts as later than any.
    yield STEPS, "", _exact(statistics.median(np.inf if s is None else s for s in steps))
    yield REACHING, "", _exact(sum(s is not None for s in steps))
    yield EVALUATED, "", _exact(len(evaluated))
    widths = {run.success_by_connector.shape[1] for run in evaluated}
    apart = len(widths) == 1 and widths != {0}
    success = [run.success_by_connector if apart else run.success for run in evaluated]
    at = [run.steps for run in evaluated]
    try:
        yield from _points(LEARNING, sample_efficiency(at, success, _rng()))
    except ValueError as error:
        notes.append(f"{name} has no curve: {error}.")


def _points(quantity: str, band: Band) -> Iterator[_Found]:
    points = np.stack([band.x, band.estimate, band.low, band.high], axis=-1).tolist()
    return ((quantity, x, Estimate(*found)) for x, *found in points)


def _rng() -> np.random.Generator:
    """What the bootstrap draws from: the same study gives the same numbers."""
    return np.random.default_rng(0)


def _exact(value: float) -> Estimate:
    return Estimate(float(value), float(value), float(value))
