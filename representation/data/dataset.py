"""A data set on disk: a JSON manifest and safetensors shards, written whole and read strictly."""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors.numpy import save

from representation.data.columns import ENCODINGS, Column
from vtenv.atomic_write import atomic_write
from vtenv.json_document import read_json

MANIFEST_FILE = "dataset.json"
FORMAT, VERSION = "vtinsert-dataset", 1
SHARD_BYTES = 256 * 2**20
"""Size at which a shard is full."""

_PROGRESS_FILE, _LOCK_FILE = "progress.json", ".lock"
_OPEN_SHARDS = 256
"""Shards of a split that are memory-mapped at once: each holds a file descriptor."""
_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
}
"""NumPy's names of the types of a safetensors file."""


class DatasetError(ValueError):
    """A data set is missing, damaged, foreign or in the way; the message says what to do."""


@dataclass(frozen=True)
class Shard:
    """One file of a split.

    Attributes:
        file: Its name in the data set's folder.
        rows: How many rows it holds.
        bytes: Its size.
        sha256: Its checksum, in hexadecimal.
    """

    file: str
    rows: int
    bytes: int
    sha256: str


class DatasetWriter:
    """Write a data set: whole, or not at all.

    A context manager. The data set is built in a temporary folder beside the target, which takes
    the target's name when the block ends; if the block raises, that folder is removed.

    One that is `resumable` is kept from its first `checkpoint` on: a writer made again with the
    same arguments goes on after the last one, and `completed` says how many there were.

        with DatasetWriter(folder, kind="experience", settings={...}, labels=POSE_LABELS) as writer:
            writer.append("train", {"depth": depth, "contact": contact, "pose": pose})

    Args:
        folder: The data set's folder; must not exist, or be empty.
        kind: What sort of data set it is: "paper", "clutter" or "experience".
        settings: All that its content follows from; anything JSON can hold.
        labels: Names of the columns of `pose`.
        probes: What probes ask of it besides: fields of `representation.probes.ProbeTargets`,
            such as `classes`, names by number; anything JSON can hold.
        made: What it was made with, such as `command`, commit and versions of packages; all but
            the command must be the same to go on.
        resumable: Whether an interrupted run may be gone on with.
        shard_bytes: Size at which a shard is full.

    Raises:
        DatasetError: If something is in the way, or a data set begun with other arguments is;
            from the constructor and on entering.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        kind: str,
        settings: Mapping[str, Any],
        labels: Sequence[str],
        probes: Mapping[str, Any] | None = None,
        made: Mapping[str, Any] | None = None,
        resumable: bool = False,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.folder = Path(folder)
        self.completed = 0
        """Checkpoints that earlier runs reached."""
        self._resumable, self._shard_bytes = resumable, shard_bytes
        plan = {
            "kind": kind,
            "settings": settings,
            "labels": list(labels),
            "probes": probes or {},
            "made": made or {},
        }
        try:
            self._plan: dict[str, Any] = json.loads(json.dumps(plan, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"settings, probes and made must be what JSON can hold: {error}"
            ) from error
        self._columns: dict[str, Column] = {}
        self._shards: dict[str, list[Shard]] = {}
        self._pending: dict[str, list[dict[str, NDArray[Any]]]] = {}
        self._lock: FileLock | None = None
        parent, name = self.folder.resolve().parent, self.folder.resolve().name
        ending = "partial" if resumable else secrets.token_hex(4)
        self.temporary = parent / f".{name}.{ending}"
        """Where it is built."""
        self._refuse_what_is_in_the_way()

    def __enter__(self) -> DatasetWriter:
        self.temporary.mkdir(parents=True, exist_ok=self._resumable)
        if self._resumable:
            self._lock = FileLock(self.temporary / _LOCK_FILE)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise DatasetError(
                    f"another process is writing {self.folder}; wait for it, or choose another "
                    "folder"
                ) from None
            try:
                self._go_on()
            except BaseException:
                self._lock.release()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._finish()
        finally:
            if self._lock is not None:
                self._lock.release()
            if not (self._resumable and self.completed):
                # Nothing is there any more if it was finished.
                shutil.rmtree(self.temporary, ignore_errors=True)

    def append(self, split: str, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add rows to a split.

        Args:
            split: The split's name.
            columns: The rows by column, each with the same leading axis; the first call fixes
                names, types and shapes. `depth` is float32 in [m], 0 to 0.65535, kept to
                0.01 mm; `contact` is uint8 in {0, 1}.

        Raises:
            ValueError: If the columns are of another form, or a value cannot be stored.
        """
        values = {name: np.asarray(value) for name, value in columns.items()}
        lengths = {name: len(value) for name, value in values.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns have different numbers of rows: {lengths}")
        expected = self._columns or {n: Column.of(n, v) for n, v in values.items()}
        if values.keys() != expected.keys():
            raise ValueError(
                f"these columns are {', '.join(values)}; the data set's are {', '.join(expected)}"
            )
        labels = self._plan["labels"]
        if "pose" in values and expected["pose"].shape != (len(labels),):
            raise ValueError(
                f"pose has {list(expected['pose'].shape)} columns for {len(labels)} labels"
            )
        stored = {name: expected[name].encode(name, value) for name, value in values.items()}
        self._columns = expected
        self._shards.setdefault(split, [])
        self._pending.setdefault(split, []).append(stored)
        row_bytes = sum(column.row_bytes for column in expected.values())
        self._write_shards(split, max(1, self._shard_bytes // row_bytes), rest=False)

    def checkpoint(self) -> None:
        """Keep what was appended so far, whatever happens; for a resumable writer."""
        for split in self._pending:
            self._write_shards(split, None, rest=True)
        self.completed += 1
        if self._resumable:
            with atomic_write(self.temporary / _PROGRESS_FILE) as path:
                path.write_text(json.dumps(self._document() | {"completed": self.completed}))

    def _refuse_what_is_in_the_way(self) -> None:
        if self.folder.is_dir():
            if any(self.folder.iterdir()):
                raise DatasetError(
                    f"{self.folder} is not empty; choose another folder, or delete it first"
                )
        elif self.folder.exists() or self.folder.is_symlink():
            raise DatasetError(f"{self.folder} is in the way; choose another folder")

    def _go_on(self) -> None:
        """Take up the work of an earlier run with the same plan."""
        path = self.temporary / _PROGRESS_FILE
        if path.exists():
            try:
                begun = json.loads(path.read_text(encoding="utf-8"))
                columns, shards = _columns_and_shards(begun)
                completed = int(begun["completed"])
                plan = {name: begun[name] for name in self._plan}
            except (KeyError, TypeError, ValueError) as error:
                raise DatasetError(
                    f"{path} is damaged ({error!r}); delete {self.temporary} to begin again"
                ) from error
            if difference := _difference(plan, self._plan):
                raise DatasetError(
                    f"{self.temporary} holds an unfinished data set made differently: "
                    f"{difference}. Go on with what it was begun with, choose another folder, or "
                    "delete that one"
                )
            for shard in (shard for split in shards.values() for shard in split):
                _check_size(self.temporary / shard.file, shard)
            self._columns, self._shards, self.completed = columns, shards, completed
        kept = {shard.file for split in self._shards.values() for shard in split}
        for stray in self.temporary.iterdir():
            if stray.name not in kept | {_PROGRESS_FILE, _LOCK_FILE}:
                stray.unlink()

    def _write_shards(self, split: str, rows: int | None, *, rest: bool) -> None:
        """Write shards of `rows` pending rows each; of all, and what is left, if `rest`."""
        pending = self._pending.get(split, [])
        there = sum(len(next(iter(part.values()))) for part in pending)
        if not there or (not rest and rows is not None and there < rows):
            return
        whole = {name: np.concatenate([part[name] for part in pending]) for name in self._columns}
        size = rows or max(1, self._shard_bytes // sum(c.row_bytes for c in self._columns.values()))
        first = 0
        while there - first >= size or (rest and first < there):
            part = {name: value[first : first + size] for name, value in whole.items()}
            first += len(next(iter(part.values())))
            self._write_shard(split, part)
        left = {name: value[first:].copy() for name, value in whole.items()}
        self._pending[split] = [left] if first < there else []

    def _write_shard(self, split: str, tensors: dict[str, NDArray[Any]]) -> None:
        data = save({name: np.ascontiguousarray(value) for name, value in tensors.items()})
        name = f"{split}-{len(self._shards[split]):05d}.safetensors"
        (self.temporary / name).write_bytes(data)
        rows = len(next(iter(tensors.values())))
        digest = hashlib.sha256(data).hexdigest()
        self._shards[split].append(Shard(name, rows, len(data), digest))

    def _document(self) -> dict[str, Any]:
        columns = {name: asdict(column) for name, column in self._columns.items()}
        splits = {
            split: [asdict(shard) for shard in shards] for split, shards in self._shards.items()
        }
        head = {"format": FORMAT, "version": VERSION}
        return head | self._plan | {"columns": columns, "splits": splits}

    def _finish(self) -> None:
        for split in self._pending:
            self._write_shards(split, None, rest=True)
        if not any(self._shards.values()):
            raise DatasetError(f"no rows were written to {self.folder}")
        document = self._document()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        document["made"] = {"date": now} | document["made"]
        text = json.dumps(document, indent=2) + "\n"
        (self.temporary / MANIFEST_FILE).write_text(text, encoding="utf-8")
        self._refuse_what_is_in_the_way()
        if self._lock is not None:
            # Windows renames no folder in which a file is open.
            self._lock.release()
            (self.temporary / _LOCK_FILE).unlink(missing_ok=True)
            (self.temporary / _PROGRESS_FILE).unlink(missing_ok=True)
        if self.folder.is_dir():
            self.folder.rmdir()
        self.temporary.rename(self.folder.resolve())


class Dataset:
    """A data set on disk; its rows are read when asked for.

    Attributes:
        folder: Where it is.
        kind: What sort it is: "paper", "clutter" or "experience".
        settings: What its content follows from.
        labels: Names of the columns of `pose`.
        probes: What probes ask of it besides, such as names of classes.
        columns: What each column holds.
        made: What it was made with: date, and whatever its writer noted.
        splits: Its splits by name.
    """

    def __init__(self, folder: Path, document: Mapping[str, Any]) -> None:
        self.folder = folder
        self.columns, shards = _columns_and_shards(document)
        self.kind: str = document["kind"]
        self.settings: dict[str, Any] = document["settings"]
        self.labels: tuple[str, ...] = tuple(document["labels"])
        self.probes: dict[str, Any] = document["probes"]
        self.made: dict[str, Any] = document["made"]
        self.splits: dict[str, Split] = {
            name: Split(folder, name, self.columns, of_it) for name, of_it in shards.items()
        }

    @classmethod
    def open(cls, folder: str | Path) -> Dataset:
        """Open a data set.

        Args:
            folder: What a `DatasetWriter` wrote.

        Raises:
            DatasetError: If a file is missing, truncated, foreign or of another version; says
                which. Checksums are left to `verify`.
        """
        folder = Path(folder).expanduser()
        dataset = _read_manifest(folder)
        for split in dataset.splits.values():
            split.check()
        return dataset

    @property
    def bytes(self) -> int:
        """Size on disk, without the manifest."""
        return sum(shard.bytes for split in self.splits.values() for shard in split.shards)

    @property
    def fingerprint(self) -> str:
        """A checksum of all rows: equal for data sets with the same shards."""
        shards = [s.sha256 for name in sorted(self.splits) for s in self.splits[name].shards]
        return hashlib.sha256("".join(shards).encode()).hexdigest()

    def __getitem__(self, split: str) -> Split:
        if split not in self.splits:
            raise DatasetError(
                f"{self.folder} has no split {split!r}; it has {', '.join(self.splits)}"
            )
        return self.splits[split]

    def verify(self) -> None:
        """Compare every shard with its checksum.

        Raises:
            DatasetError: If one differs; says which.
        """
        for split in self.splits.values():
            for shard in split.shards:
                path = self.folder / shard.file
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                if found != shard.sha256:
                    raise DatasetError(
                        f"{path} is not what was written (its sha256 is {found}, not "
                        f"{shard.sha256}); copy it again, or make the data set again"
                    )


class Split:
    """The rows of one split, memory-mapped. Many threads may read at once.

    Attributes:
        name: The split's name.
        columns: Names of its columns.
        shards: Its files, in the order of their rows.
    """

    def __init__(
        self, folder: Path, name: str, columns: Mapping[str, Column], shards: Sequence[Shard]
    ) -> None:
        self.name, self.columns, self.shards = name, tuple(columns), tuple(shards)
        self._folder, self._forms = folder, dict(columns)
        self._ends = np.cumsum([0] + [shard.rows for shard in shards])[1:]
        self._map = functools.lru_cache(maxsize=_OPEN_SHARDS)(self._map_shard)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes map the files themselves.
        return Split, (self._folder, self.name, self._forms, self.shards)

    def read(
        self, rows: NDArray[np.int64] | Sequence[int], columns: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Read rows, in any order.

        Args:
            rows: Their numbers, (n,), from 0 to less than `len(self)`; may repeat.
            columns: What to read of them; None for all.

        Returns:
            New arrays by column, (n, ...).

        Raises:
            IndexError: If a row is out of range.
            DatasetError: If there is no such column, or a file has gone bad.
        """
        names = self.columns if columns is None else tuple(columns)
        if unknown := [name for name in names if name not in self._forms]:
            raise DatasetError(f"no column {unknown[0]!r}; there are {', '.join(self.columns)}")
        index = np.asarray(rows)
        if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
            raise IndexError("rows must be a list of whole numbers; use flatnonzero on a mask")
        index = index.astype(np.int64)
        if index.size and not (index.min() >= 0 and index.max() < len(self)):
            raise IndexError(
                f"rows reach from {index.min()} to {index.max()}; split {self.name!r} has rows 0 "
                f"to {len(self) - 1}"
            )
        order = np.argsort(index, kind="stable")
        in_order = index[order]
        cuts = np.searchsorted(in_order, self._ends)
        forms = {name: self._forms[name] for name in names}
        stored = {
            name: np.empty((len(index), *form.stored_shape), form.stored_dtype)
            for name, form in forms.items()
        }
        first = 0
        for number, cut in enumerate(cuts):
            if cut == first:
                continue
            here = in_order[first:cut] - (self._ends[number] - self.shards[number].rows)
            mapped = self._map(number)
            for name in names:
                stored[name][order[first:cut]] = mapped[name][here]
            first = cut
        return {name: form.decode(stored[name]) for name, form in forms.items()}

    def transitions(self) -> NDArray[np.int64]:
        """Rows whose next row is the next moment of the same episode, in order.

        Raises:
            DatasetError: If there are no episodes.
        """
        if "episode" not in self.columns:
            raise DatasetError(
                f"split {self.name!r} has no column 'episode', so no row follows another; "
                "`vtinsert dataset experience` makes data with episodes"
            )
        episode = self.read(np.arange(len(self)), ("episode",))["episode"]
        rows: NDArray[np.int64] = np.flatnonzero(episode[1:] == episode[:-1])
        return rows

    def check(self) -> None:
        """Compare every file's size and header with the manifest.

        Raises:
            DatasetError: If one differs; says which.
        """
        for shard in self.shards:
            _check_size(self._folder / shard.file, shard)
            self._header(shard)

    def _header(self, shard: Shard) -> tuple[int, dict[str, Any]]:
        """Where the data of a shard begins, and its columns' places from there."""
        path = self._folder / shard.file
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(min(length, shard.bytes)))
            header.pop("__metadata__", None)
            found = {
                name: (_DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"])
                for name, entry in header.items()
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{path} is not a safetensors file, or damaged ({error!r}); copy it again"
            ) from error
        for name, form in self._forms.items():
            expected = (form.stored_dtype.name, (shard.rows, *form.stored_shape))
            if name not in found or found[name][:2] != expected:
                raise DatasetError(
                    f"{path} does not fit {MANIFEST_FILE}: column {name!r} is "
                    f"{found[name][:2] if name in found else 'missing'}, not {expected}; take all "
                    "files from the same data set"
                )
            start, end = found[name][2]
            if end - start != shard.rows * form.row_bytes or 8 + length + end > shard.bytes:
                raise DatasetError(f"{path} is damaged: column {name!r} is cut; copy it again")
        return 8 + length, {name: entry[2][0] for name, entry in found.items()}

    def _map_shard(self, number: int) -> dict[str, NDArray[Any]]:
        shard = self.shards[number]
        _check_size(self._folder / shard.file, shard)
        begin, offsets = self._header(shard)
        data = np.asarray(np.memmap(self._folder / shard.file, np.uint8, mode="r"))
        mapped = {}
        for name, form in self._forms.items():
            start = begin + offsets[name]
            part = data[start : start + shard.rows * form.row_bytes]
            mapped[name] = part.view(form.stored_dtype).reshape(shard.rows, *form.stored_shape)
        return mapped


def _read_manifest(folder: Path) -> Dataset:
    path = folder / MANIFEST_FILE
    if not path.is_file():
        what = f"{folder} holds no {MANIFEST_FILE}" if folder.is_dir() else f"there is no {folder}"
        raise DatasetError(f"{what}; a data set's folder is what `vtinsert dataset` writes")
    document = read_json(
        path,
        "the manifest of a VTInsert data set, as `vtinsert dataset` writes it",
        FORMAT,
        VERSION,
        DatasetError,
        again="make the data set again",
    )
    try:
        return Dataset(folder, document)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} is damaged ({error!r}); copy it again") from error


def _columns_and_shards(
    document: Mapping[str, Any],
) -> tuple[dict[str, Column], dict[str, list[Shard]]]:
    columns = {
        name: Column(entry["dtype"], tuple(entry["shape"]), entry["encoding"])
        for name, entry in document["columns"].items()
    }
    for name, column in columns.items():
        if column.encoding not in ENCODINGS:
            raise ValueError(f"column {name!r} has an unknown encoding {column.encoding!r}")
        np.dtype(column.dtype)
    shards = {
        split: [Shard(**entry) for entry in entries]
        for split, entries in document["splits"].items()
    }
    for shard in (shard for split in shards.values() for shard in split):
        if Path(shard.file).name != shard.file:
            raise ValueError(f"{shard.file!r} is not a file of the folder")
    return columns, shards


def _check_size(path: Path, shard: Shard) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise DatasetError(
            f"there is no {path.name} in {path.parent}; copy the folder again"
        ) from None
    if size != shard.bytes:
        raise DatasetError(
            f"{path} has {size} bytes instead of {shard.bytes}: it is truncated or another file; "
            "copy it again"
        )


def _difference(was: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> str | None:
    """The first thing in which two plans differ; the command line alone is no difference."""
    for name in [*was, *(name for name in now if name not in was)]:
        before, after = was.get(name), now.get(name)
        if before == after or f"{prefix}{name}" == "made.command":
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            if inner := _difference(before, after, f"{prefix}{name}."):
                return inner
            continue
        return f"{prefix}{name} was {before!r}, and is {after!r}"
    return None
