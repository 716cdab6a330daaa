"""A row of a published ablation, trained again: does it come to what was published?

A row is what a report has a line for: a representation, with all its encoder seeds, an algorithm
and a start, over all policy seeds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from policies.ablation.folder import (
    EPISODES_FILE,
    GRID_FILE,
    Ablation,
    episodes_table,
    iter_episodes,
)
from policies.ablation.grid import HELD_OUT, AblationConfig, Start, folder_name, method_name
from policies.ablation.labels import representation_labels
from policies.choices import check_name
from policies.evaluation.statistics import (
    Contrast,
    Estimate,
    Floats,
    HierarchicalEstimate,
    hierarchical_interval,
    paired_contrast,
)
from policies.learners.train_config import DISTILLATION, TrainConfig
from policies.representation_names import check_representation, split_part
from vtenv.atomic_write import write_text
from vtenv.json_document import from_document

PUBLISHED = Path(__file__).parents[2] / "docs" / "results" / "study"
"""The study of the repository, which a wheel does not hold."""
ROW_FILE = "row.json"
"""What a row that was trained again came to, in its folder."""

Variant = tuple[str, str, str]
"""Representation, which several encoder seeds share, algorithm and start."""
Episode = tuple[str, str]
"""Connector, and seed of the world."""
Verdict = Literal["inside", "outside", "apart"]
"""Where a result lies: in the published interval; not in it, though the difference's interval holds
0; or that does not either."""

_SAID: Mapping[Verdict, str] = {
    "inside": "the result lies inside the published interval",
    "outside": "the result lies outside the published interval; the difference's interval holds 0",
    "apart": "the result lies outside the published interval, and the difference's does not hold 0",
}
_PRESET = (
    *("steps", "num_envs", "hyperparameters", "curriculum"),
    *("evaluate_every", "evaluation_episodes", "checkpoint_every"),
)
"""Fields of `TrainConfig` whose defaults follow from the engine."""
_ROUNDING = 1e-9
"""Rates are of a few hundred episodes; less than this is no difference."""


@dataclass(frozen=True, eq=False)
class Result:
    """What the policies of a row came to.

    Attributes:
        episodes: What each of them played, in order, N.
        scores: Whether they succeeded, by encoder, (R, N).
    """

    episodes: tuple[Episode, ...]
    scores: Mapping[str, Floats]

    @cached_property
    def success(self) -> HierarchicalEstimate:
        """Mean success over connectors with its interval, as the scores of reports have it."""
        return hierarchical_interval(self.on(self.episodes), _strata(self.episodes), _rng())

    def on(self, episodes: Sequence[Episode]) -> list[Floats]:
        """The scores of some of the episodes."""
        at = {episode: number for number, episode in enumerate(self.episodes)}
        columns = [at[episode] for episode in episodes]
        return [table[:, columns] for table in self.scores.values()]

    def as_json(self) -> dict[str, Any]:
        """What is written down of it."""
        return {
            "success": asdict(self.success),
            "policies": {encoder: len(table) for encoder, table in self.scores.items()},
            "connectors": list(dict.fromkeys(_strata(self.episodes))),
            "episodes": len(self.episodes),
        }


class Published:
    """An ablation of which rows are trained again: `ablation.json` and its table of episodes.

    Args:
        folder: Its folder, whose `episodes.csv` may be compressed, `episodes.csv.gz`.

    Raises:
        ValueError: If it is not there, or cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.ablation = Ablation(folder)
        self.config = self.ablation.read_grid()
        self.made: Mapping[str, Any] = self.ablation.read_config().get("made", {})

    @cached_property
    def results(self) -> dict[Variant, Result]:
        """The final evaluations, by row.

        Raises:
            ValueError: If there are none, or they cannot be read; names the file.
        """
        return read_results(self.ablation)

    @cached_property
    def variants(self) -> dict[str, Variant]:
        """What has a policy, by name: REPRESENTATION/ALGORITHM, with -warm at its end."""
        short = representation_labels(self.config)
        variants = dict.fromkeys(
            (self.config.trained_on[cell.representation], cell.algorithm, cell.start)
            for cell in self.config.cells
        )
        return {
            f"{short[name]}/{method_name(algorithm, start)}": variant
            for variant in variants
            if variant in self.results
            for name, algorithm, start in [variant]
        }

    def require_digest(self, name: str, digest: str) -> None:
        """Check that an encoder is the one of this name that was published, where that is known.

        Args:
            name: What this ablation calls it.
            digest: The `encoder_digest` of the encoder at hand.

        Raises:
            ValueError: If it is another one; says what to do.
        """
        known = self.made.get("encoders", {}).get(name, digest)
        if known != digest:
            raise ValueError(
                f"{name} is another encoder here than in {self.ablation.path}: its digest begins "
                f"with {digest[:12]}, and did with {known[:12]} at commit "
                f"{self.made.get('commit', 'unknown')}; put that one in its place, move this one "
                "away if the row has others, or say what to train on with --representations, which "
                "takes any encoder"
            )


