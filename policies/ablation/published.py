"""A row of a published ablation, trained again: does its result lie in the published interval?

A row is what a report has a line for: a representation, an algorithm and a start, over all seeds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from policies.ablation.folder import EPISODES_FILE, Ablation, iter_episodes
from policies.ablation.grid import AblationConfig, Start
from policies.ablation.labels import encoder_labels
from policies.choices import check_name
from policies.evaluation.statistics import Estimate, Floats, interquartile_interval
from policies.learners.train_config import DISTILLATION, TrainConfig
from policies.representation_names import check_representation
from vtenv.atomic_write import write_text
from vtenv.json_document import from_document

PUBLISHED = Path(__file__).parents[2] / "docs" / "results" / "study"
"""The study of the repository, which a wheel does not hold."""
ROW_FILE = "row.json"
"""What a row that was trained again came to, in its folder."""

Variant = tuple[str, str, str]
"""Representation, algorithm and start."""
Verdict = Literal["inside", "outside", "apart"]
"""Where a result lies: in the published interval; not in it, though its own overlaps; or its own
does not overlap either."""

_SAID: Mapping[Verdict, str] = {
    "inside": "the result lies inside the published interval",
    "outside": "the result lies outside the published interval; the two intervals overlap",
    "apart": "the result lies outside the published interval, and the two do not overlap",
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
        seeds: Their seeds, R.
        connectors: What each was evaluated on, T.
        scores: Success rates, (R, T).
        episodes: Final episodes of all of them.
    """

    seeds: tuple[int, ...]
    connectors: tuple[str, ...]
    scores: Floats
    episodes: int

    @cached_property
    def success(self) -> Estimate:
        """The interquartile mean with its interval, as reports have it."""
        return interquartile_interval(self.scores, np.random.default_rng(0))

    def as_json(self) -> dict[str, Any]:
        """What is written down of it."""
        return {
            "success": asdict(self.success),
            "mean": float(self.scores.mean()),
            "seeds": list(self.seeds),
            "connectors": list(self.connectors),
            "episodes": self.episodes,
        }


