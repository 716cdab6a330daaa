"""Anybody's objects by name, `MODULE:NAME`: on a command line, in a file, in a result."""

from __future__ import annotations

import pkgutil
import re
from typing import Any

_FORM = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


def is_import_string(name: object) -> bool:
    """Whether something reads `MODULE:NAME`."""
    return isinstance(name, str) and _FORM.fullmatch(name) is not None


def import_string(name: str, what: str) -> Any:
    """What a module calls by a name.

    Args:
        name: `MODULE:NAME`; the module is imported, and what it does then is done. `vtinsert` finds
            modules in the current folder too.
        what: What it is to be, such as "reward", for the error.

    Raises:
        ValueError: If there is no such module, or nothing of that name in it.
    """
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"cannot load the {what} {name!r}: {error}; give MODULE:NAME, of a module that is "
            "installed, on PYTHONPATH or, for the command vtinsert, in the current folder"
        ) from error
