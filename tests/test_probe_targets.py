from __future__ import annotations

import numpy as np
import pytest

from vtenv.tasks.insertion.config import SceneConfig
from vtenv.tasks.insertion.pose_labels import POSE_LABELS
from vtenv.tasks.insertion.probe_targets import BOUNDS, capture_range, probe_targets, region_flags

NEAR, JAMMED, FREE = "near_contact", "jammed", "free_space"


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
    flags = region_flags(
        {"insertion_depth_mm": depth, "lateral_mm": lateral, "contact_force_n": force}
    )
    assert list(flags) == list(probe_targets(0.4)["regions"])
    found = [{region for region, mask in flags.items() if mask[i]} for i in range(len(rows))]
    assert found == [row[3] for row in rows]


def test_the_capture_range_is_clearance_and_lead_in() -> None:
    lead_in_mm = SceneConfig().lead_in_mm
    ranges = probe_targets(clearance_mm=0.2)["capture_range"]
    assert ranges["socket_y_mm"] == pytest.approx(0.2 + lead_in_mm)
    assert capture_range(0.2, 0.0)["hand_z_mm"] == 0.2
    assert 1 < capture_range(0.4, 1.0)["socket_yaw_deg"] < 4
    assert "socket_x_mm" not in ranges


def test_bounds_are_on_labels_and_the_connector() -> None:
    assert set(BOUNDS) - set(POSE_LABELS) == {"connector"}
