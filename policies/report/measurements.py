"""A study's measurements as one tidy table; tables, figures and prose are pivots of it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from policies.report.study import Method, Run, Study, Unfinished

REACHED = 0.9
"""Success rate that "steps to" is about."""
THRESHOLDS = np.linspace(0.0, 1.0, 101)
"""Success rates at which performance profiles are known."""

SUCCESS, MEAN, FAILED, EPISODES = "success", "mean", "failed", "episodes"
STEPS, REACHING, EVALUATED = "steps to", "runs that reached", "runs evaluated"
SECONDS, EMBEDDING, MFLOP, SEEDS = "seconds", "embedding", "MFLOP", "seeds"
LEARNING, PROFILE, BETTER = "success while learning", "profile", "better than"


@dataclass(frozen=True)
class Measurement:
    """A row of the table.

    Attributes:
        representation: Label of the representation that was measured.
        quantity: What was measured: one of this module's names.
        about: Of which part: a connector, a cause of failure, another representation, a step or a
            success rate; empty for the whole.
        value: The number.
        low: Lower end of its 95% interval; the number itself where there is none.
        high: Upper end of its interval.
    """

    representation: str
    quantity: str
    about: str | float
    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Section:
    """The measurements of one method.

    Attributes:
        method: The method.
        connectors: Connectors that all runs were evaluated on.
        causes: Causes of failure, the rarest first.
        runs: Runs with a final evaluation of every connector, by representation.
        table: All measurements.
        unfinished: Cells of the grid without a policy.
        notes: What was left out, and why.
    """

    method: Method
    connectors: tuple[str, ...]
    causes: tuple[str, ...]
    runs: Mapping[str, Sequence[Run]]
    table: tuple[Measurement, ...]
    unfinished: tuple[Unfinished, ...]
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
        return self._estimates.get((name, quantity, about))

    def value(self, name: str, quantity: str, about: str = "") -> float | None:
        """The same without its interval."""
        found = self.estimate(name, quantity, about)
        return None if found is None else found.value

    def band(self, name: str, quantity: str) -> Band | None:
        """A curve of a representation; None if there is none."""
        rows = [
            (float(about), found.value, found.low, found.high)
            for (of, what, about), found in self._estimates.items()
            if (of, what) == (name, quantity)
        ]
        return Band(*np.array(rows).T) if rows else None

    @cached_property
    def _estimates(self) -> dict[tuple[str, str, str | float], Estimate]:
        return {
            (row.representation, row.quantity, row.about): Estimate(row.value, row.low, row.high)
            for row in self.table
        }


def sections(study: Study, costs: Mapping[str, float], seed: int = 0) -> list[Section]:
    """Measure a study, each method by itself.

    Args:
        study: The study.
        costs: Millions of operations to encode an observation, by representation.
        seed: Seed of the bootstrap: the same study and seed give the same numbers.

    Returns:
        Sections in the order of their methods.
    """
    causes: Counter[str] = Counter()
    for run in study.runs:
        for episodes in run.episodes.values():
            causes.update(episodes.failures)
    rarest_first = tuple(cause for cause, _ in reversed(causes.most_common()))
    methods = sorted({Method.of(cell) for cell in study.cells})
    return [_section(study, method, rarest_first, costs, seed) for method in methods]


def _section(
    study: Study, method: Method, causes: tuple[str, ...], costs: Mapping[str, float], seed: int
) -> Section:
    runs = [run for run in study.runs if Method.of(run.cell) == method]
    connectors = tuple(dict.fromkeys(name for run in runs for name in run.episodes))
    notes, whole = [], []
    for run in runs:
        missing = ", ".join(name for name in connectors if name not in run.episodes)
        if missing:
            notes.append(f"{run.cell.name} has no final episodes of {missing} and is left out.")
        else:
            whole.append(run)
    by_name = {
        name: alike
        for name in study.representations
        if (alike := [run for run in whole if run.cell.representation == name])
    }
    scores = {
        name: np.array([[_rate(run, each) for each in connectors] for run in alike])
        for name, alike in by_name.items()
    }

    def rng() -> np.random.Generator:
        return np.random.default_rng(seed)

    table: list[Measurement] = []
    for name, alike in by_name.items():
        rows = [*_final(alike, scores[name], connectors, rng), *_training(alike, rng, notes)]
        if name in costs:
            rows.append((MFLOP, "", _exact(costs[name])))
        table += [Measurement(name, what, about, *_ends(found)) for what, about, found in rows]
    for one, other in combinations(by_name, 2):
        found = probability_of_improvement(scores[one], scores[other], rng())
        # Ties count half, so the other way round is what is left of one.
        back = Estimate(1 - found.value, 1 - found.high, 1 - found.low)
        table += [
            Measurement(one, BETTER, other, *_ends(found)),
            Measurement(other, BETTER, one, *_ends(back)),
        ]
    here = {cause for run in whole for e in run.episodes.values() for cause in e.failures}
    return Section(
        method,
        connectors,
        tuple(cause for cause in causes if cause in here),
        by_name,
        tuple(table),
        tuple(each for each in study.unfinished if Method.of(each.cell) == method),
        tuple(notes),
    )


_Found = tuple[str, str | float, Estimate]
"""A quantity, what part of it, and the number."""


def _final(
    runs: Sequence[Run],
    scores: Floats,
    connectors: Sequence[str],
    rng: Callable[[], np.random.Generator],
) -> Iterator[_Found]:
    """What a representation's final evaluations, success rates (R, T), come to."""
    yield SUCCESS, "", interquartile_interval(scores, rng())
    for i, connector in enumerate(connectors):
        yield SUCCESS, connector, interquartile_interval(scores[:, [i]], rng())
    yield MEAN, "", _exact(scores.mean())
    episodes = [each for run in runs for each in run.episodes.values()]
    count = sum(each.count for each in episodes)
    failures = sum((Counter(each.failures) for each in episodes), Counter())
    yield from ((FAILED, cause, _exact(n / count)) for cause, n in failures.items())
    yield EPISODES, "", _exact(count)
    yield SEEDS, "", _exact(len(runs))
    yield from _points(PROFILE, performance_profile(scores, THRESHOLDS, rng()))


def _training(
    runs: Sequence[Run], rng: Callable[[], np.random.Generator], notes: list[str]
) -> Iterator[_Found]:
    """What a representation's trainings come to."""
    for quantity, stored in ((SECONDS, "seconds"), (EMBEDDING, "embedding_dim")):
        known = [value for run in runs if (value := run.number(stored)) is not None]
        if known:
            yield quantity, "", _exact(statistics.median(known))
    evaluated = [run for run in runs if run.steps.size]
    if not evaluated:
        return
    name = runs[0].cell.representation
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
    try:
        yield from _points(
            LEARNING, sample_efficiency([run.steps for run in evaluated], success, rng())
        )
    except ValueError as error:
        notes.append(f"{name} has no curve: {error}.")


def _rate(run: Run, connector: str) -> float:
    return run.episodes[connector].successes / run.episodes[connector].count


def _points(quantity: str, band: Band) -> Iterator[_Found]:
    points = np.stack([band.x, band.estimate, band.low, band.high], axis=-1).tolist()
    return ((quantity, x, Estimate(*found)) for x, *found in points)


def _exact(value: float) -> Estimate:
    return Estimate(float(value), float(value), float(value))


def _ends(found: Estimate) -> tuple[float, float, float]:
    return found.value, found.low, found.high
