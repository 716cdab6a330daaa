"""VTInsert as an environment of LeRobot: `lerobot-eval --env.type=vtinsert`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium
from gymnasium import spaces
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

import vtenv
from vtenv.lerobot_observation import LeRobotObservation
from vtenv.registry import make_task

_GYM_ID = "vtinsert/VTInsert-v0"
_ours = gymnasium.spec(vtenv.ENV_ID)
_defaults: Any = make_task(vtenv.ENV_ID).config

if _GYM_ID not in gymnasium.registry:
    gymnasium.register(
        _GYM_ID,
        entry_point=_ours.entry_point,
        max_episode_steps=_ours.max_episode_steps,
        additional_wrappers=(LeRobotObservation.wrapper_spec(),),
    )


@EnvConfig.register_subclass("vtinsert")
@dataclass
class VTInsertEnvConfig(EnvConfig):
    """Settings of `VTInsert-v0`, as options of LeRobot's commands; its own by default.

    Attributes:
        task: Not used: there is one.
        fps: Control steps a second.
        connectors: Connectors to draw from.
        image_size: Rows and columns of the depth image.
        contact_size: Rows and columns of each finger's contact mask.
        clearance_mm: Room on each side of the plug; None for each connector's own.
        depth_noise_mm: Deviation of depth at 0.35 m.
        episode_length: Control steps after which an episode is truncated.
        picture: What films show: "sensors", or "scene", which needs OpenGL.
        features: What policies see and do; follows from the settings.
        features_map: The same, by LeRobot's names.
    """

    task: str | None = "VTInsert-v0"
    fps: int = 50
    connectors: list[str] = field(default_factory=lambda: [c.name for c in _defaults.connectors])
    image_size: int = _defaults.image_size[0]
    contact_size: int = _defaults.contact_size[0]
    clearance_mm: float | None = _defaults.clearance_mm
    depth_noise_mm: float = _defaults.depth_noise_mm
    episode_length: int = _ours.max_episode_steps or -1
    picture: str = "sensors"
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    features_map: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        env = gymnasium.make(_GYM_ID, **self.gym_kwargs)
        assert isinstance(env.observation_space, spaces.Dict)
        pixels = env.observation_space["pixels"]
        assert isinstance(pixels, spaces.Dict)
        state = env.observation_space["agent_pos"].shape
        action = env.action_space.shape
        env.close()
        self.features = {
            ACTION: PolicyFeature(FeatureType.ACTION, action),
            "agent_pos": PolicyFeature(FeatureType.STATE, state),
        }
        self.features_map = {ACTION: ACTION, "agent_pos": OBS_STATE}
        for name, box in pixels.spaces.items():
            self.features[f"pixels/{name}"] = PolicyFeature(FeatureType.VISUAL, box.shape)
            self.features_map[f"pixels/{name}"] = f"{OBS_IMAGES}.{name}"

    @property
    def gym_id(self) -> str:
        """The environment's id in Gymnasium's registry."""
        return _GYM_ID

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of `gymnasium.make`."""
        return {
            "connectors": list(self.connectors),
            "image_size": self.image_size,
            "contact_size": self.contact_size,
            "clearance_mm": self.clearance_mm,
            "depth_noise_mm": self.depth_noise_mm,
            "max_episode_steps": self.episode_length,
            "render_mode": "rgb_array",
            "picture": self.picture,
        }