@dataclass(frozen=True, eq=False)
class Row:
    """A row of a published ablation.

    Attributes:
        name: REPRESENTATION/ALGORITHM; after TRACK/ in a study of several tracks.
        study: The folder in which it has this name.
        published: The ablation that it is of.
        variant: What it is there.
    """

    name: str
    study: Path
    published: Published
    variant: Variant

    @property
    def folder(self) -> Path:
        """Its folder, from that of all rows."""
        return Path(*map(folder_name, self.name.split("/")))

    @property
    def result(self) -> Result:
        """What was published of it."""
        return self.published.results[self.variant]

    @property
    def grid(self) -> AblationConfig:
        """The grid that ends with the row's cells; a warm start needs distillation before."""
        representation, algorithm, start = self.variant
        algorithms = (algorithm,) if start == "scratch" else (DISTILLATION, algorithm)
        config, encoder = self.published.config, split_part(representation)[0]
        by_algorithm = config.training_by_algorithm
        return replace(
            config,
            representations=(representation,),
            encoders={n: alike for n, alike in config.encoders.items() if n == encoder},
            contrasts=(),
            algorithms=algorithms,
            starts=(cast(Start, start),),
            seeds=config.seeds_by_representation.get(representation, config.seeds),
            seeds_by_representation={},
            training_by_algorithm={a: by_algorithm[a] for a in algorithms if a in by_algorithm},
        )


def published_row(study: Path | None, name: str) -> Row:
    """Find a row.

    Args:
        study: The folder of an ablation, or of several, a folder a track; None for the study of
            the repository.
        name: The row's name.

    Raises:
        ValueError: If there is no such study or row; names the nearest, and all there are.
    """
    if study is None and not PUBLISHED.is_dir():
        raise ValueError(
            f"there is no published study at {PUBLISHED}: it comes with a clone of the "
            "repository, not with the wheel; name the folder of a study with --published"
        )
    folder = (study or PUBLISHED).absolute()
    tracks = _tracks(folder)
    for prefix, published in tracks.items():
        rest = name.removeprefix(prefix)
        if name.startswith(prefix) and rest in published.variants:
            return Row(name, folder, published, published.variants[rest])
    names = [prefix + rest for prefix, each in tracks.items() for rest in each.variants]
    where = f"they are the rows of {folder}"
    if name:
        check_name(name, names, "row", otherwise=where)
    raise ValueError(f"--row needs a name: choose from {', '.join(names)}; {where}")


def _tracks(folder: Path) -> dict[str, Published]:
    """The ablations in a folder that train policies, by what names of their rows begin with."""
    if (folder / GRID_FILE).is_file():
        found = {"": Published(folder)}
    else:
        paths = sorted(path.parent for path in folder.glob(f"*/{GRID_FILE}"))
        found = {f"{path.name}/": Published(path) for path in paths}
    trained = {name: each for name, each in found.items() if each.config.policies is None}
    if not trained:
        raise ValueError(
            f"there is no ablation that trains policies in {folder}, nor in a folder in it; name "
            "a folder with the ablation.json and episodes.csv of one, or one with such folders"
        )
    return trained


