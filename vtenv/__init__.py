"""VTInsert's world: a MuJoCo environment of visuotactile connector insertion.

Importing this package registers `VTInsert-v0` with Gymnasium; `VTInsertState-v0`, whose
observation is the privileged state alone, and `VTInsertEmbedding-v0`, an encoder's embedding and
proprioception, each a `Box`; and `VTPivot-v0`. It imports neither torch nor, until an environment
is made or a name below is asked for, MuJoCo.
"""

import importlib
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from vtenv.tasks.insertion.config import InitialStateRanges
    from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES
    from vtenv.tasks.insertion.randomization import DomainRandomizationConfig

__all__ = ["CONNECTOR_NAMES", "ENV_ID", "DomainRandomizationConfig", "InitialStateRanges"]

ENV_ID = "VTInsert-v0"
"""The environment's id in Gymnasium's registry."""

_HOMES = {
    "CONNECTOR_NAMES": "vtenv.tasks.insertion.connectors",
    "DomainRandomizationConfig": "vtenv.tasks.insertion.randomization",
    "InitialStateRanges": "vtenv.tasks.insertion.config",
}
"""Modules of the names that are imported when they are first asked for."""

_INSERTION, _PIVOT = "vtenv.tasks.insertion.env", "vtenv.tasks.pivot.env"
_ENCODED = "representation.wrappers.encode"

for _name, _entry, _vector_entry, _steps in (
    (ENV_ID, f"{_INSERTION}:VTInsertEnv", f"{_INSERTION}:VTInsertVectorEnv", 100),
    (
        "VTInsertState-v0",
        f"{_INSERTION}:VTInsertStateEnv",
        f"{_INSERTION}:VTInsertStateVectorEnv",
        100,
    ),
    (
        "VTInsertEmbedding-v0",
        f"{_ENCODED}:make_embedding_env",
        f"{_ENCODED}:make_embedding_vector_env",
        100,
    ),
    ("VTPivot-v0", f"{_PIVOT}:VTPivotEnv", f"{_PIVOT}:VTPivotVectorEnv", 150),
):
    gymnasium.register(
        _name, entry_point=_entry, vector_entry_point=_vector_entry, max_episode_steps=_steps
    )


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
