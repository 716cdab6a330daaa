"""VTInsert's world: a MuJoCo environment of visuotactile connector insertion.

Importing this package registers `VTInsert-v0` with Gymnasium, `VTInsertState-v0`, whose
observation is the privileged state alone, a `Box`, and `VTPivot-v0`. It imports neither torch nor,
until an environment is made or a name below is asked for, MuJoCo.
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

for _name, _folder, _steps in (
    ("VTInsert", "insertion", 100),
    ("VTInsertState", "insertion", 100),
    ("VTPivot", "pivot", 150),
):
    gymnasium.register(
        f"{_name}-v0",
        entry_point=f"vtenv.tasks.{_folder}.env:{_name}Env",
        vector_entry_point=f"vtenv.tasks.{_folder}.env:{_name}VectorEnv",
        max_episode_steps=_steps,
    )


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
