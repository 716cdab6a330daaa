"""Observations as LeRobot's policies and data sets take them: cameras, and a state vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from vtenv.modalities import Modality
from vtenv.tasks import Task

STATE = "proprio"
"""The modality that LeRobot takes for the robot's state, `agent_pos`."""
TASK_DESCRIPTION = "Insert the connector into its socket."
"""What an episode is about, for policies that read it."""


def camera_names(modality: Modality) -> tuple[str, ...]:
    """Names of the cameras that an image modality is: one a channel."""
    channels = modality.shape[0]
    if channels == 1:
        return (modality.key,)
    sides = ("left", "right") if channels == 2 else tuple(map(str, range(channels)))
    return tuple(f"{modality.key}_{side}" for side in sides)


def camera_pictures(
    observation: Mapping[str, NDArray[Any]], modalities: Sequence[Modality]
) -> dict[str, NDArray[np.uint8]]:
    """Each channel of each image as a grey picture.

    Its modality's `encoded_range` is black to white, in 255 steps: 0.8 mm of depth each.

    Args:
        observation: Images by key, (..., C, H, W).
        modalities: Their records.

    Returns:
        Pictures by camera, (..., H, W, 3), uint8.
    """
    pictures = {}
    for modality in modalities:
        if not modality.is_image:
            continue
        low, high = modality.encoded_range or (modality.low, modality.high)
        level = np.clip((observation[modality.key] - low) / (high - low), 0, 1)
        grey = np.rint(255 * level).astype(np.uint8)
        for channel, name in enumerate(camera_names(modality)):
            pictures[name] = np.repeat(grey[..., channel, :, :, None], 3, axis=-1)
    return pictures


class LeRobotObservation(
    gymnasium.ObservationWrapper[dict[str, Any], Any, dict[str, Any]], RecordConstructorArgs
):
    """An environment of `vtenv` as LeRobot expects one.

    The observation is `pixels`, a dict of `camera_pictures`, and `agent_pos`, the proprioception.

    Args:
        env: A single environment that observes `proprio`.

    Raises:
        ValueError: If it does not observe `proprio`.
    """

    task = "VTInsert"
    task_description = TASK_DESCRIPTION

    def __init__(self, env: gymnasium.Env[dict[str, Any], Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.ObservationWrapper.__init__(self, env)
        task: Task = env.unwrapped.simulation.task  # type: ignore[attr-defined]
        self._modalities = task.config.modalities
        given = env.observation_space
        if not isinstance(given, spaces.Dict) or STATE not in given.spaces:
            raise ValueError(
                f"LeRobot needs the robot's state, but the environment observes {given}; make it "
                f'with modalities=("depth", "contact", "{STATE}")'
            )
        pixels: dict[str, spaces.Space[Any]] = {
            name: spaces.Box(0, 255, (*task.image_size(modality), 3), np.uint8)
            for modality in self._modalities
            if modality.is_image
            for name in camera_names(modality)
        }
        self.observation_space = spaces.Dict(
            {"pixels": spaces.Dict(pixels), "agent_pos": given[STATE]}
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As the wrapped environment, without the options that LeRobot adds for its own."""
        own = {k: v for k, v in (options or {}).items() if not k.startswith("lerobot_")}
        return super().reset(seed=seed, options=own or None)

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The observation, as cameras and a state."""
        pixels = camera_pictures(observation, self._modalities)
        return {"pixels": pixels, "agent_pos": observation[STATE]}
