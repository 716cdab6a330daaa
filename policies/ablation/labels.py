"""Short names of representations, for tables and figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from policies.ablation.grid import Cell
from policies.representation_names import END_TO_END, IMAGENET, SINGLE_KEYS, UNTRAINED, split_part
from representation.bundled import bundled

_NO_NAMES = ("/", "..", "~")
"""Parts of a path that say nothing of what lies there."""


def labels(representations: Iterable[str]) -> dict[str, str]:
    """A short name for each representation.

    An encoder in a folder is called by the last part of its path that is not `encoder`; by as many
    as tell it from other encoders, and from all that has a name of its own. Other names stay as
    they are.

    Args:
        representations: Names, as `make_representation` takes them.

    Returns:
        Labels by name, no two alike.
    """
    split = {name: split_part(name) for name in representations}
    # Parts of one encoder share its label, so those that must differ are encoders.
    encoders = dict.fromkeys(encoder for encoder, _ in split.values())
    paths = {encoder: _path(encoder) for encoder in encoders if _is_folder(encoder)}
    taken = {*SINGLE_KEYS, END_TO_END, UNTRAINED, IMAGENET, *bundled("encoders"), *encoders}
    short = dict(zip(encoders, encoders, strict=True))
    for encoder, path in paths.items():
        others = [other for name, other in paths.items() if name != encoder]
        for ending in (path[-length:] for length in range(1, len(path) + 1)):
            label = "/".join(ending)
            if label not in taken and all(other[-len(ending) :] != ending for other in others):
                short[encoder] = label
                break
    return {
        name: short[encoder] + (f":{part}" if part else "")
        for name, (encoder, part) in split.items()
    }


def labelled(cells: Iterable[Cell]) -> dict[Cell, Cell]:
    """All cells of a grid as they are shown, with a label for their representation."""
    cells = tuple(cells)
    short = labels(cell.representation for cell in cells)
    return {cell: replace(cell, representation=short[cell.representation]) for cell in cells}


def _is_folder(name: str) -> bool:
    """Whether an encoder lies in a folder; a name with one slash may be an id on the Hub."""
    if name.count("/") == 1 and not name.startswith(("/", ".", "~")):
        return Path(name).is_dir()
    return "/" in name


def _path(folder: str) -> tuple[str, ...]:
    """The parts of a folder's path that can name it."""
    parts = tuple(part for part in PurePosixPath(folder).parts if part not in _NO_NAMES)
    return parts[:-1] if parts[1:] and parts[-1] == "encoder" else parts
