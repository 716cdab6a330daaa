"""Tactile sensors as data, and the environment with another one than its own."""

import dataclasses
import json
import re
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from worlds import make_simulation, settings_of

from policies.worlds import settings_to_json
from vtenv.sensing.colour import GelColours
from vtenv.sensing.profiles import (
    GELSIGHT_MINI,
    SENSOR_PROFILES,
    SQUARE_24MM,
    SensorProfile,
    get_sensor_profile,
)
from vtenv.sensing.tractions import marker_kernels, marker_places

TOUCH = ("contact", "gel", "shear", "markers", "rgb")
MINI = {"touch_sensor": "gelsight-mini", "contact_size": (24, 32)}
OWN = SensorProfile((10.0, 20.0), (20, 40), thickness_mm=3.0, friction=0.8)
SHAPES = {
    "contact": (2, 24, 32),
    "gel": (2, 24, 32),
    "shear": (2, 3, 16, 16),
    "markers": (2, 2, 7, 9),
    "rgb": (2, 3, 24, 32),
}


def test_a_mini_sees_what_it_sees_at_its_makers_pitch():
    height, width = GELSIGHT_MINI.field_of_view_mm
    rows, columns = GELSIGHT_MINI.image_size
    assert (height / rows, width / columns) == (pytest.approx(0.0634), pytest.approx(0.0634))
    half_width, half_height = GELSIGHT_MINI.half_extent_of((24, 32))
    assert (2e3 * half_height, 2e3 * half_width) == (pytest.approx(height), pytest.approx(width))


@pytest.mark.parametrize(("size", "covered"), [((64, 64), (10, 10)), ((8, 64), (2.5, 20))])
def test_pixels_are_square_and_an_image_lies_in_the_field_of_view(size, covered):
    half_width, half_height = OWN.half_extent_of(size)
    assert (2e3 * half_height, 2e3 * half_width) == (pytest.approx(covered[0]), covered[1])


def test_markers_lie_at_their_pitch_about_the_middle_or_divide_the_view():
    rows = marker_places(GELSIGHT_MINI, 0)
    np.testing.assert_allclose(np.diff(rows), 2.03e-3)
    assert len(rows) == 7 and rows.sum() == pytest.approx(0)
    assert marker_places(SQUARE_24MM, 1)[0] == pytest.approx(-0.012 * 6 / 7)
    kernels = marker_kernels((4, 5), GELSIGHT_MINI)
    assert kernels.by_rows.shape == (3, 7, 4) and kernels.by_columns.shape == (3, 9, 5)


def test_a_profile_is_named_given_or_spelled_out():
    assert get_sensor_profile("square-24mm") is SENSOR_PROFILES["square-24mm"]
    assert get_sensor_profile(OWN) is OWN
    assert get_sensor_profile(f"{__name__}:OWN") == OWN
    assert get_sensor_profile({}) == SQUARE_24MM
    for profile in (OWN, GELSIGHT_MINI):
        told = json.loads(json.dumps(dataclasses.asdict(profile)))
        assert get_sensor_profile(told) == profile
    settings = settings_to_json({"touch_sensor": OWN})
    assert settings_of(**settings).touch_sensor == OWN


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gelsight", "touch_sensor='gelsight'.*gelsight-mini, square-24mm.*MODULE:NAME"),
        ({"modulus": 1.0}, "touch_sensor=.*modulus_mpa"),
        (3, "touch_sensor=3"),
        ({"modulus_mpa": -1}, "modulus_mpa=-1.*from 0 to 100"),
        ({"thickness_mm": 7}, "thickness_mm=7.*from 0.5 to 6"),
        ({"membrane_mm": None}, "membrane_mm=None.*from 0 to 2"),
        ({"field_of_view_mm": 24.0}, "field_of_view_mm=24.0.*pair"),
        ({"marker_size": (9, 0)}, "marker_size=.*from 1 to 512"),
        ({"image_size": (64.5, 64)}, "image_size=.*from 8 to 512"),
        ({"friction": True}, "friction=True.*from 0.01 to 10"),
        ({"colours": None}, "colours=None"),
        ({"field_of_view_mm": (24.0, 30.0)}, "touch_sensor.field_of_view_mm.*at most 24 mm"),
    ],
)
def test_what_is_no_sensor_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        settings_of(touch_sensor=given)


def test_a_sensor_without_colours_says_where_to_get_them():
    with pytest.raises(FileNotFoundError, match=r"colours='digit'.*digit\.npz.*touch calibrate"):
        gymnasium.make("VTInsert-v0", modalities="rgb", touch_sensor={"colours": "digit"})