def with_encoders_at_hand(grid: AblationConfig, row: str) -> AblationConfig:
    """A row's grid with those of its encoders that are bundled, or where the ablation had them.

    Args:
        grid: The grid.
        row: The row's name.

    Raises:
        ValueError: If there are none; says what to do.
    """
    representation = grid.representations[0]
    encoder, _ = split_part(representation)
    alike = grid.encoders.get(encoder, (representation,))
    found = tuple(
        name
        for name in alike
        if all(_is_at_hand(name.replace(HELD_OUT, held_out)) for held_out in grid.folds)
    )
    if not found:
        raise ValueError(
            f"{row} needs {' or '.join(alike)}, which {'are' if alike[1:] else 'is'} neither "
            "bundled nor there: train it as it was then (docs/study.md has the commands of the "
            "repository's study), or say where one is with --representations"
        )
    of = {name: found if name == encoder else a for name, a in grid.encoders.items()}
    return replace(grid, encoders=of)


def _is_at_hand(name: str) -> bool:
    try:
        check_representation(name)
    except ValueError:
        return False
    return True


def read_results(ablation: Ablation) -> dict[Variant, Result]:
    """The final evaluations of an ablation, by row.

    Raises:
        ValueError: If there are none, or they cannot be read; names the file.
    """
    path = episodes_table(ablation.path)
    if path is None:
        raise ValueError(
            f"{ablation.path} holds neither {EPISODES_FILE} nor {EPISODES_FILE}.gz: no row has a "
            "result"
        )
    trained_on = ablation.read_grid().trained_on
    columns = ("representation", "algorithm", "start", "seed", "connector", "episode_seed")
    found: dict[Variant, dict[tuple[str, str], dict[Episode, bool]]] = {}
    for _, row, success in iter_episodes(path, columns):
        encoder = row["representation"]
        variant = (trained_on.get(encoder, encoder), row["algorithm"], row["start"])
        policy = found.setdefault(variant, {}).setdefault((encoder, row["seed"]), {})
        policy[row["connector"], row["episode_seed"]] = success
    return {variant: _result(path, policies) for variant, policies in found.items()}


def _result(path: Path, policies: Mapping[tuple[str, str], Mapping[Episode, bool]]) -> Result:
    episodes = sorted(next(iter(policies.values())))
    scores: dict[str, list[list[bool]]] = {}
    for (encoder, seed), played in policies.items():
        if sorted(played) != episodes:
            raise ValueError(
                f"{path}: the policy of seed {seed} on {encoder} played other episodes than others "
                "of its row; a row is of policies with the same ones"
            )
        scores.setdefault(encoder, []).append([played[episode] for episode in episodes])
    tables = {encoder: np.array(rows, np.float64) for encoder, rows in scores.items()}
    return Result(tuple(episodes), tables)


def with_presets(config: AblationConfig) -> AblationConfig:
    """A row's grid in which everything is said that is left to the presets of its engine.

    So it stays what it is where another engine plays it.
    """
    by_algorithm = {}
    for cell in config.cells:
        if cell.seed == 0:
            start = None if cell.begins_with is None else "a distilled policy"
            fields = {**config.training_of(cell), "start": start}
            resolved = from_document(TrainConfig, fields).resolved()
            by_algorithm[cell.algorithm] = {
                **config.training_by_algorithm.get(cell.algorithm, {}),
                **{name: getattr(resolved, name) for name in _PRESET},
            }
    return replace(config, training_by_algorithm=by_algorithm)


