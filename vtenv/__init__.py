"""VTInsert's world: a MuJoCo environment of visuotactile connector insertion.

Importing this package registers `VTInsert-v0` with Gymnasium. It does not import torch.
"""

import gymnasium

from vtenv.tasks.insertion.config import InitialStateRanges
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig

__all__ = ["CONNECTOR_NAMES", "ENV_ID", "DomainRandomizationConfig", "InitialStateRanges"]

ENV_ID = "VTInsert-v0"
"""The environment's id in Gymnasium's registry."""

gymnasium.register(
    ENV_ID,
    entry_point="vtenv.tasks.insertion.env:VTInsertEnv",
    vector_entry_point="vtenv.tasks.insertion.env:VTInsertVectorEnv",
    max_episode_steps=100,
)
gymnasium.register(
    "VTPivot-v0",
    entry_point="vtenv.tasks.pivot.env:VTPivotEnv",
    vector_entry_point="vtenv.tasks.pivot.env:VTPivotVectorEnv",
    max_episode_steps=150,
)
