"""Where a row was taken: in free space, near contact, or jammed on the socket's face."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtenv.tasks.insertion.regions import NEAR_DEPTH_MM, jammed, near_contact

ALL, NEAR, JAMMED, FREE = "all", "near_contact", "jammed", "free_space"
REGIONS = {
    ALL: "all rows",
    NEAR: "near contact",
    JAMMED: "jammed on the face",
    FREE: "free space",
}
"""Regions by name, and what people call them."""
REGION_COLUMNS = ("insertion_depth_mm", "lateral_mm", "contact_force_n")
"""Columns that tell them apart."""


def region_masks(columns: Mapping[str, Any], length: int) -> dict[str, NDArray[np.bool_]]:
    """Which rows lie in each region.

    Args:
        columns: `REGION_COLUMNS`, (N,) each; if one is missing, there is "all" alone.
        length: N.

    Returns:
        Masks by region, (N,). A plug deep in its socket is in none but "all".
    """
    everything = np.ones(length, bool)
    if any(name not in columns for name in REGION_COLUMNS):
        return {ALL: everything}
    depth, lateral, force = (np.asarray(columns[name]) for name in REGION_COLUMNS)
    near = near_contact(depth, lateral)
    return {
        ALL: everything,
        NEAR: near,
        JAMMED: jammed(depth, lateral, force),
        FREE: ~near & (depth <= NEAR_DEPTH_MM[1]),
    }