def verdict(published: Estimate, here: float, difference: Estimate) -> Verdict:
    """Where a result lies, of a published one, given the interval of their difference."""
    if published.low - _ROUNDING <= here <= published.high + _ROUNDING:
        return "inside"
    return "outside" if difference.low <= _ROUNDING and difference.high >= -_ROUNDING else "apart"


def compare(ablation: Ablation, row: Row, representation: str) -> str:
    """Hold what was trained again against what was published, and write `row.json`.

    Args:
        ablation: The folder of what was trained again.
        row: The row that it is of.
        representation: What it was trained on here.

    Returns:
        What came out, in words, a line for each number.

    Raises:
        ValueError: If the two have no episode in common.
    """
    theirs = row.result
    ours = read_results(ablation)[(representation, *row.variant[1:])]
    common = sorted({*theirs.episodes} & {*ours.episodes})
    if not common:
        raise ValueError(
            f"{ablation.path} and {row.published.ablation.path} have no episode in common, so they "
            "cannot be compared: seeds are of other connectors here than at commit "
            f"{row.published.made.get('commit', 'unknown')}; train the row at that one"
        )
    difference = paired_contrast(ours.on(common), theirs.on(common), _strata(common))
    found = verdict(theirs.success, ours.success.value, difference)
    without = [name for name in theirs.scores if name not in ours.scores]
    # Encoders are told by themselves.
    before, after = (
        asdict(replace(grid, encoders={}))
        for grid in (with_presets(row.grid), ablation.read_grid())
    )
    settings = _differences(before, after)
    document = {
        "format": "vtinsert-row",
        "version": 1,
        "row": row.name,
        "verdict": found,
        "published": {
            "folder": str(row.published.ablation.path),
            **theirs.as_json(),
            "made": row.published.made,
        },
        "here": {
            **ours.as_json(),
            "without": without,
            "made": ablation.read_config().get("made", {}),
        },
        "difference": {**asdict(difference), "episodes": len(common)},
        "settings": {
            name: {"published": published, "here": here}
            for name, (published, here) in settings.items()
        },
    }
    write_text(ablation.path / ROW_FILE, json.dumps(document, indent=2) + "\n")
    lines = [f"published: {_shown(theirs)}", f"here: {_shown(ours)}"]
    lines += [f"without: {', '.join(without)}"] if without else []
    played = len({*theirs.episodes} | {*ours.episodes})
    lines.append(_difference_shown(difference, len(common), played))
    lines += [f"{name}: {a!r} as published, {b!r} here" for name, (a, b) in settings.items()]
    return "\n".join([*lines, f"{row.name}: {_SAID[found]}."])


def _shown(result: Result) -> str:
    from policies.report.numbers import spoken_list, success

    policies = sum(map(len, result.scores.values()))
    levels = spoken_list(list(result.success.levels)) or "nothing"
    return (
        f"{success(result.success, single=False)}, drawn over {levels}; {policies} "
        f"{'policy' if policies == 1 else 'policies'} on {', '.join(result.scores)}, "
        f"{len(result.episodes):,} episodes each"
    )


def _difference_shown(difference: Contrast, common: int, played: int) -> str:
    value, low, high = (100 * x for x in (difference.value, difference.low, difference.high))
    shown = f"difference: {value:+.1f} points ({low:+.1f} to {high:+.1f})"
    if common == played:
        return f"{shown}, on the same episodes"
    return f"{shown}, on the {common:,} of {played:,} episodes that both sides played"


def _strata(episodes: Sequence[Episode]) -> list[str]:
    return [connector for connector, _ in episodes]


def _rng() -> np.random.Generator:
    """What the bootstrap draws from, as a report's does: the same episodes, the same numbers."""
    return np.random.default_rng(0)


def _differences(
    published: Mapping[str, Any], here: Mapping[str, Any], prefix: str = ""
) -> dict[str, tuple[Any, Any]]:
    """Values that are not the same, by their names with dots."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in {**published, **here}:
        before, after = published.get(name), here.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found |= _differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found[prefix + name] = (before, after)
    return found
