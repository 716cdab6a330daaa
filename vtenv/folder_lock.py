"""A folder that one process at a time writes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

LOCK_FILE = ".lock"


@contextlib.contextmanager
def folder_lock(folder: Path, error: type[Exception]) -> Iterator[None]:
    """Make a folder and be the only process that writes into it.

    A folder that was made here and is left empty is removed.

    Args:
        folder: The folder; while it is locked, it holds a file `.lock`.
        error: What to raise.

    Raises:
        error: If another process writes it.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_FILE
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise error(
            f"another process is writing {folder}; wait for it, or choose another folder"
        ) from None
    try:
        yield
    finally:
        # Before it is released, so that nobody holds a file that is about to go. Windows removes
        # no file that is open: there filelock does, afterwards.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
        if made:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()
