"""An ablation as it is published: its grid, all final episodes, all evaluations; no policies.

    uv run python scripts/publish_ablation.py outputs/contact outputs/contact-more \
        --grid grid.yml --output docs/results/study/contact

Several folders become one, if their policies were trained and judged alike: parts of a grid that
ran on several machines, or at several times. A folder that is published can be gone on from by
naming it among them. `vtinsert report` and `vtinsert ablate --row` read what this writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Annotated, Any

import tyro

from policies.ablation.folder import (
    EPISODES_FILE,
    EVALUATIONS_FILE,
    GRID_FILE,
    Ablation,
    episodes_table,
)
from policies.ablation.grid import CELL_COLUMNS, AblationConfig
from policies.options_file import read_file
from vtenv.run_folder import iter_table, write_table

Row = Mapping[str, str]
Key = tuple[str, ...]
"""A policy: `Cell.key`."""


@dataclass(frozen=True)
class Published:
    """What is published of an ablation: its grid, what made it, rows of tables by policy."""

    config: AblationConfig
    made: Mapping[str, Any]
    episodes: Mapping[Key, Sequence[Row]]
    evaluations: Mapping[Key, Sequence[Row]]

    def __or__(self, other: Published) -> Published:
        """Both in one.

        Raises:
            ValueError: If policies were trained or judged otherwise, so that they do not compare,
                or an encoder or a policy is another one in each.
        """
        for key in self.episodes.keys() & other.episodes.keys():
            if self.episodes[key] != other.episodes[key]:
                raise ValueError(f"{', '.join(key)} played otherwise in each; leave one out")
        known = self.made.get("encoders", {})
        for name, digest in other.made.get("encoders", {}).items():
            if known.get(name, digest) != digest:
                raise ValueError(
                    f"{name} is another encoder in each, {known[name][:12]} and {digest[:12]}; "
                    "encoders of one name must be the same"
                )
        asked = asdict(other.config) | {"contrasts": self.config.contrasts}
        if self.config.policies and other.config.policies:
            asked["policies"] = self.config.policies  # a folder of the machine it ran on
        return Published(
            self.config.grown(asked),
            _made(self.made, other.made),
            {**self.episodes, **other.episodes},
            {**self.evaluations, **other.evaluations},
        )


def read(folder: Path) -> Published:
    """Read an ablation's folder, with its runs or as it was published.

    Raises:
        ValueError: If there is none, or it cannot be read; names the file.
    """
    ablation = Ablation(folder)
    config = ablation.read_grid()
    done = [cell for cell in config.cells if ablation.state(cell) == "done"]
    episodes: dict[Key, list[Row]] = {}
    evaluations: dict[Key, list[Row]] = {}
    for cell in done:
        about = dict(zip(CELL_COLUMNS, cell.key, strict=True))
        place = ablation.folder(cell)
        episodes[cell.key] = list(_rows(episodes_table(place)))
        evaluations[cell.key] = [about | dict(row) for row in _rows(place / EVALUATIONS_FILE)]
    if not done:
        for found, path in (
            (episodes, episodes_table(folder)),
            (evaluations, folder / EVALUATIONS_FILE),
        ):
            for row in _rows(path):
                found.setdefault(tuple(row[name] for name in CELL_COLUMNS), []).append(row)
    if not episodes:
        raise ValueError(f"{folder} has no policy that is done")
    return Published(config, ablation.read_config().get("made", {}), episodes, evaluations)


def write(published: Published, folder: Path) -> None:
    """Write it, tables in the order of the grid."""
    ablation = Ablation(folder)
    ablation.write_grid(published.config, published.made)
    keys = [cell.key for cell in published.config.cells]
    episodes = [row for key in keys for row in published.episodes.get(key, ())]
    write_table(folder / f"{EPISODES_FILE}.gz", episodes)
    if evaluations := [row for key in keys for row in published.evaluations.get(key, ())]:
        write_table(folder / EVALUATIONS_FILE, evaluations)


def main(
    folders: Annotated[tuple[Path, ...], tyro.conf.Positional],
    output: Path,
    grid: Path | None = None,
) -> None:
    """Publish an ablation, or several in one.

    Args:
        folders: Folders of ablations; the first says how policies are trained and judged.
        output: Where to; what is published there already is written over.
        grid: File of the whole grid, for order and contrasts. None for that of the first folder,
            grown by the others.
    """
    if not folders:
        raise ValueError("name one folder or more")
    published = reduce(Published.__or__, map(read, folders))
    if grid is not None:
        config = AblationConfig.from_json(read_file(grid))
        asked = asdict(config) | {"contrasts": (), "policies": published.config.policies}
        published.config.grown(asked)  # refuses other training
        if lost := published.episodes.keys() - {cell.key for cell in config.cells}:
            raise ValueError(f"{grid} lacks {', '.join(min(lost))}, which is trained; add it")
        published = replace(published, config=config)
    write(published, output)
    print(
        f"{len(published.episodes)} of {len(published.config.cells)} policies: "
        f"{json.dumps(str(output / GRID_FILE))}"
    )


def _rows(table: Path | None) -> Iterator[Row]:
    if table is not None and table.is_file():
        for _, row in iter_table(table, ()):
            yield row


def _made(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What made both, as a list of parts; encoders of all in one table."""
    parts = [
        {name: value for name, value in part.items() if name != "encoders"}
        for made in (one, other)
        for part in made.get("parts", [made])
    ]
    commits = dict.fromkeys(str(part.get("commit", "unknown")) for part in parts)
    return {
        "commit": ", ".join(commits),
        "parts": parts,
        "encoders": {**one.get("encoders", {}), **other.get("encoders", {})},
    }


if __name__ == "__main__":
    tyro.cli(main)
