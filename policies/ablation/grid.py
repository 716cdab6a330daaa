"""The grid of an ablation: which policies are trained, and with what budget."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from policies.evaluation.conditions import condition
from policies.evaluation.evaluation_config import EPISODES
from policies.learners.train_config import DISTILLATION
from policies.options_file import read_file
from policies.representation_names import split_part
from policies.seeds import SeedRange, seeds_from
from representation.require import require, unbox_scalars

Start = Literal["scratch", "warm"]

PRESETS = Path(__file__).parent / "grids"
"""Folder of the grids that come with the package."""
MOST_CELLS = 10_000
"""The largest grid: every cell has a folder and a place in memory."""

HELD_OUT = "{held_out}"
"""Stands for the connector that is left out, in the name of a representation."""

_ABOUT_THE_FILE = ("format", "version", "made")
"""Fields of `ablation.json` that are no part of the grid."""
_OF_CELLS = {"representation", "algorithm", "seed", "start", "num_threads", "filmed"}
"""Fields of `TrainConfig` that are decided for each cell."""
_LONGEST_NAME = 200
"""File systems take 255 bytes."""


@dataclass(frozen=True)
class Cell:
    """A policy of the grid."""

    representation: str
    """What it sees, as `make_representation` takes it."""
    algorithm: str
    """What it is trained by."""
    start: str
    """What it begins with, a `Start`."""
    seed: int
    """Seed of its training."""

    @property
    def variant(self) -> tuple[str, str, str]:
        """What it has in common with the cells that differ in their seed alone."""
        return (self.representation, self.algorithm, self.start)

    @property
    def key(self) -> tuple[str, ...]:
        """What tables have in the columns `CELL_COLUMNS`."""
        return (*self.variant, str(self.seed))

    @property
    def folder(self) -> Path:
        """Its folder, from that of the ablation."""
        method = method_name(folder_name(self.algorithm), self.start)
        return Path("runs") / folder_name(self.representation) / method / f"seed-{self.seed}"

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


CELL_COLUMNS = tuple(field.name for field in fields(Cell))
"""Columns of tables that say which policy a row is of."""


@dataclass(frozen=True)
class FinalEvaluation:
    """How every policy of a grid is judged; arguments of `evaluate`.

    Raises:
        ValueError: If a value is not allowed; names it and what is.
    """

    condition: str = "training"
    """What the world is like in the final evaluation; training is as it was while learning."""
    episodes: int = EPISODES
    """Episodes of each policy's final evaluation."""
    seeds: SeedRange = "development"
    """The range of seeds that the episodes are of; test for a study that is reported."""

    def __post_init__(self) -> None:
        unbox_scalars(self)
        condition(self.condition)
        seeds_from(self.seeds, count=self.episodes)


