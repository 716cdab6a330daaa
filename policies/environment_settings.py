"""Keyword arguments of `VTInsert-v0` as JSON, in which a policy and a run remember them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from vtenv.tasks.insertion.config import InitialStateRanges
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig

_DATACLASSES = {
    "initial_state": InitialStateRanges,
    "domain_randomization": DomainRandomizationConfig,
}
"""Settings that are dataclasses."""


def settings_to_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in JSON's types.

    Args:
        settings: Keyword arguments of `VTInsert-v0`.

    Raises:
        TypeError: If one of them is nothing that JSON has.
    """
    document = {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in settings.items()
    }
    plain: dict[str, Any] = json.loads(json.dumps(document))
    return plain


def settings_from_json(document: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that `settings_to_json` described.

    Raises:
        TypeError, ValueError: If a field of one of them is unknown or not allowed.
    """
    settings = dict(document)
    for name, kind in _DATACLASSES.items():
        if isinstance(settings.get(name), Mapping):
            settings[name] = kind(**settings[name])
    return settings
