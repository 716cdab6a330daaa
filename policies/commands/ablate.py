"""`vtinsert ablate`: a grid of policies, trained and compared."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import tyro

from policies.ablation.grid import PRESETS, AblationConfig
from policies.choices import require_at_least
from policies.commands.option_fields import given, option_fields
from policies.learners.train_config import TrainConfig
from policies.options_file import read_file
from policies.representation_names import check_representation


@dataclass(frozen=True)
class RunOptions:
    """Which grid, and where and how its policies are trained."""

    preset: Literal["quick", "paper"] | None = None
    """The grid to begin with: quick, minutes on two cores; paper, the study, for a GPU."""
    grid: Path | None = None
    """A file with a grid to begin with, as YAML or JSON, with the fields of ablation.json."""
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
        if self.preset and self.grid:
            raise ValueError("of --preset and --grid, only one can be given")


_DEFAULTS = {
    "representations": "(this, --preset or --grid, unless a folder goes on)",
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
    for field in (one for one in fields(RunOptions) if one.name in ("preset", "grid", "output")):
        early.add_argument(f"--{field.name}", default=field.default)
    try:
        known, _ = early.parse_known_args(list(arguments))
        base = _begun_with(known.preset, known.grid, known.output)
    except argparse.ArgumentError:  # an option without a value: told below
        base = AblationConfig()
    training = TrainConfig(**{n: v for n, v in base.training.items() if n in _TRAINING})
    options = [
        *option_fields(RunOptions(), [field.name for field in fields(RunOptions)], _DEFAULTS),
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
        run = RunOptions(**{f.name: chosen.pop(f.name, f.default) for f in fields(RunOptions)})
        asked: dict[str, Any] = {n: chosen[n] for n in _AXES if n in chosen}
        asked["training"] = {n: chosen[n] for n in _TRAINING if n in chosen}
        asked["evaluation"] = {n: chosen[n] for n in _EVALUATION if n in chosen}
        if not base.representations and "representations" not in asked:
            raise ValueError(
                "--preset, --grid or --representations is needed, to say what to compare"
            )
        for name in asked.get("representations", base.representations):
            check_representation(name)
        # After the options are known to be good: this is slow to import.
        from policies.ablation.command import train_grid
        from policies.worlds import settings_to_json

        if settings:
            asked["training"]["settings"] = settings_to_json(settings)
        return train_grid(run, base, asked)

    ablate.__doc__ = _HELP
    ablate.__annotations__["options"] = kind
    return ablate


def _begun_with(preset: str | None, grid: str | None, output: str) -> AblationConfig:
    """The grid that options change: a preset's, a file's, or the one in the folder."""
    if preset and (path := PRESETS / f"{preset}.yml").is_file():
        return AblationConfig.from_json(read_file(path))
    if grid:
        return AblationConfig.from_json(read_file(Path(grid)))
    if not preset and (Path(output) / "ablation.json").is_file():
        from policies.ablation.folder import Ablation

        return Ablation(output).read_grid()
    return AblationConfig()
