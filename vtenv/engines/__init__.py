"""Physics engines: the protocol they share, and how one is chosen by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from vtenv.config import VTInsertConfig
from vtenv.state import Array, InitialState, PhysicsState, WorldState

ENGINE_NAMES = ("cpu", "warp")
"""The closed set of engines."""
OBSERVATION_KINDS = ("numpy", "torch")
"""What observations can be made of."""


class Engine(Protocol):
    """N worlds of the scene: physics and sensors.

    Every method acts on the worlds it is given, as sorted unique indices, and leaves the
    others alone. What a world does depends on nothing but its own calls.
    """

    num_worlds: int
    bank_size: int
    """Settled grasps of each connector that `InitialState.grasp` may index."""

    def reset(self, worlds: Array, initial: InitialState) -> None:
        """Put worlds into their initial states, one row of `initial` each."""

    def step(self, worlds: Array, target: Array) -> None:
        """Advance worlds by one control step, driving the hand to `target`, (K, 5)."""

    def state(self) -> WorldState:
        """The state of all worlds; may alias the engine's memory until the next call."""

    def sense(self, worlds: Array, generators: Sequence[np.random.Generator]) -> dict[str, Array]:
        """Sensor images of all worlds, new arrays; only those of `worlds` are fresh.

        Args:
            worlds: Worlds to sense.
            generators: Source of each world's noise, one for every world.

        Returns:
            `depth` (N, 1, H, W) if the configuration's modalities ask for it; `contact` and
            `gel` (N, 2, H, W) if they ask for either.
        """

    def as_observation(self, values: NDArray[np.float32]) -> Array:
        """Numbers of an observation as an array of the images' kind."""

    def render_depth(self, world: int) -> Array:
        """Noise-free overhead depth of one world, (H, W), float32, [m], for people."""

    def physics(self, world: int) -> PhysicsState:
        """The state of one world, for drawing it."""

    def close(self) -> None:
        """Release threads and memory; may be called twice."""


def make_engine(
    name: str,
    config: VTInsertConfig,
    num_worlds: int,
    *,
    num_threads: int | None = None,
    device: str | None = None,
    observations: str = "numpy",
) -> Engine:
    """Make an engine.

    Args:
        name: One of `ENGINE_NAMES`.
        config: The environment's settings.
        num_worlds: Worlds to simulate.
        num_threads: Threads of the CPU engine; None for one a core, but no more than worlds.
        device: Device of the Warp engine; None for "cuda:0".
        observations: "numpy", or "torch" for tensors on the Warp engine's device.

    Raises:
        ValueError: If there is no such engine, or an argument is not for it; says what is.
        DependencyNotInstalled: If the engine's extra is not installed; names it.
    """
    if name not in ENGINE_NAMES:
        raise ValueError(f"unknown engine {name!r}; choose one of {', '.join(ENGINE_NAMES)}")
    if observations not in OBSERVATION_KINDS:
        raise ValueError(
            f"observations={observations!r} is not allowed; choose one of "
            f"{', '.join(OBSERVATION_KINDS)}"
        )
    if name == "cpu":
        if device is not None or observations != "numpy":
            raise ValueError(
                f"device={device!r} and observations={observations!r} are for engine='warp'; "
                "leave them out, or choose that engine"
            )
        from vtenv.engines.cpu import CPUEngine

        return CPUEngine(config, num_worlds, num_threads)
    if num_threads is not None:
        raise ValueError(f"num_threads={num_threads} is for engine='cpu'; leave it out")
    try:
        from vtenv.engines.warp import WarpEngine
    except ModuleNotFoundError as error:
        raise DependencyNotInstalled(
            f"engine='warp' needs {error.name}; install the extra with `uv sync --extra warp` or "
            '`pip install "vtinsert[warp]"`'
        ) from error
    return WarpEngine(config, num_worlds, device or "cuda:0", tensors=observations == "torch")
