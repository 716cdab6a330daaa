"""Pads on a model that is not ours, on both engines."""

import re
from dataclasses import replace
from pathlib import Path

import cv2
import mujoco
import numpy as np
import pytest

from vtenv.modalities import IMAGE_MODALITIES
from vtenv.sensing.pads import Pad, PadSensors, add_pads
from vtenv.sensing.photometry import BUNDLED, GelCalibration, membrane
from vtenv.sensing.profiles import GELSIGHT_MINI, SensorProfile
from vtenv.sensing.touch_pictures import read_image

GRIPPER = """
<mujoco>
  <option cone="elliptic" impratio="10"/>
  <default>
    <default class="pad">
      <geom type="box" friction="1 0.01 0.0001" condim="4" priority="1"/>
    </default>
  </default>
  <worldbody>
    <body name="left" pos="0 0.0115 0.02">
      <joint name="left" type="slide" axis="0 -1 0" damping="10"/>
      <geom name="left_pad" class="pad" size="0.01 0.003 0.012" mass="0.05"/>
    </body>
    <body name="right" pos="0 -0.0115 0.02" euler="0 0 180">
      <joint name="right" type="slide" axis="0 -1 0" damping="10"/>
      <geom name="right_pad" class="pad" size="0.01 0.003 0.012" mass="0.05"/>
      <site name="right_site" type="box" size="0.01 0.003 0.012"/>
    </body>
    <body name="object" pos="0 0 0.02">
      <freejoint/>
      <geom name="block" type="{shape}" size="0.008 0.008 0.008" mass="0.02"/>
    </body>
    <body name="other" pos="1 0 0"><geom size="0.01"/></body>
  </worldbody>
  <actuator><motor joint="left"/><motor joint="right"/></actuator>
</mujoco>
"""
FACE = SensorProfile((24.0, 20.0), (48, 40))
"""As high and wide as the pads of these models."""


def with_sensor(sensor):
    """Both pads with one sensor."""
    return tuple(Pad(name, "-y", ("object",), sensor) for name in ("left_pad", "right_pad"))


PADS = with_sensor(FACE)
TOUCH = tuple(key for key in IMAGE_MODALITIES if key != "depth")
LOADS = ([0, 0, 0], [3, 0, 0], [6, 0, 2], [-4, 0, -6], [0, 0, 0], [8, 0, 8], [0, 0, 0])


def gripper(pads=PADS, shape="box"):
    """A model with pads, and its state as it holds the object."""
    spec = mujoco.MjSpec.from_string(GRIPPER.format(shape=shape))
    add_pads(spec, pads)
    model = spec.compile()
    data = mujoco.MjData(model)
    data.ctrl[:] = 10.0
    mujoco.mj_step(model, data, 500)
    return model, data


def pulled(model, data, steps=8):
    """The state, again and again, while the object is pulled at in one way after the other."""
    for force in LOADS:
        data.xfrc_applied[model.body("object").id, :3] = force
        for _ in range(steps):
            mujoco.mj_step(model, data, 5)
            yield data


