"""Names of policies and representations, judged without importing what loads them."""

from __future__ import annotations

import os
from pathlib import Path

from policies.choices import check_name
from representation.bundled import bundled

PRIVILEGED, PROPRIO = "state", "proprio"
SINGLE_KEYS = (PRIVILEGED, PROPRIO)
"""Representations that are vectors of the environment as they are."""
EXPERT, RANDOM = "expert", "random"
"""Players that need no file: the scripted expert, on privileged state, which tells what can be
reached; and uniform random actions, which tell what chance reaches."""
UNTRAINED, IMAGENET = "random", "imagenet"
"""Frozen encoders that have learned nothing of the task."""
END_TO_END = "end-to-end"
"""Images and proprioception, for a policy that has its own convolutions."""
DEFAULT_ENCODER = "resnet-pose"
"""The bundled encoder whose network an untrained encoder has."""
PARTS = ("vision", "touch")
"""Parts of an encoder, which may follow its name after a colon."""


def split_part(name: str) -> tuple[str, str]:
    """A representation's encoder, and which part of it: "vision", "touch", or "" for all."""
    encoder, colon, part = name.rpartition(":")
    return (encoder, part) if colon and part in PARTS else (name, "")


def check_representation(name: str) -> None:
    """Refuse what names no representation, before anything is loaded.

    Args:
        name: As `make_representation` takes it.

    What is `MODULE:NAME` is judged when it is loaded.

    Raises:
        ValueError: If it is none; names the nearest, and what there is.
    """
    encoder, _ = split_part(name)
    known = (UNTRAINED, IMAGENET, *bundled("encoders"))
    if encoder in known or _may_be_an_encoder(encoder):
        return
    check_name(
        name,
        (*SINGLE_KEYS, END_TO_END, *known),
        "representation",
        otherwise="or name a folder, an id on the Hugging Face Hub, or MODULE:NAME. An encoder "
        f"may be followed by {' or '.join(f':{part}' for part in PARTS)}",
    )


def check_encoder(name: str) -> None:
    """Refuse what names no encoder, before anything is loaded.

    Args:
        name: The name of a bundled encoder, a folder, an id on the Hugging Face Hub,
            `random:BACKBONE` or `MODULE:NAME`; the last two are judged when they are loaded.

    Raises:
        ValueError: If it is none; names the nearest, and what there is.
    """
    if _may_be_an_encoder(name):
        return
    check_name(
        name,
        bundled("encoders"),
        "encoder",
        otherwise=f"or name a folder, an id on the Hugging Face Hub, {UNTRAINED}:BACKBONE, or "
        "MODULE:NAME",
    )


def check_player(source: str) -> None:
    """Refuse what names nobody who plays, before anything is loaded.

    Args:
        source: As `load_player` takes it; what is `MODULE:NAME` is judged when it is loaded.

    Raises:
        ValueError: If there is no such policy; names the nearest, and what there is.
    """
    if source not in (EXPERT, RANDOM) and ":" not in source:
        check_policy(source)


def check_policy(source: str) -> None:
    """Refuse what is neither a bundled policy nor a folder, before anything is loaded.

    Raises:
        ValueError: If it is neither; names the nearest, and what there is.
    """
    if Path(os.path.expanduser(source)).is_dir():
        return
    check_name(
        source,
        bundled("policies"),
        "policy",
        otherwise="it is neither a bundled policy nor a folder: `vtinsert train` writes one, "
        "policy/, into its output folder",
    )


def _may_be_an_encoder(name: str) -> bool:
    """Whether it is a folder, or can be an id on the Hugging Face Hub or `MODULE:NAME`."""
    if name and (Path(os.path.expanduser(name)).is_dir() or name.count("/") == 1):
        return True
    if ":" not in name:
        return False
    from vtenv.import_string import is_import_string  # imports Gymnasium

    return is_import_string(name)
