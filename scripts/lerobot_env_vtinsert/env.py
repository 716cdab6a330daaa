"""VTInsert for LeRobot's EnvHub: a repository of the Hugging Face Hub that holds this file.

`lerobot.envs.factory.make_env("USER/REPOSITORY", trust_remote_code=True)` then makes the
environment, where `vtinsert` is installed.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

import vtenv
from vtenv.lerobot_observation import LeRobotObservation


def _make() -> gymnasium.Env[Any, Any]:
    return LeRobotObservation(
        gymnasium.make(vtenv.ENV_ID, render_mode="rgb_array", picture="sensors")
    )


def make_env(
    n_envs: int = 1, use_async_envs: bool = False, cfg: Any = None
) -> VectorEnv[Any, Any, Any]:
    """Make worlds of `VTInsert-v0`.

    Args:
        n_envs: Worlds.
        use_async_envs: Whether each has a process of its own.
        cfg: Not used.
    """
    if use_async_envs:
        return AsyncVectorEnv(
            [_make] * n_envs, context="forkserver", autoreset_mode=AutoresetMode.SAME_STEP
        )
    return SyncVectorEnv([_make] * n_envs, autoreset_mode=AutoresetMode.SAME_STEP)
