"""Whether there is a policy of a name, told without importing what loads it."""

from __future__ import annotations

import os
from pathlib import Path

from policies.choices import check_name
from representation.bundled import bundled


def check_policy(source: str) -> None:
    """Refuse what is neither a bundled policy nor a folder, before anything is loaded.

    Raises:
        ValueError: If it is neither; names the nearest, and what there is.
    """
    if Path(os.path.expanduser(source)).is_dir():
        return
    check_name(
        source,
        bundled("policies"),
        "policy",
        otherwise="it is neither a bundled policy nor a folder: `vtinsert train` writes one, "
        "policy/, into its output folder",
    )
