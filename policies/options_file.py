"""What people write in files: `@FILE` on a command line stands for the options that it holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def with_files(words: Iterable[str]) -> list[str]:
    """A command line in which each `@FILE` has become the options in the file.

    Args:
        words: The command line. A file is YAML or JSON, a mapping of options' names to values: a
            list stands for several, and another mapping for one that is written in YAML.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If it is no such mapping; says why.
    """
    given: list[str] = []
    for word in words:
        given += _options(Path(word[1:])) if word.startswith("@") else [word]
    return given


def read_file(path: Path) -> Any:
    """What a JSON or YAML file holds.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is neither; says why.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        # Not every JSON is YAML: 1e6 is a number in the one, and a word in the other.
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from None


def _options(path: Path) -> Iterator[str]:
    options = read_file(path)
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise ValueError(f"{path} is not a mapping of options, such as clearance_mm: 0.8")
    for name, value in options.items():
        yield f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, list) else [value]:
            yield one if isinstance(one, str) else json.dumps(one)
