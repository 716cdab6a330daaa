"""The single environment of a task."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from vtenv.rendering.renderers import IMAGE_SIZE, RENDER_MODES
from vtenv.simulation import observation_space
from vtenv.task_worlds import TERMINATED, TaskWorlds, checked_seed, make_task
from vtenv.validation import checked_actions, require

_WORLD = np.zeros(1, np.int64)
_KEYS = (("w", "s"), ("a", "d"), ("r", "f"), ("q", "e"), ("t", "g"))
"""Keys that move along each axis of an action, forwards and back."""


class TaskEnv(TaskWorlds, gymnasium.Env[dict[str, NDArray[Any]], NDArray[np.float32]]):
    """One world of a task; subclasses say which.

    Args:
        render_mode: One of `vtenv.rendering.renderers.RENDER_MODES`, or None.
        picture: What "rgb_array" shows, one of `vtenv.rendering.renderers.PICTURES`.
        width: Of pictures of the scene, in pixels.
        height: Likewise.
        engine: The physics engine, one of `vtenv.engines.ENGINE_NAMES`.
        device: Device of the Warp engine; None for "cuda:0".
        settings: Fields of the task's configuration.
    """

    _copied = ("_np_random", "_np_random_seed")

    def __init__(
        self,
        *,
        render_mode: str | None = None,
        picture: str = "scene",
        width: int = IMAGE_SIZE[0],
        height: int = IMAGE_SIZE[1],
        engine: str = "cpu",
        device: str | None = None,
        **settings: Any,
    ) -> None:
        task = make_task(type(self), settings)
        threads = {"num_threads": 1} if engine == "cpu" else {}
        size = width, height
        self._set_up(task, 1, render_mode, picture, size, engine, device=device, **threads)
        self.observation_space = self._sole(observation_space(task))
        self.action_space = task.action_space  # type: ignore[assignment]

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
            ClosedEnvironmentError: If the environment was closed.
            ValueError: If the seed or an option is not allowed; says what is.
        """
        self._check_open()
        require(
            options is None or isinstance(options, Mapping),
            "options",
            options,
            "a mapping of names to values",
        )
        super().reset(seed=checked_seed(seed))
        self._simulation.reset(_WORLD, [self.np_random], options)
        self._obstacle = None
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
            ResetNeeded: Before the first reset, and after an episode that has terminated.
            ClosedEnvironmentError: If the environment was closed.
            ValueError: If the action has another shape, or is not finite.
        """
        self._check_ready()
        action = checked_actions(action, self._simulation.task.action_space.shape)
        result = self._simulation.step(_WORLD, action[None])
        terminated = bool(result.wait()[0])
        if terminated:
            self._obstacle = TERMINATED
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
        self._release()

    def get_state(self) -> dict[str, Any]:
        """Everything that decides what happens next, noise included; see `set_state`.

        The state is the environment's own, without its wrappers': `TimeLimit` counts its steps
        itself, and `copy.deepcopy` of a wrapped environment copies both.

        Returns:
            Nested dicts and lists of NumPy arrays and plain numbers; can be pickled.

        Raises:
            ResetNeeded: Before the first reset.
            ClosedEnvironmentError: If the environment was closed.
        """
        if self._obstacle is not TERMINATED:
            self._check_ready()
        return {
            "simulation": self._simulation.get_state(),
            "seed": self.np_random_seed,
            "terminated": self._obstacle is TERMINATED,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of this environment, or of another with the same settings.

        On the CPU engine the same actions then lead to the same observations, to the bit.

        Raises:
            ClosedEnvironmentError: If the environment was closed.
        """
        self._check_open()
        self._simulation.set_state(state["simulation"])
        self._np_random = self._simulation.generators[0]
        self._np_random_seed = state["seed"]
        self._obstacle = TERMINATED if state["terminated"] else None

    def get_keys_to_action(self) -> dict[tuple[str, ...], NDArray[np.float32]]:
        """Actions of keys and of pairs of them, for `gymnasium.utils.play`.

        `w` and `s` move along the first axis of the action, `a` and `d` along the second, then
        `r` and `f`, `q` and `e`, `t` and `g`.
        """
        moves: dict[str, NDArray[np.float32]] = {}
        axes = np.eye(*self._simulation.task.action_space.shape, dtype=np.float32)
        for (ahead, back), axis in zip(_KEYS, axes, strict=False):
            moves |= {ahead: axis, back: -axis}
        pairs = itertools.combinations(moves, 2)
        return {(key,): move for key, move in moves.items()} | {
            (one, other): moves[one] + moves[other] for one, other in pairs
        }

    def _observe(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        simulation = self._simulation
        observation, fetched = simulation.fetch(simulation.observe(_WORLD), simulation.info())
        info = {
            name: value[0].item() if isinstance(value[0], np.generic) else value[0]
            for name, value in simulation.decode(fetched).items()
        }
        if self.render_mode == "human":
            self.render()
        own = {name: value[0] for name, value in observation.items()}
        return self._sole(own), info
