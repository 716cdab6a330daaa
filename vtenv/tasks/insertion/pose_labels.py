"""What experience says of where plug and socket are: the names of its labels."""

from __future__ import annotations

POSE_LABELS = (
    "hand_x_mm",
    "hand_z_mm",
    "hand_pitch_deg",
    "socket_x_mm",
    "socket_y_mm",
    "socket_z_mm",
    "socket_yaw_deg",
    "socket_pitch_deg",
)
"""Columns of `pose`: the plug in the hand, and the socket's mouth in the hand's frame."""
