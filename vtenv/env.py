"""The single environment of a task."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from array_api_compat import is_torch_array
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from vtenv.rendering.renderers import RENDER_FPS, RENDER_MODES, make_renderer
from vtenv.simulation import Simulation, observation_space
from vtenv.tasks import Task

_WORLD = np.zeros(1, np.int64)


class TaskEnv(gymnasium.Env[dict[str, NDArray[Any]], NDArray[np.float32]], EzPickle):
    """One world of a task; subclasses say which.

    Args:
        render_mode: One of `vtenv.rendering.renderers.RENDER_MODES`, or None.
        engine: The physics engine, one of `vtenv.engines.ENGINE_NAMES`.
        device: Device of the Warp engine; None for "cuda:0".
        settings: Fields of the task's configuration.
    """

    task_type: ClassVar[type[Any]]
    """The task; a class with `config_type`, made from a configuration."""

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": RENDER_FPS}  # noqa: RUF012

    def __init__(
        self,
        *,
        render_mode: str | None = None,
        engine: str = "cpu",
        device: str | None = None,
        **settings: Any,
    ) -> None:
        EzPickle.__init__(self, render_mode=render_mode, engine=engine, device=device, **settings)
        task = make_task(self.task_type, settings)
        self.render_mode = render_mode
        self._renderer = make_renderer(render_mode, task)
        threads = {"num_threads": 1} if engine == "cpu" else {}
        self._simulation = Simulation(task, 1, engine, device=device, **threads)
        self.observation_space = observation_space(task)  # type: ignore[assignment]
        self.action_space = task.action_space  # type: ignore[assignment]

    @property
    def simulation(self) -> Simulation:
        """The simulated world behind the environment, for experts, probes and tests."""
        return self._simulation

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Seeds the environment's generator; None to go on with it.
            options: Values of the initial state to fix for this episode, as the task allows.

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
    ) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Advance by one control step of 20 ms.

        Args:
            action: In the action space, to which it is clipped.

        Returns:
            Observation, reward, terminated, truncated (always False: the `TimeLimit` wrapper
            truncates) and info.

        Raises:
            ValueError: If the action has another shape, or is not finite.
        """
        action = action if is_torch_array(action) else np.asarray(action)
        result = self._simulation.step(_WORLD, action[None])
        terminated = bool(result.wait()[0])
        observation, info = self._observe()
        return observation, float(result.reward[0]), terminated, False, info

    def render(self) -> NDArray[Any] | None:
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

    def _observe(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        simulation = self._simulation
        observation, fetched = simulation.fetch(simulation.observe(_WORLD), simulation.info())
        info = {
            name: value[0].item() if isinstance(value[0], np.generic) else value[0]
            for name, value in simulation.decode(fetched).items()
        }
        if self.render_mode == "human":
            self.render()
        return {name: value[0] for name, value in observation.items()}, info


def make_task(task_type: type[Any], settings: dict[str, Any]) -> Task:
    """A task from an environment's keyword arguments.

    Raises:
        TypeError: If an argument is unknown; lists those there are.
        ValueError: If a value is not allowed; says what is.
    """
    task: Task = task_type(task_type.config_type.from_settings(task_type.env_id, settings))
    return task
