"""Physics engines: the protocol they share, and how one is chosen by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from vtenv.config import VTInsertConfig
from vtenv.state import Array, InitialState, PhysicsState, WorldState

ENGINE_NAMES = ("cpu",)
"""The closed set of engines."""


class Engine(Protocol):
    """N worlds of the scene: physics and noise-free sensors.

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

    def render_depth(self, world: int) -> Array:
        """Noise-free overhead depth of one world, (H, W), float32, [m], for people."""

    def physics(self, world: int) -> PhysicsState:
        """The state of one world, for drawing it."""

    def close(self) -> None:
        """Release threads and memory; may be called twice."""


def make_engine(
    name: str, config: VTInsertConfig, num_worlds: int, num_threads: int | None = None
) -> Engine:
    """Make an engine.

    Args:
        name: One of `ENGINE_NAMES`.
        config: The environment's settings.
        num_worlds: Worlds to simulate.
        num_threads: Threads of the CPU engine; None for one a core, but no more than worlds.

    Raises:
        ValueError: If there is no such engine; lists those there are.
    """
    if name == "cpu":
        from vtenv.engines.cpu import CPUEngine

        return CPUEngine(config, num_worlds, num_threads)
    raise ValueError(f"unknown engine {name!r}; choose one of {', '.join(ENGINE_NAMES)}")
