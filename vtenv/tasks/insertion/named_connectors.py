"""Connectors by name: those that come with the environment, generated ones and anybody's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vtenv.import_string import OpenTable, instance_of
from vtenv.tasks.insertion.connectors import CONNECTORS, Connector, ConnectorError
from vtenv.tasks.insertion.generated import generated, index_of


def get_connectors(
    given: str | Connector | Mapping[str, Any] | Iterable[str | Connector | Mapping[str, Any]],
) -> tuple[Connector, ...]:
    """The connectors that are meant, in the order given.

    Args:
        given: One or several of: a name in `CONNECTORS`, the name of a generated one such as
            `generated-17`, a `Connector`, its `MODULE:NAME`, a mapping as `Connector.to_dict`
            returns.

    Raises:
        ConnectorError: If one is none of these, there is none, or a name comes twice.
    """
    if isinstance(given, str | Connector | Mapping):
        given = (given,)
    items = tuple(given) if isinstance(given, Iterable) else (given,)
    chosen: list[Connector] = []
    for item in items:
        if isinstance(item, Connector):
            chosen.append(item)
        elif isinstance(item, Mapping):
            chosen.append(Connector.from_mapping(item))
        elif isinstance(item, str) and (index := index_of(item)) is not None:
            chosen.append(generated(index))
        elif isinstance(item, str) and item in _BY_NAME:
            chosen.append(_BY_NAME[item])
        else:
            raise ConnectorError(
                f"unknown connector {item!r}; choose of {', '.join(_BY_NAME)} and generated-0, "
                "generated-1 and so on, or make a Connector of your own, given as it is or as "
                "MODULE:NAME"
            )
    names = [connector.name for connector in chosen]
    if not names or len(set(names)) < len(names):
        raise ConnectorError(
            f"connectors={tuple(names)} is not allowed; give one or more, each with a name of its "
            "own"
        )
    return tuple(chosen)


_BY_NAME = OpenTable(CONNECTORS, "connector", instance_of(Connector))