@dataclass(frozen=True)
class AblationConfig:
    """A grid: every representation with every algorithm, start and seed, all with one budget.

    Raises:
        ValueError: If a field is not allowed; says what is.
    """

    representations: tuple[str, ...] = ()
    """What policies see: state, proprio, end-to-end, random, imagenet, or encoders, with :vision or
    :touch for a part of them."""
    algorithms: tuple[str, ...] = (DISTILLATION,)
    """How they learn: dagger, ppo, sac, tqc, recurrent-ppo, rsl-rl-ppo."""
    starts: tuple[Start, ...] = ("scratch",)
    """What reinforcement learning begins with: scratch, or warm for the policy that dagger
    distilled on the same representation with the same seed."""
    seeds: int = 3
    """Policies of each kind, with seeds from 0 on."""
    seeds_by_representation: Mapping[str, int] = field(default_factory=dict)
    """Another number of them for some representations: one that learns nothing beforehand, such as
    end-to-end, may have as many policies as others have encoder seeds."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `TrainConfig` for every cell: the budget, the environment and the like."""
    training_by_algorithm: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Fields of `TrainConfig` that differ by algorithm."""
    evaluation: FinalEvaluation = FinalEvaluation()
    """The final evaluation of every cell."""
    encoders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Encoder seeds: encoders that learned alike, by the name that they have together among the
    representations, where :vision or :touch may follow it. A policy is trained on each."""
    contrasts: tuple[tuple[str, str], ...] = ()
    """Pairs of representations whose difference is asked for, named before policies are trained:
    Holm's adjustment is over these."""
    held_out: tuple[str, ...] = ()
    """Connectors that are left out, each in turn: a cell has a policy for each, which learns with
    the others and is evaluated on this one alone. {held_out} in a representation stands for it."""
    policies: str | None = None
    """Folder of an ablation whose policies are evaluated; none is trained."""

    def __post_init__(self) -> None:
        unbox_scalars(self)
        for name in ("representations", "algorithms", "starts", "held_out"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
        starts, known = set(self.starts), get_args(Start)
        allowed = starts and starts <= {*known}
        require(all(self.representations), "representations", self.representations, "names")
        require(bool(self.algorithms), "algorithms", self.algorithms, "a name or more")
        require(bool(allowed), "starts", self.starts, f"one or more of {', '.join(known)}")
        require(self.seeds >= 1, "seeds", self.seeds, "at least 1")
        for name, seeds in self.seeds_by_representation.items():
            listed = f"one or more for names among {', '.join(self.representations)}"
            allowed = seeds >= 1 and name in self.representations
            require(allowed, "seeds_by_representation", {name: seeds}, listed)
        if "warm" in self.starts and DISTILLATION not in self.algorithms:
            raise ValueError(
                f"a warm start begins with the policy that {DISTILLATION} distilled; add "
                f"{DISTILLATION} to the algorithms"
            )
        if unknown := sorted(self.training_by_algorithm.keys() - set(self.algorithms)):
            raise ValueError(f"training_by_algorithm names {unknown[0]!r}, no algorithm of this")
        for given in (self.training, *self.training_by_algorithm.values()):
            if wrong := sorted(_OF_CELLS & given.keys()):
                raise ValueError(f"{wrong[0]} is decided for each cell; take it out of training")
        if self.held_out:
            drawn = self._connectors
            allowed = len(drawn) > 1 and {*self.held_out} <= {*drawn}
            listed = f"of the connectors of training, two or more: {', '.join(drawn)}"
            require(allowed, "held_out", self.held_out, listed)
            episodes, least = self.evaluation.episodes, len(self.held_out)
            require(episodes >= least, "episodes", episodes, f"{least} or more, one a connector")
        for name in self.trained_on:
            if HELD_OUT in name and not self.held_out:
                raise ValueError(f"{name!r} needs held_out, the connectors that it stands for")
        if self.policies is not None:
            needless = {*self.training, *self.training_by_algorithm} - {"engine", "device"}
            if needless or self.held_out:
                raise ValueError(
                    "a grid of another's policies trains none: of training it takes engine and "
                    f"device; leave out {', '.join(sorted(needless)) or 'held_out'}"
                )
        named = [name for alike in self.encoders.values() for name in alike]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"encoders has {twice[0]!r} twice; each is one seed of one of them")
        if empty := [name for name, alike in self.encoders.items() if not alike]:
            raise ValueError(f"encoders has none for {empty[0]!r}; name one or more")
        for pair in self.contrasts:
            known_pair = len({*pair} & {*self.representations}) == 2
            require(known_pair, "contrasts", pair, "pairs of two of the representations")
        policies = [self._seeds_of(name) for name in self.trained_on.values()]
        cells = sum(policies) * len(self._methods)
        if cells > MOST_CELLS:
            raise ValueError(
                f"a grid of {cells:,} cells, {max(policies):,} seeds each, is too large; it may "
                f"have {MOST_CELLS:,}: take fewer seeds, or several folders"
            )
        folders: dict[str, str] = {}
        for name in self.trained_on:
            folder = folder_name(name)
            if len(folder.encode()) > _LONGEST_NAME:
                raise ValueError(f"{name[:60]}... is too long for the name of a folder; move it")
            other = folders.setdefault(folder, name)
            if other != name:
                raise ValueError(
                    f"{other!r} and {name!r} would share the folder {folder!r}; rename one of them"
                )

    @property
    def trained_on(self) -> dict[str, str]:
        """What policies are trained on, and the representation that each is a seed of."""
        found: dict[str, str] = {}
        for name in self.representations:
            encoder, part = split_part(name)
            for each in self.encoders.get(encoder, (encoder,)):
                found.setdefault(f"{each}:{part}" if part else each, name)
        return found

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
            for seed in range(max((self.seeds, *self.seeds_by_representation.values())))
            for algorithm, start in self._methods
            for representation, name in self.trained_on.items()
            if seed < self._seeds_of(name)
        )

    def _seeds_of(self, representation: str) -> int:
        """How many policies one of the representations has on each encoder."""
        return self.seeds_by_representation.get(representation, self.seeds)

    def seen(self, held_out: str = "") -> dict[str, str]:
        """What policies without a connector see, by the name that cells have for it."""
        return {name: name.replace(HELD_OUT, held_out) for name in self.trained_on}

    @property
    def folds(self) -> tuple[str, ...]:
        """The connectors that a cell's policies do without; "" for one policy with all of them."""
        return self.held_out or ("",)

    @property
    def _connectors(self) -> tuple[str, ...]:
        """The connectors of training."""
        from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES  # imports MuJoCo

        return tuple(self.training.get("settings", {}).get("connectors", CONNECTOR_NAMES))

    def training_of(self, cell: Cell, held_out: str = "") -> dict[str, Any]:
        """The fields of `TrainConfig` for a cell, but for `start`, which is a folder there.

        Args:
            cell: The cell.
            held_out: Which of its `folds`.
        """
        fields = {
            **self.training,
            **self.training_by_algorithm.get(cell.algorithm, {}),
            "representation": self.seen(held_out)[cell.representation],
            "algorithm": cell.algorithm,
            "seed": cell.seed,
        }
        if held_out:
            others = [name for name in self._connectors if name != held_out]
            fields["settings"] = {**fields.get("settings", {}), "connectors": others}
        return fields

    def grown(self, asked: Mapping[str, Any]) -> AblationConfig:
        """This grid with what a later command asks for.

        Args:
            asked: Fields of a grid. Names, encoders and seeds are added; the others must be as they
                were.

        Raises:
            ValueError: If policies were to be trained or evaluated otherwise, so that they could
                not be compared.
        """
        _require_same("training", self.training, asked.get("training", {}))
        _require_same("evaluation", asdict(self.evaluation), asked.get("evaluation", {}))
        if late := [pair for pair in asked.get("contrasts", ()) if (*pair,) not in self.contrasts]:
            raise ValueError(
                f"contrasts: {late[0][0]} and {late[0][1]} were not named before policies were "
                "trained; leave them out, or choose another folder"
            )
        there = {"held_out": self.held_out, "policies": self.policies}
        _require_same("grid", there, {n: asked[n] for n in there if n in asked})
        by_algorithm = asked.get("training_by_algorithm", {})
        for algorithm in set(self.algorithms) & set(by_algorithm):
            before = self.training_by_algorithm.get(algorithm, {})
            _require_same(f"training of {algorithm}", before, by_algorithm[algorithm])
        return replace(
            self,
            representations=(*self.representations, *asked.get("representations", ())),
            algorithms=(*self.algorithms, *asked.get("algorithms", ())),
            starts=(*self.starts, *asked.get("starts", ())),
            seeds=max(self.seeds, asked.get("seeds", 0)),
            seeds_by_representation={
                **self.seeds_by_representation,
                **{
                    name: max(seeds, self._seeds_of(name) if name in self.representations else 0)
                    for name, seeds in asked.get("seeds_by_representation", {}).items()
                },
            },
            training_by_algorithm={**self.training_by_algorithm, **by_algorithm},
            encoders={
                **self.encoders,
                **{
                    name: tuple(dict.fromkeys((*self.encoders.get(name, ()), *alike)))
                    for name, alike in asked.get("encoders", {}).items()
                },
            },
        )

    @classmethod
    def from_json(cls, document: object) -> AblationConfig:
        """The grid that `ablation.json`, or a file of the same fields, describes.

        Raises:
            ValueError: If it describes none.
        """
        from vtenv.json_document import from_document

        if isinstance(document, Mapping):
            document = {k: value for k, value in document.items() if k not in _ABOUT_THE_FILE}
        config = from_document(cls, document)
        if not config.representations:
            raise ValueError("a grid needs representations: what to compare")
        return config


