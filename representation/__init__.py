"""Perceiving: data sets, encoders, objectives, training and probes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from representation.encoder import Encoder
    from representation.encoder_config import EncoderConfig
    from representation.timm_encoder import VisuotactileEncoder
    from representation.wrappers.encode import EncodeObservation, VectorEncodeObservation
    from representation.wrappers.sb3 import VecEncodeObservation

__all__ = [
    "EncodeObservation",
    "Encoder",
    "EncoderConfig",
    "VecEncodeObservation",
    "VectorEncodeObservation",
    "VisuotactileEncoder",
]

# The packages of a neural network take seconds to import: they wait until a name is used.
_HOMES = {
    "EncodeObservation": "representation.wrappers.encode",
    "Encoder": "representation.encoder",
    "EncoderConfig": "representation.encoder_config",
    "VecEncodeObservation": "representation.wrappers.sb3",
    "VectorEncodeObservation": "representation.wrappers.encode",
    "VisuotactileEncoder": "representation.timm_encoder",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
