from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from vtenv.registry import make_task
from vtenv.tasks.insertion.connectors import SHOULDER_IN_HAND
from vtenv.tasks.insertion.measures import pad_labels
from vtenv.tasks.insertion.pose_labels import POSE_LABELS
from vtenv.tasks.insertion.probe_targets import TOUCH_LABELS
from vtenv.tasks.insertion.state import PadState


def test_the_capture_range_is_clearance_and_lead_in() -> None:
    task = make_task("VTInsert-v0", clearance_mm=0.2, lead_in_mm=1.0)
    ranges = task.capture_range()
    assert ranges["socket_y_mm"] == ranges["hand_z_mm"] == pytest.approx(1.2)
    assert 1 < ranges["socket_yaw_deg"] < 4
    assert "socket_x_mm" not in ranges


def test_bounds_are_on_labels_and_the_connector() -> None:
    assert set(make_task("VTInsert-v0").probe_bounds) - set(POSE_LABELS) == {"connector"}


def felt(forces=((0, 20, 0), (0, -20, 0)), in_hand=(0, 0, 0), grasp=(0, 0, 0), mat=None):
    """Labels of one world whose pads push with these forces in the hand's frame."""
    mat = np.eye(3) if mat is None else mat
    wrenches = np.concatenate([np.asarray(forces, float) @ mat.T, np.zeros((2, 6))], axis=1)
    state = SimpleNamespace(hand_mat_w=mat[None], touching=np.array([[True, True]]))
    geom = SimpleNamespace(in_hand=np.array([in_hand], float))
    pads = PadState(wrenches.reshape(1, -1), np.array([[15.0, 17.0]]), np.array([grasp], float))
    labels = pad_labels(state, geom, pads)
    assert tuple(labels) == TOUCH_LABELS
    return [float(values[0]) for values in labels.values()]


def test_forces_of_pads_are_told_apart_in_the_frame_of_the_hand() -> None:
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    for mat in (np.eye(3), turned):
        found = felt([(3, 20, 4), (0, -10, 1)], mat=mat)
        assert found == pytest.approx([15.0, 3.0, 0.0])
    assert felt([(0, 0, 0), (0, 0, 0)]) == pytest.approx([16.0, 0.0, 0.0])  # nothing is read yet


def test_slip_is_how_far_the_plug_has_moved_between_the_pads() -> None:
    assert felt(in_hand=(0.001, 0, 0))[2] == pytest.approx(1.0)
    assert felt(in_hand=(0.005, 0.003, 0.1), grasp=(0.001, 0, 0.1))[2] == pytest.approx(5.0)
    # Turned about the middle of the pads, where nothing slips; pitch is positive nose-down.
    turn, shoulder = 0.3, SHOULDER_IN_HAND
    turned = (shoulder * (np.cos(turn) - 1), -shoulder * np.sin(turn), turn)
    assert felt(in_hand=turned)[2] == pytest.approx(0.0, abs=1e-9)
