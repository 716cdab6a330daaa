"""A curriculum: episodes begin near the goal, and farther from it as the policy learns."""

from __future__ import annotations

from vtenv.simulation import Simulation

THRESHOLD = 0.6
"""Success rate at which the ranges grow."""
GROWTH = 0.05
"""Part of the ranges by which they grow."""
MIN_EPISODES = 200
"""Episodes with the same ranges before they grow."""


class Curriculum:
    """Narrows the ranges of initial states, and widens them whenever enough episodes succeed.

    Args:
        simulation: The worlds in which the policy learns.
        scale: Part of the ranges to begin with, in (0, 1]; 1 for no curriculum.
    """

    def __init__(self, simulation: Simulation, scale: float) -> None:
        self._simulation, self._full = simulation, simulation.task
        self._episodes = self._successes = 0.0
        self._set(scale)

    def learn_of(self, episodes: float, successes: float) -> None:
        """Take note of so many episodes, and widen the ranges if enough of them succeeded."""
        if self.scale >= 1:
            return
        self._episodes += episodes
        self._successes += successes
        if self._episodes < MIN_EPISODES:
            return
        if self._successes >= THRESHOLD * self._episodes:
            self._set(min(self.scale + GROWTH, 1.0))
        self._episodes = self._successes = 0.0

    def state_dict(self) -> dict[str, float]:
        """Where it stands."""
        return {"scale": self.scale, "episodes": self._episodes, "successes": self._successes}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from where another stood."""
        self._episodes, self._successes = state["episodes"], state["successes"]
        self._set(state["scale"])

    def _set(self, scale: float) -> None:
        self.scale = scale
        self._simulation.task = self._full if scale >= 1 else self._full.narrowed(scale)
