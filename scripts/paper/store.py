"""Runs side by side: which are finished, which are taken, and all results in one file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vtenv.atomic_write import write_text


class Store:
    """The results of a study's runs, and the runs that somebody works on.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._results, self._taken = folder / "results", folder / "taken"
        self._end = folder / "ended"

    def begin(self) -> None:
        """Make the folder, and give back what processes took that are no more."""
        self._results.mkdir(parents=True, exist_ok=True)
        self._taken.mkdir(exist_ok=True)
        for path in (self._end, *self._taken.iterdir()):
            path.unlink(missing_ok=True)

    def end(self) -> None:
        """Tell all who take runs to take no more."""
        self._end.touch()

    @property
    def ended(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return self._end.exists()

    def is_free(self, name: str) -> bool:
        """Whether a run is neither finished nor taken."""
        return not (self.has(name) or (self._taken / name).exists())

    def take(self, name: str) -> bool:
        """Take a free run; False if another process was faster."""
        try:
            os.close(os.open(self._taken / name, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def has(self, name: str) -> bool:
        """Whether a run is finished."""
        return (self._results / f"{name}.json").exists()

    def put(self, name: str, result: Mapping[str, Any]) -> None:
        """Keep a run's result."""
        write_text(self._results / f"{name}.json", json.dumps(result))

    def get(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The results there are, by run."""
        return {
            name: json.loads((self._results / f"{name}.json").read_text())
            for name in names
            if self.has(name)
        }
