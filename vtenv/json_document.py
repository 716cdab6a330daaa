"""JSON documents: each says what it is, and in which version; and dataclasses to and from them."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from vtenv.validation import require, shown

T = TypeVar("T")


def read_json(
    path: Path, what: str, name: str, version: int, error: type[Exception], *, again: str
) -> dict[str, Any]:
    """Read a document, and refuse what is not one, or is of another version.

    Args:
        path: The file.
        what: What it is to be, such as "a policy of VTInsert".
        name: Its "format".
        version: Its "version".
        error: What to raise.
        again: What to do about another version, besides installing the release that wrote it.

    Returns:
        The document, without its format and version.

    Raises:
        error: If it cannot be read; names the file, and says what to do.
    """
    document = read_object(path, error)
    found = document.pop("format", None), document.pop("version", None)
    if found[0] != name:
        raise error(f'{path} is not {what}: it has no "format": "{name}"')
    if found[1] != version:
        raise error(
            f"{path} has version {found[1]!r:.40}, and this VTInsert reads version "
            f"{version}; install the release that wrote it, or {again}"
        )
    return document


def read_object(path: Path, error: type[Exception]) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.
        error: What to raise.

    Returns:
        The object.

    Raises:
        error: If it cannot be read, or holds something else; names the file.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would wait for a writer
            raise error(f"{path} is no file; copy the file again")
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as wrong:
        raise error(f"cannot read {str(path)[:200]}: {wrong.strerror or wrong}") from wrong
    except (ValueError, RecursionError) as wrong:  # nested too deep, or a number too long
        raise error(f"{path} is not JSON: {wrong}; copy the file again") from wrong
    if not isinstance(document, dict):
        raise error(f"{path} is not a JSON object; copy the file again")
    return document


def from_document(cls: type[T], document: object) -> T:
    """A dataclass from the JSON object of its fields, each of the type that it is declared with.

    Args:
        cls: The dataclass. Its fields may be numbers, strings, flags, None, literals, sequences,
            mappings, other dataclasses, and unions of them.
        document: The object, as `json` reads `dataclasses.asdict`; fields with a default may be
            left out.

    Raises:
        ValueError: If a field is missing, unknown, of another type, or not allowed; names it.
    """
    name = cls.__name__
    require(isinstance(document, Mapping), name, document, "an object with its fields")
    assert isinstance(document, Mapping) and dataclasses.is_dataclass(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    if unknown := [key for key in document if key not in fields]:
        raise ValueError(
            f"{name} has no {shown(unknown[0])}; it has {', '.join(fields)}",
        )
    defaults = (dataclasses.MISSING, dataclasses.MISSING)
    needed = [n for n, f in fields.items() if (f.default, f.default_factory) == defaults]
    if missing := [key for key in needed if key not in document]:
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    hints = typing.get_type_hints(cls)
    return cls(**{key: _value(hints[key], value, key) for key, value in document.items()})


def _value(hint: Any, value: Any, name: str) -> Any:
    """A JSON value as a field's declared type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        errors = []
        for option in arguments:
            try:
                return _value(option, value, name)
            except ValueError as error:
                errors.append(error)
        raise errors[-1]
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return from_document(typing.cast(type[Any], hint), value)
    if origin is Literal:
        choices = ", ".join(map(str, arguments))
        same = any(type(value) is type(choice) and value == choice for choice in arguments)
        require(same, name, value, f"one of {choices}")
        return value
    if origin in (tuple, list, Sequence):
        require(isinstance(value, list | tuple), name, value, "a list")
        kinds: Sequence[Any] = arguments
        if origin is not tuple or arguments[1:] == (...,):
            kinds = arguments[:1] * len(value)
        require(len(kinds) == len(value), name, value, f"a list of {len(kinds)}")
        items = [_value(kind, item, name) for kind, item in zip(kinds, value, strict=True)]
        return items if origin is list else tuple(items)
    if origin in (dict, Mapping):
        require(isinstance(value, Mapping), name, value, "an object")
        return {key: _value(arguments[1], item, f"{name}.{key}") for key, item in value.items()}
    if hint is float:
        require(type(value) in (int, float), name, value, "a number")
        require(type(value) is float or abs(value) < 1 << 64, name, value, "of 64 bits")
        return float(value)
    kind = type(None) if hint is None else hint
    require(type(value) is kind, name, value, _KINDS.get(kind, str(kind)))
    if kind is int:
        require(abs(value) < 1 << 64, name, value, "of 64 bits")
    return value


_KINDS = {int: "an integer", str: "text", bool: "true or false", type(None): "null"}
