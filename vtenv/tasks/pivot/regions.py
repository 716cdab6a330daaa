"""The states that decide a pivoting: pressed on the fixture, and nearly at the goal there."""

from __future__ import annotations

import math

from vtenv.arrays import Array, namespace
from vtenv.tasks.pivot.measures import PITCH_TOLERANCE, PLACE_TOLERANCE

PRESSED_FORCE_N = 1.0
"""Force between plug and fixture above which the plug is pressed on it, in [N]."""
FINISHING = 2.0
"""Errors of a plug that is nearly at its goal, in parts of what is success."""


def pressed(contact_force_n: Array) -> Array:
    """Whether the plug is pressed on the fixture, (n,), bool.

    Args:
        contact_force_n: Force between plug and fixture, (n,), [N].
    """
    flags: Array = contact_force_n > PRESSED_FORCE_N
    return flags


def finishing(pitch_error_deg: Array, place_error_mm: Array, contact_force_n: Array) -> Array:
    """Whether the plug is pressed on, and nearly at its goal: when to stop is decided here.

    Args:
        pitch_error_deg: Turn still to make, (n,), [degrees].
        place_error_mm: Way still to go along the fingers, (n,), [mm].
        contact_force_n: Force between plug and fixture, (n,), [N].

    Returns:
        Flags, (n,), bool.
    """
    xp = namespace(pitch_error_deg)
    turned = xp.abs(pitch_error_deg) <= FINISHING * math.degrees(PITCH_TOLERANCE)
    shifted = xp.abs(place_error_mm) <= FINISHING * PLACE_TOLERANCE * 1e3
    return pressed(contact_force_n) & turned & shifted
