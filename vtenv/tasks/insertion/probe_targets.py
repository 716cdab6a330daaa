"""What a probe is asked for on data of the task: regions, bounds, and what error is harmless."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vtenv.state import Array
from vtenv.tasks.insertion.config import SceneConfig
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, CONNECTORS, SHOULDER_IN_HAND
from vtenv.tasks.insertion.regions import NEAR_DEPTH_MM, jammed, near_contact

REGIONS = {
    "near_contact": "near contact",
    "jammed": "jammed on the face",
    "free_space": "free space",
}
"""Flags of a data set's rows, and what people call them; the first decides."""

BOUNDS = {
    "connector": 0.99,
    "hand_z_mm": 0.1,
    "hand_pitch_deg": 0.5,
    "socket_y_mm": 0.3,
    "socket_z_mm": 0.3,
    "socket_yaw_deg": 0.7,
}
"""What an encoder should reach near contact before a policy is trained on it: the least accuracy
of the connector, and the largest mean absolute error of pose labels."""

_LATERAL = ("hand_z_mm", "socket_y_mm", "socket_z_mm")
_ANGULAR = ("hand_pitch_deg", "socket_yaw_deg")


def region_flags(columns: Mapping[str, Array]) -> dict[str, Array]:
    """Which rows lie in each region; a plug deep in its socket lies in none.

    Args:
        columns: `insertion_depth_mm`, `lateral_mm` and `contact_force_n`, (N,) each.

    Returns:
        Flags by name, (N,), bool.
    """
    depth, lateral = columns["insertion_depth_mm"], columns["lateral_mm"]
    near = near_contact(depth, lateral)
    stuck = jammed(depth, lateral, columns["contact_force_n"])
    free = ~near & (depth <= NEAR_DEPTH_MM[1])
    return dict(zip(REGIONS, (near, stuck, free), strict=True))


def capture_range(clearance_mm: float, lead_in_mm: float) -> dict[str, float]:
    """How far off the plug may be and still slide in.

    Sideways and up it is the clearance and the lead-in of the socket. For an angle it is the one
    that moves the tip of the longest plug as far, turned about the middle of the hand.

    Args:
        clearance_mm: Room between plug and socket, in [mm].
        lead_in_mm: Width of the socket's chamfer, in [mm].

    Returns:
        The range by label, in its unit; labels along the socket's axis have none.
    """
    room_mm = clearance_mm + lead_in_mm
    lever_mm = 1e3 * (SHOULDER_IN_HAND + max(c.travel for c in CONNECTORS.values()))
    angle = math.degrees(math.atan2(room_mm, lever_mm))
    return dict.fromkeys(_LATERAL, room_mm) | dict.fromkeys(_ANGULAR, angle)


def probe_targets(clearance_mm: float) -> dict[str, Any]:
    """All of it, for the manifest of a data set.

    Args:
        clearance_mm: Room between plug and socket, in [mm].
    """
    return {
        "classes": CONNECTOR_NAMES,
        "regions": REGIONS,
        "bounds": BOUNDS,
        "capture_range": capture_range(clearance_mm, SceneConfig().lead_in_mm),
    }
