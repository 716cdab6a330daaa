"""The grid of an ablation: which policies are trained, and with what budget."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

DISTILLATION = "dagger"
"""The algorithm that needs no reward, and whose policies others can start from."""
STARTS = ("scratch", "warm")
"""What reinforcement learning begins with: random weights, or the policy that DAgger distilled on
the same representation with the same seed."""

PRESETS = Path(__file__).parent / "grids"
"""Folder of the grids that come with the package."""
MOST_CELLS = 10_000
"""The largest grid: every cell has a folder and a place in memory."""

_LONGEST_NAME = 200
"""File systems take 255 bytes."""
_LEAST = {"episodes": 1, "seed": 0}
"""The least that numbers of the final evaluation may be."""


class AblationError(ValueError):
    """A grid or its folder cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Cell:
    """A policy of the grid."""

    representation: str
    """What it sees, as `make_representation` takes it."""
    algorithm: str
    """What it is trained by."""
    start: str
    """What it begins with, one of `STARTS`."""
    seed: int
    """Seed of its training."""

    @property
    def variant(self) -> tuple[str, str, str]:
        """What it has in common with the cells that differ in their seed alone."""
        return (self.representation, self.algorithm, self.start)

    @property
    def folder(self) -> Path:
        """Its folder, from that of the ablation."""
        method = self.algorithm if self.start == "scratch" else f"{self.algorithm}-{self.start}"
        return Path("runs") / _folder_name(self.representation) / method / f"seed-{self.seed}"

    @property
    def name(self) -> str:
        """What it is called in messages."""
        warm = f" from {DISTILLATION}" if self.start == "warm" else ""
        return f"{self.representation}, {self.algorithm}{warm}, seed {self.seed}"

    @property
    def begins_with(self) -> Cell | None:
        """The cell whose policy this one starts from; None for one from scratch."""
        if self.start == "scratch":
            return None
        return replace(self, algorithm=DISTILLATION, start="scratch")


