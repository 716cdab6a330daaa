"""Atomic writes: a file or folder is there whole or not at all, also after a power cut."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file through a temporary one beside it, which takes its name at the end.

    Args:
        path: The file to write.

    Yields:
        Where to write it. If the block raises, that is removed and `path` is left as it was.
    """
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8, whole."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Write a folder through a temporary one beside it, which takes its name at the end.

    Args:
        path: The folder to write; one that is there is replaced.

    Yields:
        Where to write, an empty folder. If the block raises, `path` is left as it was.
    """
    restore_folder(path)
    writing, replaced = _beside(path)
    for leftover in (writing, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    writing.mkdir(parents=True)
    sync(path.parent.parent)
    try:
        yield writing
        sync_tree(writing)
        if path.exists():
            path.replace(replaced)
        writing.replace(path)
        sync(path.parent)
    finally:
        restore_folder(path)
        for leftover in (writing, replaced):
            shutil.rmtree(leftover, ignore_errors=True)


def restore_folder(path: Path) -> None:
    """Put back a folder whose writer was killed between taking it away and replacing it.

    Args:
        path: What `atomic_folder` was given; nothing happens if it is there.
    """
    if not path.exists():
        # No replaced folder, or another process was faster.
        with contextlib.suppress(FileNotFoundError):
            _beside(path)[1].replace(path)


def sync_tree(folder: Path) -> None:
    """Make all that is in a folder survive a power cut."""
    for parent, _, files in os.walk(folder):
        for name in files:
            sync(Path(parent, name))
        sync(Path(parent))


def sync(path: Path) -> None:
    """Make a file's content, or a folder's list of names, survive a power cut."""
    if path.is_dir():
        # Windows opens no folder, and some network drives sync none.
        with contextlib.suppress(OSError):
            _sync(path, os.O_RDONLY)
    else:
        _sync(path, os.O_RDWR)  # Windows syncs only what can be written


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path) -> tuple[Path, Path]:
    """Where a folder is written, and where the one it replaces waits meanwhile.

    Both are removed when they are left behind, so nobody else may have folders of these names.
    """
    writing, replaced = (f".{path.name}.vtinsert-{what}" for what in ("writing", "replaced"))
    return path.with_name(writing), path.with_name(replaced)
