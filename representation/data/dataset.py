"""A data set on disk: safetensors shards, and a JSON manifest that is written last."""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from representation.data.columns import Column
from vtenv.atomic_write import sync, write_text
from vtenv.folder_lock import LOCK_FILE, folder_lock
from vtenv.json_document import from_document, read_json
from vtenv.modalities import Modality
from vtenv.validation import require

MANIFEST_FILE = "dataset.json"
FORMAT, VERSION = "vtinsert-dataset", 2
SHARD_BYTES = 256 * 2**20
"""Size at which a shard is full."""

_SHARD_NAME = re.compile(r"[\w-]{1,100}-\d{5,9}\.safetensors")
_CUT_SHORT = re.compile(r"\.dataset-[0-9a-f]+\.json")
"""What an atomic write leaves that was killed."""


class DatasetError(ValueError):
    """A data set is missing, damaged, foreign or in the way; the message says what to do."""


@dataclass(frozen=True)
class Shard:
    """One file of a split."""

    file: str
    """Its name in the data set's folder."""
    rows: int
    """How many rows it holds."""
    bytes: int
    """Its size."""
    sha256: str
    """Its checksum, in hexadecimal."""

    def __post_init__(self) -> None:
        fits = _SHARD_NAME.fullmatch(self.file) is not None
        require(fits, "file", self.file[:80], "a shard of the folder, SPLIT-00000.safetensors")
        require(self.rows >= 0, "rows", self.rows, "0 or more")
        require(self.bytes >= 0, "bytes", self.bytes, "0 or more")


