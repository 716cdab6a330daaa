"""Command-line options from the fields of configuration dataclasses: none is written twice."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import tyro

from policies.choices import field_texts

_ALIASES = {"learning_rate": ("--lr",)}


def option_fields(
    config: Any,
    names: Iterable[str],
    of_none: Mapping[str, str],
    values: Mapping[str, Any] | None = None,
    texts: Mapping[str, str] | None = None,
) -> list[tuple[str, Any, Any]]:
    """Some fields of a dataclass as fields of a dataclass of options.

    Args:
        config: The dataclass, or an instance of it; an option has its field's name, type,
            docstring, and value here as its default.
        names: Which of its fields.
        of_none: What is said of an option whose default is None, by name.
        values: Defaults that are others than the dataclass's, by name.
        texts: Defaults of options that are given as text, whatever the type of the field.

    Returns:
        Fields as `dataclasses.make_dataclass` takes them.
    """
    cls = config if isinstance(config, type) else type(config)
    helps = field_texts(cls)
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = []
    for name in names:
        kind, default = hints[name], (values or {}).get(name, getattr(config, name))
        if texts and name in texts:
            kind, default = str, texts[name]
        hint = None
        if default in (None, ()):
            hint = of_none.get(name, "(default: not set)")
        elif typing.get_origin(kind) is Annotated:  # it may have a hint about None
            hint = f"(default: {default})"
        arg = tyro.conf.arg(
            help=f"{helps[name][0]}.",
            help_behavior_hint=hint,
            aliases=_ALIASES.get(name),
        )
        fields.append((name, Annotated[kind, arg], dataclasses.field(default=default)))
    return fields


def given(options: Any) -> dict[str, Any]:
    """The options that are not their defaults."""
    values = {f.name: (getattr(options, f.name), f.default) for f in dataclasses.fields(options)}
    return {name: value for name, (value, default) in values.items() if value != default}
