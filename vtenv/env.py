"""The single environment, `VTInsert-v0`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from vtenv.config import VTInsertConfig
from vtenv.rendering import RENDER_FPS, RENDER_MODES, make_renderer
from vtenv.simulation import Simulation, action_space, observation_space

_WORLD = np.zeros(1, np.int64)


class VTInsertEnv(gymnasium.Env[dict[str, NDArray], NDArray[np.float32]], EzPickle):
    """Insert a connector, held between two GelSight fingers, into its socket."""

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": RENDER_FPS}  # noqa: RUF012

    def __init__(
        self, *, render_mode: str | None = None, engine: str = "cpu", **settings: Any
    ) -> None:
        EzPickle.__init__(self, render_mode=render_mode, engine=engine, **settings)
        self.config = VTInsertConfig.from_settings(**settings)
        self.render_mode = render_mode
        self._renderer = make_renderer(render_mode, self.config)
        self._simulation = Simulation(self.config, 1, engine, num_threads=1)
        self.observation_space = observation_space(self.config)
        self.action_space = action_space()

    @property
    def simulation(self) -> Simulation:
        """The simulated world behind the environment, for experts, probes and tests."""
        return self._simulation

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Seeds the environment's generator; None to go on with it.
            options: Values of the initial state to fix for this episode: `connector`, or the
                name of a field of `InitialStateRanges` with a number in its unit.

        Returns:
            The observation and the info.

        Raises:
            ValueError: If an option is not allowed; lists those that are.
        """
        super().reset(seed=seed)
        self._simulation.reset(_WORLD, [self.np_random], options)
        return self._observe()

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray], float, bool, bool, dict[str, Any]]:
        """Advance by one control step of 20 ms.

        Args:
            action: Change of the hand's target, shape (5,), clipped to [-1, 1].

        Returns:
            Observation, reward, terminated, truncated (always False: the `TimeLimit` wrapper
            truncates) and info.

        Raises:
            ValueError: If the action has another shape, or is not finite.
        """
        result = self._simulation.step(_WORLD, np.asarray(action)[None])
        observation, info = self._observe()
        return observation, float(result.reward[0]), bool(result.terminated[0]), False, info

    def render(self) -> NDArray | None:
        """Render in the environment's `render_mode`.

        Returns:
            An RGB image (H, W, 3), uint8; a depth image (H, W), float32, [m], in
            "depth_array"; or None in "human", which shows it.
        """
        if self._renderer is None:
            gymnasium.logger.warn(
                "render() was called without a render_mode; pass one of "
                f"{', '.join(RENDER_MODES)} to gymnasium.make"
            )
            return None
        return self._renderer.render(self._simulation, 0)

    def close(self) -> None:
        """Close windows and release threads; may be called twice."""
        if self._renderer is not None:
            self._renderer.close()
        self._simulation.close()

    def _observe(self) -> tuple[dict[str, NDArray], dict[str, Any]]:
        observation = self._simulation.observe(_WORLD)
        info = {
            name: value[0].item() if isinstance(value[0], np.generic) else value[0]
            for name, value in self._simulation.info().items()
        }
        if self.render_mode == "human":
            self.render()
        return {name: value[0] for name, value in observation.items()}, info
