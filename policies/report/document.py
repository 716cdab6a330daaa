"""All that a report says, before it becomes a page or Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from policies.report.costs import encoding_costs
from policies.report.numbers import duration, percent, spoken_list, steps, success
from policies.report.palette import ORACLE, Look, looks
from policies.report.probes import Probes, probes
from policies.report.study import Study, Unfinished, read_study
from policies.report.summary import Row, Section, sections
from policies.report.tables import NAME, Entry, Table
from vtenv.provenance import DISTRIBUTION, commit, version

_LISTED = 4
"""As many representations are named one by one; of more, the last are "the others"."""


@dataclass(frozen=True, eq=False)
class Document:
    """A report.

    Attributes:
        study: What it is of.
        sections: The methods.
        probes: What encoders know.
        looks: How each representation is drawn.
        notes: What could not be told, and why.
    """

    study: Study
    sections: tuple[Section, ...]
    probes: Probes
    looks: Mapping[str, Look]
    notes: tuple[str, ...]


def compose(folder: Path, probe_files: Iterable[Path] = ()) -> Document:
    """Read a study and sum it up.

    Args:
        folder: Folder of an ablation.
        probe_files: Reports of `vtinsert probe`.

    Raises:
        AblationError: If there is no ablation, or it cannot be read.
        ProbeFileError: If a probe report cannot be read.
    """
    study = read_study(folder)
    known = probes(study.folder, study.representations, probe_files)
    costs, notes = encoding_costs(study.runs)
    return Document(
        study,
        tuple(sections(study, costs)),
        known,
        looks(study.representations),
        (*notes, *known.notes),
    )


def lead(document: Document) -> str:
    """What the study is, in two sentences."""
    study = document.study
    total = len(study.runs) + len(study.unfinished)
    seeds = len({cell.seed for cell in study.cells})
    names = len({cell.representation for cell in study.cells})
    counts = {sum(e.count for e in run.episodes.values()) for run in study.runs}
    each = f"{min(counts)}" if len(counts) == 1 else f"{min(counts, default=0)} or more"
    judged = f", and each was judged by {each} episodes on fixed seeds" if counts else ""
    return (
        f"{_count(names, 'representation')}, {_count(len(document.sections), 'way')} to train and "
        f"{_count(seeds, 'seed')}: {len(study.runs)} of {total} policies are trained{judged}."
    )


def findings(document: Document) -> list[str]:
    """What came out, a line for each method."""
    return [f"{section.method.title}: {_finding(section)}." for section in document.sections]


def about(section: Section) -> list[str]:
    """What a reader must know of a method before its numbers."""
    said = [_progress(section)] if section.rows and section.unfinished else []
    if section.method.warm:
        said.append(
            "These runs went on from the distilled policy of the same representation and seed. "
            "Their steps and time are counted from there."
        )
    if not section.rows:
        said.append("No policy has been trained in this way yet.")
    elif section.single:
        said.append(
            "Each representation has one run, so there are no intervals over seeds: differences "
            "may be luck."
        )
    else:
        said += _doubts(section)
    return said


def unfinished(document: Document) -> Table | None:
    """Cells of the grid without a policy; None if there are none."""
    rows = tuple(
        (Entry(each.cell.name), Entry(_why(each), wordy=True)) for each in document.study.unfinished
    )
    return Table("Cells of the grid without a policy", ("cell", "why"), rows) if rows else None


def names(study: Study) -> Table | None:
    """What labels stand for; None if every representation is called by its name."""
    rows = tuple(
        (Entry(label), Entry(name, wordy=True))
        for label, name in study.representations.items()
        if label != name
    )
    return Table("What short names stand for", (NAME, "its name"), rows) if rows else None


def every_run(study: Study) -> Table:
    """Each run by itself."""
    rows = tuple(
        (
            Entry(run.cell.name),
            Entry(percent(run.rate), run.rate),
            Entry(steps(run.number("steps")), run.number("steps")),
            Entry(duration(run.number("seconds")), run.number("seconds")),
            Entry(str(run.folder.relative_to(study.folder)), wordy=True),
        )
        for run in study.runs
    )
    return Table("Every run", ("run", "success", "steps", "wall-clock", "folder"), rows)


def provenance(document: Document) -> dict[str, str]:
    """Where the numbers come from, by name."""
    study = document.study
    made = study.made
    configs = [run.config for run in study.runs]
    facts = {
        "Command": str(made.get("command", "")),
        "Commit": _all("commit", made, *configs),
        "Date": str(made.get("date", "")),
        "Hardware": _all("hardware", made, *configs),
        "Versions": _all("versions", made, *configs),
        "Seeds of training": spoken_list(
            [str(seed) for seed in sorted({cell.seed for cell in study.cells})]
        ),
        "Final evaluation": _plain(study.grid.get("evaluation", {})),
        "Report": f"VTInsert {version(DISTRIBUTION) or 'of no release'}, commit "
        f"{commit() or 'unknown'}; bootstrap seed 0",
    }
    return {name: text for name, text in facts.items() if text}


def _progress(section: Section) -> str:
    """How many policies are done, and of which representations there are fewer than asked for."""
    missing = [each.cell.representation for each in section.unfinished]
    done = {row.representation: len(row.runs) for row in section.rows}
    alike: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name in dict.fromkeys([*done, *missing]):
        alike[done.get(name, 0), done.get(name, 0) + missing.count(name)].append(name)
    groups = sorted(alike.items(), key=lambda group: len(group[1]))
    most = groups[-1][1]
    rest = f"the other {len(most)}" if len(groups) > 1 else "each representation"
    said = [
        f"{have} of {of} seeds of "
        + (rest if each is most and len(most) > _LISTED else spoken_list(each))
        for (have, of), each in groups
    ]
    total = sum(done.values())
    return f"{total} of {total + len(missing)} policies are done: {'; '.join(said)}."


def _doubts(section: Section) -> list[str]:
    """What must be known of the intervals of few seeds."""
    said = []
    if section.unsure:
        verb = "has" if len(section.unsure) == 1 else "have"
        said.append(
            f"{spoken_list(list(section.unsure))} {verb} one run and no interval, and may be luck: "
            "drawn thin or faint."
        )
    if any(len(row.runs) == 2 for row in section.rows):
        said.append(
            "An interval of two runs is no more than the distance between them: about half of "
            "such intervals hold the truth."
        )
    return [" ".join(said)] if said else []


def _why(cell: Unfinished) -> str:
    return cell.error or ("begun, not finished" if cell.begun else "not trained yet")


def _finding(section: Section) -> str:
    ranked = sorted(section.rows, key=lambda row: (row.success.value, row.mean), reverse=True)
    sensed = [row for row in ranked if row.representation != ORACLE]
    if len(sensed) < 2:
        parts = [_reaches(row) for row in sensed]
    elif sensed[0].success.value == sensed[-1].success.value:
        parts = [f"all that a robot can sense {percent(sensed[0].success.value)}"]
    else:
        parts = [f"best {_reaches(sensed[0])}", f"worst {_reaches(sensed[-1])}"]
    parts += [f"privileged {_reaches(row)}" for row in ranked if row.representation == ORACLE]
    return "; ".join(parts) or "no policy yet"


def _reaches(row: Row) -> str:
    return f"{row.representation} {success(row.success, row.single)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _all(name: str, *sources: Mapping[str, object]) -> str:
    """What sources say of something, each answer once."""
    said = (_plain(source[name]) for source in sources if source.get(name))
    return "; ".join(dict.fromkeys(said))


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key.replace('_', ' ')} {_plain(item)}"
            for key, item in value.items()
            if item is not None
        )
    return str(value)
