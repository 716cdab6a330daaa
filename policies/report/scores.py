"""The scores of representations on tracks: the first thing that a report shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies.evaluation.statistics import (
    Contrast,
    Floats,
    HierarchicalEstimate,
    area_over_log_steps,
    hierarchical_interval,
    holm,
    normalised_score,
    paired_contrast,
)
from policies.report.measurements import Section
from policies.report.study import Final, Run, Study
from policies.representation_names import EXPERT
from vtenv.json_document import read_object
from vtenv.run_folder import iter_table

SEARCH = "no-touch search"
"""The player of an audit whose success is a normalised score of 0; the expert's is 1."""
_AUDITED = ("player", "intervention", "connector", "episodes", "successes")


@dataclass(frozen=True)
class Bounds:
    """Success rates of an audit, between which a track's scores are normalised."""

    search: float
    expert: float


@dataclass(frozen=True, eq=False)
class Score:
    """What a representation came to on a track.

    Attributes:
        success: Mean success over connectors, which count alike.
        normalised: The same between search and expert; None without an audit of the track.
        worst: The connector of least success.
        worst_success: Its mean success.
        force_n: 95th percentile of the peak force of episodes that succeeded, [N]; None if none
            did, or it is not known.
        steps: Median of their control steps; None likewise.
        area: Mean success while learning over the logarithm of steps, over those that all runs of
            the track have been through; None if there are none.
    """

    success: HierarchicalEstimate
    normalised: float | None
    worst: str
    worst_success: float
    force_n: float | None
    steps: float | None
    area: float | None

    @property
    def shown(self) -> float:
        """The normalised score, or plain success where there is none."""
        return self.success.value if self.normalised is None else self.normalised


