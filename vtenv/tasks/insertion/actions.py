"""What actions do: they move the hand's target."""

from __future__ import annotations

from vtenv.arrays import Array, constant, namespace

ACTION_SCALE = (0.004, 0.003, 0.002, 0.06, 0.06)
"""Change of the hand's target by an action of 1: x, y, z in [m], yaw, pitch in [rad]."""
HAND_STIFFNESS = 2000.0
"""Force of the hand over the distance to its target, in [N/m]."""
HAND_FORCE = 30.0
"""Greatest force of the hand along each axis unless another is set, in [N]."""
_TURN_LEASH = (0.15, 0.15)
"""Farthest the target's yaw and pitch may be from the hand's, in [rad]: a torque of 3 Nm."""


def target_leash(hand_force: float = HAND_FORCE) -> tuple[float, ...]:
    """Farthest the target may be from the hand, as `ACTION_SCALE`.

    Args:
        hand_force: Greatest force along each axis, in [N].
    """
    return (hand_force / HAND_STIFFNESS,) * 3 + _TURN_LEASH


WORKSPACE = ((-0.02, 0.06), (-0.045, 0.045), (-0.025, 0.025), (-0.6, 0.6), (-0.6, 0.6))
"""Bounds of the target, in the same order, from the hand's nominal pose: the gantry's range."""

_LOW, _HIGH = zip(*WORKSPACE, strict=True)


def next_target(target: Array, hand: Array, action: Array, hand_force: float = HAND_FORCE) -> Array:
    """Move the hand's target by an action; keep it on its leash and in the workspace.

    Args:
        target: The present target, (N, 5).
        hand: The hand's pose, (N, 5).
        action: In [-1, 1], (N, 5).
        hand_force: Greatest force along each axis, in [N]: the leash is as long.
    """
    xp = namespace(target)
    scale = constant(ACTION_SCALE, target)
    leash = constant(target_leash(hand_force), target)
    moved = target + xp.clip(action, -1.0, 1.0) * scale
    low, high = constant(_LOW, target), constant(_HIGH, target)
    moved = xp.minimum(xp.maximum(moved, low), high)
    # The leash last: it holds for a hand that has been pushed out of the workspace, too.
    return xp.minimum(xp.maximum(moved, hand - leash), hand + leash)
