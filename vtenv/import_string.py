"""Anybody's objects by name, `MODULE:NAME`: on a command line, in a file, in a result."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

_FORM = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


def is_import_string(name: object) -> bool:
    """Whether something reads `MODULE:NAME`."""
    return isinstance(name, str) and _FORM.fullmatch(name) is not None


def import_string(name: str, what: str) -> Any:
    """What a module calls by a name.

    Args:
        name: `MODULE:NAME`; the module is imported. `vtinsert` finds modules in the current folder,
            too.
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


class OpenTable(dict[str, T]):
    """Things by name, to which anybody's belong by `MODULE:NAME`; those are not iterated over.

    Args:
        entries: Those that have a short name.
        what: What one is, such as "objective", for errors.
        own: Makes an entry from a name and what it names; raises ValueError if that is none.
    """

    def __init__(self, entries: Mapping[str, T], what: str, own: Callable[[str, Any], T]) -> None:
        super().__init__(entries)
        self._what, self._own = what, own

    def __contains__(self, name: object) -> bool:
        """Whether there is such a thing; what is anybody's is judged when it is taken."""
        return super().__contains__(name) or is_import_string(name)

    def __missing__(self, name: str) -> T:
        """Anybody's.

        Raises:
            ValueError: If it cannot be loaded, or is something else.
        """
        if not is_import_string(name):
            raise KeyError(name)
        return self._own(name, import_string(name, self._what))


def instance_of(kind: type[T]) -> Callable[[str, Any], T]:
    """For `OpenTable`: takes instances of a class.

    Args:
        kind: The class.
    """

    def own(name: str, found: Any) -> T:
        if not isinstance(found, kind):
            raise ValueError(f"{name} is a {type(found).__name__}; it must be a {kind.__name__}")
        return found

    return own


def subclass_of(kind: Any) -> Callable[[str, Any], Any]:
    """For `OpenTable`: takes subclasses of a class.

    Args:
        kind: The class.
    """

    def own(name: str, found: Any) -> type[T]:
        if not (isinstance(found, type) and issubclass(found, kind)):
            raise ValueError(f"{name} is {found!r}; it must be a subclass of {kind.__name__}")
        return found

    return own
