"""Physics engines: the protocol they share, and how one is chosen by name."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from vtenv.state import Array, InitialState, PhysicsState, WorldState
from vtenv.tasks.insertion.config import VTInsertConfig
from vtenv.tasks.insertion.domain import Domain

ENGINE_NAMES = ("cpu", "warp")
"""The closed set of engines."""

Worlds = NDArray[np.int64]
Key = TypeVar("Key", bound=Hashable)
R = TypeVar("R")


class Engine(Protocol):
    """N worlds of the scene: physics and sensors.

    Every method acts on the worlds it is given, as sorted unique indices on the host, and leaves
    the others alone. What a world does depends on nothing but its own calls. An engine's other
    arrays are of its own library and device: NumPy's on the CPU, torch's on a GPU.
    """

    num_worlds: int
    bank_size: int
    """Settled grasps of each connector that `InitialState.grasp` may index."""

    def asarray(self, values: Array) -> Array:
        """Values as an array of the engine's library, on its device, in its precision."""

    def copied(self, arrays: Mapping[Key, Array]) -> dict[Key, Array]:
        """Copies of arrays of one shape, which share no element, in few operations."""

    def send(self, arrays: Mapping[Key, Array]) -> Callable[[], dict[Key, NDArray[Any]]]:
        """Start to bring arrays to the host; the function returned waits until they are there.

        It is there, too, that an engine tells of what went wrong on its device.
        """

    def recorded(self, function: Callable[..., R]) -> Callable[..., R]:
        """A pure function of the engine's arrays and state, made as fast as the engine can.

        A GPU records it once: what differs between calls must be among its arguments, which are
        arrays, None, or dicts, tuples and dataclasses of them, as are its results.
        """

    def reset(self, worlds: Worlds, initial: InitialState, domain: Domain | None = None) -> None:
        """Put worlds into their initial states, one row of `initial` each, of NumPy arrays.

        Args:
            worlds: Worlds to reset.
            initial: How they start.
            domain: Their domains, a row each; given at every reset if the configuration
                randomises domains, and never if it does not.
        """

    def step(self, worlds: Worlds, target: Array) -> None:
        """Advance worlds by one control step, driving their hands to `target`, (N, 5)."""

    def state(self) -> WorldState:
        """The state of all worlds; may alias the engine's memory until the next call."""

    def sense(self, worlds: Worlds, generators: Sequence[np.random.Generator]) -> dict[str, Array]:
        """Sensor images of all worlds, new arrays; other worlds' are those last sensed.

        Args:
            worlds: Worlds to sense.
            generators: Source of each world's noise, one for every world.

        Returns:
            `depth` (N, 1, H, W) if the configuration's modalities ask for it; `contact` and
            `gel` (N, 2, H, W) if they ask for either.
        """

    def render_depth(self, world: int) -> NDArray[np.float32]:
        """Noise-free overhead depth of one world, (H, W), float32, [m], for people."""

    def physics(self, world: int) -> PhysicsState:
        """The state of one world, for drawing it."""

    def close(self) -> None:
        """Release threads and memory; may be called twice."""


@runtime_checkable
class PreparingEngine(Engine, Protocol):
    """An engine whose device is busy while the host waits, and can make resets ready.

    It draws from a world's generator at the first `sense` after a reset alone: once a world was
    sensed, its next episode may be drawn ahead.
    """

    def prepare(self, initial: InitialState, domain: Domain | None) -> NDArray[np.float32]:
        """The part of `reset` that is the host's: a row for each initial state."""

    def reset_prepared(self, worlds: Worlds, rows: NDArray[np.float32]) -> None:
        """Put worlds into initial states that were prepared, one row each."""


def make_engine(
    name: str,
    config: VTInsertConfig,
    num_worlds: int,
    *,
    num_threads: int | None = None,
    device: str | None = None,
) -> Engine:
    """Make an engine.

    Args:
        name: One of `ENGINE_NAMES`.
        config: The environment's settings.
        num_worlds: Worlds to simulate.
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
    return WarpEngine(config, num_worlds, device or "cuda:0")
