"""VTInsert's world: a MuJoCo environment of visuotactile connector insertion.

Importing this package registers `VTInsert-v0` with Gymnasium, and `VTInsertState-v0`, whose
observation is the privileged state alone, a `Box`. It does not import torch.
"""

import gymnasium

from vtenv.tasks.insertion.config import InitialStateRanges
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig

__all__ = ["CONNECTOR_NAMES", "ENV_ID", "DomainRandomizationConfig", "InitialStateRanges"]

ENV_ID = "VTInsert-v0"
"""The environment's id in Gymnasium's registry."""

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
