"""Physics engines: the protocol they share, and how one is chosen by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from vtenv.arrays import Array, ArrayBackend
from vtenv.world_model import InitialPhysics, PhysicsState, Snapshot, WorldModel

ENGINE_NAMES = ("cpu", "warp")
"""The closed set of engines."""

Worlds = NDArray[np.int64]


class Engine(Protocol):
    """N worlds of a model: physics and sensors.

    Every method acts on the worlds it is given, as sorted unique indices on the host, and leaves
    the others alone. What a world does depends on nothing but its own calls. Arrays, but for
    those of resets, are of the engine's own library and device.

    Attributes:
        num_worlds: Worlds.
        device_is_ahead: Whether the device works while the host goes on. Such an engine draws
            from a world's generator at the first `sense` after a reset alone, so that the next
            episode of a world that was sensed may be drawn ahead.
    """

    num_worlds: int
    device_is_ahead: bool

    @property
    def arrays(self) -> ArrayBackend:
        """The library and device of its arrays."""

    def reset(self, worlds: Worlds, initial: InitialPhysics) -> None:
        """Put worlds into their initial states, one row each."""

    def step(self, worlds: Worlds, controls: Array, forces: Array | None = None) -> None:
        """Advance worlds by one control step.

        Args:
            worlds: Worlds to step.
            controls: Inputs of the driven actuators, (N, n).
            forces: Force on the centre of mass of `WorldModel.pushed`, and torque, in the world
                frame, (N, 6), [N] and [N m]; held for the step.
        """

    def state(self) -> PhysicsState:
        """The state of all worlds; may alias the engine's memory until the next call."""

    def sense(self, worlds: Worlds, generators: Sequence[np.random.Generator]) -> dict[str, Array]:
        """Sensor images of all worlds, new arrays; other worlds' are those last sensed.

        Args:
            worlds: Worlds to sense.
            generators: Source of each world's noise, one for every world.

        Returns:
            Images (N, C, H, W) of the modalities of the world model.
        """

    def snapshot(self, world: int) -> Snapshot:
        """The state of one world, for drawing it."""

    def get_state(self) -> dict[str, Any]:
        """Everything that decides what the worlds do next, as NumPy arrays, copied."""

    def set_state(self, state: dict[str, Any]) -> dict[str, Array]:
        """Put all worlds into a state from `get_state` of an engine of this kind and model.

        Returns:
            The images last sensed, new arrays; none where nothing was sensed yet.
        """

    def close(self) -> None:
        """Release threads and memory; may be called twice."""


def make_engine(
    name: str,
    world_model: WorldModel,
    num_worlds: int,
    *,
    num_threads: int | None = None,
    device: str | None = None,
) -> Engine:
    """Make an engine.

    Args:
        name: One of `ENGINE_NAMES`.
        world_model: What to simulate.
        num_worlds: Worlds to simulate, at least 1.
        num_threads: Threads of the CPU engine; None for one a core, but no more than worlds.
        device: Device of the Warp engine; None for "cuda:0".

    Raises:
        ValueError: If there is no such engine, or an argument is not for it; says what is.
        DependencyNotInstalled: If the engine's extra is not installed; names it.
    """
    if name not in ENGINE_NAMES:
        raise ValueError(f"unknown engine {name!r}; choose one of {', '.join(ENGINE_NAMES)}")
    if name == "cpu":
        if device is not None:
            raise ValueError(
                f"device={device!r} is for engine='warp'; leave it out, or choose that engine"
            )
        from vtenv.engines.cpu import CPUEngine

        return CPUEngine(world_model, num_worlds, num_threads)
    if num_threads is not None:
        raise ValueError(f"num_threads={num_threads} is for engine='cpu'; leave it out")
    try:
        from vtenv.engines.warp import WarpEngine
    except ModuleNotFoundError as error:
        raise DependencyNotInstalled(
            f"engine='warp' needs {error.name}; install the extra with `uv sync --extra warp` or "
            '`pip install "vtinsert[warp]"`'
        ) from error
    return WarpEngine(world_model, num_worlds, device or "cuda:0")
