"""The folder of a run: a lock, what it was made from, how it went, checkpoints, what came out.

- `config.json`: what it was made from: configuration, command, commit, versions, hardware
- `metrics.csv` and other tables, written whole
- `tensorboard/`: for TensorBoard
- `checkpoints/STEP/`: the last checkpoint
- `result.json`: what came out, once the run is over
- `.lock`: while a process writes
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from vtenv.atomic_write import atomic_folder, atomic_write, write_text
from vtenv.folder_lock import LOCK_FILE, folder_lock
from vtenv.json_document import read_json, read_object


class RunFolderError(ValueError):
    """A folder is not that of a run, or not of this one; the message says what to do."""


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table as CSV, whole; what `iter_table` reads.

    Args:
        path: The file; of a name in `.gz` it is compressed, the same rows to the same bytes.
        rows: Values by column; a column that a row lacks is empty in it.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    content = text.getvalue().encode()
    with atomic_write(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV table."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def iter_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV table, which may be compressed, `.gz`, and the lines they end on.

    Args:
        path: The file.
        columns: What a row has to have.

    Raises:
        ValueError: If it cannot be read, or lacks a column; names the file.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(
            path, "rt", encoding="utf-8", newline=""
        ) as file:
            reader = csv.DictReader(file)
            for name in columns:
                if name not in (reader.fieldnames or ()):
                    raise ValueError(f"{path} has no column {name!r}")
            for row in reader:
                if any(row[name] is None for name in columns):
                    raise ValueError(f"{path}, line {reader.line_num}: the row is cut off")
                yield reader.line_num, row
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except (EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


@contextlib.contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Read a file of another run or time, which may hold anything.

    Args:
        path: What is read.
        remedy: What to do if it is damaged.

    Raises:
        RunFolderError: If the block raises.
    """
    try:
        yield
    except Exception as error:  # of whatever library reads it
        said = " ".join(str(error).split()).partition(". ")[0][:120] or type(error).__name__
        raise RunFolderError(
            f"{path} is damaged, or not of such a run ({said}); {remedy}"
        ) from error


class RunFolder:
    """The files of a run.

    Args:
        path: The folder; it need not be there yet.
        format: "format" of its `config.json`.
        version: "version" of its `config.json`.
        kind: What the run does, for errors: "training of an encoder".
        config: Name of the file that says what the run is made from.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        format: str,
        version: int,
        kind: str,
        config: str = "config.json",
    ) -> None:
        self.path = Path(path)
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self._format, self._version, self._kind = format, version, kind
        self._config = self.path / config
        self._result = self.path / "result.json"

    @property
    def begun(self) -> bool:
        """Whether the folder holds a run."""
        return self._config.is_file()

    def require_new(self) -> None:
        """Check that nothing would be written over.

        Raises:
            RunFolderError: If the folder holds anything but a lock.
        """
        if self.path.is_symlink() or self.path.exists():
            there = self.path.is_dir() and {entry.name for entry in self.path.iterdir()}
            if there is False or there - {LOCK_FILE}:
                raise RunFolderError(
                    f"{self.path} is there already; resume it, or choose another folder"
                )

    def lock(self) -> AbstractContextManager[None]:
        """Make the folder and be the only process that writes into it; see `folder_lock`.

        Raises:
            RunFolderError: If another process is.
        """
        return folder_lock(self.path, RunFolderError)

    def write_config(self, document: Mapping[str, Any]) -> None:
        """Write what the run is made from; what JSON can hold."""
        head = {"format": self._format, "version": self._version}
        self._write_json(self._config, head | dict(document))

    def read_config(self) -> dict[str, Any]:
        """What `write_config` wrote.

        Raises:
            RunFolderError: If there is none, or it is another program's.
        """
        if not self.begun:
            raise RunFolderError(
                f"{self.path} is not the folder of a run ({self._kind}): it holds no "
                f"{self._config.name}"
            )
        return read_json(
            self._config,
            f"that of a run ({self._kind})",
            self._format,
            self._version,
            RunFolderError,
            again="begin the run again",
        )

    def write_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """As the function `write_table`, into `NAME.csv`."""
        write_table(self.path / f"{name}.csv", rows)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write what came out; what JSON can hold."""
        self._write_json(self._result, result)

    def read_result(self) -> dict[str, Any] | None:
        """What came out; None where the run is not over.

        Raises:
            RunFolderError: If it cannot be read.
        """
        if not self._result.is_file():
            return None
        return read_object(self._result, RunFolderError)

    @contextlib.contextmanager
    def new_checkpoint(self, step: int) -> Iterator[Path]:
        """A folder to write a checkpoint into; the older ones are removed once it is on disk.

        Args:
            step: Where the run stands.

        Yields:
            The folder.
        """
        path = self.checkpoints / f"{step:012d}"
        with atomic_folder(path) as temporary:
            yield temporary
        for other in self.checkpoints.iterdir():
            if other != path:
                shutil.rmtree(other)

    def checkpoint(self) -> Path | None:
        """The folder of the last checkpoint; None if there is none."""
        return max(self.checkpoints.glob("[0-9]*"), default=None)

    def drop_checkpoints(self) -> None:
        """Remove what nobody needs once the run is over."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    @staticmethod
    def _write_json(path: Path, document: Mapping[str, Any]) -> None:
        write_text(path, json.dumps(dict(document), indent=2) + "\n")
