"""An ablation: a grid of policies to train and compare, and the folder that holds it.

- `ablation.json`: the grid, and what it was made with
- `runs/REPRESENTATION/ALGORITHM/seed-N/`: a cell; `ALGORITHM-warm` where it began with a policy
  that DAgger distilled. It is the folder of a training run, with these files added:
    - `episodes.csv`: its final evaluation; a cell that has it is done
    - `failed.json`: why it has none, if it failed
    - `log.txt`: what was printed meanwhile
- `episodes.csv`: the final evaluations of all cells, in one table
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from policies.ablation.grid import AblationConfig, AblationError, Cell
from vtenv.atomic_write import atomic_write
from vtenv.json_document import read_json

FORMAT, VERSION = "vtinsert-ablation", 1
GRID_FILE, EPISODES_FILE, FAILED_FILE, LOG_FILE = (
    "ablation.json",
    "episodes.csv",
    "failed.json",
    "log.txt",
)

Outcome = Literal["done", "failed", "missing"]
"""What a cell's files say: it was evaluated, it failed, or it is still to be finished."""


class Ablation:
    """The folder of an ablation.

    Args:
        path: The folder; it need not be there yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()

    @property
    def exists(self) -> bool:
        """Whether there is an ablation."""
        return (self.path / GRID_FILE).is_file()

    def read_config(self) -> AblationConfig:
        """The grid.

        Raises:
            AblationError: If there is none, or it cannot be read.
        """
        path = self.path / GRID_FILE
        if not path.is_file():
            raise AblationError(f"{self.path} is not the folder of an ablation: no {GRID_FILE}")
        try:
            document = read_json(
                path,
                "of an ablation",
                FORMAT,
                VERSION,
                AblationError,
                again="begin another ablation",
            )
        except RecursionError:
            raise AblationError(f"{path} is nested too deep; copy the file again") from None
        return AblationConfig.from_json(document)

    def write_config(self, config: AblationConfig, made: Mapping[str, Any]) -> None:
        """Write the grid.

        Args:
            config: The grid.
            made: What it was made with: command, commit, versions, hardware.

        Raises:
            AblationError: If the folder holds something else.
        """
        if not self.exists and self.path.exists():
            if not self.path.is_dir():
                raise AblationError(f"{self.path} is a file; choose another folder")
            # What begins with a dot is no result: the lock of this very process, for one.
            if any(not entry.name.startswith(".") for entry in self.path.iterdir()):
                raise AblationError(
                    f"{self.path} holds something else than an ablation; choose another folder"
                )
        self.path.mkdir(parents=True, exist_ok=True)
        document = {"format": FORMAT, "version": VERSION, "made": dict(made), **config.as_json()}
        with atomic_write(self.path / GRID_FILE) as temporary:
            temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def folder(self, cell: Cell) -> Path:
        """The folder of a cell."""
        return self.path / cell.folder

    def state(self, cell: Cell) -> Outcome:
        """What the files of a cell say of it."""
        folder = self.folder(cell)
        if (folder / EPISODES_FILE).is_file():
            return "done"
        return "failed" if (folder / FAILED_FILE).is_file() else "missing"

    def write_failure(self, cell: Cell, error: str, traceback: str = "") -> None:
        """Write down why a cell has no result.

        Args:
            cell: The cell.
            error: What went wrong, in a line.
            traceback: Where it did.
        """
        folder = self.folder(cell)
        folder.mkdir(parents=True, exist_ok=True)
        content = {**asdict(cell), "error": error, "traceback": traceback}
        with atomic_write(folder / FAILED_FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def read_failure(self, cell: Cell) -> str:
        """Why a cell failed, in a line."""
        try:
            document = read_json_or_yaml(self.folder(cell) / FAILED_FILE)
        except AblationError as error:
            return str(error)
        reason = document.get("error") if isinstance(document, dict) else None
        return str(reason or "no reason was written down").splitlines()[0]

    def accounts(self, cell: Cell) -> tuple[Path, Path]:
        """Files that say why a cell failed, and what it printed; either may be missing."""
        return self.folder(cell) / FAILED_FILE, self.folder(cell) / LOG_FILE

    def forget_failure(self, cell: Cell) -> None:
        """Let a cell that failed be tried again."""
        (self.folder(cell) / FAILED_FILE).unlink(missing_ok=True)

    def write_episodes(self, cells: Iterable[Cell]) -> None:
        """Put the final evaluations of the cells that are done in one table.

        Args:
            cells: The cells, in the table's order.
        """
        rows: list[dict[str, str]] = []
        for cell in cells:
            if self.state(cell) == "done":
                with (self.folder(cell) / EPISODES_FILE).open(encoding="utf-8", newline="") as file:
                    rows += csv.DictReader(file)
        if rows:
            write_rows(self.path / EPISODES_FILE, rows)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table as CSV.

    Args:
        path: The file.
        rows: Its rows, with the same columns; at least one.
    """
    rows = list(rows)
    with (
        atomic_write(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_json_or_yaml(path: Path) -> Any:
    """What a JSON or YAML file holds.

    Raises:
        AblationError: If it cannot be read, or is neither.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        # Not every JSON is YAML: 1e6 is a number in the one, and a word in the other.
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise AblationError(f"cannot read {path}: {error.strerror or error}") from None
    except RecursionError:
        raise AblationError(f"{path} cannot be read: it is nested too deep") from None
    except (ValueError, yaml.YAMLError) as error:
        raise AblationError(f"{path} cannot be read: {error}") from None