@pytest.mark.parametrize(
    ("shape", "sensor"),
    [
        ("box", FACE),
        ("sphere", replace(FACE, membrane_mm=0.5)),
        ("sphere", replace(GELSIGHT_MINI, image_size=(48, 64))),
    ],
)
def test_both_engines_sense_the_same(shape, sensor, warp_device):
    """From the same states, over a history of sticking and slipping."""
    mjw = pytest.importorskip("mujoco_warp")
    wp = pytest.importorskip("warp")
    from vtenv.sensing.warp import WarpPadSensors

    pads = with_sensor(sensor)
    model, data = gripper(pads, shape)
    cpu = PadSensors(model, pads, TOUCH)
    with wp.ScopedDevice(warp_device):
        m = mjw.put_model(model)
        d = mjw.put_data(model, data, nworld=2)
    warp = WarpPadSensors(model, m, d, pads, TOUCH)
    same = ("geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "sensordata")
    for state in pulled(model, data):
        for name in same:
            there = getattr(d, name)
            here = getattr(state, name).reshape(there.numpy().shape[1:])
            there.assign(np.stack([here, here]).astype(np.float32))
        ours, theirs = cpu.read(state), warp.read()
        for key, unit in {"gel": 0.02, "shear": 0.01, "markers": 0.02, "rgb": 1}.items():
            for world in range(2):
                there = theirs[key][world].cpu().numpy().astype(np.float64)
                np.testing.assert_allclose(ours[key], there, atol=unit, err_msg=key)
        assert (ours["contact"] != theirs["contact"][0].cpu().numpy()).mean() < 0.01
    warp.reset()
    for values in (value for sensor in warp._sensors for value in sensor.memory.values()):
        assert not values.any()


def test_pads_of_a_gripper_feel_what_it_holds():
    model, data = gripper()
    sensors = PadSensors(model, PADS, TOUCH, image_size=(24, 20))
    told = sensors.read(data)
    assert told["contact"].shape == (2, 24, 20)
    area = told["contact"].mean(axis=(-1, -2)) * 0.02 * 0.024
    np.testing.assert_allclose(area, 0.016**2, rtol=0.1)
    forces = told["shear"].sum(axis=(-1, -2))
    np.testing.assert_allclose(forces[:, 0], 10.0, rtol=0.05)
    np.testing.assert_allclose(forces[:, 2], 0.5 * 0.02 * 9.81, rtol=0.05)  # its weight, downwards
    for state in pulled(model, data):
        told = sensors.read(state)
    sensors.reset()
    fresh = PadSensors(model, PADS, TOUCH, image_size=(24, 20))
    for key, image in fresh.read(data).items():
        np.testing.assert_array_equal(image, sensors.read(data)[key])
    assert not np.array_equal(told["markers"], sensors.read(data)["markers"])


@pytest.mark.parametrize("shape", ["box", "sphere"])
def test_colours_are_the_calibrations_of_the_membrane(shape):
    model, data = gripper(shape=shape)
    told = PadSensors(model, PADS, ("gel", "rgb")).read(data)
    calibration = GelCalibration.load(BUNDLED / "gelsight.npz")
    image = read_image(BUNDLED / "gelsight.png")
    background = cv2.resize(image, (40, 48), interpolation=cv2.INTER_AREA)
    pixel_mm = 24.0 / 48
    calibration = replace(calibration, pixel_mm=pixel_mm)
    for gel, rgb in zip(told["gel"], told["rgb"], strict=True):
        surface = membrane(gel.astype(np.float64), pixel_mm)
        expected = calibration.render(surface, background).astype(np.int64)
        assert np.abs(np.moveaxis(rgb, 0, -1) - expected).max() <= 1
        assert (np.moveaxis(rgb, 0, -1) != background).mean() > 0.1


def test_a_site_is_a_pad_too():
    sensor = replace(FACE, friction=1.0)
    names = {"left_pad": ("object",), "right_site": ("object", "other")}
    pads = tuple(Pad(name, "-y", touches, sensor) for name, touches in names.items())
    model, data = gripper(pads)
    told = PadSensors(model, pads, ("shear",)).read(data)["shear"].sum(axis=(-1, -2))
    np.testing.assert_allclose(told[:, 0], 10.0, rtol=0.05)
    np.testing.assert_allclose(told[1], told[0], atol=0.05)


@pytest.mark.parametrize(
    ("pads", "message"),
    [
        ((), "pads is empty"),
        ((Pad("lft", "-y", ("object",)),), "'lft' is no box.*left_pad, right_pad, .*right_site"),
        ((Pad("block", "-y", ("hand",)),), "'hand' is no body of the model; .*object"),
        ((PADS[0], Pad("right_pad", "+x", ("object",))), "'right_pad' have two sensors"),
    ],
)
def test_pads_that_a_model_has_not_are_refused(pads, message):
    spec = mujoco.MjSpec.from_string(GRIPPER.format(shape="box"))
    with pytest.raises(ValueError, match=message):
        add_pads(spec, pads)


def test_other_mistakes_are_named():
    with pytest.raises(ValueError, match=r"face='up'.*\+x, -x"):
        Pad("left_pad", "up", ("object",))
    with pytest.raises(ValueError, match="touches='object'; it must be a tuple"):
        Pad("left_pad", "-y", "object")
    bare = mujoco.MjModel.from_xml_string(GRIPPER.format(shape="box"))
    with pytest.raises(ValueError, match="no pad 'left_pad'; call add_pads before compiling"):
        PadSensors(bare, PADS, ("gel",))
    model, _ = gripper()
    with pytest.raises(ValueError, match=r"modalities=.*contact, gel.*"):
        PadSensors(model, PADS, ("depth",))
    with pytest.raises(ValueError, match=r"rays cannot hit mjGEOM_ELLIPSOID; use .* sphere"):
        PadSensors(gripper(shape="ellipsoid")[0], PADS, ("gel",))
    pads = (Pad("right_site", "-y", ("object",), FACE),)
    with pytest.raises(ValueError, match="friction=None, but the pad 'right_site' is a site"):
        PadSensors(gripper(pads)[0], pads, ("shear",))


def test_the_page_senses_what_it_says():
    page = (Path(__file__).parents[1] / "docs" / "touch.md").read_text(encoding="utf-8")
    section = page.split("## On a model of your own")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.S)
    names = {}
    exec(code, names)
    images = names["images"]
    assert images["gel"].shape == (2, 48, 64) and images["markers"].shape == (2, 2, 7, 9)
    forces = images["shear"].sum(axis=(-1, -2))
    np.testing.assert_allclose(forces[:, 0], 10.0, rtol=0.05)
    np.testing.assert_allclose(forces[:, 2], 0.5 * 0.02 * 9.81, rtol=0.1)


def test_a_membrane_bridges_what_does_not_touch_it():
    """Outside what is pressed in, and smoothed: the calibration's own membrane, mask and all."""
    model, data = gripper()
    rigid = PadSensors(model, PADS, ("gel", "rgb")).read(data)
    pads = with_sensor(replace(FACE, membrane_mm=0.5))
    told = PadSensors(model, pads, ("gel", "contact", "rgb")).read(data)
    for pad in range(2):
        smooth = membrane(rigid["gel"][pad].astype(np.float64), 24 / 48)
        np.testing.assert_allclose(told["gel"][pad], smooth, atol=0.01)
    np.testing.assert_array_equal(told["contact"], told["gel"] > 0.05)
    np.testing.assert_array_equal(told["rgb"], rigid["rgb"])
    assert (told["gel"] > 0.01).sum() > 1.1 * (rigid["gel"] > 0.01).sum()
