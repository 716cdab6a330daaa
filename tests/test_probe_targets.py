from __future__ import annotations

import pytest

from vtenv.registry import make_task
from vtenv.tasks.insertion.pose_labels import POSE_LABELS


def test_the_capture_range_is_clearance_and_lead_in() -> None:
    task = make_task("VTInsert-v0", clearance_mm=0.2, lead_in_mm=1.0)
    ranges = task.capture_range()
    assert ranges["socket_y_mm"] == ranges["hand_z_mm"] == pytest.approx(1.2)
    assert 1 < ranges["socket_yaw_deg"] < 4
    assert "socket_x_mm" not in ranges


def test_bounds_are_on_labels_and_the_connector() -> None:
    assert set(make_task("VTInsert-v0").probe_bounds) - set(POSE_LABELS) == {"connector"}
