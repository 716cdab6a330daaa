"""Gels that yield to pressure, against the closed forms of an elastic foundation."""

from dataclasses import replace

import gymnasium
import mujoco
import numpy as np
import pytest
from test_pads import FACE, gripper, with_sensor

from vtenv.sensing.foundation import press_gels, softness
from vtenv.sensing.pads import PadSensors
from vtenv.sensing.profiles import SensorProfile

SIDE, HALF, THICKNESS, MODULUS = 200, 0.01, 0.006, 0.5
PROFILE = SensorProfile((20, 20), modulus_mpa=MODULUS)
SOFTNESS = softness(PROFILE, PROFILE.half_extent, (SIDE, SIDE))
CENTRES = (2 * (np.arange(SIDE) + 0.5) / SIDE - 1) * HALF
RADII = np.hypot(CENTRES[:, None], CENTRES)


def pressed(surface, force, at_rest=0.0):
    """Indentation, [m], by a surface at such distances from the gel's face, (H, W), [m]."""
    distance = (THICKNESS + surface).astype(np.float32)[None, None]
    wrench = np.zeros((1, 1, 9))
    wrench[..., 1:3] = 3.0 * (force > 0), -force  # on what is touched; the camera looks along -z
    upright, rest = np.eye(3).reshape(1, 1, 9), np.full((1, 1), at_rest)
    press_gels(np.zeros(1, np.int64), distance, THICKNESS, SOFTNESS, wrench, upright, rest)
    return np.maximum(THICKNESS - distance[0, 0], 0)


def block(half, overlap):
    inside = np.maximum(*np.abs(np.meshgrid(CENTRES, CENTRES))) < half
    return np.where(inside, -overlap, np.inf)


@pytest.mark.parametrize("overlap", [-0.001, 0.0005, 0.003])
def test_a_flat_face_presses_by_force_over_area_however_rigid_bodies_overlap(overlap):
    for half in (0.005, 0.0025):
        deep = pressed(block(half, overlap), force=8.0)
        expected = 8.0 / (4 * half**2) * THICKNESS / (MODULUS * 1e6)
        assert deep.max() == pytest.approx(expected, rel=1e-4)
        assert (deep > 0).sum() == (2 * half / (2 * HALF / SIDE)) ** 2


def test_a_ball_presses_by_the_root_of_the_force():
    radius, force = 0.02, 4.0
    ball = radius - np.sqrt(radius**2 - RADII**2)
    deep = pressed(ball, force)
    # Johnson, section 4.3, for a paraboloid.
    expected = np.sqrt(force * THICKNESS / (np.pi * MODULUS * 1e6 * radius))
    assert deep.max() == pytest.approx(expected, rel=0.03)
    assert deep.sum() / SOFTNESS == pytest.approx(force, rel=1e-3)


def test_without_force_nothing_is_pressed_in_and_after_a_reset_the_grip_is():
    assert pressed(block(0.005, 0.001), force=0.0).max() < 1e-8
    at_rest = pressed(block(0.005, 0.001), force=0.0, at_rest=8.0)
    np.testing.assert_allclose(at_rest, pressed(block(0.005, 0.001), force=8.0))
    assert not pressed(np.full((SIDE, SIDE), np.inf), force=8.0).any()


def test_pads_of_a_gripper_feel_their_force_as_pressure():
    profile = replace(FACE, modulus_mpa=MODULUS)
    pads = with_sensor(profile)
    model, _ = gripper(pads, shape="sphere")
    data = mujoco.MjData(model)
    sensors = PadSensors(model, pads, ("gel", "shear"), image_size=(96, 80))
    deepest = []
    for force in (0.5, 1.0):
        data.ctrl[:] = force
        mujoco.mj_step(model, data, 500)
        told = sensors.read(data)
        pixel = softness(profile, profile.half_extent, told["gel"].shape[1:])
        pressed_by = 1e-3 * told["gel"].sum(axis=(-1, -2)) / pixel
        np.testing.assert_allclose(pressed_by, force, rtol=1e-2)
        np.testing.assert_allclose(told["shear"][:, 0].sum(axis=(-1, -2)), force, rtol=1e-2)
        deepest.append(told["gel"].max())
    assert deepest[1] / deepest[0] == pytest.approx(np.sqrt(2), rel=0.05)


def test_a_plug_of_less_area_presses_deeper():
    settings = {"modalities": ("gel", "proprio"), "observation_delay": 0}
    env = gymnasium.make("VTInsert-v0", **settings, touch_sensor={"modulus_mpa": 2.0})
    held = {}
    for connector in ("usb", "pin"):
        env.reset(seed=0, options={"connector": connector})
        gel = env.step(np.zeros(5, np.float32))[0]["gel"]
        held[connector] = gel.max(), (gel > 0).sum(), gel.sum()
    env.close()
    deepest, area, volume = (np.divide(held["pin"], held["usb"])[k] for k in range(3))
    assert area < 0.8 and deepest > 1.2 and volume == pytest.approx(1, rel=0.3)
