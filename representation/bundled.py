"""The encoders that come with the package."""

from __future__ import annotations

from pathlib import Path

import vtenv


def encoders_folder() -> Path:
    """Where the bundled encoders lie: in the wheel, or in the repository it was installed from."""
    package = Path(vtenv.__file__).parent
    in_wheel = package / "assets" / "encoders"
    return in_wheel if in_wheel.parent.is_dir() else package.parent / "assets" / "encoders"


def bundled_encoders() -> tuple[str, ...]:
    """Names of the bundled encoders, sorted."""
    return tuple(sorted(path.parent.name for path in encoders_folder().glob("*/config.json")))