def test_images_are_as_large_as_the_sensors_own_unless_asked_for():
    assert settings_of(touch_sensor="gelsight-mini").contact_size == (240, 320)
    assert settings_of(touch_sensor=OWN).contact_size == (20, 40)
    assert settings_of(touch_sensor=OWN, contact_size=32).contact_size == (32, 32)


def test_an_environment_with_a_mini_gives_its_images():
    env = gymnasium.make("VTInsert-v0", modalities=TOUCH, observation_delay=0, **MINI)
    observation, _ = env.reset(seed=0)
    for _ in range(3):
        observation = env.step(env.action_space.sample())[0]
    for key, shape in SHAPES.items():
        assert observation[key].shape == shape
        assert env.observation_space[key].contains(observation[key])
        assert observation[key].any()
    assert observation["gel"].max() <= 4.5
    env.close()


def test_the_page_makes_the_environment_that_it_shows_and_an_encoder_takes_its_images():
    encoder_config = pytest.importorskip("representation.encoder_config")
    page = (Path(__file__).parents[1] / "docs" / "touch.md").read_text(encoding="utf-8")
    section = page.split("\n## Sensors")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.S)
    names = {"gymnasium": gymnasium}
    exec(code, names)
    shapes = {key: image.shape for key, image in names["observation"].items()}
    assert shapes == {"gel": (2, 48, 64), "markers": (2, 2, 7, 9), "rgb": (2, 3, 48, 64)}
    images = encoder_config.EncoderConfig.for_space(names["env"].observation_space).images
    assert images == {"gel": (2, 48, 64), "markers": (4, 7, 9), "rgb": (6, 48, 64)}
    names["env"].close()


def test_light_falls_on_the_gel_and_not_on_the_image():
    """The middle of the field of view is lit as it is where all of it is seen."""
    whole = GelColours.of(OWN, (20, 40), 0.5)
    middle = GelColours.of(OWN, (20, 20), 0.5)
    np.testing.assert_array_equal(middle.background, whole.background[:, :, 10:30])
    np.testing.assert_array_equal(middle.coefficients, whole.coefficients[..., 10:30])


def test_taxels_slip_at_the_sensors_friction_and_physics_do_not():
    steepest, proprio = [], []
    for friction in (0.01, None):
        sensor = {"friction": friction}
        env = gymnasium.make("VTInsert-v0", modalities=("shear", "proprio"), touch_sensor=sensor)
        env.reset(seed=0)
        for _ in range(4):
            observation = env.step(np.array([1, 1, 0, 0, 0], np.float32))[0]
        normal, *tangential = np.moveaxis(observation["shear"], 1, 0)
        steepest.append((np.hypot(*tangential) / np.maximum(normal, 1e-6)).max())
        proprio.append(observation["proprio"])
        env.close()
    assert steepest[0] == pytest.approx(0.01, rel=1e-3) and 0.02 < steepest[1] <= 1.5
    np.testing.assert_array_equal(*proprio)


def test_a_smaller_view_is_the_middle_of_a_larger_one():
    """Of the same gel, in pixels of one pitch; nothing else of the world changes."""
    seen = []
    for side in (24.0, 12.0):
        sensor = {"field_of_view_mm": (side, side), "image_size": [int(2 * side)] * 2}
        keys = ("gel", "contact", "proprio")
        env = gymnasium.make("VTInsert-v0", modalities=keys, touch_sensor=sensor)
        seen.append(env.reset(seed=3)[0])
        env.close()
    middle = slice(12, 36)
    np.testing.assert_allclose(seen[1]["gel"], seen[0]["gel"][:, middle, middle], atol=1e-5)
    np.testing.assert_array_equal(seen[1]["contact"], seen[0]["contact"][:, middle, middle])
    np.testing.assert_array_equal(seen[0]["proprio"], seen[1]["proprio"])


@pytest.mark.slow
def test_engines_sense_a_mini_alike():
    pytest.importorskip("mujoco_warp")
    worlds, seen = np.arange(2), []
    for engine, more in (("cpu", {}), ("warp", {"device": "cpu"})):
        settings = {"connectors": ("usb",), "modalities": TOUCH, **MINI}
        simulation = make_simulation(2, engine, engine_settings=more, **settings)
        simulation.reset(worlds, [np.random.default_rng(i) for i in worlds])
        seen.append(simulation.fetch(simulation.observe(worlds))[0])
        simulation.close()
    for key, unit in {"gel": 0.02, "shear": 0.01, "markers": 0.02, "rgb": 1}.items():
        ours, theirs = (images[key].astype(np.float64) for images in seen)
        assert ours.shape == (2, *SHAPES[key])
        # A ray along an edge may hit on one engine and miss on the other.
        assert (np.abs(ours - theirs) > unit).mean() < 0.005
    assert (seen[0]["contact"] != seen[1]["contact"]).mean() < 0.005
