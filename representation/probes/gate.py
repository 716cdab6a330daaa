"""What an encoder must know before a policy is trained on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vtenv.tasks.insertion.config import SceneConfig
from vtenv.tasks.insertion.connectors import CONNECTORS, SHOULDER_IN_HAND

CONNECTOR = "connector"
"""What the class probe tells, among the pose variables."""

ERROR_BOUNDS = {
    "hand_z_mm": 0.1,
    "hand_pitch_deg": 0.5,
    "socket_y_mm": 0.3,
    "socket_z_mm": 0.3,
    "socket_yaw_deg": 0.7,
}
"""Largest mean absolute error near contact, by variable."""
ACCURACY_BOUND = 0.99
"""Least accuracy of the connector's class near contact."""

LATERAL = ("hand_z_mm", "socket_y_mm", "socket_z_mm")
ANGULAR = ("hand_pitch_deg", "socket_yaw_deg")


@dataclass(frozen=True)
class GateCheck:
    """One bound of the gate.

    Attributes:
        variable: A pose variable, or "connector".
        value: Mean absolute error, in the variable's unit, or accuracy; None if not measured.
        bound: The most it may be; of an accuracy, the least.
        passed: Whether it is within.
        fitted_on: Rows that the probe was fitted on: a region.
    """

    variable: str
    value: float | None
    bound: float
    passed: bool
    fitted_on: str


def check(variable: str, value: float | None, fitted_on: str) -> GateCheck:
    """Hold a value against its bound.

    Args:
        variable: A key of `ERROR_BOUNDS`, or "connector".
        value: What was measured on held-out rows near contact; None if nothing was.
        fitted_on: Rows that the probe was fitted on.

    Returns:
        The check; what was not measured has not passed.
    """
    if variable == CONNECTOR:
        passed = value is not None and value >= ACCURACY_BOUND
        return GateCheck(variable, value, ACCURACY_BOUND, passed, fitted_on)
    bound = ERROR_BOUNDS[variable]
    return GateCheck(variable, value, bound, value is not None and value <= bound, fitted_on)


def capture_range(settings: Mapping[str, object]) -> dict[str, float]:
    """How far off the plug may be and still slide in: a yardstick for errors.

    Sideways and up it is the clearance and the lead-in of the socket. For an angle it is the one
    that moves the tip of the longest plug as far, turned about the middle of the hand.

    Args:
        settings: Of the environment: `clearance_mm` and `lead_in_mm`, or else their defaults.

    Returns:
        The range by variable, in its unit; variables along the socket's axis have none.
    """
    default = SceneConfig()
    room_mm = 0.0
    for name in ("clearance_mm", "lead_in_mm"):
        given = settings.get(name)
        room_mm += float(given) if isinstance(given, int | float) else getattr(default, name)
    lever_mm = 1e3 * (SHOULDER_IN_HAND + max(c.travel for c in CONNECTORS.values()))
    angle = math.degrees(math.atan2(room_mm, lever_mm))
    return dict.fromkeys(LATERAL, room_mm) | dict.fromkeys(ANGULAR, angle)
