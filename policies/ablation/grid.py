"""The grid of an ablation: which policies are trained, and with what budget."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

DISTILLATION = "dagger"
"""The algorithm that needs no reward, and whose policies others can start from."""
STARTS = ("scratch", "warm")
"""What reinforcement learning begins with: random weights, or the policy that DAgger distilled on
the same representation with the same seed."""

_ABOUT_THE_FILE = ("format", "version", "made")
"""Fields of `ablation.json` that are no part of the grid."""


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
            given = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, Iterable):
                raise AblationError(f"{name} is {given!r}; it must be a list of names")
            given = tuple(given)
            if not given or not all(isinstance(value, str) and value for value in given):
                raise AblationError(f"{name} is {list(given)}; it must be a list of names")
            object.__setattr__(self, name, tuple(dict.fromkeys(given)))
        for name in ("training", "training_by_algorithm", "evaluation"):
            if not isinstance(getattr(self, name), Mapping):
                raise AblationError(f"{name} is {getattr(self, name)!r}; it must hold fields")
        if isinstance(self.seeds, bool) or not isinstance(self.seeds, int) or self.seeds < 1:
            raise AblationError(f"seeds is {self.seeds!r}; it must be how many, at least 1")
        if unknown := [start for start in self.starts if start not in STARTS]:
            raise AblationError(f"there is no start {unknown[0]!r}; choose of {', '.join(STARTS)}")
        if "warm" in self.starts and DISTILLATION not in self.algorithms:
            raise AblationError(
                f"a warm start begins with the policy that {DISTILLATION} distilled; add "
                f"{DISTILLATION} to the algorithms"
            )
        if unknown := sorted(self.training_by_algorithm.keys() - set(self.algorithms)):
            raise AblationError(f"training_by_algorithm names {unknown[0]!r}, no algorithm of this")
        if unknown := sorted(self.evaluation.keys() - {"condition", "episodes", "seed"}):
            raise AblationError(
                f"evaluation has no {unknown[0]!r}; it has condition, episodes and seed"
            )
        taken = {"representation", "algorithm", "seed", "start", "num_threads"}
        for given in (self.training, *self.training_by_algorithm.values()):
            if wrong := sorted(taken & given.keys()):
                raise AblationError(f"{wrong[0]} is decided for each cell; take it out of training")
        folders: dict[str, str] = {}
        for name in self.representations:
            other = folders.setdefault(_folder_name(name), name)
            if other != name:
                raise AblationError(
                    f"{other!r} and {name!r} would share the folder {_folder_name(name)!r}; rename "
                    "one of them"
                )

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, one seed after the other, so that a grid says something early."""
        return tuple(
            Cell(representation, algorithm, start, seed)
            for seed in range(self.seeds)
            for algorithm in self.algorithms
            for start in (("scratch",) if algorithm == DISTILLATION else self.starts)
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
    def from_json(cls, document: object) -> AblationConfig:
        """The grid that `ablation.json`, or a file of the same fields, describes.

        Raises:
            AblationError: If it describes none.
        """
        if not isinstance(document, Mapping):
            raise AblationError("a grid is a table of fields, such as representations and seeds")
        given = {key: value for key, value in document.items() if key not in _ABOUT_THE_FILE}
        known = [f.name for f in fields(cls)]
        if unknown := [key for key in given if key not in known]:
            raise AblationError(f"a grid has no field {unknown[0]!r}; it has {', '.join(known)}")
        if "representations" not in given:
            raise AblationError("a grid needs representations")
        return cls(**given)


def _folder_name(representation: str) -> str:
    """A representation's name as a folder's: letters, digits, dots, hyphens and underscores."""
    return re.sub(r"[^\w.-]+", "-", representation).strip("-.") or "representation"


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
