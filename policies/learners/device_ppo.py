"""PPO whose rollouts stay on the device of the worlds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import BaseBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from policies.vec_env import VTInsertVecEnv

_SOLE = ""
"""Key of an observation that is not a dictionary."""


class DeviceRolloutBuffer(RolloutBuffer):
    """A rollout buffer of tensors on the device of the policy.

    It draws the same minibatches as Stable-Baselines3's own. Only rewards, values and flags are
    copied to the host, where Stable-Baselines3 estimates the advantages.
    """

    def reset(self) -> None:
        """Forget the rollout."""
        self._rows: dict[str, Tensor] = {}
        self._observations: dict[str, Tensor] = {}
        BaseBuffer.reset(self)

    def add(
        self,
        obs: Any,
        action: Any,
        reward: Any,
        episode_start: Any,
        value: Tensor,
        log_prob: Tensor,
    ) -> None:
        """Add a step of all worlds.

        Args:
            obs: Observations, (N, ...), or several by key.
            action: (N, A).
            reward: (N,).
            episode_start: Which worlds have just started an episode, (N,).
            value: (N, 1).
            log_prob: (N,).
        """
        row = {
            "action": action,
            "reward": reward,
            "episode_start": episode_start,
            "value": value.flatten(),
            "log_prob": log_prob,
        }
        self._put(self._rows, {name: numbers.float() for name, numbers in row.items()})
        self._put(self._observations, obs if isinstance(obs, dict) else {_SOLE: obs})
        self.pos += 1
        self.full = self.pos == self.buffer_size

    def compute_returns_and_advantage(self, last_values: Tensor, dones: Any) -> None:
        """Estimate advantages and returns, as `RolloutBuffer`.

        Args:
            last_values: Values after the last step, (N, 1).
            dones: Whether an episode ended in it, (N,).
        """
        rows = self._rows
        host = [rows[name].cpu().numpy() for name in ("reward", "value", "episode_start")]
        self.rewards, self.values, self.episode_starts = host
        self.advantages = np.zeros_like(self.rewards)
        super().compute_returns_and_advantage(last_values, dones.cpu().numpy())
        for name, found in (("advantage", self.advantages), ("return", self.returns)):
            rows[name] = torch.as_tensor(found, device=self.device)

    def get(self, batch_size: int | None = None) -> Iterator[RolloutBufferSamples]:  # type: ignore[override]
        """Minibatches of an epoch, drawn from NumPy's own generator."""
        drawn = np.random.permutation(self.buffer_size * self.n_envs)
        # Stable-Baselines3's rows are world by world, these are step by step.
        world, step = np.divmod(drawn, self.buffer_size)
        places = torch.as_tensor(step * self.n_envs + world, device=self.device)
        rows = {name: value.flatten(0, 1) for name, value in self._rows.items()}
        names = ("action", "value", "log_prob", "advantage", "return")
        for chosen in places.split(batch_size or len(places)):
            seen: Any = {k: v.flatten(0, 1)[chosen] for k, v in self._observations.items()}
            yield RolloutBufferSamples(
                seen.get(_SOLE, seen), *(rows[name][chosen] for name in names)
            )

    def _put(self, there: dict[str, Tensor], row: dict[str, Tensor]) -> None:
        for name, value in row.items():
            if name not in there:
                there[name] = value.new_empty((self.buffer_size, *value.shape))
            there[name][self.pos] = value


class DevicePPO(PPO):
    """PPO on worlds whose observations are tensors on the policy's device.

    Stable-Baselines3's own brings each observation to the host and back, and asks the critic about
    each episode that was cut off by itself. This one steps the worlds with tensors, and learns what
    that one learns.

    Its arguments are those of `PPO`; the environment is a `VTInsertVecEnv`.
    """

    def _setup_model(self) -> None:
        super()._setup_model()
        # Not as an argument, which would be saved: a saved model is one of Stable-Baselines3's PPO.
        self.rollout_buffer = DeviceRolloutBuffer(
            self.n_steps,
            self.observation_space,
            self.action_space,
            self.device,
            self.gae_lambda,
            self.gamma,
            self.n_envs,
        )

    @torch.no_grad()
    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: RolloutBuffer,
        n_rollout_steps: int,
    ) -> bool:
        """Act in the worlds, and fill the buffer; whether to go on."""
        inner, policy = env.unwrapped, self.policy
        assert isinstance(inner, VTInsertVecEnv) and isinstance(policy, ActorCriticPolicy)
        worlds = inner.envs
        low, high = map(self._tensor, (self.action_space.low, self.action_space.high))  # type: ignore[attr-defined]
        policy.set_training_mode(False)
        rollout_buffer.reset()
        callback.on_rollout_start()
        observation = self._tensors(self._last_obs)
        started = self._tensor(self._last_episode_starts)
        for _ in range(n_rollout_steps):
            actions, values, log_probs = policy(observation)
            following, reward, terminated, truncated, info = worlds.step(actions.clamp(low, high))
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            if "final_obs" in info:
                # What an episode that was cut off would still have brought.
                left = policy.predict_values(self._tensors(info["final_obs"])).flatten()
                cut = truncated & ~terminated
                reward = reward + self.gamma * torch.where(cut, left, torch.zeros_like(left))
            rollout_buffer.add(observation, actions, reward, started, values, log_probs)  # type: ignore[arg-type]
            observation, started = self._tensors(following), terminated | truncated
        self._last_obs, self._last_episode_starts = observation, started  # type: ignore[assignment]
        last_values = policy.predict_values(observation)
        rollout_buffer.compute_returns_and_advantage(last_values, started)  # type: ignore[arg-type]
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(values, device=self.device)

    def _tensors(self, observation: Any) -> Any:
        """An observation on the policy's device."""
        if isinstance(observation, dict):
            return {key: self._tensor(value) for key, value in observation.items()}
        return self._tensor(observation)