class Published:
    """An ablation of which rows are trained again: `ablation.json` and its table of episodes.

    Args:
        folder: Its folder, whose `episodes.csv` may be compressed, `episodes.csv.gz`; None for the
            study of the repository.

    Raises:
        ValueError: If it is not there, or cannot be read.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None and not PUBLISHED.is_dir():
            raise ValueError(
                f"there is no published study at {PUBLISHED}: it comes with a clone of the "
                "repository, not with the wheel; name the folder of a study with --published"
            )
        ablation = Ablation(folder or PUBLISHED)
        self.folder = ablation.path
        self.config = ablation.read_grid()
        self.made: Mapping[str, Any] = ablation.read_config().get("made", {})
        self.results = read_results(self.folder)

    @cached_property
    def rows(self) -> dict[str, Variant]:
        """The rows that have a policy, by name: REPRESENTATION/ALGORITHM, with -warm at its end."""
        short = encoder_labels(self.config)
        return {
            f"{short[name]}/{algorithm}{'' if start == 'scratch' else f'-{start}'}": variant
            for cell in self.config.cells
            if (variant := cell.variant) in self.results
            for name, algorithm, start in [variant]
        }

    def variant(self, row: str) -> Variant:
        """What is in a row.

        Raises:
            ValueError: If there is no such row; names the nearest, and all there are.
        """
        where = f"they are the rows of {self.folder}"
        if not row:
            raise ValueError(f"--row needs a name: choose from {', '.join(self.rows)}; {where}")
        check_name(row, self.rows, "row", otherwise=where)
        return self.rows[row]

    def grid(self, row: str) -> AblationConfig:
        """The grid whose last cells are those of a row; a warm start needs distillation before."""
        representation, algorithm, start = self.variant(row)
        algorithms = (algorithm,) if start == "scratch" else (DISTILLATION, algorithm)
        by_algorithm = self.config.training_by_algorithm
        return replace(
            self.config,
            representations=(representation,),
            encoders={},
            contrasts=(),
            algorithms=algorithms,
            starts=(cast(Start, start),),
            training_by_algorithm={a: by_algorithm[a] for a in algorithms if a in by_algorithm},
        )

    def require_encoder(self, name: str) -> None:
        """Check that an encoder of this ablation is at hand.

        Raises:
            ValueError: If it is neither bundled nor where the ablation had it; says what to do.
        """
        try:
            check_representation(name)
        except ValueError:
            raise ValueError(
                f"{name}, an encoder of {self.folder}, is neither bundled nor there: train it as "
                "it was then (for the study of the repository docs/ablation.md has the command), "
                "or say where it is with --representations"
            ) from None

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
                f"{name} is another encoder here than in {self.folder}: its digest begins with "
                f"{digest[:12]}, and did with {known[:12]} at commit "
                f"{self.made.get('commit', 'unknown')}; say where that one is with "
                "--representations, which takes any other encoder too"
            )


def read_results(folder: Path) -> dict[Variant, Result]:
    """The final evaluations of an ablation, by row.

    Raises:
        ValueError: If there are none, or they cannot be read; names the file.
    """
    names = (EPISODES_FILE, f"{EPISODES_FILE}.gz")
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise ValueError(f"{folder} holds neither {names[0]} nor {names[1]}: no row has a result")
    columns = ("representation", "algorithm", "start", "seed", "connector")
    found: dict[Variant, dict[int, dict[str, list[bool]]]] = {}
    for line, row, success in iter_episodes(path, columns):
        if not row["seed"].isdecimal():
            raise ValueError(f"{path}, line {line}: seed is {row['seed']!r}, no number")
        variant = (row["representation"], row["algorithm"], row["start"])
        policy = found.setdefault(variant, {}).setdefault(int(row["seed"]), {})
        policy.setdefault(row["connector"], []).append(success)
    return {variant: _result(path, policies) for variant, policies in found.items()}


def _result(path: Path, policies: Mapping[int, Mapping[str, list[bool]]]) -> Result:
    connectors = tuple(dict.fromkeys(name for policy in policies.values() for name in policy))
    for seed, policy in policies.items():
        if missing := [name for name in connectors if name not in policy]:
            raise ValueError(f"{path} has no episodes of {missing[0]} for a policy of seed {seed}")
    scores = [[np.mean(policy[name]) for name in connectors] for policy in policies.values()]
    count = sum(len(each) for policy in policies.values() for each in policy.values())
    return Result(tuple(policies), connectors, np.array(scores, np.float64), count)


def with_presets(config: AblationConfig) -> AblationConfig:
    """A row's grid in which everything is said that is left to the presets of its engine.

    So it stays what it is where another engine plays it. One that trains nothing has no presets.
    """
    if config.policies is not None:
        return config
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


def verdict(published: Estimate, here: Estimate) -> Verdict:
    """Where a result lies, of a published one."""
    low, high = published.low - _ROUNDING, published.high + _ROUNDING
    if low <= here.value <= high:
        return "inside"
    return "apart" if here.low > high or here.high < low else "outside"


def compare(ablation: Ablation, published: Published, row: str, representation: str) -> str:
    """Hold what was trained again against what was published, and write `row.json`.

    Args:
        ablation: The folder of what was trained again.
        published: The ablation it is from.
        row: Name of the row.
        representation: What it was trained on here.

    Returns:
        What came out, in words, a line for each number.
    """
    variant = published.variant(row)
    theirs = published.results[variant]
    ours = read_results(ablation.path)[(representation, *variant[1:])]
    found = verdict(theirs.success, ours.success)
    made = ablation.read_config().get("made", {})
    different = _differences(
        asdict(with_presets(published.grid(row))), asdict(ablation.read_grid())
    )
    document = {
        "format": "vtinsert-row",
        "version": 1,
        "row": row,
        "verdict": found,
        "published": {"folder": str(published.folder), **theirs.as_json(), "made": published.made},
        "here": {**ours.as_json(), "made": made},
        "differences": {
            name: {"published": before, "here": after}
            for name, (before, after) in different.items()
        },
    }
    write_text(ablation.path / ROW_FILE, json.dumps(document, indent=2) + "\n")
    lines = [f"published: {_shown(theirs)}", f"here: {_shown(ours)}"]
    lines += [f"{name}: {a!r} as published, {b!r} here" for name, (a, b) in different.items()]
    return "\n".join([*lines, f"{row}: {_SAID[found]}."])


def _shown(result: Result) -> str:
    from policies.report.numbers import percent, success

    one = len(result.seeds) == 1
    return (
        f"{success(result.success, one)}, mean {percent(float(result.scores.mean()))} of "
        f"{result.episodes:,} episodes, {len(result.seeds)} seed{'' if one else 's'}"
    )


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
