"""Perceiving: data sets, encoders, objectives, training and probes.

Importing this package registers `VTInsertEmbedding-v0` with Gymnasium: `VTInsert-v0` seen through
an encoder, `encoder="resnet-dynamics"` unless given: its embedding and the proprioception in a
`Box`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import gymnasium

import vtenv

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

_ours = gymnasium.spec(vtenv.ENV_ID)
gymnasium.register(
    "VTInsertEmbedding-v0",
    entry_point="representation.wrappers.encode:make_embedding_env",
    vector_entry_point="representation.wrappers.encode:make_embedding_vector_env",
    max_episode_steps=_ours.max_episode_steps,
)

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
