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

    Raises:
        ValueError: If it is none; names the nearest, and what there is.
    """
    encoder, _ = split_part(name)
    known = (UNTRAINED, IMAGENET, *bundled("encoders"))
    if encoder in known or _may_be_files(encoder) or _is_own(encoder):
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
            `random:BACKBONE` or `MODULE:NAME`.

    Raises:
        ValueError: If it is none; names the nearest, and what there is.
    """
    untrained, colon, backbone = name.partition(":")
    if colon and untrained == UNTRAINED:
        from representation.names import require_network

        require_network(backbone)
    elif not _is_own(name):
        check_encoder_files(name, f"{UNTRAINED}:BACKBONE", "MODULE:NAME")


def check_encoder_files(name: str, *others: str) -> None:
    """Refuse what is no encoder on disk or on the Hub, before anything is loaded.

    Args:
        name: The name of a bundled encoder, a folder or an id on the Hugging Face Hub.
        others: What else it could have been, for the error.

    Raises:
        ValueError: If it is none; names the nearest, and what there is.
    """
    if _may_be_files(name):
        return
    *first, last = "a folder", "an id on the Hugging Face Hub", *others
    otherwise = f"or name {', '.join(first)}, or {last}"
    check_name(name, bundled("encoders"), "encoder", otherwise)


def check_player(source: str) -> None:
    """Refuse what names nobody who plays, before anything is loaded.

    Args:
        source: As `load_player` takes it; a function's module is not imported.

    Raises:
        ValueError: If there is no such policy; names the nearest, and what there is.
    """
    if source not in (EXPERT, RANDOM) and not is_function(source):
        check_policy(source)


def is_function(source: str) -> bool:
    """Whether somebody who plays is a function, `MODULE:NAME`, and no folder."""
    return ":" in source and not Path(source).exists()


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


def check_encoder_or_network(name: str) -> None:
    """Refuse what is neither an encoder's files nor a network of timm's, before anything is loaded.

    Raises:
        ValueError: If it is neither; names the nearest, and what there is.
    """
    from representation.names import may_be_network

    if not may_be_network(name):
        check_encoder_files(name, "a network of timm's")


def _may_be_files(name: str) -> bool:
    """Whether it is a folder, or can be an id on the Hugging Face Hub."""
    return bool(name) and (Path(os.path.expanduser(name)).is_dir() or name.count("/") == 1)


def _is_own(name: str) -> bool:
    """Whether it is `MODULE:NAME`, which is imported.

    Raises:
        ValueError: If it reads so, and there is none.
    """
    if ":" not in name or _may_be_files(name):
        return False
    from vtenv.import_string import import_string, is_import_string  # imports Gymnasium

    if not is_import_string(name):
        return False
    import_string(name, "encoder")
    return True
