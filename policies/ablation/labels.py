"""Short names of representations, for tables and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from policies.ablation.grid import AblationConfig, Cell
from policies.representation_names import END_TO_END, IMAGENET, SINGLE_KEYS, UNTRAINED, split_part
from representation.bundled import bundled

_NO_NAMES = ("/", "..", "~")
"""Parts of a path that say nothing of what lies there."""


def labels(representations: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """A short name for each representation.

    An encoder in a folder is called by the last part of its path that is not `encoder`, unless
    another one is, or that is a name of its own. All others stay as they are.

    Args:
        representations: Names, as `make_representation` takes them.
        taken: Labels that others have.

    Returns:
        Labels by name, no two alike.
    """
    split = {name: split_part(name) for name in representations}
    # Parts of one encoder share its label, so those that must differ are encoders.
    last = {encoder: _last_part(encoder) for encoder in dict.fromkeys(e for e, _ in split.values())}
    count = Counter(last.values())
    count.update(
        (*SINGLE_KEYS, END_TO_END, UNTRAINED, IMAGENET, *bundled("encoders"), *last, *taken)
    )
    short = {encoder: label if count[label] == 1 else encoder for encoder, label in last.items()}
    return {
        name: short[encoder] + (f":{part}" if part else "")
        for name, (encoder, part) in split.items()
    }


def encoder_labels(config: AblationConfig) -> dict[str, str]:
    """A short name for all that a grid trains policies on.

    Encoder seeds have the name of their representation and a number: pose-1, pose-2.
    """
    several: dict[str, list[str]] = {}
    for name, representation in config.trained_on.items():
        if split_part(representation)[0] in config.encoders:
            several.setdefault(representation, []).append(name)
    found = {
        name: f"{representation}-{number}"
        for representation, alike in several.items()
        for number, name in enumerate(alike, start=1)
    }
    alone = [name for name in config.trained_on if name not in found]
    return found | labels(alone, (*found.values(), *config.encoders))


def representation_labels(config: AblationConfig) -> dict[str, str]:
    """A short name for each representation of a grid; encoder seeds share one."""
    short = encoder_labels(config)
    return {name: short.get(name, name) for name in config.trained_on.values()}


def labelled(config: AblationConfig) -> dict[Cell, Cell]:
    """All cells of a grid as they are shown, with a label for what they are trained on."""
    short = encoder_labels(config)
    return {cell: replace(cell, representation=short[cell.representation]) for cell in config.cells}


def _last_part(encoder: str) -> str:
    """The last part of an encoder's folder that can name it; another encoder's name as it is."""
    may_be_an_id = encoder.count("/") == 1 and not encoder.startswith(("/", ".", "~"))
    if "/" not in encoder or (may_be_an_id and not Path(encoder).is_dir()):
        return encoder
    parts = [part for part in PurePosixPath(encoder).parts if part not in _NO_NAMES]
    if parts[1:] and parts[-1] == "encoder":
        parts.pop()
    return parts[-1] if parts else encoder
