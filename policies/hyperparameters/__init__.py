"""Hyperparameters by algorithm: files in the style of rl-zoo, which reads them too.

A file's first entry, `VTInsert-v0`, is rl-zoo's: arguments of the algorithm beside `n_envs`,
`n_timesteps` and what rl-zoo makes the environment with. The entries after it say what is different
on the GPU engine (`-warp`), for images (`-pixels`) and for a run that starts from another one
(`-start`); rl-zoo does not look at them. Other tasks begin with the same.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
"""Where the files are: a name each, with `-` as `_`."""
VARIANTS = ("warp", "pixels", "start")
"""Entries beside the first, in the order in which they override it and each other."""

_OWN: dict[str, Any] = {"n_timesteps": 1_000_000, "n_envs": 16}
"""What is chosen for an algorithm of one's own, beside its own defaults."""
_ENTRY = "VTInsert-v0"
"""Name of the first entry: rl-zoo looks for the environment's."""
_RL_ZOO_ALONE = ("policy", "env_wrapper", "env_kwargs", "normalize")
"""What the representation decides here."""


def preset(algorithm: str, variants: Mapping[str, bool]) -> dict[str, Any]:
    """`n_timesteps`, `n_envs` and hyperparameters of an algorithm, and which `VARIANTS` it is."""
    if ":" in algorithm:  # MODULE:NAME
        return dict(_OWN)
    entries = copy.deepcopy(_read(FOLDER / f"{algorithm.replace('-', '_')}.yml"))
    chosen = entries[_ENTRY]
    for variant in VARIANTS:
        if variants.get(variant):
            chosen = merge(chosen, entries.get(f"{_ENTRY}-{variant}", {}))
    return {name: value for name, value in chosen.items() if name not in _RL_ZOO_ALONE}


def preset_values(name: str) -> str:
    """What the presets of all algorithms have for a name, on the CPU engine, in words."""
    algorithms: dict[Any, list[str]] = {}
    for path in sorted(FOLDER.glob("*.yml")):
        algorithm = path.stem.replace("_", "-")
        algorithms.setdefault(preset(algorithm, {}).get(name), []).append(algorithm)
    return "; ".join(f"{value:_} for {', '.join(names)}" for value, names in algorithms.items())


@functools.cache  # the help asks for each several times
def _read(path: Path) -> dict[str, dict[str, Any]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where it was built with it
    entries: dict[str, dict[str, Any]] = yaml.load(path.read_text(encoding="utf-8"), loader)
    return entries


def merge(chosen: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters with others over them; dictionaries in them are merged likewise."""
    merged = dict(chosen)
    for name, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = merge(merged[name], value) if nested else value
    return merged


def parse_value(text: str) -> Any:
    """A value of YAML; of numbers also those that it takes for words, such as 1e-4."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError(f"{text!r} is no value of YAML") from None
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
