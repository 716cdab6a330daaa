"""Gymnasium's vector environments as Stable-Baselines3 takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from policies.worlds import simulation_of
from vtenv.arrays import constant, namespace
from vtenv.rollout import final_observation


class VTInsertVecEnv(VecEnv):
    """Worlds of a task, wrapped or not, as a `VecEnv` of Stable-Baselines3.

    Both engines, arrays or tensors. What crosses to the host in a step is what a policy sees,
    rewards and flags; the rest only of worlds whose episode has ended. Their info has
    `terminal_observation`, `TimeLimit.truncated` and what the environment tells: `is_success`,
    `failure`, `connector`, and the others of its documentation. The info of other worlds is
    empty, so that thousands of worlds are cheap.

    Worlds are not environments of their own: attributes and methods are those of the vector
    environment, whichever worlds are named, and options are the same for all.

    Images are channels first and no bytes, which Stable-Baselines3 does not take for images:
    `policies.features.VisuotactileCNN` is the features extractor for them, and `VecFrameStack`
    takes `channels_order="first"`.

    Args:
        envs: The vector environment, with `AutoresetMode.SAME_STEP`, as
            `Representation.make` makes it.

    Raises:
        ValueError: If it restarts episodes otherwise.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any]) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"the environment has autoreset_mode={mode}, but Stable-Baselines3 restarts "
                "episodes within a step; make it with "
                "autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP"
            )
        self.envs = envs
        self._actions: Any = None
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> Any:
        """Start episodes in all worlds, with the seeds and options that were set.

        Returns:
            What a policy sees of them, (N, D), or arrays (N, ...) by key.

        Raises:
            ValueError: If worlds have options that differ.
        """
        options = self._options[0]
        if any(other != options for other in self._options):
            raise ValueError("options differ between worlds; give set_options one dict for all")
        # Without seeds the worlds' generators go on.
        seeds: Any = None if self._seeds[0] is None else list(self._seeds)
        observation, _ = self.envs.reset(seed=seeds, options=options)
        self._reset_seeds()
        self._reset_options()
        return self._fetch(observation, {})[0]

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Take the actions of all worlds, (N, A)."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Step all worlds.

        Returns:
            Observations as `reset` returns them, those of new episodes where one has ended;
            rewards (N,); whether an episode has ended (N,); and an info for each world.
        """
        observation, reward, terminated, truncated, info = self.envs.step(self._actions)
        seen, flags = self._fetch(
            observation, {"reward": reward, "terminated": terminated, "truncated": truncated}
        )
        done = flags["terminated"] | flags["truncated"]
        # A dictionary of its own for each world: wrappers write into them.
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            worlds = np.flatnonzero(done)
            last, told = self._ended(worlds, info)
            for row, world in enumerate(worlds):
                infos[world] = {name: values[row] for name, values in told.items()}
                infos[world]["terminal_observation"] = (
                    {key: value[row] for key, value in last.items()}
                    if isinstance(last, dict)
                    else last[row]
                )
                infos[world]["TimeLimit.truncated"] = not flags["terminated"][world]
        # A copy: the algorithms add to rewards in place.
        return seen, flags["reward"].astype(np.float32), done, infos

    def close(self) -> None:
        """Close the vector environment."""
        self.envs.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """A picture of each world, with `render_mode="rgb_array"`."""
        frames: Any = self.envs.render()
        return list(frames)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The vector environment's attribute, once for each world named."""
        value = getattr(self._owner(attr_name), attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set the vector environment's attribute."""
        setattr(self._owner(attr_name), attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call the vector environment's method once; its result, for each world named."""
        result = getattr(self._owner(method_name), method_name)(*method_args, **method_kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Any = None
    ) -> list[bool]:
        """Whether the vector environment is in a wrapper, once for each world named."""
        wrapped = any(isinstance(envs, wrapper_class) for envs in self._layers())
        return [wrapped for _ in self._get_indices(indices)]

    def _layers(self) -> list[VectorEnv[Any, Any, Any]]:
        """The vector environment and what it wraps, from the outside."""
        layers = [self.envs]
        while isinstance(layers[-1], VectorWrapper):
            layers.append(layers[-1].env)
        return layers

    def _owner(self, name: str) -> VectorEnv[Any, Any, Any]:
        """The outermost layer that has an attribute; the outermost of all if none has."""
        return next((envs for envs in self._layers() if hasattr(envs, name)), self.envs)

    def _ended(
        self, worlds: NDArray[np.int64], info: Mapping[str, Any]
    ) -> tuple[Any, dict[str, list[Any]]]:
        """Last observations and infos of the worlds whose episode has ended, a row of each."""
        final = {k: v for k, v in info["final_info"].items() if not k.startswith("_")}
        like = final["is_success"]
        rows = constant(worlds, like, namespace(like).int64)
        told = {name: values[rows] for name, values in final.items()}
        last, told = self._fetch(final_observation(info, rows), told)
        decoded = simulation_of(self.envs).decode(told)
        return last, {name: values.tolist() for name, values in decoded.items()}

    def _fetch(self, observation: Any, others: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """An observation and other arrays on the host, in as few copies as the engine can."""
        group = observation if isinstance(observation, dict) else {"": observation}
        if not isinstance(next(iter(group.values())), Tensor):
            return observation, dict(others)
        seen, there = simulation_of(self.envs).fetch(group, others)
        return seen if isinstance(observation, dict) else seen[""], there
