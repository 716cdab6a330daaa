"""Encoders and policies that come with the package, found without importing what loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["encoders", "policies"]


def bundled_folder(kind: Kind) -> Path:
    """Where those of a kind lie: in the wheel, or in the repository it was installed from."""
    root = Path(__file__).parent.parent
    in_wheel = root / "vtenv" / "assets"
    return (in_wheel if in_wheel.is_dir() else root / "assets") / kind


def bundled(kind: Kind) -> tuple[str, ...]:
    """Names of those of a kind, sorted."""
    return tuple(sorted({path.parent.name for path in bundled_folder(kind).glob("*/*.json")}))
