"""The observation transform for the vector environments of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from representation.runtime import FrozenEncoder
from representation.wrappers.encode import Encoder, ObservationEncoder, encode_each


class VecEncodeObservation(VecEnvWrapper):
    """Replaces a `VecEnv`'s images by an encoder's embeddings: one pass for all worlds.

    The encoder stays outside of the policy, so that nothing trains it, and the rollout or replay
    buffer stores embeddings in place of images. `infos[i]["terminal_observation"]` is encoded too.
    To stack frames, put `VecFrameStack` around it.

    Args:
        venv: A vector environment of Stable-Baselines3.
        encoder: As `EncodeObservation`.
        keep: As `EncodeObservation`.
        flat: As `EncodeObservation`; then the policy is "MlpPolicy", otherwise "MultiInputPolicy".
        device: As `EncodeObservation`.
        runtime: As `EncodeObservation`.
        num_threads: As `VectorEncodeObservation`.

    Raises:
        ValueError: As `EncodeObservation`.

    Example:
        >>> import vtenv
        >>> from representation import EncoderConfig, VecEncodeObservation, VisuotactileEncoder
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> encoder = VisuotactileEncoder(EncoderConfig(backbone="test_resnet", embedding_dim=16))
        >>> venv = VecEncodeObservation(make_vec_env("VTInsert-v0", n_envs=2), encoder)
        >>> {key: value.shape for key, value in venv.reset().items()}
        {'embedding': (2, 32), 'proprio': (2, 12)}
        >>> venv.close()
    """

    def __init__(
        self,
        venv: VecEnv,
        encoder: Encoder,
        *,
        keep: Sequence[str] = ("proprio",),
        flat: bool = False,
        device: str | torch.device | None = None,
        runtime: str | None = None,
        num_threads: int | None = None,
    ) -> None:
        frozen = FrozenEncoder(encoder, device=device, runtime=runtime, num_threads=num_threads)
        self._transform = ObservationEncoder(venv.observation_space, frozen, keep, flat, "numpy")
        super().__init__(venv, observation_space=self._transform.space)

    def reset(self) -> Any:
        """As the wrapped environment, encoded."""
        return self._transform(self._dict(self.venv.reset()), (self.num_envs,))

    def step_wait(self) -> Any:
        """As the wrapped environment, encoded."""
        observation, reward, done, infos = self.venv.step_wait()
        ended = [world for world, info in enumerate(infos) if "terminal_observation" in info]
        last = encode_each(
            self._transform, [infos[world]["terminal_observation"] for world in ended]
        )
        infos = list(infos)
        for world, encoded in zip(ended, last, strict=True):
            infos[world] = {**infos[world], "terminal_observation": encoded}
        return self._transform(self._dict(observation), (self.num_envs,)), reward, done, infos

    @staticmethod
    def _dict(observation: Any) -> dict[str, Any]:
        assert isinstance(observation, dict)
        return observation
