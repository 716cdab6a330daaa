"""A curriculum: episodes begin near the socket's axis, and farther from it as the policy learns."""

from __future__ import annotations

from dataclasses import fields, replace

from vtenv.simulation import Simulation
from vtenv.tasks.insertion.config import InitialStateRanges
from vtenv.validation import Range

THRESHOLD = 0.6
"""Success rate at which the ranges grow."""
GROWTH = 0.05
"""Part of the ranges by which they grow."""
MIN_EPISODES = 200
"""Episodes with the same ranges before they grow."""
_PREFIXES = ("hand_", "socket_")
"""Fields that the curriculum narrows. Where the plug sits in the hand it leaves: grasps are drawn
from those that are settled."""


class Curriculum:
    """Narrows where socket and hand begin, and widens it whenever enough episodes succeed.

    Args:
        simulation: The worlds in which the policy learns.
        scale: Part of the ranges to begin with, in (0, 1]; 1 for no curriculum.
    """

    def __init__(self, simulation: Simulation, scale: float) -> None:
        self._simulation = simulation
        self._full = simulation.config.initial_state
        self._episodes = self._successes = 0.0
        self._set(scale)

    def learn_of(self, episodes: int, success: float) -> None:
        """Take note of how episodes ended, and widen the ranges if they went well.

        Args:
            episodes: How many.
            success: Part of them that succeeded.
        """
        if self.scale >= 1:
            return
        self._episodes += episodes
        self._successes += episodes * success
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
        ranges = narrowed(self._full, scale)
        self._simulation.config = replace(self._simulation.config, initial_state=ranges)


def narrowed(ranges: InitialStateRanges, scale: float) -> InitialStateRanges:
    """Ranges of socket and hand, narrowed about their middle.

    Args:
        ranges: The full ranges.
        scale: Part of them to keep, 0 to 1.
    """

    def about_middle(bounds: Range) -> Range:
        middle, half = sum(bounds) / 2, (bounds[1] - bounds[0]) / 2
        return middle - scale * half, middle + scale * half

    return replace(
        ranges,
        **{
            field.name: about_middle(getattr(ranges, field.name))
            for field in fields(ranges)
            if field.name.startswith(_PREFIXES)
        },
    )
