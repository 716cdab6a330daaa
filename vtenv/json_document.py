"""JSON documents of ours: each says what it is, and in which version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(
    path: Path, what: str, name: str, version: int, error: type[Exception], *, again: str
) -> dict[str, Any]:
    """Read a document, and refuse what is not one, or is of another version.

    Args:
        path: The file, which exists.
        what: What it is to be, such as "a policy of VTInsert".
        name: Its "format".
        version: Its "version".
        error: What to raise.
        again: What to do about another version, besides installing the release that wrote it.

    Returns:
        The document, with its format and version.

    Raises:
        error: If it cannot be read; names the file, and says what to do.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as wrong:
        raise error(f"cannot read {path}: {wrong.strerror or wrong}") from wrong
    except (UnicodeDecodeError, json.JSONDecodeError) as wrong:
        raise error(f"{path} is not JSON: {wrong}; copy the file again") from wrong
    if not isinstance(document, dict) or document.get("format") != name:
        raise error(f'{path} is not {what}: it has no "format": "{name}"')
    if document.get("version") != version:
        raise error(
            f"{path} has version {document.get('version')!r}, and this VTInsert reads version "
            f"{version}; install the release that wrote it, or {again}"
        )
    return document
