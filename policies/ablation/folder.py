"""An ablation: a grid of policies to train and compare, and the folder that holds it.

- `ablation.json`: the grid, and what it was made with
- `runs/REPRESENTATION/ALGORITHM/seed-N/`: a cell; `ALGORITHM-warm` where it began with a policy
  that DAgger distilled. It is the folder of a training run, or where connectors are held out holds
  one `without-CONNECTOR` for each, with these files added:
    - `episodes.csv`: its final evaluation; a cell that has it is done
    - `failed.json`: why it has none, if it failed
    - `log.txt`: what was printed meanwhile
- `episodes.csv`: the final evaluations of all cells, in one table
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from policies.ablation.grid import AblationConfig, Cell
from vtenv.json_document import read_object
from vtenv.run_folder import RunFolder, RunFolderError, iter_table, read_table

GRID_FILE, EPISODES_FILE = "ablation.json", "episodes.csv"
EVALUATIONS_FILE = "evaluations.csv"
FAILED_FILE, LOG_FILE = "failed.json", "log.txt"

Outcome = Literal["done", "failed", "missing"]
"""What a cell's files say: it was evaluated, it failed, or it is still to be finished."""


class Ablation(RunFolder):
    """The folder of an ablation, which need not be there yet."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(
            Path(path).absolute(),
            format="vtinsert-ablation",
            version=1,
            kind="ablation",
            config=GRID_FILE,
        )

    def require_own(self) -> None:
        """Check that nothing else is in the folder.

        Raises:
            RunFolderError: If it holds something else than an ablation.
        """
        try:
            if not self.begun:
                self.require_new()
        except RunFolderError:
            raise RunFolderError(
                f"{self.path} holds something else than an ablation; choose another folder"
            ) from None

    def read_grid(self) -> AblationConfig:
        """The grid.

        Raises:
            ValueError: If there is none, or it cannot be read.
        """
        document = self.read_config()
        try:
            return AblationConfig.from_json(document)
        except ValueError as error:
            raise ValueError(f"the grid in {self.path} cannot be read: {error}") from error

    def write_grid(self, config: AblationConfig, made: Mapping[str, Any]) -> None:
        """Write the grid, and what it was made with: command, commit, versions, hardware."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_config({"made": dict(made), **asdict(config)})

    def folder(self, cell: Cell) -> Path:
        """The folder of a cell."""
        return self.path / cell.folder

    def training(self, cell: Cell, held_out: str = "") -> Path:
        """The folder of the training run of one of a cell's folds."""
        folder = self.folder(cell)
        return folder / f"without-{held_out}" if held_out else folder

    def state(self, cell: Cell) -> Outcome:
        """What the files of a cell say of it."""
        folder = self.folder(cell)
        if (folder / EPISODES_FILE).is_file():
            return "done"
        return "failed" if (folder / FAILED_FILE).is_file() else "missing"

    def write_failure(self, cell: Cell, error: str, traceback: str = "") -> None:
        """Write down why a cell has no result, in a line, and where that was."""
        folder = self.folder(cell)
        folder.mkdir(parents=True, exist_ok=True)
        content = {**asdict(cell), "error": error, "traceback": traceback}
        self._write_json(folder / FAILED_FILE, content)

    def read_failure(self, cell: Cell) -> str:
        """Why a cell failed, in a line."""
        try:
            reason = read_object(self.folder(cell) / FAILED_FILE, ValueError).get("error")
        except ValueError as error:
            return str(error)
        return str(reason or "no reason was written down").splitlines()[0]

    def forget_failure(self, cell: Cell) -> None:
        """Let a cell that failed be tried again."""
        (self.folder(cell) / FAILED_FILE).unlink(missing_ok=True)

    def write_episodes(self, cells: Iterable[Cell]) -> None:
        """Put the final evaluations of the cells that are done in one table, in their order."""
        rows: list[dict[str, str]] = []
        for cell in cells:
            if self.state(cell) == "done":
                rows += read_table(self.folder(cell) / EPISODES_FILE)
        if rows:
            self.write_table("episodes", rows)


def episodes_table(folder: Path) -> Path | None:
    """The table of final evaluations in a folder, which may be compressed; None without one."""
    paths = (folder / EPISODES_FILE, folder / f"{EPISODES_FILE}.gz")
    return next((path for path in paths if path.is_file()), None)


def iter_episodes(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str], bool]]:
    """Rows of a table of episodes, each after its line, and whether it succeeded.

    Args:
        path: The table.
        columns: What a row must have beside "success".

    Raises:
        ValueError: If it cannot be read, or a row says neither 0 nor 1; names the line.
    """
    for line, row in iter_table(path, (*columns, "success")):
        if row["success"] not in ("0", "1"):
            raise ValueError(f"{path}, line {line}: success is {row['success']!r}, not 0 or 1")
        yield line, row, row["success"] == "1"
