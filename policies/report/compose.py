"""What a report says: its measurements, and the sentences about them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from policies.report.costs import encoding_costs
from policies.report.measurements import MEAN, SUCCESS, Section, sections
from policies.report.numbers import commit, percent, spoken_list, success
from policies.report.palette import ORACLE, Style, styles
from policies.report.probes import Probes, probes
from policies.report.scores import Bounds, Scores, scores
from policies.report.study import Study, read_study
from vtenv import provenance

_LISTED = 4
"""As many representations are named one by one; of more, the last are "the others"."""
_WARM = 2
"""Rank of the methods that go on from a distilled policy."""


@dataclass(frozen=True, eq=False)
class Report:
    """A report.

    Attributes:
        study: What it is of.
        sections: The measurements, by method.
        scores: Those of all ablations that are reported together.
        probes: What encoders know.
        styles: How each representation is drawn.
        notes: What could not be told, and why.
    """

    study: Study
    sections: tuple[Section, ...]
    scores: Scores
    probes: Probes
    styles: Mapping[str, Style]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """Its title: the name of the study's folder, and that it is an ablation."""
        name = self.study.folder.name
        return name.capitalize() if "ablation" in name.lower() else f"Ablation {name}"

    @property
    def lead(self) -> str:
        """What the study is, in a sentence."""
        study = self.study
        done, total = len(study.runs), len(study.cells)
        counts = {sum(e.total() for e in run.episodes.values()) for run in study.runs}
        each = f"{min(counts)}" if len(counts) == 1 else f"{min(counts, default=0)} or more"
        learned_alike = (study.grid.get("encoders") or {}).values()
        encoders = max((len(alike) for alike in learned_alike), default=1)
        of_encoders = f"up to {encoders} encoder seeds, " if encoders > 1 else ""
        judged = f", and each was judged by {each} episodes on fixed seeds" if counts else ""
        return (
            f"{_count(len(study.representations), 'representation')}, {of_encoders}"
            f"{_count(len(self.sections), 'way')} to train and "
            f"{_count(len({cell.seed for cell in study.cells}), 'policy seed')}: "
            f"{done} of {total} policies are trained{judged}."
        )

    @property
    def findings(self) -> list[str]:
        """What came out, a line for each method."""
        return [f"{section.method.title}: {_finding(section)}." for section in self.sections]

    @property
    def provenance(self) -> dict[str, str]:
        """Where the numbers come from, by name."""
        study = self.study
        made: Mapping[str, Any] = study.grid.get("made") or {}
        sources = [made, *(run.config for run in study.runs)]
        version = provenance.version(provenance.DISTRIBUTION) or "of no release"
        facts = {
            "Command": str(made.get("command", "")),
            "Commit": _all(commit(str(s["commit"])) for s in sources if s.get("commit")),
            "Date": str(made.get("date", "")),
            "Hardware": _all(_plain(s["hardware"]) for s in sources if s.get("hardware")),
            "Versions": _all(_plain(s["versions"]) for s in sources if s.get("versions")),
            "Seeds of training": spoken_list(
                [str(seed) for seed in sorted({cell.seed for cell in study.cells})]
            ),
            "Final evaluation": _plain(study.grid.get("evaluation", {})),
            "Report": f"VTInsert {version}, commit {commit(provenance.commit() or 'unknown')}; "
            "bootstrap seed 0",
        }
        return {name: text for name, text in facts.items() if text}


def compose(folder: Path, probe_files: Iterable[Path] = ()) -> Report:
    """Read the folder of an ablation, and reports of `vtinsert probe`, and measure them.

    Raises:
        ValueError, OSError: If there is no ablation, or a file cannot be read; names it.
    """
    study = read_study(folder)
    known = probes(study.folder, study.representations, probe_files)
    costs, notes = encoding_costs(study.runs)
    measured = tuple(sections(study, costs))
    return Report(
        study,
        measured,
        scores([(study, measured)], {}),
        known,
        styles(study.representations),
        (*notes, *known.notes),
    )


def scored_together(reports: Sequence[Report], audits: Mapping[str, Bounds]) -> list[Report]:
    """Reports that all show the scores of all of them.

    Args:
        reports: The reports.
        audits: What scores are normalised by, by track.
    """
    found = scores([(report.study, report.sections) for report in reports], audits)
    return [replace(report, scores=found) for report in reports]


def about(section: Section) -> list[str]:
    """What a reader must know of a method before its numbers."""
    said = [_progress(section)] if section.runs and section.missing else []
    if section.method.rank == _WARM:
        said.append(
            "These runs went on from the distilled policy of the same representation and seed. "
            "Their steps and time are counted from there."
        )
    if not section.runs:
        return [*said, "No policy has been trained in this way yet."]
    if section.single:
        said.append(
            "Each representation has one run, so there are no intervals over seeds: differences "
            "may be luck."
        )
        return said
    doubts = []
    if section.unsure:
        verb = "has" if len(section.unsure) == 1 else "have"
        doubts.append(
            f"{spoken_list(section.unsure)} {verb} one run and no interval, and may be luck: drawn "
            "thin or faint."
        )
    if any(len(runs) == 2 for runs in section.runs.values()):
        doubts.append(
            "An interval of two runs is no more than the distance between them: about half of "
            "such intervals hold the truth."
        )
    return [*said, " ".join(doubts)] if doubts else said


def _progress(section: Section) -> str:
    """How many policies are done, and of which representations there are fewer than asked for."""
    done = Counter({name: len(runs) for name, runs in section.runs.items()})
    alike: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name in dict.fromkeys([*done, *section.missing]):
        alike[done[name], done[name] + section.missing[name]].append(name)
    groups = sorted(alike.items(), key=lambda group: len(group[1]))
    most = groups[-1][1]
    rest = f"the other {len(most)}" if len(groups) > 1 else "each representation"
    said = [
        f"{have} of {of} seeds of "
        + (rest if each is most and len(most) > _LISTED else spoken_list(each))
        for (have, of), each in groups
    ]
    total = done.total() + section.missing.total()
    return f"{done.total()} of {total} policies are done: {'; '.join(said)}."


def _finding(section: Section) -> str:
    found = {name: e for name in section.runs if (e := section.estimate(name, SUCCESS))}
    said = {name: f"{name} {success(e, name in section.unsure)}" for name, e in found.items()}
    ranked = sorted(
        (name for name in found if name != ORACLE),
        key=lambda name: (found[name].value, section.value(name, MEAN) or 0.0),
        reverse=True,
    )
    if len(ranked) < 2:
        parts = [said[name] for name in ranked]
    elif found[ranked[0]].value == found[ranked[-1]].value:
        parts = [f"all that a robot can sense {percent(found[ranked[0]].value)}"]
    else:
        parts = [f"best {said[ranked[0]]}", f"worst {said[ranked[-1]]}"]
    if ORACLE in said:
        parts.append(f"privileged {said[ORACLE]}")
    return "; ".join(parts) or "no policy yet"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _all(answers: Iterable[str]) -> str:
    """Each answer once."""
    return "; ".join(dict.fromkeys(answers))


def _plain(value: object) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    fields = {key: item for key, item in value.items() if item is not None}
    return ", ".join(f"{key.replace('_', ' ')} {_plain(item)}" for key, item in fields.items())
