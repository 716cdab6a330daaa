"""Behaviours to learn from: a task's expert, the expert shaken, and random walks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtenv.arrays import Array, constant, namespace
from vtenv.tasks import Evaluation
from vtenv.validation import as_number, require

_PERSISTENCE, _PACE = 0.9, 0.5
"""Part of a random walk's velocity that is left after a step, and its greatest deviation."""


@dataclass(frozen=True)
class Mixture:
    """How often an episode is of each behaviour: a field each, parts of a whole.

    Raises:
        ValueError: If a part is negative, or all are zero.
    """

    def __post_init__(self) -> None:
        parts = dataclasses.asdict(self)
        for name, part in parts.items():
            number = as_number(part)
            require(number is not None and number >= 0, name, part, "a number of 0 or more")
        if not sum(parts.values()) > 0:
            raise ValueError("a mixture needs at least one behaviour with a part above 0")

    @property
    def names(self) -> tuple[str, ...]:
        """The behaviours, in the order of their codes."""
        return tuple(field.name for field in dataclasses.fields(self))

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probability of each behaviour."""
        parts = np.array(list(dataclasses.asdict(self).values()), np.float64)
        return parts / parts.sum()


class MixedBehaviours:
    """What every world does: drawn when its episode starts, on the host.

    Implements `vtenv.tasks.Behaviours`. Worlds do as the expert does, with Gaussian noise on the
    actions of those that are "noisy"; those that "walk" go by a smooth random walk instead.

    Args:
        num_worlds: Worlds.
        mixture: How often each behaviour is drawn; "noisy" and "walk" are among them.
        rng: Source of all randomness; each step takes as many numbers, whatever happens.
        expert: Actions of the scripted expert, (N, A).
        num_actions: Numbers of an action.

    Attributes:
        kind: Code of each world's behaviour into `Mixture.names`, (N,).
        strength: How far from the expert an episode is, 0 to 1, (N, 1): its noise or speed.
    """

    def __init__(
        self,
        num_worlds: int,
        mixture: Mixture,
        rng: np.random.Generator,
        expert: Callable[[Evaluation], Array],
        num_actions: int = 5,
    ) -> None:
        self._names = mixture.names
        self._bounds = np.cumsum(mixture.probabilities)[:-1]
        self._expert = expert
        self._velocity = np.zeros((num_worlds, num_actions))
        self.rng = rng
        self.kind = np.zeros(num_worlds, np.int64)
        self.strength = np.zeros((num_worlds, 1))

    def start(self, worlds: NDArray[np.bool_]) -> None:
        """Draw a behaviour for each episode that starts, a flag a world."""
        kind, strength = self.rng.random((2, len(worlds)))
        self.kind[worlds] = np.searchsorted(self._bounds, kind, side="right")[worlds]
        self.strength[worlds, 0] = strength[worlds]
        self._velocity[worlds] = 0.0

    def act(self, now: Evaluation) -> Array:
        """Actions of all worlds, (N, A), in [-1, 1], an array of the state's library."""
        noise = self.rng.standard_normal(self._velocity.shape)
        self._velocity *= _PERSISTENCE
        self._velocity += math.sqrt(1 - _PERSISTENCE**2) * noise

        expert = self._expert(now)
        xp = namespace(expert)
        shake = constant(noise * self.strength * self.doing("noisy"), expert)
        walk = constant(self._velocity * self.strength * _PACE, expert)
        walks = constant(self.doing("walk"), expert, xp.bool)
        return xp.clip(xp.where(walks, walk, expert + shake), -1.0, 1.0)

    def doing(self, name: str) -> NDArray[np.bool_]:
        """Which worlds do something, (N, 1)."""
        flags: NDArray[Any] = self.kind[:, None] == self._names.index(name)
        return flags