@dataclass(frozen=True)
class Manifest:
    """What a data set holds, and what it was made from."""

    kind: str
    """What sort it is, such as "paper", "clutter" or "experience"."""
    settings: Mapping[str, Any]
    """What its content follows from."""
    labels: tuple[str, ...]
    """Names of the columns of `pose`."""
    codes: Mapping[str, tuple[str, ...]]
    """Names that the whole numbers of a column stand for, by column."""
    made: Mapping[str, Any]
    """What it was made with: date, and whatever its writer noted."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    """What each column holds."""
    splits: Mapping[str, tuple[Shard, ...]] = field(default_factory=dict)
    """Files of each split, in the order of their rows."""
    checkpoints: int = 0
    """Checkpoints that its writer reached."""
    complete: bool = True
    """Whether all of it is there."""


class DatasetWriter:
    """Write a data set: whole, or not at all.

    A context manager. The folder becomes a data set when the block ends, with its manifest. If the
    block raises, what was written is kept up to the last `checkpoint`, or removed if there was
    none: a writer that is made again with the same arguments goes on from there, and `completed`
    says how many there were.

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
        self._storage = {name: record.storage for name, record in (modalities or {}).items()}
        self._shard_bytes = shard_bytes
        plan = {
            "kind": kind,
            "settings": settings,
            "labels": list(labels),
            "codes": {column: list(names) for column, names in (codes or {}).items()},
            "made": made or {},
        }
        try:
            plan = json.loads(json.dumps(plan, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"settings and made must be what JSON can hold: {error}") from error
        self._plan = from_document(Manifest, plan)
        self._columns: dict[str, Column] = {}
        self._shards: dict[str, list[Shard]] = {}
        self._pending: dict[str, list[dict[str, NDArray[Any]]]] = {}
        self._begun()

    def __enter__(self) -> DatasetWriter:
        self._writing = self._written()
        self._writing.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writing.__exit__(*error)

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        finished = False
        with folder_lock(self.folder, DatasetError):
            self._go_on()
            try:
                yield
                self._finish()
                finished = True
            finally:
                if not (finished or self.completed):  # nobody can go on with it
                    for path in filter(_is_ours, self.folder.iterdir()):
                        path.unlink()

    def append(self, split: str, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add rows to a split, by column; the first call fixes names, types and shapes.

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
        self._write_shards(split, rest=False)

    def checkpoint(self) -> None:
        """Keep what was appended so far, whatever happens."""
        for split in self._pending:
            self._write_shards(split, rest=True)
        self._write_manifest(replace(self._plan, checkpoints=self.completed + 1, complete=False))
        self.completed += 1

    def _finish(self) -> None:
        """Write the manifest: from here on, the folder is a data set."""
        for split in self._pending:
            self._write_shards(split, rest=True)
        if not any(self._shards.values()):
            raise DatasetError(f"no rows were written to {self.folder}")
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._write_manifest(replace(self._plan, made={"date": now} | dict(self._plan.made)))

    def _begun(self) -> Manifest | None:
        """The manifest of an unfinished data set in the folder, if there is one.

        Raises:
            DatasetError: If there is something else.
        """
        if not self.folder.is_dir():
            if self.folder.exists() or self.folder.is_symlink():
                raise DatasetError(f"{self.folder} is in the way; choose another folder")
            return None
        names = {entry.name for entry in self.folder.iterdir()}
        begun = _read_manifest(self.folder) if MANIFEST_FILE in names else None
        others = {n for n in names if n != LOCK_FILE and not _CUT_SHORT.fullmatch(n)}
        if begun.complete if begun else others:
            raise DatasetError(
                f"{self.folder} is not empty; choose another folder, or delete it first"
            )
        return begun

    def _go_on(self) -> None:
        """Take up the work of an earlier run with the same plan, or begin."""
        begun = self._begun()
        if begun is None or not begun.checkpoints:
            self._remove_strays()
            self._write_manifest(replace(self._plan, complete=False))
            return
        was, now = asdict(begun), asdict(self._plan)
        plan = ("kind", "settings", "labels", "codes", "made")
        if difference := _difference({n: was[n] for n in plan}, {n: now[n] for n in plan}):
            raise DatasetError(
                f"{self.folder} holds an unfinished data set made differently: "
                f"{difference}. Go on with what it was begun with, choose another folder, or "
                "delete that one"
            )
        self._columns = dict(begun.columns)
        self._shards = {name: list(shards) for name, shards in begun.splits.items()}
        kept = [shard for shards in begun.splits.values() for shard in shards]
        for shard in kept:
            _check_size(self.folder, shard)
        self._remove_strays(*(shard.file for shard in kept))
        self.completed = begun.checkpoints

    def _remove_strays(self, *kept: str) -> None:
        """Remove what was written after the last checkpoint; refuse what is not ours."""
        for path in self.folder.iterdir():
            if path.name in (*kept, MANIFEST_FILE, LOCK_FILE):
                continue
            if not (_is_ours(path) and path.is_file()):
                raise DatasetError(f"{path} is in the way; move it away, or choose another folder")
            path.unlink()

    def _write_manifest(self, plan: Manifest) -> None:
        splits = {name: tuple(shards) for name, shards in self._shards.items()}
        manifest = replace(plan, columns=dict(self._columns), splits=splits)
        document = {"format": FORMAT, "version": VERSION, **asdict(manifest)}
        write_text(self.folder / MANIFEST_FILE, json.dumps(document, indent=2) + "\n")

    def _write_shards(self, split: str, *, rest: bool) -> None:
        """Write the shards that pending rows fill; and what is left, if `rest`."""
        pending = self._pending[split]
        there = sum(len(next(iter(part.values()))) for part in pending)
        size = max(1, self._shard_bytes // sum(c.row_bytes for c in self._columns.values()))
        if there < (1 if rest else size):
            return
        whole = {name: np.concatenate([part[name] for part in pending]) for name in self._columns}
        end = there if rest else there - there % size
        for first in range(0, end, size):
            self._write_shard(split, {n: v[first:end][:size] for n, v in whole.items()})
        left = {name: values[end:].copy() for name, values in whole.items()}
        self._pending[split] = [left] if end < there else []

    def _write_shard(self, split: str, columns: Mapping[str, NDArray[Any]]) -> None:
        data = save({name: np.ascontiguousarray(values) for name, values in columns.items()})
        path = self.folder / f"{split}-{len(self._shards[split]):05d}.safetensors"
        path.write_bytes(data)
        sync(path)
        rows, digest = len(next(iter(columns.values()))), hashlib.sha256(data).hexdigest()
        self._shards[split].append(Shard(path.name, rows, len(data), digest))


class Split:
    """The rows of one split, memory-mapped; `representation.data.sources.Split`.

    Many threads may read at once.
    """

    def __init__(self, folder: Path, name: str, manifest: Manifest) -> None:
        self.name, self.columns = name, tuple(manifest.columns)
        self.labels, self.codes = manifest.labels, manifest.codes
        self.shards = manifest.splits[name]
        self._folder, self._manifest, self._forms = folder, manifest, manifest.columns
        self._ends = np.cumsum([0] + [shard.rows for shard in self.shards])[1:]
        self._mapped = functools.cache(self._map)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes map the files themselves.
        return Split, (self._folder, self.name, self._manifest)

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
        forms = {name: self._forms[name] for name in names}
        stored = {
            name: np.empty((len(index), *form.stored_shape), form.stored_dtype)
            for name, form in forms.items()
        }
        shard_of = np.searchsorted(self._ends, index, side="right")
        for number in np.unique(shard_of):
            places = np.flatnonzero(shard_of == number)
            here = index[places] - (self._ends[number] - self.shards[number].rows)
            mapped = self._mapped(int(number))
            for name in names:
                stored[name][places] = mapped[name][here]
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
        for number in range(len(self.shards)):
            self._mapped(number)

    def _map(self, number: int) -> dict[str, NDArray[Any]]:
        """A shard's columns as they are stored, memory-mapped."""
        shard = self.shards[number]
        path = _check_size(self._folder, shard)
        try:
            with safe_open(path, "pt") as file:  # which maps what it reads, unlike "np"
                mapped = {name: file.get_tensor(name).numpy() for name in self._forms}
        except (OSError, SafetensorError) as error:
            raise DatasetError(
                f"{path} is not a safetensors file, or damaged ({error}); copy it again"
            ) from error
        for name, form in self._forms.items():
            found = mapped[name].dtype, mapped[name].shape
            expected = form.stored_dtype, (shard.rows, *form.stored_shape)
            if found != expected:
                raise DatasetError(
                    f"{path} does not fit {MANIFEST_FILE}: column {name!r} is {found}, not "
                    f"{expected}; take all files from the same data set"
                )
        return mapped


class Dataset:
    """A data set on disk; its rows are read when asked for.

    Its attributes are those of its `Manifest`, `splits` the splits by name.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.kind, self.labels = manifest.kind, manifest.labels
        self.settings, self.made = dict(manifest.settings), dict(manifest.made)
        self.codes, self.columns = dict(manifest.codes), dict(manifest.columns)
        self.splits = {name: Split(folder, name, manifest) for name in manifest.splits}

    @classmethod
    def open(cls, folder: str | Path) -> Dataset:
        """Open what a `DatasetWriter` wrote.

        Raises:
            DatasetError: If a file is missing, truncated, foreign or of another version; says
                which. Checksums are left to `verify`.
        """
        try:
            folder = Path(folder).expanduser()
        except RuntimeError as error:
            raise DatasetError(f"there is no {folder}: {error}") from error
        manifest = _read_manifest(folder)
        if not manifest.complete:
            raise DatasetError(
                f"{folder} is unfinished; the command that began it, given again, goes on"
            )
        dataset = cls(folder, manifest)
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
        for shard in (shard for split in self.splits.values() for shard in split.shards):
            path = self.folder / shard.file
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != shard.sha256:
                raise DatasetError(
                    f"{path} is not what was written (its sha256 is {found}, not "
                    f"{shard.sha256}); copy it again, or make the data set again"
                )


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_FILE
    with contextlib.suppress(OSError):  # a name that is too long, say; reading it says so
        if not path.exists():
            what = (
                f"{folder} holds no {MANIFEST_FILE}" if folder.is_dir() else f"there is no {folder}"
            )
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
        return from_document(Manifest, document)
    except ValueError as error:
        raise DatasetError(
            f"{path} is damaged ({error}); copy the folder again, or delete it to begin again"
        ) from error


def _is_ours(path: Path) -> bool:
    """Whether a writer makes files of this name, besides the lock."""
    name = path.name
    return bool(_SHARD_NAME.fullmatch(name) or _CUT_SHORT.fullmatch(name) or name == MANIFEST_FILE)


def _check_size(folder: Path, shard: Shard) -> Path:
    """The file of a shard, which is there and as long as it was written."""
    path = folder / shard.file
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise DatasetError(f"there is no {path.name} in {folder}; copy the folder again") from None
    if size != shard.bytes:
        raise DatasetError(
            f"{path} has {size} bytes instead of {shard.bytes}: it is truncated or another file; "
            "copy it again"
        )
    return path


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