@dataclass(frozen=True)
class AblationConfig:
    """A grid: every representation with every algorithm, start and seed, all with one budget.

    Raises:
        AblationError: If a field is not allowed; says what is.
    """

    representations: tuple[str, ...]
    """What policies see, as `make_representation` takes it."""
    algorithms: tuple[str, ...] = (DISTILLATION,)
    """What they are trained by."""
    starts: tuple[str, ...] = ("scratch",)
    """What reinforcement learning begins with, of `STARTS`; "warm" needs DAgger in the grid."""
    seeds: int = 3
    """Seeds, from 0 on."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `TrainConfig` for every cell: the budget, the environment and the like."""
    training_by_algorithm: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Fields of `TrainConfig` that differ by algorithm."""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `evaluate` for the final evaluation: the `condition`, which is that of training
    unless said otherwise, how many `episodes`, and where their `seed` starts."""

    def __post_init__(self) -> None:
        for name in ("representations", "algorithms", "starts"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        if type(self.seeds) is not int or self.seeds < 1:
            raise AblationError(f"seeds is {self.seeds!r}; it must be how many, at least 1")
        for name in ("training", "training_by_algorithm", "evaluation"):
            _require_fields(name, getattr(self, name))
        for algorithm, given in self.training_by_algorithm.items():
            _require_fields(f"training_by_algorithm: {algorithm}", given)
        if unknown := [start for start in self.starts if start not in STARTS]:
            raise AblationError(f"there is no start {unknown[0]!r}; choose of {', '.join(STARTS)}")
        if "warm" in self.starts and DISTILLATION not in self.algorithms:
            raise AblationError(
                f"a warm start begins with the policy that {DISTILLATION} distilled; add "
                f"{DISTILLATION} to the algorithms"
            )
        if unknown := sorted(self.training_by_algorithm.keys() - set(self.algorithms)):
            raise AblationError(f"training_by_algorithm names {unknown[0]!r}, no algorithm of this")
        self._check_evaluation()
        taken = {"representation", "algorithm", "seed", "start", "num_threads"}
        for given in (self.training, *self.training_by_algorithm.values()):
            if wrong := sorted(taken & given.keys()):
                raise AblationError(f"{wrong[0]} is decided for each cell; take it out of training")
        cells = len(self.representations) * len(self._methods) * self.seeds
        if cells > MOST_CELLS:
            raise AblationError(
                f"a grid of {cells:,} cells, {self.seeds:,} seeds each, is too large; it may have "
                f"{MOST_CELLS:,}: take fewer seeds, or several folders"
            )
        folders: dict[str, str] = {}
        for name in self.representations:
            folder = _folder_name(name)
            if len(folder.encode()) > _LONGEST_NAME:
                raise AblationError(f"{name[:60]}... is too long for the name of a folder; move it")
            other = folders.setdefault(folder, name)
            if other != name:
                raise AblationError(
                    f"{other!r} and {name!r} would share the folder {folder!r}; rename one of them"
                )

    def _check_evaluation(self) -> None:
        for name, value in self.evaluation.items():
            if name == "condition":
                valid, allowed = isinstance(value, str), "a name"
            elif name in _LEAST:
                valid = type(value) is int and value >= _LEAST[name]
                allowed = f"a whole number, at least {_LEAST[name]}"
            else:
                raise AblationError(
                    f"evaluation has no {name!r}; it has condition, episodes and seed"
                )
            if not valid:
                raise AblationError(f"evaluation: {name} is {value!r}; it must be {allowed}")

    @property
    def _methods(self) -> list[tuple[str, str]]:
        """Algorithms, each with its starts."""
        return [
            (algorithm, start)
            for algorithm in self.algorithms
            for start in (("scratch",) if algorithm == DISTILLATION else self.starts)
        ]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, one seed after the other, so that a grid says something early."""
        return tuple(
            Cell(representation, algorithm, start, seed)
            for seed in range(self.seeds)
            for algorithm, start in self._methods
            for representation in self.representations
        )

    def training_of(self, cell: Cell) -> dict[str, Any]:
        """The fields of `TrainConfig` for a cell, but for `start`, which is a folder there."""
        return {
            **self.training,
            **self.training_by_algorithm.get(cell.algorithm, {}),
            "representation": cell.representation,
            "algorithm": cell.algorithm,
            "seed": cell.seed,
        }

    def grown(self, asked: Mapping[str, Any]) -> AblationConfig:
        """This grid with what a later command asks for.

        Args:
            asked: Fields of a grid. Names and seeds are added; the others must be as they were.

        Raises:
            AblationError: If policies were to be trained or evaluated otherwise, so that they
                could not be compared.
        """
        fields: dict[str, Any] = {"seeds": max(self.seeds, asked.get("seeds", 0))}
        for name in ("representations", "algorithms", "starts"):
            fields[name] = (*getattr(self, name), *asked.get(name, ()))
        for name in ("training", "evaluation"):
            _require_same(name, getattr(self, name), asked.get(name, {}))
        by_algorithm = asked.get("training_by_algorithm", {})
        for algorithm in set(self.algorithms) & set(by_algorithm):
            before = self.training_by_algorithm.get(algorithm, {})
            _require_same(f"training of {algorithm}", before, by_algorithm[algorithm])
        fields["training_by_algorithm"] = {**self.training_by_algorithm, **by_algorithm}
        return replace(self, **fields)

    def as_json(self) -> dict[str, Any]:
        """The fields, as `from_json` takes them."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> AblationConfig:
        """The grid that `ablation.json`, or a file of the same fields, describes.

        Raises:
            AblationError: If it describes none.
        """
        _require_fields("a grid", document)
        given = {key: value for key, value in document.items() if key != "made"}
        known = [f.name for f in fields(cls)]
        if unknown := [key for key in given if key not in known]:
            raise AblationError(f"a grid has no field {unknown[0]!r}; it has {', '.join(known)}")
        if "representations" not in given:
            raise AblationError("a grid needs representations")
        return cls(**given)


def _folder_name(representation: str) -> str:
    """A representation's name as a folder's: letters, digits, dots, hyphens and underscores."""
    return re.sub(r"[^\w.-]+", "-", representation).strip("-.") or "representation"


def _names(field: str, given: object) -> tuple[str, ...]:
    """Names without repetitions, in their order."""
    named = tuple(given) if isinstance(given, list | tuple) else ()
    if not named or not all(isinstance(name, str) and name for name in named):
        raise AblationError(f"{field} is {given!r}; it must be a list of names")
    return tuple(dict.fromkeys(named))


def _require_fields(what: str, given: object) -> None:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise AblationError(f"{what} is {given!r}; it must hold fields and their values")


def _require_same(what: str, before: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for name, value in asked.items():
        if isinstance(value, Mapping) and isinstance(before.get(name), Mapping):
            _require_same(f"{what}: {name}", before[name], value)
        elif name not in before or before[name] != value:
            was = f"was {before[name]!r}" if name in before else "was not given"
            raise AblationError(
                f"{what}: {name} is {value!r}, and {was} for the policies that are there: they "
                "would not compare; leave it out, or choose another folder"
            )