def preset_grid(name: str) -> AblationConfig:
    """One of `PRESETS`.

    Those are our own files, which are right: `AblationConfig.from_json` would import Gymnasium to
    judge them, which takes as long as all the rest of a help.
    """
    fields = read_file(PRESETS / f"{name}.yml")
    fields["evaluation"] = FinalEvaluation(**fields.get("evaluation", {}))
    fields["contrasts"] = tuple(map(tuple, fields.get("contrasts", ())))
    fields["encoders"] = {n: tuple(alike) for n, alike in fields.get("encoders", {}).items()}
    return AblationConfig(**fields)


def method_name(algorithm: str, start: str) -> str:
    """A way to train, in names: the algorithm, and -warm behind it for a warm start."""
    return algorithm if start == "scratch" else f"{algorithm}-{start}"


def folder_name(name: str) -> str:
    """A name as a folder's: letters, digits, dots, hyphens and underscores."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "representation"


def _require_same(what: str, before: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for name, value in asked.items():
        if isinstance(value, Mapping) and isinstance(before.get(name), Mapping):
            _require_same(f"{what}: {name}", before[name], value)
        elif name not in before or before[name] != value:
            was = f"was {before[name]!r}" if name in before else "was not given"
            raise ValueError(
                f"{what}: {name} is {value!r}, and {was} for the policies that are there: they "
                "would not compare; leave it out, or choose another folder"
            )
