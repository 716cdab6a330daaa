"""The files of a policy to act with, and what they say of it: read without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.representation_names import check_policy
from representation.bundled import bundled, bundled_folder
from vtenv.json_document import from_document, read_json

CONFIG_FILE, WEIGHTS_FILE = "policy.json", "policy.safetensors"
ENCODER_FOLDER = "encoder"
"""Folder beside them with the encoder, where it cannot be had by its name anywhere."""
FORMAT, VERSION = "vtinsert-policy", 1
_OF_A_RUN = ("best", "policy")
"""Folders of a training run that hold a policy, the one to take first."""


@dataclass(frozen=True, kw_only=True)
class PolicyDocument:
    """What `policy.json` says."""

    format: str = FORMAT
    version: int = VERSION
    representation: str
    encoder_digest: str
    actor: Mapping[str, Any]
    task: str
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]


def policy_folder(source: str | Path) -> Path:
    """The folder of a policy.

    Args:
        source: A bundled policy's name, or a folder that holds one.

    Raises:
        ValueError: If there is none; names those that are near.
    """
    check_policy(str(source))
    if source in bundled("policies"):
        return bundled_folder("policies") / str(source)
    folder = Path(os.path.expanduser(source))
    if not (folder / CONFIG_FILE).is_file():
        inside = [path.parent.name for path in sorted(folder.glob(f"*/{CONFIG_FILE}"))]
        raise ValueError(
            f"{folder} holds no {CONFIG_FILE}"
            + (f"; it has policies in {', '.join(inside)}: name one of these" if inside else "")
        )
    return folder


def of_a_run(source: str) -> str | Path:
    """Where a training run keeps its best policy, or its last; anything else as it is."""
    run = Path(source).expanduser()
    inside = (run / name for name in _OF_A_RUN if (run / name / CONFIG_FILE).is_file())
    return next(inside, source)


def read_policy(folder: Path) -> PolicyDocument:
    """What a policy's folder says of it.

    Raises:
        ValueError: If the file is missing, damaged, or of another version.
    """
    path = folder / CONFIG_FILE
    found = read_json(
        path, "a policy of VTInsert", FORMAT, VERSION, ValueError, again="train the policy again"
    )
    try:
        return from_document(PolicyDocument, found)
    except (ValueError, OverflowError) as error:
        raise not_a_policy(path, error) from error


def not_a_policy(path: Path, error: Exception) -> ValueError:
    """The error about a document that says something else."""
    return ValueError(f"{path} does not describe a policy ({error}); copy the folder again")
