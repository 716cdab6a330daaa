"""What is chosen on a command line, and what is said of what cannot be."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import docstring_parser
import tyro

from representation.require import require


def default(text: str) -> Any:
    """Metadata for `Annotated`: what an option that is left out stands for, as the help says it."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


def field_texts(cls: type) -> dict[str, tuple[str, str]]:
    """What a dataclass says of its fields, and of those that are None, by name.

    An option is left out where a field is None, so that its help does not speak of None.
    """
    parsed = [
        field
        for base in reversed(cls.__mro__)
        if dataclasses.is_dataclass(base)
        for field in docstring_parser.parse_from_object(base).params
    ]
    texts = {field.arg_name: " ".join((field.description or "").split()) for field in parsed}
    parts = {name: text.rstrip(".").partition("; None ") for name, text in texts.items()}
    return {
        name: (text, of_none.removeprefix("for ")) for name, (text, _, of_none) in parts.items()
    }


def check_name(name: str, allowed: Collection[str], what: str, otherwise: str = "") -> None:
    """Refuse a name that is not in a list.

    Args:
        name: What was given.
        allowed: What may be.
        what: What it is to be, such as "condition".
        otherwise: What else there is to do, a clause.

    Raises:
        ValueError: If it is not there; names the nearest three, and all.
    """
    if name in allowed:
        return
    nearest = difflib.get_close_matches(name, dict.fromkeys(allowed), 3, cutoff=0.5)
    hint = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    rest = f"; {otherwise}" if otherwise else ""
    raise ValueError(f"unknown {what} {name!r}; {hint}choose from {', '.join(allowed)}{rest}")


def make_output(folder: Path) -> None:
    """Make the folder that a command writes into.

    Raises:
        OSError: If that cannot be; says what to change.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"cannot use {folder} as a folder ({error.strerror}); choose another with --output"
        ) from error


def require_at_least(options: object, **least: int) -> None:
    """Refuse attributes below a bound; those that are None are not set.

    Raises:
        ValueError: If one is below; names it and its bound.
    """
    for name, bound in least.items():
        value = getattr(options, name)
        require(value is None or value >= bound, name, value, f"at least {bound}")
