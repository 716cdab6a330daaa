"""The observation transform for the vector environments of Stable-Baselines3."""

from __future__ import annotations

from typing import Any, Unpack

from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from representation.runtime import EncoderSource
from representation.wrappers.encode import EncodeOptions, ObservationEncoder


class VecEncodeObservation(VecEnvWrapper):
    """Replaces a `VecEnv`'s images by an encoder's embeddings: one pass for all worlds.

    The encoder stays outside of the policy, so that nothing trains it, and the rollout or replay
    buffer stores embeddings in place of images. `infos[i]["terminal_observation"]` is encoded too.
    To stack frames, put `VecFrameStack` around it.

    Args:
        venv: A vector environment of Stable-Baselines3.
        encoder: As `ObservationEncoder`, errors included.
        options: See `EncodeOptions`; with `flat` the policy is "MlpPolicy", otherwise
            "MultiInputPolicy".

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
        encoder: EncoderSource,
        **options: Unpack[EncodeOptions],
    ) -> None:
        space = venv.observation_space
        self.transform = ObservationEncoder(space, encoder, output="numpy", **options)
        super().__init__(venv, observation_space=self.transform.space)

    def reset(self) -> Any:
        """As the wrapped environment, encoded."""
        return self._encoded(self.venv.reset())

    def step_wait(self) -> Any:
        """As the wrapped environment, encoded."""
        observation, reward, done, infos = self.venv.step_wait()
        infos = list(infos)
        ended = [world for world, info in enumerate(infos) if "terminal_observation" in info]
        last = self.transform.encode_each([infos[w]["terminal_observation"] for w in ended])
        for world, encoded in zip(ended, last, strict=True):
            infos[world] = {**infos[world], "terminal_observation": encoded}
        return self._encoded(observation), reward, done, infos

    def _encoded(self, observation: Any) -> Any:
        return self.transform(observation, (self.num_envs,))
