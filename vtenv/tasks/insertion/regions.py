"""The states that decide an insertion: the tip close to the mouth, and jammed on the socket."""

from __future__ import annotations

from vtenv.arrays import Array

NEAR_DEPTH_MM = (-5.0, 3.0)
"""Depth of the tip past the mouth within which it is near, in [mm]."""
NEAR_LATERAL_MM = 5.0
"""Distance from the socket's axis within which the tip is near, in [mm]."""
JAMMED_FORCE_N = 1.0
"""Force between plug and socket above which a plug that is near is jammed, in [N], ..."""
JAMMED_DEPTH_MM = 0.5
"""... unless its tip is further in than this, in [mm]."""


def near_contact(insertion_depth_mm: Array, lateral_mm: Array) -> Array:
    """Whether the tip is near the socket's mouth.

    Args:
        insertion_depth_mm: The tip past the mouth, negative outside, (n,), [mm].
        lateral_mm: The tip from the socket's axis, (n,), [mm].

    Returns:
        Flags, (n,), bool.
    """
    low, high = NEAR_DEPTH_MM
    close = (insertion_depth_mm >= low) & (insertion_depth_mm <= high)
    return close & (lateral_mm <= NEAR_LATERAL_MM)


def jammed(insertion_depth_mm: Array, lateral_mm: Array, contact_force_n: Array) -> Array:
    """Whether the plug is near the mouth, and pressed against the socket from outside.

    Args:
        insertion_depth_mm: The tip past the mouth, negative outside, (n,), [mm].
        lateral_mm: The tip from the socket's axis, (n,), [mm].
        contact_force_n: Force between plug and socket, (n,), [N].

    Returns:
        Flags, (n,), bool.
    """
    pressed = (contact_force_n > JAMMED_FORCE_N) & (insertion_depth_mm <= JAMMED_DEPTH_MM)
    return near_contact(insertion_depth_mm, lateral_mm) & pressed
