"""What a probe is held to on the task: bounds, and how much error is harmless."""

from __future__ import annotations

import math

from vtenv.tasks.insertion.config import InsertionConfig
from vtenv.tasks.insertion.connectors import SHOULDER_IN_HAND
from vtenv.tasks.insertion.scene import metres

BOUNDS = {
    "connector": 0.99,
    "hand_z_mm": 0.1,
    "hand_pitch_deg": 0.5,
    "socket_y_mm": 0.3,
    "socket_z_mm": 0.3,
    "socket_yaw_deg": 0.7,
    "socket_pitch_deg": 0.7,
}
"""What an encoder should reach near contact before a policy is trained on it: the least accuracy
of the connector, and the largest mean absolute error of pose labels."""

TOUCH_LABELS = ("pad_normal_n", "pad_tangential_n", "slip_mm")
"""Labels besides the pose that probes read out of data sets with touch of forces, `shear` or
`markers`; they have no bounds."""

_LATERAL = ("hand_z_mm", "socket_y_mm", "socket_z_mm")
_ANGULAR = ("hand_pitch_deg", "socket_yaw_deg", "socket_pitch_deg")


def capture_range(config: InsertionConfig) -> dict[str, float]:
    """How far off the plug may be and still slide in.

    Sideways and up it is the clearance and the lead-in of the tightest socket in play. For an
    angle it is the one that moves the tip of the longest plug as far, turned about the middle of
    the hand.

    Args:
        config: The settings of the task.

    Returns:
        The range by label, in its unit; labels along the socket's axis have none.
    """
    clearance, lead_in = metres(config.clearance_mm), metres(config.lead_in_mm)
    room_mm = 1e3 * min(min(c.clearance(clearance)) + c.lead_in(lead_in) for c in config.connectors)
    lever_mm = 1e3 * (SHOULDER_IN_HAND + max(c.travel for c in config.connectors))
    angle = math.degrees(math.atan2(room_mm, lever_mm))
    return dict.fromkeys(_LATERAL, room_mm) | dict.fromkeys(_ANGULAR, angle)
