"""A data set on disk: a JSON manifest and safetensors shards, written whole and read strictly."""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors.numpy import save

from representation.data.columns import Column
from vtenv.atomic_write import atomic_write, sync, sync_tree
from vtenv.json_document import from_document, read_json
from vtenv.modalities import Modality
from vtenv.validation import require

MANIFEST_FILE = "dataset.json"
FORMAT, VERSION = "vtinsert-dataset", 2
SHARD_BYTES = 256 * 2**20
"""Size at which a shard is full."""

_PROGRESS_FILE, _LOCK_FILE = "progress.json", ".lock"
_PROGRESS_FORMAT = "vtinsert-dataset-progress"
_SHARD_NAME = re.compile(r"[\w-]{1,100}-\d{5,9}\.safetensors")
_LONGEST_HEADER = 1 << 20
"""Bytes of a shard's header; ours have a few hundred."""
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

    Raises:
        ValueError: If one is not allowed.
    """

    file: str
    rows: int
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        fits = _SHARD_NAME.fullmatch(self.file) is not None
        require(fits, "file", self.file[:80], "a shard of the folder, SPLIT-00000.safetensors")
        require(self.rows >= 0, "rows", self.rows, "0 or more")
        require(self.bytes >= 0, "bytes", self.bytes, "0 or more")


@dataclass(frozen=True)
class Manifest:
    """What a data set holds, and what it was made from.

    Attributes:
        kind: What sort it is, such as "paper", "clutter" or "experience".
        settings: What its content follows from.
        labels: Names of the columns of `pose`.
        codes: Names that the whole numbers of a column stand for, by column.
        made: What it was made with: date, and whatever its writer noted.
        columns: What each column holds.
        splits: Files of each split, in the order of their rows.
    """

    kind: str
    settings: Mapping[str, Any]
    labels: tuple[str, ...]
    codes: Mapping[str, tuple[str, ...]]
    made: Mapping[str, Any]
    columns: Mapping[str, Column] = field(default_factory=dict)
    splits: Mapping[str, tuple[Shard, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Tensor:
    """What the header of a safetensors file says of a tensor."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


@dataclass(frozen=True)
class _Progress:
    """How far a writer has come."""

    manifest: Manifest
    completed: int
    sealed: bool


