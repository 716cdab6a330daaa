"""Behaviours to learn from: the expert, what goes wrong around it, and most of it at the mouth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtenv.arrays import Array, constant, namespace
from vtenv.tasks import Evaluation
from vtenv.tasks.behaviours import MixedBehaviours, Mixture
from vtenv.tasks.insertion.actions import ACTION_SCALE
from vtenv.tasks.insertion.measures import Geometry
from vtenv.tasks.insertion.state import WorldState

_BIAS = (0.003, 0.003, 0.1, 0.1)
"""Greatest error of a biased expert about the tip: y, z in [m], yaw, pitch in [rad]."""
_NEW_BIAS = 0.04
"""Probability a step that a biased expert errs otherwise: it drags the plug over the face."""
_HOVER_DEPTH = (-0.004, 0.004)
"""Depth of the tip past the mouth that hovering aims at, in [m]."""
_HOVER = (0.005, 0.005, 0.1, 0.1)
"""Farthest from the socket's axis that hovering aims at, as `_BIAS`."""
_NEW_GOAL = 0.08
"""Probability a step that hovering aims at another pose."""
_GAIN = 0.5
"""Part of the way to its goal that hovering goes in one step."""


@dataclass(frozen=True)
class BehaviourMixture(Mixture):
    """How often an episode is of each behaviour; parts of a whole.

    Raises:
        ValueError: If a part is negative, or all are zero.
    """

    expert: float = 0.2
    """The scripted expert: aligned, and in."""
    biased: float = 0.3
    """An expert wrong about the tip by up to 3 mm and 0.1 rad: misaligned, pressed on the face."""
    noisy: float = 0.1
    """The expert, with Gaussian noise of up to 1 on its actions."""
    hover: float = 0.2
    """From pose to pose within 5 mm and 0.1 rad of the mouth, touching it or not."""
    walk: float = 0.2
    """A smooth random walk: mostly free space."""


class InsertionBehaviours(MixedBehaviours):
    """What every world does: that of any task, and experts in error, and hovering at the mouth.

    Args:
        num_worlds: Worlds.
        mixture: How often each behaviour is drawn.
        rng: Source of all randomness; each step takes as many numbers, whatever happens.
        expert: The expert's actions, (N, 5), where the plug is as told.
    """

    def __init__(
        self,
        num_worlds: int,
        mixture: BehaviourMixture,
        rng: np.random.Generator,
        expert: Callable[[WorldState, Geometry], Array],
    ) -> None:
        self._expert_of = expert
        super().__init__(num_worlds, mixture, rng, self._erring_expert)
        self._bias = np.zeros((num_worlds, 4))
        self._goal = np.zeros((num_worlds, 5))

    def start(self, worlds: NDArray[np.bool_]) -> None:
        """Draw a behaviour for each episode that starts, a flag a world."""
        super().start(worlds)
        self._draw(worlds, worlds)

    def act(self, now: Evaluation) -> Array:
        """Actions of all worlds, (N, 5), in [-1, 1], an array of the state's library."""
        change = self.rng.random(len(self.kind))
        self._draw(change < _NEW_BIAS, change < _NEW_GOAL)
        action = super().act(now)
        xp = namespace(action)
        hover = _towards(now.state, now.measures, constant(self._goal, action))
        hovers = constant(self.doing("hover"), action, xp.bool)
        return xp.where(hovers, xp.clip(hover, -1.0, 1.0), action)

    def _erring_expert(self, now: Evaluation) -> Array:
        bias = constant(self._bias * self.doing("biased"), now.state.hand)
        return self._expert_of(now.state, _believed(now.measures, bias))

    def _draw(self, new_bias: NDArray[np.bool_], new_goal: NDArray[np.bool_]) -> None:
        bias, across = self.rng.uniform(-1, 1, (2, len(self.kind), 4))
        across *= self.strength  # so that nearly aligned states are no rarity
        ahead = self.rng.uniform(*_HOVER_DEPTH, len(self.kind))
        self._bias[new_bias] = (bias * _BIAS)[new_bias]
        self._goal[new_goal] = np.column_stack([ahead, across * _HOVER])[new_goal]


def _believed(geom: Geometry, bias: Array) -> Geometry:
    """Where the plug would be if the tip were off by `bias`: y, z, yaw, pitch, (N, 4)."""
    xp = namespace(bias)
    tip, yaw, pitch = geom.tip + bias[:, :2], geom.yaw + bias[:, 2], geom.pitch + bias[:, 3]
    return dataclasses.replace(
        geom,
        tip=tip,
        lateral=xp.hypot(tip[:, 0], tip[:, 1]),
        yaw=yaw,
        pitch=pitch,
        angle=xp.hypot(yaw, pitch),
    )


def _towards(state: WorldState, geom: Geometry, goal: Array) -> Array:
    """Actions that bring the plug to a goal: depth, y, z, yaw, pitch in the socket's frame."""
    xp = namespace(goal)
    scale = constant(ACTION_SCALE, goal)
    forward, sideways = state.socket_mat_w[:, :, 0], state.socket_mat_w[:, :, 1]
    ahead = _GAIN * (goal[:, 0] - geom.depth)
    aside = _GAIN * (goal[:, 1] - geom.tip[:, 0])
    move = forward * ahead[:, None] + sideways * aside[:, None]
    up = _GAIN * (goal[:, 2] - geom.tip[:, 1])
    turn = _GAIN * (goal[:, 3] - geom.yaw)
    tilt = _GAIN * (goal[:, 4] - geom.pitch)
    return xp.stack([move[:, 0], move[:, 1], up, turn, tilt], axis=-1) / scale
