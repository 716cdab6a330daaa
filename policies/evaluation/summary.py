"""What many episodes come to: rates with intervals, and the tables that show them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from policies.evaluation.episodes import EpisodeRecord
from policies.evaluation.statistics import wilson
from representation.probes.markdown import table

ALL = "all"
"""Key of what holds of all connectors together."""
COLUMNS = ("success", "95% interval", "progress", "steps", "peak force, N", "failures")
"""Headings of what `Summary.cells` returns."""
LEGEND = (
    "Progress: the mean of the task's potentials at the end. Steps: of successes, the median; one "
    "takes 20 ms. Peak force: median / 95th percentile."
)
"""What the columns mean."""


@dataclass(frozen=True)
class Summary:
    """What some episodes come to.

    Attributes:
        episodes: How many they are.
        successes: How many succeeded.
        interval: Wilson's interval of the success rate, 95%.
        progress: `EpisodeRecord.progress`, the mean.
        labels: The task's labels at the end by name, the means.
        steps: Control steps of successes, the median; None without one.
        force_n: Peak contact force, [N], the median.
        high_force_n: The same, the 95th percentile.
        failures: Failures by cause, the most frequent first.
    """

    episodes: int
    successes: int
    interval: tuple[float, float]
    progress: float
    labels: Mapping[str, float]
    steps: float | None
    force_n: float
    high_force_n: float
    failures: Mapping[str, int]

    @property
    def success(self) -> float:
        """The success rate."""
        return self.successes / self.episodes

    @property
    def bounds(self) -> str:
        """The interval in words."""
        low, high = (100 * bound for bound in self.interval)
        return f"{low:.3g} to {high:.3g}%"

    def cells(self) -> tuple[str, ...]:
        """The summary as a table's cells, below `COLUMNS`."""
        return (
            f"{self.success:.1%}",
            self.bounds,
            f"{self.progress:.0%}",
            "-" if self.steps is None else f"{self.steps:g}",
            f"{self.force_n:.1f} / {self.high_force_n:.1f}",
            ", ".join(f"{cause} {count}" for cause, count in self.failures.items()) or "-",
        )

    def to_dict(self) -> dict[str, Any]:
        """The summary for JSON."""
        return {
            "episodes": self.episodes,
            "successes": self.successes,
            "success": round(self.success, 4),
            "interval": [round(bound, 4) for bound in self.interval],
            "progress_mean": round(self.progress, 4),
            **{f"{name}_mean": round(value, 3) for name, value in self.labels.items()},
            "steps_to_success_median": self.steps,
            "peak_force_n_median": round(self.force_n, 3),
            "peak_force_n_95th": round(self.high_force_n, 3),
            "failures": dict(self.failures),
        }


def summarise(records: Sequence[EpisodeRecord]) -> Summary:
    """Sum up episodes; at least one."""
    won = [record.steps for record in records if record.success]
    failures = Counter(record.failure for record in records if not record.success)
    forces = [record.peak_force for record in records]
    return Summary(
        episodes=len(records),
        successes=len(won),
        interval=wilson(len(won), len(records)),
        progress=statistics.fmean(record.progress for record in records),
        labels={
            name: statistics.fmean(record.labels[name] for record in records)
            for name in records[0].labels
        },
        steps=statistics.median(won) if won else None,
        force_n=statistics.median(forces),
        high_force_n=float(np.percentile(forces, 95)),
        failures=dict(failures.most_common()),
    )


def by_connector(records: Sequence[EpisodeRecord]) -> dict[str, Summary]:
    """Summaries of all episodes, under `ALL`, and of each connector's, as they first appear."""
    groups: dict[str, list[EpisodeRecord]] = {ALL: list(records)}
    for record in records:
        groups.setdefault(record.connector, []).append(record)
    return {name: summarise(group) for name, group in groups.items()}


def overview(conditions: Mapping[str, Mapping[str, Summary]]) -> list[list[str]]:
    """Success by condition and connector, from `by_connector` of each: a table's head and rows."""
    found = dict.fromkeys(name for each in conditions.values() for name in each if name != ALL)
    rows = [["condition", ALL, "95% interval", *found]]
    for name, summaries in conditions.items():
        every = summaries[ALL]
        cells = [f"{s.success:.1%}" if (s := summaries.get(each)) else "-" for each in found]
        rows.append([name, f"{every.success:.1%}", every.bounds, *cells])
    return rows


def to_markdown(
    title: str,
    conditions: Mapping[str, Mapping[str, Summary]],
    descriptions: Mapping[str, str],
) -> str:
    """The page of an evaluation.

    Args:
        title: Who was played.
        conditions: `by_connector` of the episodes of each condition, by its name.
        descriptions: What each condition was.
    """
    head, *rows = overview(conditions)
    parts = [f"# {title}", "Success by condition and connector.", table(head, rows)]
    for name, summaries in conditions.items():
        rows = [[each, str(s.episodes), *s.cells()] for each, s in summaries.items()]
        parts += [f"## {name}", f"Here: {descriptions[name].removesuffix('.')}."]
        parts.append(table(["connector", "episodes", *COLUMNS], rows))
    return "\n\n".join([*parts, LEGEND]) + "\n"
