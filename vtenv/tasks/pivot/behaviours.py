"""Behaviours to learn from: the expert, the expert shaken, and random walks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from vtenv.arrays import Array, constant, namespace
from vtenv.tasks import Evaluation
from vtenv.tasks.insertion.behaviours import Mixture

_PERSISTENCE, _PACE = 0.9, 0.5
"""Part of a random walk's velocity that is left after a step, and its greatest deviation."""


@dataclass(frozen=True)
class PivotMixture(Mixture):
    """How often an episode is of each behaviour; parts of a whole.

    Raises:
        ValueError: If a part is negative, or all are zero.
    """

    expert: float = 0.4
    """The scripted expert: pressed on the fixture, turned and shifted to the goal."""
    noisy: float = 0.4
    """The expert, with Gaussian noise of up to 1 on its actions."""
    walk: float = 0.2
    """A smooth random walk: mostly free space."""


BEHAVIOURS = tuple(field.name for field in fields(PivotMixture))
"""What an episode may be about, by code."""


class PivotBehaviours:
    """What every world does: drawn when its episode starts, on the host.

    Args:
        num_worlds: Worlds.
        mixture: How often each behaviour is drawn.
        rng: Source of all randomness; each step takes as many numbers, whatever happens.
        expert: What the scripted expert does.
    """

    def __init__(
        self,
        num_worlds: int,
        mixture: PivotMixture,
        rng: np.random.Generator,
        expert: Callable[[Evaluation], Array],
    ) -> None:
        self._rng = rng
        self._expert = expert
        self._bounds = np.cumsum(mixture.probabilities)[:-1]
        self.kind = np.zeros(num_worlds, np.int64)
        self._velocity = np.zeros((num_worlds, 5))
        self._strength = np.zeros((num_worlds, 1))
        """How strong an episode's noise or walk is, 0 to 1."""

    def start(self, worlds: NDArray[np.bool_]) -> None:
        """Draw a behaviour for each episode that starts, a flag a world."""
        kind, strength = self._rng.random((2, len(worlds)))
        self.kind[worlds] = np.searchsorted(self._bounds, kind, side="right")[worlds]
        self._strength[worlds, 0] = strength[worlds]
        self._velocity[worlds] = 0.0

    def act(self, now: Evaluation) -> Array:
        """Actions of all worlds, (N, 5), in [-1, 1], an array of the state's library."""
        noise = self._rng.standard_normal((len(self.kind), 5))
        self._velocity *= _PERSISTENCE
        self._velocity += math.sqrt(1 - _PERSISTENCE**2) * noise

        expert = self._expert(now)
        xp = namespace(expert)
        noisy, walks = (self.kind[:, None] == BEHAVIOURS.index(name) for name in ("noisy", "walk"))
        shake = constant(noise * self._strength * noisy, expert)
        walk = constant(self._velocity * self._strength * _PACE, expert)
        action = xp.where(constant(walks, expert, xp.bool), walk, expert + shake)
        return xp.clip(action, -1.0, 1.0)