@dataclass(frozen=True, eq=False)
class Comparison:
    """A contrast that was named beforehand.

    Attributes:
        track: The column that it is of.
        one: The representation whose success is the greater if the difference is above 0.
        other: The other one.
        contrast: Their difference.
        holm: Its p-value by Holm, over all of the report.
    """

    track: str
    one: str
    other: str
    contrast: Contrast
    holm: float


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of one ablation or several.

    Attributes:
        tracks: By track, and method where it has several: scores by representation.
        representations: Labels, that of the highest mean first: over the columns that all of them
            have, so that who was on easy tracks alone is not ahead; of equal ones over its own.
        normalised: Whether scores are normalised, as every track has been audited.
        comparisons: The contrasts that were named beforehand.
        notes: What could not be told, and why.
    """

    tracks: Mapping[str, Mapping[str, Score]]
    representations: Sequence[str]
    normalised: bool
    comparisons: Sequence[Comparison]
    notes: Sequence[str]


def scores(
    measured: Sequence[tuple[Study, Sequence[Section]]], audits: Mapping[str, Bounds]
) -> Scores:
    """Score ablations, each on its track.

    Args:
        measured: Studies with their measurements.
        audits: What scores are normalised by, by track; unless all tracks have one, none are.
    """
    names = [study.track for study, _ in measured]
    normalised = bool(audits) and {*names} <= audits.keys()
    tracks: dict[str, dict[str, Score]] = {}
    contrasts: list[tuple[str, str, str, Contrast]] = []
    notes = []
    if (missing := sorted({*names} - audits.keys())) and audits:
        notes.append(f"No audit of {missing[0]} is given, so that scores are plain success.")
    for study, sections in measured:
        ran = [section for section in sections if section.runs]
        for section in ran:
            title = study.track
            title += f" ({study.folder.name})" if names.count(title) > 1 else ""
            title += f", {section.method.short}" if len(ran) > 1 else ""
            common = _common_episodes(section)
            played = max(len(run.finals) for alike in section.runs.values() for run in alike)
            if len(common) < played:
                notes.append(
                    f"{title}: not all policies were judged by the same episodes; scores are of "
                    f"the {len(common)} of {played} that all have."
                )
            if not common:
                continue
            tables = {
                name: _by_encoder(alike, common, lambda final: final.success)
                for name, alike in section.runs.items()
            }
            areas = _areas(section)
            tracks[title] = {
                name: _score(
                    tables[name],
                    alike,
                    common,
                    audits[study.track] if normalised else None,
                    areas.get(name),
                )
                for name, alike in section.runs.items()
            }
            pairs = [pair for pair in study.contrasts if {*pair} <= tables.keys()]
            strata = [connector for connector, _ in common]
            contrasts += [
                (title, one, other, paired_contrast(tables[one], tables[other], strata))
                for one, other in pairs
            ]
            if left := len(study.contrasts) - len(pairs):
                notes.append(f"{title}: {left} of {len(study.contrasts)} contrasts lack a policy.")
    adjusted = holm([contrast.p for *_, contrast in contrasts]).tolist()
    return Scores(
        tracks,
        ranked(tracks),
        normalised,
        [Comparison(*found, p) for found, p in zip(contrasts, adjusted, strict=True)],
        notes,
    )


def ranked(tracks: Mapping[str, Mapping[str, Score]]) -> list[str]:
    """Representations, the best first; a mean over no column is 0."""
    names = list(dict.fromkeys(name for column in tracks.values() for name in column))
    shared = [column for column in tracks.values() if len(column) == len(names)]

    def means(name: str) -> tuple[float, float]:
        own = [column for column in tracks.values() if name in column]
        of_shared, of_own = (
            sum(column[name].shown for column in columns) / max(len(columns), 1)
            for columns in (shared, own)
        )
        return of_shared, of_own

    return sorted(names, key=means, reverse=True)


def read_audits(paths: Iterable[Path]) -> dict[str, Bounds]:
    """Success of the expert and of the search, by track.

    Args:
        paths: Folders that `vtinsert audit` wrote, and tables like its `audit.csv` that are called
            TRACK.csv.

    Raises:
        ValueError: If one cannot be read, or has no expert or no search; names it.
    """
    found = {}
    for path in paths:
        if path.is_dir():
            track = read_object(path / "audit.json", ValueError).get("track")
            found[str(track)] = _bounds(path / "audit.csv")
        else:
            found[path.stem] = _bounds(path)
    return found


def _bounds(path: Path) -> Bounds:
    columns = ("player", "intervention", "connector", "episodes", "successes")
    rates = {
        row["player"]: int(row["successes"]) / int(row["episodes"])
        for _, row in iter_table(path, columns)
        if row["intervention"] == "as it is" and row["connector"] == "all"
    }
    if missing := [name for name in (SEARCH, EXPERT) if name not in rates]:
        raise ValueError(f"{path} has no row of the {missing[0]}; give what `vtinsert audit` wrote")
    if rates[EXPERT] <= rates[SEARCH]:
        raise ValueError(f"{path}: the expert is no better than the search; nothing is between")
    return Bounds(rates[SEARCH], rates[EXPERT])


Episode = tuple[str, str]
"""Connector, and seed of the world."""


def _common_episodes(section: Section) -> list[Episode]:
    """Episodes that all policies played."""
    runs = [run for alike in section.runs.values() for run in alike]
    return sorted(set.intersection(*({*run.finals} for run in runs)))


def _by_encoder(
    runs: Sequence[Run], episodes: Sequence[Episode], of: Callable[[Final], float]
) -> list[Floats]:
    """A number of each episode, (R, N) for each encoder seed."""
    alike: dict[str, list[list[float]]] = defaultdict(list)
    for run in runs:
        alike[run.cell.representation].append([of(run.finals[each]) for each in episodes])
    return [np.array(rows, np.float64) for rows in alike.values()]


def _score(
    tables: Sequence[Floats],
    runs: Sequence[Run],
    episodes: Sequence[Episode],
    bounds: Bounds | None,
    area: float | None,
) -> Score:
    strata = np.array([connector for connector, _ in episodes])
    success = hierarchical_interval(tables, strata, _rng())
    rates = {
        str(connector): float(np.mean([table[:, strata == connector].mean() for table in tables]))
        for connector in np.unique(strata)
    }
    worst = min(rates, key=lambda connector: rates[connector])
    won = [final for run in runs for each in episodes if (final := run.finals[each]).success]
    forces = [final.force_n for final in won if final.force_n is not None]
    steps = [final.steps for final in won if final.steps is not None]
    return Score(
        success,
        normalised_score(success.value, bounds.search, bounds.expert) if bounds else None,
        worst,
        rates[worst],
        float(np.percentile(forces, 95)) if forces else None,
        float(np.median(steps)) if steps else None,
        area,
    )


def _areas(section: Section) -> dict[str, float]:
    """Areas under curves of success, over steps that all runs of a section have been through."""
    runs = [run for alike in section.runs.values() for run in alike]
    at = [run.steps[run.steps > 0] for run in runs]
    if not all(steps.size for steps in at):
        return {}
    first, last = max(steps[0] for steps in at), min(steps[-1] for steps in at)
    if first >= last:
        return {}
    return {
        name: float(
            np.mean([area_over_log_steps(run.steps, run.success, first, last) for run in alike])
        )
        for name, alike in section.runs.items()
    }


def _rng() -> np.random.Generator:
    """What the bootstrap draws from: the same study gives the same numbers."""
    return np.random.default_rng(0)
