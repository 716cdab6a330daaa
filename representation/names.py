"""Names of networks, objectives and augmentations, judged without torch, which those import."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from vtenv.import_string import is_import_string

OBJECTIVES = (
    "classification",
    "infonce",
    "moco",
    "masked",
    "soft_contrastive",
    "dynamics",
    "pose",
)
"""Names of `representation.objectives.combine.OBJECTIVES`."""
AUGMENTATIONS = (
    "noise",
    "crop",
    "occlusion",
    "rotation",
    "dilation_erosion",
    "field",
    "colour",
)
"""Names of `representation.augmentations.AUGMENTATIONS`."""
AUGMENTATION_PRESETS: dict[str, tuple[str, ...]] = {
    "none": (),
    "occlusion": ("occlusion",),
    "contrastive": ("crop", "rotation", "dilation_erosion"),
    "every": ("crop", "rotation", "dilation_erosion", "field", "colour"),
}
"""The paper's: none for its classifier, occlusion for its occlusion study, crop, rotation and
morphology for its joint representation. And one that changes every modality."""


def require_objectives(names: Iterable[str]) -> None:
    """Check that there are objectives of these names; one of one's own is not loaded.

    Raises:
        ValueError: If one is unknown; lists those there are.
    """
    for name in _unknown(names, OBJECTIVES):
        raise ValueError(
            f"objective={name[:80]!r} is not allowed; objective must be one or more of "
            f"{', '.join(OBJECTIVES)}, or one of your own as MODULE:NAME"
        )


def chosen_augmentations(names: str | Sequence[str]) -> Sequence[str]:
    """The augmentations of a preset; or of a list, each of which must be known.

    Raises:
        ValueError: If a name is unknown; lists those there are.
    """
    if isinstance(names, str):
        if names not in AUGMENTATION_PRESETS:
            raise ValueError(
                f"augmentation preset {names!r} is unknown; it must be one of "
                f"{', '.join(AUGMENTATION_PRESETS)}, or a list of {', '.join(AUGMENTATIONS)} and "
                "MODULE:NAME"
            )
        return AUGMENTATION_PRESETS[names]
    require_augmentations(names)
    return names


def require_augmentations(names: Iterable[str]) -> None:
    """Check that there are augmentations of these names; one of one's own is not loaded.

    Raises:
        ValueError: If one is unknown; lists those there are.
    """
    for name in _unknown(names, AUGMENTATIONS):
        raise ValueError(
            f"augmentation {name!r} is unknown; it must be one of {', '.join(AUGMENTATIONS)}, "
            "or one of your own as MODULE:NAME"
        )


def _unknown(names: Iterable[str], known: Collection[str]) -> Iterator[str]:
    return (name for name in names if name not in known and not is_import_string(name))


def require_network(name: str) -> None:
    """Refuse what timm's sources do not define: it cannot be one of its networks.

    Raises:
        ValueError: If so; names the nearest networks.
    """
    if not may_be_network(name):
        raise unknown_network(name, _timm_names("@register_model\\ndef "))


def may_be_network(name: str) -> bool:
    """Whether timm's sources define a network, whose name may have a tag of weights."""
    known = _timm_names("def |    '")  # deprecated names are keys of dictionaries
    return not known or _untagged(name) in known


def unknown_network(name: str, known: Collection[str]) -> ValueError:
    """The error about a network that timm does not know; it names the nearest."""
    near = difflib.get_close_matches(_untagged(name), known, n=4)
    hint = f"; did you mean {', '.join(near)}?" if near else ";"
    return ValueError(
        f"backbone={name!r} is not a network that timm knows{hint} timm.list_models() lists them "
        "all"
    )


def _untagged(name: str) -> str:
    return name.partition(".")[0]


@functools.cache
def _timm_names(before: str) -> frozenset[str]:
    """Words after a pattern at the start of a line of timm's models; none if they are no files."""
    spec = importlib.util.find_spec("timm")
    origin = spec and spec.origin
    paths = Path(origin).parent.glob("models/*.py") if origin else ()
    pattern = re.compile(rf"^(?:{before})(\w+)", re.MULTILINE)
    return frozenset(
        name for path in paths for name in pattern.findall(path.read_text(encoding="utf-8"))
    )
