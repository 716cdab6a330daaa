from __future__ import annotations

import numpy as np

from representation.probes.regions import ALL, FREE, JAMMED, NEAR, region_masks


def test_regions_at_their_bounds() -> None:
    rows = [  # depth [mm], lateral [mm], force [N], regions
        (-20.0, 0.0, 0.0, {FREE}),
        (-5.1, 0.0, 0.0, {FREE}),
        (-5.0, 5.0, 0.0, {NEAR}),
        (-5.0, 5.1, 0.0, {FREE}),
        (0.0, 1.0, 1.0, {NEAR}),
        (0.0, 1.0, 1.1, {NEAR, JAMMED}),
        (0.5, 1.0, 9.0, {NEAR, JAMMED}),
        (0.6, 1.0, 9.0, {NEAR}),
        (3.0, 0.1, 9.0, {NEAR}),
        (3.1, 0.1, 9.0, set()),  # in its socket
        (0.0, 6.0, 9.0, {FREE}),  # pressed on something else
    ]
    depth, lateral, force = np.array([row[:3] for row in rows]).T
    masks = region_masks(
        {"insertion_depth_mm": depth, "lateral_mm": lateral, "contact_force_n": force}, len(rows)
    )
    found = [{region for region, mask in masks.items() if mask[i]} for i in range(len(rows))]
    assert found == [{ALL} | row[3] for row in rows]


def test_without_their_columns_there_are_all_rows_alone() -> None:
    masks = region_masks({"lateral_mm": np.zeros(3)}, 3)
    assert list(masks) == [ALL]
    assert masks[ALL].all()
