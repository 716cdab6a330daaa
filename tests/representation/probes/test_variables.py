from __future__ import annotations

import numpy as np
import pytest

from representation.probes.variables import PoseVariables, title, unit


@pytest.mark.parametrize(("name", "expected"), [("a_mm", "mm"), ("b_c_deg", "°"), ("d", "")])
def test_the_unit_is_the_last_word_of_a_name(name: str, expected: str) -> None:
    assert unit(name) == expected


def test_only_an_angle_that_spans_over_half_a_turn_comes_round() -> None:
    pose = np.array([[-300, -170, -80], [300, 170, 80]], np.float32)
    variables = PoseVariables.of(("x_mm", "grasp_angle_deg", "yaw_deg"), pose)
    assert variables.circular == (False, True, False)


def test_errors_of_angles_are_the_short_way_round() -> None:
    variables = PoseVariables(("x_mm", "angle_deg"), (False, True))
    predicted = variables.targets(np.array([[1.0, 179.0], [2.0, -10.0]]))
    errors = variables.errors(predicted, np.array([[0.0, -179.0], [5.0, 25.0]]))
    np.testing.assert_allclose(errors, [[1.0, 2.0], [3.0, 35.0]])


def test_people_read_a_name_with_its_unit() -> None:
    assert title("hand_pitch_deg") == "hand pitch °"
    assert title("connector") == "connector"
