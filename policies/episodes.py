"""Seeded episodes played to their end, many at once, and what came of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtenv.connectors import CONNECTORS
from vtenv.expert import expert_action
from vtenv.simulation import Simulation
from vtenv.state import Array, namespace
from vtenv.vector_env import VTInsertVectorEnv

Policy = Callable[[Simulation], Array]
"""Chooses the actions of all worlds, (N, 5), from the simulation behind an environment."""


@dataclass(frozen=True)
class Outcome:
    """What came of an episode.

    Attributes:
        connector: The connector it was about.
        seed: Seed of its world.
        success: Whether the plug went in.
        failure: Why the episode ended as a failure; empty if it did not.
        steps: Control steps until it ended.
        depth: How far the tip got past the mouth, in [m]; negative outside.
        peak_force: Greatest force between socket and plug, in [N].
    """

    connector: str
    seed: int
    success: bool
    failure: str
    steps: int
    depth: float
    peak_force: float

    @property
    def travel_fraction(self) -> float:
        """Part of the plug's travel that is in the socket."""
        return min(max(self.depth / CONNECTORS[self.connector].travel, 0.0), 1.0)


def expert(simulation: Simulation) -> Array:
    """The scripted expert as a `Policy`."""
    action = expert_action(simulation.state, simulation.geometry)
    xp = namespace(action)
    return xp.astype(action, xp.float32)


def play(
    envs: VTInsertVectorEnv,
    policy: Policy,
    seeds: Sequence[int],
    options: Mapping[str, Any] | None = None,
) -> Iterator[Outcome]:
    """Play one episode from each seed, as many at once as there are worlds.

    Args:
        envs: The environments, with Gymnasium's default `AutoresetMode.NEXT_STEP`.
        policy: Who acts.
        seeds: Seeds of the episodes' worlds.
        options: What is fixed about the initial states, as `VTInsertEnv.reset` takes it.

    Yields:
        Outcomes, in the order in which episodes end.
    """
    for first in range(0, len(seeds), envs.num_envs):
        batch = list(seeds[first : first + envs.num_envs])
        # Worlds without a seed of their own repeat the first; nobody looks at them.
        running = np.arange(envs.num_envs) < len(batch)
        padding = [batch[0]] * (envs.num_envs - len(batch))
        _, info = envs.reset(seed=batch + padding, options=dict(options or {}))
        peak_force = info["contact_force"]
        steps = 0
        while running.any():
            _, _, terminated, truncated, info = envs.step(policy(envs.simulation))
            steps += 1
            peak_force = np.maximum(peak_force, info["contact_force"])
            for world in np.flatnonzero(running & (terminated | truncated)):
                running[world] = False
                yield Outcome(
                    connector=info["connector"][world],
                    seed=batch[world],
                    success=bool(info["is_success"][world]),
                    failure=info["failure"][world],
                    steps=steps,
                    depth=float(info["insertion_depth"][world]),
                    peak_force=float(peak_force[world]),
                )