class DatasetWriter:
    """Write a data set: whole, or not at all.

    A context manager. The data set is built in a hidden folder, `temporary`, and takes the target's
    name when the block ends. If the block raises, that folder is kept from the first `checkpoint`
    or `seal` on, and removed before: a writer that is made again with the same arguments goes on
    after the last checkpoint, and `completed` says how many there were.

        with DatasetWriter(folder, kind="experience", settings={...}, labels=POSE_LABELS) as writer:
            writer.append("train", {"depth": depth, "contact": contact, "pose": pose})

    Args:
        folder: The data set's folder; must not exist, or be empty.
        kind: What sort of data set it is: "paper", "clutter" or "experience".
        settings: All that its content follows from; anything JSON can hold.
        labels: Names of the columns of `pose`.
        codes: Names that the whole numbers of a column stand for, by column.
        modalities: Records of columns by name, which say how they are stored; those without one
            are stored as they are.
        made: What it was made with, such as `command`, commit and versions of packages; all but
            the command must be the same to go on.
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
        codes: Mapping[str, Sequence[str]] | None = None,
        modalities: Mapping[str, Modality] | None = None,
        made: Mapping[str, Any] | None = None,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.folder = Path(folder)
        self.completed = 0
        """Checkpoints that were reached, in earlier runs too."""
        self.sealed = False
        """Whether all rows are there, from an earlier run that could not finish."""
        self._storage = {name: record.storage for name, record in (modalities or {}).items()}
        self._shard_bytes = shard_bytes
        names = {column: list(of_it) for column, of_it in (codes or {}).items()}
        plan = {"kind": kind, "settings": settings, "labels": list(labels)}
        plan |= {"codes": names, "made": made or {}}
        try:
            plan = json.loads(json.dumps(plan, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"settings and made must be what JSON can hold: {error}") from error
        self._plan = from_document(Manifest, plan)
        self._columns: dict[str, Column] = {}
        self._shards: dict[str, list[Shard]] = {}
        self._pending: dict[str, list[dict[str, NDArray[Any]]]] = {}
        place = self.folder.resolve()
        self.temporary = place.parent / f".{place.name}.partial"
        """Where it is built: beside the target, or in it if it is there, as a mount point is."""
        if place.is_dir() and not self.temporary.exists():
            self.temporary = place / ".partial"
        self._lock = FileLock(self.temporary / _LOCK_FILE)
        self._refuse_what_is_in_the_way()

    def __enter__(self) -> DatasetWriter:
        self._refuse_foreign()
        try:
            self.temporary.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self._go_on()
        except Timeout:
            raise DatasetError(
                f"another process is writing {self.folder}; wait for it, or choose another folder"
            ) from None
        except DatasetError:
            self._lock.release()
            raise
        except BaseException:
            self._leave()
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
                self.seal()
                self._publish()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Let others write, and remove what nobody can go on with."""
        self._lock.release()
        if not (self.completed or self.sealed):
            shutil.rmtree(self.temporary, ignore_errors=True)

    def append(self, split: str, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add rows to a split.

        Args:
            split: The split's name.
            columns: The rows by column, each with the same leading axis; the first call fixes
                names, types and shapes.

        Raises:
            ValueError: If the columns are of another form, or a value cannot be stored.
        """
        values = {name: np.asarray(value) for name, value in columns.items()}
        lengths = {name: len(value) for name, value in values.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns have different numbers of rows: {lengths}")
        expected = self._columns or {
            name: Column.of(value, self._storage.get(name, "raw")) for name, value in values.items()
        }
        if values.keys() != expected.keys():
            raise ValueError(
                f"these columns are {', '.join(values)}; the data set's are {', '.join(expected)}"
            )
        labels = self._plan.labels
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
        """Keep what was appended so far, whatever happens."""
        for split in self._pending:
            self._write_shards(split, None, rest=True)
        self._write_progress(self.completed + 1, sealed=False)
        self.completed += 1

    def seal(self) -> None:
        """Write the manifest: nothing is appended any more, and nothing is lost from here on.

        `Dataset.open(writer.temporary)` reads what will be there.

        Raises:
            DatasetError: If there are no rows.
        """
        if self.sealed:
            return
        for split in self._pending:
            self._write_shards(split, None, rest=True)
        if not any(self._shards.values()):
            raise DatasetError(f"no rows were written to {self.folder}")
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        manifest = self._manifest()
        manifest = replace(manifest, made={"date": now} | dict(manifest.made))
        document = {"format": FORMAT, "version": VERSION, **asdict(manifest)}
        with atomic_write(self.temporary / MANIFEST_FILE) as path:
            path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        self._write_progress(self.completed, sealed=True)
        self.sealed = True

    def _refuse_what_is_in_the_way(self) -> None:
        if self.folder.is_dir():
            there = {entry.name for entry in self.folder.iterdir()} - {self.temporary.name}
            if there and not there <= self._published():
                raise DatasetError(
                    f"{self.folder} is not empty; choose another folder, or delete it first"
                )
        elif self.folder.exists() or self.folder.is_symlink():
            raise DatasetError(f"{self.folder} is in the way; choose another folder")

    def _published(self) -> set[str]:
        """Names that an earlier run may have moved to the target before it was killed."""
        with contextlib.suppress(DatasetError):
            progress = self._read_progress()
            if progress is not None and progress.sealed:
                shards = {s.file for shards in progress.manifest.splits.values() for s in shards}
                return shards | {MANIFEST_FILE} | {path.name for path in self.temporary.iterdir()}
        return set()

    def _refuse_foreign(self) -> None:
        """Refuse a folder of the temporary one's name that no writer made."""
        if not self.temporary.exists():
            return
        names = {p.name for p in self.temporary.iterdir()} if self.temporary.is_dir() else {""}
        if names - {_LOCK_FILE} and _PROGRESS_FILE not in names:
            raise DatasetError(
                f"{self.temporary} is in the way: it is not an unfinished data set. Move it away, "
                "or choose another folder"
            )

    def _read_progress(self) -> _Progress | None:
        path = self.temporary / _PROGRESS_FILE
        if not path.exists():
            return None
        try:
            document = read_json(
                path,
                "that of an unfinished data set",
                _PROGRESS_FORMAT,
                VERSION,
                DatasetError,
                again=f"delete {self.temporary} to begin again",
            )
            return from_document(
                _Progress, {n: v for n, v in document.items() if n not in ("format", "version")}
            )
        except ValueError as error:
            raise DatasetError(
                f"{path} is damaged ({error}); delete {self.temporary} to begin again"
            ) from error

    def _go_on(self) -> None:
        """Take up the work of an earlier run with the same plan, or begin."""
        progress = self._read_progress()
        if progress is None or not (progress.completed or progress.sealed):
            self._remove_strays(set())
            self._write_progress(0, sealed=False)
            return
        was, now = asdict(progress.manifest), asdict(self._plan)
        plan = ("kind", "settings", "labels", "codes", "made")
        if difference := _difference({n: was[n] for n in plan}, {n: now[n] for n in plan}):
            raise DatasetError(
                f"{self.temporary} holds an unfinished data set made differently: "
                f"{difference}. Go on with what it was begun with, choose another folder, or "
                "delete that one"
            )
        for shard in (shard for split in progress.manifest.splits.values() for shard in split):
            moved = progress.sealed and (self.folder / shard.file).exists()
            moved = moved and not (self.temporary / shard.file).exists()
            _check_size((self.folder if moved else self.temporary) / shard.file, shard)
        self._columns = dict(progress.manifest.columns)
        self._shards = {name: list(shards) for name, shards in progress.manifest.splits.items()}
        self.completed, self.sealed = progress.completed, progress.sealed
        if not self.sealed:
            self._remove_strays({s.file for shards in self._shards.values() for s in shards})

    def _remove_strays(self, kept: set[str]) -> None:
        """Remove what was written after the last checkpoint; refuse what is not ours."""
        for path in self.temporary.iterdir():
            name = path.name
            ours = _SHARD_NAME.fullmatch(name) or name == MANIFEST_FILE or name.startswith(".")
            if name in kept | {_PROGRESS_FILE, _LOCK_FILE}:
                continue
            if not (ours and path.is_file()):
                raise DatasetError(f"{path} is in the way; move it away, or choose another folder")
            path.unlink()

    def _manifest(self) -> Manifest:
        splits = {name: tuple(shards) for name, shards in self._shards.items()}
        return replace(self._plan, columns=dict(self._columns), splits=splits)

    def _write_progress(self, completed: int, *, sealed: bool) -> None:
        progress = asdict(_Progress(self._manifest(), completed, sealed))
        document = {"format": _PROGRESS_FORMAT, "version": VERSION, **progress}
        with atomic_write(self.temporary / _PROGRESS_FILE) as path:
            path.write_text(json.dumps(document), encoding="utf-8")

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
        sync(self.temporary / name)
        rows = len(next(iter(tensors.values())))
        digest = hashlib.sha256(data).hexdigest()
        self._shards[split].append(Shard(name, rows, len(data), digest))

    def _publish(self) -> None:
        """Give the sealed data set its name."""
        self._refuse_what_is_in_the_way()
        sync_tree(self.temporary)
        # Windows renames no folder in which a file is open.
        self._lock.release()
        target = self.folder.resolve()
        if target.is_dir():
            self._move_to(target)
        else:
            self.temporary.rename(target)
            for leftover in (_PROGRESS_FILE, _LOCK_FILE):
                (target / leftover).unlink(missing_ok=True)
        sync(target.parent)

    def _move_to(self, target: Path) -> None:
        """Move the files to a folder that is there: a mount point cannot be renamed over.

        The manifest is the last of the shards: without it, the folder is no data set.
        """
        shards = [s.file for of_split in self._shards.values() for s in of_split]
        others = {path.name for path in self.temporary.iterdir()}
        others -= {*shards, MANIFEST_FILE, _PROGRESS_FILE, _LOCK_FILE}
        for name in (*shards, MANIFEST_FILE, *others):
            if (self.temporary / name).exists():
                shutil.move(self.temporary / name, target / name)
                sync(target / name)
        sync(target)
        shutil.rmtree(self.temporary)


class Dataset:
    """A data set on disk; its rows are read when asked for.

    Attributes:
        folder: Where it is.
        kind: What sort it is: "paper", "clutter" or "experience".
        settings: What its content follows from.
        labels: Names of the columns of `pose`.
        codes: Names that the whole numbers of a column stand for, by column.
        columns: What each column holds.
        made: What it was made with: date, and whatever its writer noted.
        splits: Its splits by name.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.kind, self.labels = manifest.kind, manifest.labels
        self.settings, self.made = dict(manifest.settings), dict(manifest.made)
        self.codes, self.columns = dict(manifest.codes), dict(manifest.columns)
        self.splits: dict[str, Split] = {
            name: Split(folder, name, self.columns, shards)
            for name, shards in manifest.splits.items()
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
        try:
            folder = Path(folder).expanduser()
        except RuntimeError as error:
            raise DatasetError(f"there is no {folder}: {error}") from error
        dataset = cls(folder, _read_manifest(folder))
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
                header = json.loads(file.read(min(length, _LONGEST_HEADER)))
            if not isinstance(header, dict):
                raise ValueError("its header is no JSON object")
            header.pop("__metadata__", None)
            entries = {name: from_document(_Tensor, entry) for name, entry in header.items()}
            found = {n: (_DTYPES[e.dtype], e.shape, e.data_offsets) for n, e in entries.items()}
        except (KeyError, ValueError, RecursionError) as error:
            raise DatasetError(
                f"{path} is not a safetensors file, or damaged ({error}); copy it again"
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
            fits = start >= 0 and 8 + length + end <= shard.bytes
            if end - start != shard.rows * form.row_bytes or not fits:
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


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_FILE
    with contextlib.suppress(OSError):  # a name that is too long, say; reading it says so
        if not path.exists():
            there = folder.is_dir()
            what = f"{folder} holds no {MANIFEST_FILE}" if there else f"there is no {folder}"
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
        fields = {name: v for name, v in document.items() if name not in ("format", "version")}
        return from_document(Manifest, fields)
    except ValueError as error:
        raise DatasetError(f"{path} is damaged ({error}); copy it again") from error


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
