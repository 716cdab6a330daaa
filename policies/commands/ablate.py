"""`vtinsert ablate`: a grid of policies, trained and compared."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import tyro

from policies.ablation.grid import HELD_OUT, AblationConfig, preset_grid
from policies.choices import check_name, require_at_least
from policies.commands.option_fields import given, option_fields
from policies.learners.train_config import TrainConfig
from policies.options_file import read_file
from policies.representation_names import check_representation, split_part

PresetName = Literal[
    "quick", "study-contact", "study-nominal", "study-precision", "study-shift", "study-transfer"
]
"""A grid that comes with the package."""


@dataclass(frozen=True)
class RunOptions:
    """Which grid, and where and how its policies are trained."""

    preset: PresetName | None = None
    """The grid to begin with: quick, minutes on two cores; or for a GPU study-TRACK, the published
    study with its bundled encoders."""
    grid: Path | None = None
    """A file with a grid to begin with, as YAML or JSON, with the fields of ablation.json."""
    row: str | None = None
    """A row of a published ablation to train again, and to hold against what was published:
    REPRESENTATION/ALGORITHM, with TRACK/ before it in a study of several tracks, such as
    contact/pose/dagger or contact/state/ppo-warm; without a name all are listed."""
    published: Path | None = None
    """Folder of the ablation that the row is of, with its ablation.json, and episodes.csv or
    episodes.csv.gz; or of several, a folder a track."""
    workers: int | None = None
    """Policies that are trained at once."""
    threads: int | None = None
    """Threads of each."""
    filmed: int = 1
    """Most successes and failures of each connector in the videos, which show the policies of the
    first seed; 0 for no videos."""
    executor: Literal["local", "ray"] = "local"
    """Where: processes of this machine, or tasks of the Ray cluster at RAY_ADDRESS; without that,
    of a Ray that is started here."""
    retry: tyro.conf.FlagCreatePairsOff[bool] = False
    """Try cells that failed once more."""
    output: Path = Path("outputs/ablation")
    """Folder of the ablation."""

    def __post_init__(self) -> None:
        require_at_least(self, workers=1, threads=1, filmed=0)
        if sum(given is not None for given in (self.preset, self.grid, self.row)) > 1:
            raise ValueError("of --preset, --grid and --row, only one can be given")
        if self.published and self.row is None:
            raise ValueError("--published is for --row; give both, or neither")


_DEFAULTS = {
    "representations": "(this, --preset, --grid or --row, unless a folder goes on)",
    "published": "(default: the study of the repository)",
    "workers": "(default: one a GPU, or one a core and at most 4)",
    "threads": "(default: the cores, shared out evenly)",
    "max_minutes": "(default: no limit)",
    "device": "(default: cpu, or cuda:0 with warp)",
    "steps": "(default: those of the algorithm's preset)",
    "num_envs": "(default: those of the algorithm's preset)",
}
"""What is said of an option whose default is None."""
_AXES = ("representations", "algorithms", "starts", "seeds")
_TRAINING = ("task", "steps", "max_minutes", "num_envs", "engine", "device")
_EVALUATION = ("condition", "episodes")
_OF_ROWS = ("representations", "seeds", "engine", "device")
"""Options of a grid that a published row leaves open."""
_ROWS = Path("outputs/rows")
"""Folder of the rows that are trained again."""
_HELP = """Train a grid of representations and seeds, and compare their policies.

