"""Many worlds behind one environment, in one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from vtenv.arrays import Array
from vtenv.env import TaskEnv, make_task
from vtenv.rendering.renderers import RENDER_MODES, make_renderer
from vtenv.simulation import Simulation, observation_space

OBSERVATION_KINDS = ("numpy", "torch")
"""What observations can be made of."""

Observation = dict[str, Array]


class TaskVectorEnv(VectorEnv[Observation, Array, Array]):
    """N worlds of a task stepped together on one engine; subclasses say which.

    `gymnasium.make_vec("VTInsert-v0", num_envs=16, vectorization_mode="vector_entry_point")`
    makes one. World i of a vector reset with seed s does exactly what a single environment
    reset with seed s + i does, at any number of threads.

    With `observations="torch"` nothing of a step crosses to the host but a flag a world:
    observations, rewards, `terminated`, `truncated` and what is in `info` are new torch tensors on
    the device, and actions may be. Then, in `info`,

    * names, such as `connector` and `failure`, are int64 codes into the task's `code_names`, and
      numbers are float32;
    * a key's values mean something where its mask, the key after a `_`, is true: in
      `AutoresetMode.SAME_STEP`, `final_obs` is a dict of tensors of all worlds, of which those
      in `_final_obs` have finished.

    Args:
        num_envs: Worlds.
        max_episode_steps: Steps after which an episode is truncated; None for never.
        autoreset_mode: When a finished episode's world is reset: Gymnasium's
            `AutoresetMode.NEXT_STEP` (the default there and here), `SAME_STEP` or `DISABLED`.
        engine: The physics engine, one of `vtenv.engines.ENGINE_NAMES`.
        num_threads: Threads of the CPU engine; None for one a core.
        device: Device of the Warp engine; None for "cuda:0".
        observations: "numpy", or "torch" for tensors on the Warp engine's device.
        render_mode: As `TaskEnv`.
        settings: Fields of the task's configuration.
    """

    task_type: ClassVar[type[Any]]
    """As `TaskEnv.task_type`."""

    metadata: dict[str, Any] = TaskEnv.metadata

    def __init__(
        self,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = 100,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        engine: str = "cpu",
        num_threads: int | None = None,
        device: str | None = None,
        observations: str = "numpy",
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        if observations not in OBSERVATION_KINDS:
            raise ValueError(
                f"observations={observations!r} is not allowed; choose one of "
                f"{', '.join(OBSERVATION_KINDS)}"
            )
        if observations == "torch" and engine == "cpu":
            raise ValueError(
                "observations='torch' is for engine='warp'; leave it out, or choose that engine"
            )
        task = make_task(self.task_type, settings)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**TaskEnv.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = render_mode
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self._renderer = make_renderer(render_mode, task)
        self._simulation = Simulation(
            task, num_envs, engine, num_threads=num_threads, device=device
        )
        self._tensors = observations == "torch"
        self.single_observation_space = observation_space(task)
        self.single_action_space = task.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._every = np.arange(num_envs)
        self._elapsed = np.zeros(num_envs, np.int64)
        self._finished = np.zeros(num_envs, bool)

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generator of each world."""
        return tuple(self._simulation.generators)

    @property
    def simulation(self) -> Simulation:
        """The simulated worlds behind the environment, for experts, probes and tests."""
        return self._simulation

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """Start episodes in all worlds, or in those of `options["reset_mask"]`.

        Args:
            seed: World i gets `seed + i`, or the i-th seed of a sequence; None to go on with
                the generators there are.
            options: As `TaskEnv.reset`; and `reset_mask`, (N,), bool.

        Raises:
            ValueError: If an option or the number of seeds is not allowed.
        """
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        worlds = self._every
        if mask is not None:
            mask = np.asarray(mask)
            if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
                raise ValueError(
                    f"reset_mask must be a bool array of shape ({self.num_envs},) with at least "
                    f"one True; got {mask!r}"
                )
            if not self._simulation.last_observation:
                raise ValueError("reset all worlds before resetting some of them")
            worlds = np.flatnonzero(mask)
        self._seed(worlds, seed)
        self._simulation.reset(worlds, options=options)
        self._elapsed[worlds] = 0
        self._finished[worlds] = False
        observation = self._simulation.observe(worlds)
        numbers = self._simulation.info()
        self._show()
        if not self._tensors:
            observation, numbers = self._simulation.fetch(observation, numbers)
        return observation, self._info(numbers, self._mask(worlds))

    def step(self, actions: Array) -> tuple[Observation, Array, Array, Array, dict[str, Any]]:
        """Advance all worlds by one control step of 20 ms.

        Args:
            actions: Actions of all worlds, (N, ...), clipped to the action space.

        Raises:
            ValueError: If the actions have another shape or are not finite, or if a finished
                world was not reset in `AutoresetMode.DISABLED`.
        """
        resetting = np.zeros(0, np.int64)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            resetting = np.flatnonzero(self._finished)
        elif self.autoreset_mode is AutoresetMode.DISABLED and self._finished.any():
            raise ValueError(
                f"worlds {np.flatnonzero(self._finished).tolist()} have finished; reset them "
                "with options={'reset_mask': ...} before stepping, or use another autoreset_mode"
            )
        stepping = np.flatnonzero(~self._finished) if resetting.size else self._every
        simulation = self._simulation
        result = simulation.step(stepping, actions)
        self._elapsed[stepping] += 1
        if resetting.size:
            simulation.reset(resetting)
            self._elapsed[resetting] = 0
        # Before the device is waited for, which then has work to do.
        observation = simulation.observe(self._every)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            simulation.draw_ahead()
        terminated = result.wait()
        truncated = np.zeros(self.num_envs, bool)
        if self.max_episode_steps is not None:
            truncated = self._elapsed >= self.max_episode_steps
        self._finished = terminated | truncated
        ended: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._finished.any():
            done = np.flatnonzero(self._finished)
            ended = self._ended(done, observation)
            simulation.reset(done)
            self._elapsed[done] = 0
            observation = simulation.observe(done)
        numbers = simulation.info()
        self._show()
        if self._tensors:
            info = self._info(numbers, self._mask(self._every)) | ended
            truncated = simulation.engine.arrays.asarray(truncated)
            return observation, result.reward, result.terminated, truncated, info
        observation, numbers, rest = simulation.fetch(
            observation, numbers, {"reward": result.reward}
        )
        reward = rest["reward"].astype(np.float64, copy=False)
        info = self._info(numbers, self._mask(self._every)) | ended
        return observation, reward, terminated, truncated, info

    def render(self) -> tuple[Any, ...] | None:
        """Render every world in the environment's `render_mode`, as `TaskEnv.render`."""
        if self._renderer is None:
            raise ValueError(
                "render() needs a render_mode; pass one of "
                f"{', '.join(RENDER_MODES)} to gymnasium.make_vec"
            )
        if self.render_mode == "human":
            self._renderer.render(self._simulation, 0)
            return None
        return tuple(self._renderer.render(self._simulation, int(w)) for w in self._every)

    def close_extras(self, **kwargs: Any) -> None:
        """Close windows and release threads."""
        if self._renderer is not None:
            self._renderer.close()
        self._simulation.close()

    def _seed(self, worlds: NDArray[np.int64], seed: int | Sequence[int | None] | None) -> None:
        if seed is None:
            return
        seeds = range(seed, seed + self.num_envs) if isinstance(seed, int) else list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(
                f"{len(seeds)} seeds for {self.num_envs} worlds; give one for each, or one number"
            )
        for world in worlds:
            if seeds[world] is not None:
                self._simulation.generators[world] = seeding.np_random(seeds[world])[0]

    def _ended(self, worlds: NDArray[np.int64], observation: Observation) -> dict[str, Any]:
        """What `AutoresetMode.SAME_STEP` tells of the episodes that have ended in `worlds`."""
        numbers = self._simulation.info()
        final: Any = observation
        if not self._tensors:
            rows = self._simulation.engine.arrays.asarray(worlds)
            last = {name: value[rows] for name, value in observation.items()}
            last, numbers = self._simulation.fetch(last, numbers)
            final = np.full(self.num_envs, None, dtype=object)
            for row, world in enumerate(worlds):
                final[world] = {name: value[row] for name, value in last.items()}
        mask = self._mask(worlds)
        return {
            "final_obs": final,
            "_final_obs": mask,
            "final_info": self._info(numbers, mask),
            "_final_info": mask,
        }

    def _info(self, numbers: Mapping[str, Array], mask: Array) -> dict[str, Any]:
        """Gymnasium's vector info of the worlds of a mask: an array and a mask for each key."""
        info: dict[str, Any] = {}
        if not self._tensors:
            numbers = self._simulation.decode(numbers)
        for name, value in numbers.items():
            info[name], info[f"_{name}"] = value, mask
            if not self._tensors:
                info[f"_{name}"] = mask.copy()
                value[~mask] = None if value.dtype == object else 0
        return info

    def _mask(self, worlds: NDArray[np.int64]) -> Array:
        """Flags of `worlds`, (N,), an array of the kind that the environment returns."""
        mask = np.zeros(self.num_envs, bool)
        mask[worlds] = True
        return self._simulation.engine.arrays.asarray(mask) if self._tensors else mask

    def _show(self) -> None:
        if self.render_mode == "human":
            self.render()
