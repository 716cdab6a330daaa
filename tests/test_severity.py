from __future__ import annotations

import json

import cv2
import pytest

from scripts.severity import TOUCH_FOUR, VISION_HALF, VISION_ONE, curves, faulty, main
from vtenv.tasks.insertion.config import InsertionConfig
from vtenv.tasks.insertion.tracks import TRACKS


def config(settings):
    return InsertionConfig.from_settings("VTInsert-v0", settings)


def test_faults_are_those_of_shift_in_the_world_of_contact():
    shift, contact = (config({"track": name}) for name in ("shift", "contact"))
    vision, touch = (config(one.settings) for one in (VISION_ONE, TOUCH_FOUR))
    assert vision.depth_noise_mm == shift.depth_noise_mm
    assert vision.domain_randomization == shift.domain_randomization
    assert vision.sensor_faults.depth_holes == shift.sensor_faults.depth_holes
    assert vision.sensor_faults.touch_blur_px == 0.0
    assert touch.sensor_faults.touch_blur_px == 4 * shift.sensor_faults.touch_blur_px
    assert touch.sensor_faults.depth_holes == 0.0
    assert touch.depth_noise_mm == contact.depth_noise_mm
    assert vision.grip_creep == touch.grip_creep == contact.grip_creep
    half = TRACKS["shift"].settings["domain_randomization"]["camera_tilt_deg"][1] / 2
    assert VISION_HALF.settings["domain_randomization"]["camera_tilt_deg"] == [-half, half]
    with pytest.raises(ValueError, match="choose vision or touch"):
        faulty("smell", 1.0)


def summary(policy: str, **rates: float) -> dict:
    def played(rate: float) -> dict:
        return {"results": {"all": {"success": rate, "interval": [rate - 0.1, rate + 0.1]}}}

    return {
        "policy": policy,
        "conditions": {n.replace("_", " "): played(r) for n, r in rates.items()},
    }


def test_curves_begin_with_sound_sensors_and_rise_in_severity():
    found = curves(summary("a", touch_4=0.3, training=0.6, vision_1=0.4, touch_1=0.5))
    assert [point[:2] for point in found["touch"]] == [(0.0, 0.6), (1.0, 0.5), (4.0, 0.3)]
    assert [point[:2] for point in found["vision"]] == [(0.0, 0.6), (1.0, 0.4)]
    assert found["vision"][1][2:] == pytest.approx((0.3, 0.5))
    with pytest.raises(ValueError, match="b was not played with sound sensors; add training"):
        curves(summary("b", vision_1=0.5))


def test_a_picture_has_a_panel_for_each_sense(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        text = json.dumps(summary(name, training=0.6, vision_1=0.4, touch_1=0.5))
        (tmp_path / name / "summary.json").write_text(text)
    main((tmp_path / "a", tmp_path / "b"), tmp_path / "two.png")
    (tmp_path / "b" / "summary.json").write_text(
        json.dumps(summary("b", training=0.6, touch_1=0.5))
    )
    (tmp_path / "a" / "summary.json").write_text(
        json.dumps(summary("a", training=0.6, touch_1=0.5))
    )
    main((tmp_path / "a", tmp_path / "b"), tmp_path / "one.png")
    two, one = (cv2.imread(str(tmp_path / f"{name}.png")) for name in ("two", "one"))
    assert two.shape[1] > one.shape[1] and two.std() > 10
    text = json.dumps(summary("a", training=0.6, vision_1=0.4, touch_1=0.5))
    (tmp_path / "a" / "summary.json").write_text(text)
    with pytest.raises(ValueError, match="b was not played with faults of vision"):
        main((tmp_path / "a", tmp_path / "b"), tmp_path / "neither.png")
    with pytest.raises(ValueError, match="one folder"):
        main(())