Every policy is a process and a folder of its own. The same command does what is missing, and more
representations, algorithms or seeds are added to what is there; without options it goes on with the
grid in the folder. Options that are not given are those of the preset, the file or the folder.
"""


def configured(arguments: Sequence[str]) -> Callable[..., int]:
    """The command for these arguments: the defaults of its options are those of the grid.

    Args:
        arguments: What follows `vtinsert ablate`.

    Raises:
        ValueError: If there is no such grid.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("preset", "grid", "published", "output"):
        early.add_argument(f"--{name}")
    early.add_argument("--row", nargs="?", const="")  # without a name, the rows are listed
    defaults, row = RunOptions(), None
    try:
        known, _ = early.parse_known_args(list(arguments))
        if known.row is not None:
            from policies.ablation.published import published_row

            row = published_row(Path(known.published) if known.published else None, known.row)
            defaults = RunOptions(output=_ROWS / row.folder)
        base = _begun_with(known.preset, known.grid, Path(known.output or defaults.output))
        if row and not base.representations:
            base = row.grid
    except argparse.ArgumentError:  # an option without a value: told below
        base = AblationConfig()
    training = TrainConfig(**{n: v for n, v in base.training.items() if n in _TRAINING})
    options = [
        *option_fields(defaults, [field.name for field in fields(RunOptions)], _DEFAULTS),
        *option_fields(base, _AXES, _DEFAULTS),
        *option_fields(training, _TRAINING, _DEFAULTS),
        *option_fields(base.evaluation, _EVALUATION, _DEFAULTS),
    ]
    kind = dataclasses.make_dataclass("Options", options, frozen=True)

    def ablate(
        options: Any = kind(),  # noqa: B008 (it is frozen)
        settings: tyro.conf.Suppress[Any] = None,
    ) -> int:
        chosen = given(options)
        run = dataclasses.replace(
            defaults, **{f.name: chosen.pop(f.name) for f in fields(RunOptions) if f.name in chosen}
        )
        if run.row is not None and (others := sorted({*chosen, *(settings or ())} - {*_OF_ROWS})):
            raise ValueError(
                f"{others[0]} would make another row; leave it out (a row leaves "
                f"{', '.join(_OF_ROWS)} open), or train a grid of your own"
            )
        asked: dict[str, Any] = {n: chosen[n] for n in _AXES if n in chosen}
        asked["training"] = {n: chosen[n] for n in _TRAINING if n in chosen}
        asked["evaluation"] = {n: chosen[n] for n in _EVALUATION if n in chosen}
        if not base.representations and "representations" not in asked:
            raise ValueError(
                "--preset, --grid, --row or --representations is needed, to say what to compare"
            )
        if row and len(asked.get("representations", ())) > 1:
            raise ValueError("a row has one representation; give one, and a folder for each")
        grid = base
        if row and "representations" not in asked:
            from policies.ablation.published import with_encoders_at_hand

            grid = with_encoders_at_hand(base, row.name)
        for name in asked.get("representations", grid.representations):
            for encoder in grid.encoders.get(split_part(name)[0], (name,)):
                for held_out in grid.folds:
                    check_representation(encoder.replace(HELD_OUT, held_out))
        for name in asked.get("algorithms", ()):
            TrainConfig(algorithm=name)  # says what is wrong with it
            if ":" in name:
                from vtenv.import_string import import_string

                import_string(name, "algorithm")
        if settings or "task" in chosen:
            from vtenv.registry import make_task

            make_task(options.task, **(settings or {}))  # judges them
        # After the options are known to be good: this is slow to import.
        from policies.ablation.command import train_grid, train_row
        from policies.worlds import settings_to_json

        if settings:
            asked["training"]["settings"] = settings_to_json(settings)
        return train_row(run, row, grid, asked) if row else train_grid(run, grid, asked)

    ablate.__doc__ = _HELP
    ablate.__annotations__["options"] = kind
    return ablate


def _begun_with(preset: str | None, grid: str | None, output: Path) -> AblationConfig:
    """The grid that options change: a preset's, a file's, or the one in the folder."""
    if preset:
        check_name(preset, get_args(PresetName), "preset")
        return preset_grid(preset)
    if grid:
        return AblationConfig.from_json(read_file(Path(grid)))
    if (output / "ablation.json").is_file():
        from policies.ablation.folder import Ablation

        return Ablation(output).read_grid()
    return AblationConfig()
