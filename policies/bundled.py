"""Encoders and policies that come with the package, found without importing what loads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from policies.choices import check_name

Kind = Literal["encoders", "policies"]

_MARKS = {"encoders": "config.json", "policies": "policy.json"}
"""The file that each of a kind has."""


def bundled_folder(kind: Kind) -> Path:
    """Where those of a kind lie: in the wheel, or in the repository it was installed from."""
    root = Path(__file__).parent.parent
    in_wheel = root / "vtenv" / "assets"
    return (in_wheel if in_wheel.is_dir() else root / "assets") / kind


def bundled(kind: Kind) -> tuple[str, ...]:
    """Names of those of a kind, sorted."""
    return tuple(
        sorted(path.parent.name for path in bundled_folder(kind).glob(f"*/{_MARKS[kind]}"))
    )


def check_policy(source: str) -> None:
    """Refuse what is neither a bundled policy nor a folder, before anything is loaded.

    Raises:
        ValueError: If it is neither; names the nearest, and what there is.
    """
    if Path(os.path.expanduser(source)).is_dir():
        return
    try:
        check_name(source, bundled("policies"), "policy")
    except ValueError as error:
        raise ValueError(
            f"{error}; it is neither a bundled policy nor a folder: `vtinsert train` writes one, "
            "policy/, into its output folder"
        ) from None
