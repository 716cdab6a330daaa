"""Colour from a membrane and back, against closed forms and a made-up sensor."""

import csv
import re
from itertools import product
from pathlib import Path

import cv2
import gymnasium
import numpy as np
import pytest

from policies import cli
from vtenv.sensing.photometry import (
    GelCalibration,
    Press,
    ball_depth,
    contact_mask,
    cross_validate,
    integrate,
    mask_on_pad,
    membrane,
)
from vtenv.sensing.profiles import GELSIGHT_MINI, SensorProfile

SIZE = (90, 120)
PIXEL_MM = 0.12


def background():
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] / 120.0
    return np.stack([90 + 40 * rows, 100 + 30 * columns, 120 - 30 * rows], -1).astype(np.uint8)


def lit(depth_mm):
    """A made-up sensor: three lights, each brighter the more the membrane turns to it."""
    down, across = np.gradient(membrane(depth_mm, PIXEL_MM) / PIXEL_MM)
    lights = np.array([[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]])
    change = 60 * np.tensordot(np.stack([across, down], -1), lights, axes=(-1, 1))
    return np.clip(np.rint(background() + change), 0, 255).astype(np.uint8)


def ball(x, y, diameter_mm=8.0, radius_px=14.0):
    return ball_depth(SIZE, PIXEL_MM, diameter_mm, (x, y), radius_px)


@pytest.fixture(scope="module")
def presses():
    places = [(30, 30), (60, 30), (90, 30), (30, 60), (60, 60), (90, 60), (45, 45), (75, 45)]
    depths = [ball(x, y, radius_px=10 + i) for i, (x, y) in enumerate(places)]
    return [Press(lit(depth), depth) for depth in depths]


@pytest.fixture(scope="module")
def calibration(presses):
    return GelCalibration.fit(presses, background(), PIXEL_MM)


def test_a_ball_leaves_its_cap():
    depth = ball(60, 45, diameter_mm=8.0, radius_px=20.0)
    contact = 20 * PIXEL_MM
    assert depth.max() == pytest.approx(4.0 - np.sqrt(16.0 - contact**2))
    assert (depth > 0).sum() * PIXEL_MM**2 == pytest.approx(np.pi * contact**2, rel=0.02)
    with pytest.raises(ValueError, match="contact_radius_px=40"):
        ball(60, 45, diameter_mm=8.0, radius_px=40)


def test_the_membrane_follows_what_touches_and_bridges_the_rest():
    face = np.zeros(SIZE)
    face[30:60, 40:80] = 0.8
    surface = membrane(face, PIXEL_MM)
    assert surface[45, 60] == pytest.approx(0.8)
    assert (surface >= 0).all() and surface.max() <= 0.8 + 1e-9
    beside = surface[45, 80:100]
    assert (np.diff(beside) <= 1e-9).all() and beside[0] > 0.1 and beside[-1] < 0.01


def test_a_surface_comes_back_from_its_slopes():
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    height = np.exp(-((rows - 40) ** 2 + (columns - 70) ** 2) / 200)
    down, across = np.gradient(height)
    found = integrate(np.stack([across, down]))
    np.testing.assert_allclose(found - found[0, 0], height, atol=0.01)


def test_a_surface_that_the_edge_cuts_comes_back():
    columns = np.mgrid[: SIZE[0], : SIZE[1]][1]
    height = np.exp(-((columns - 119.0) ** 2) / 200)
    down, across = np.gradient(height)
    found = integrate(np.stack([across, down]))
    assert found[45, 119] - found[45, 0] == pytest.approx(1.0, abs=0.02)


def test_presses_that_were_not_fitted_are_rendered_and_read(presses):
    found = cross_validate(presses, background(), PIXEL_MM, 4, np.random.default_rng(0))
    errors = {name: [tried.errors[name] for tried in found] for name in found[0].errors}
    assert np.mean(errors["without a model"]) > 8
    assert np.mean(errors["colour error"]) < 1.5
    assert np.mean(errors["depth error [mm]"]) < 0.15
    assert np.mean(errors["mask overlap"]) > 0.6


def test_nothing_pressed_is_the_background(calibration):
    nothing = np.zeros(SIZE)
    np.testing.assert_array_equal(calibration.render(nothing, background()), background())
    depth = calibration.reconstruct(background(), background())
    assert np.abs(depth).max() < 1e-6
    assert not contact_mask(depth).any()


def test_a_face_as_deep_as_it_was_pressed(calibration):
    """Another shape than the balls that it was fitted to."""
    face = np.zeros(SIZE)
    face[30:60, 40:80] = 0.6
    surface = cv2.GaussianBlur(face, (0, 0), 8)  # no steeper than a ball
    down, across = np.gradient(surface / PIXEL_MM)
    lights = np.array([[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]])
    change = 60 * np.tensordot(np.stack([across, down], -1), lights, axes=(-1, 1))
    image = np.clip(np.rint(background() + change), 0, 255).astype(np.uint8)
    depth = calibration.reconstruct(image, background())
    assert depth[45, 60] == pytest.approx(surface[45, 60], rel=0.2)


def test_steeper_than_was_seen_is_rendered_as_steep_as_was_seen(calibration):
    step = np.zeros(SIZE)
    step[:, 60:] = 30.0
    image = calibration.render(step, background())
    flat = calibration.render(np.full(SIZE, calibration.deepest_mm), background())
    np.testing.assert_array_equal(image[:, 70:110], flat[:, 70:110])


def test_a_calibration_is_read_as_it_was_written(calibration, tmp_path):
    calibration.save(tmp_path / "mini.npz")
    again = GelCalibration.load(tmp_path / "mini.npz")
    face = membrane(ball(60, 45), PIXEL_MM)
    np.testing.assert_array_equal(
        again.render(face, background()), calibration.render(face, background())
    )
    (tmp_path / "other.npz").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match="is no calibration of a gel; fit one"):
        GelCalibration.load(tmp_path / "other.npz")
    np.savez(tmp_path / "few.npz", **(vars(calibration) | {"to_colour": np.zeros((3, 3))}))
    with pytest.raises(ValueError, match="was fitted with other polynomials"):
        GelCalibration.load(tmp_path / "few.npz")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((*SIZE, 3)), "the image is float64"),
        (np.zeros(SIZE, np.uint8), "an RGB image is uint8 of shape"),
        (np.zeros((80, 120, 3), np.uint8), "take both with one camera"),
    ],
)
def test_images_that_do_not_fit_are_refused(calibration, image, message):
    with pytest.raises(ValueError, match=message):
        calibration.reconstruct(image, background())


def test_a_mask_lies_on_a_pad_to_scale():
    mask = np.zeros((240, 320), bool)
    mask[120 - 47 : 120 + 47, 160 - 95 : 160 + 95] = True  # 6 by 12 mm
    felt = mask_on_pad(mask, 0.0634)
    assert felt.shape == (64, 64) and felt.dtype == np.uint8
    expected = np.zeros((64, 64), np.uint8)
    expected[24:40, 16:48] = 1
    np.testing.assert_array_equal(felt, expected)
    assert mask_on_pad(np.ones((240, 320), bool), 0.0634).mean() == pytest.approx(
        15.2 * 20.3 / 24**2, rel=0.05
    )


def test_a_mask_lies_on_a_minis_image_as_it_is():
    mask = np.zeros((240, 320), bool)
    mask[80:120, 40:200] = True
    np.testing.assert_array_equal(mask_on_pad(mask, 0.0634, GELSIGHT_MINI), mask)
    half = mask_on_pad(mask, 0.0634, GELSIGHT_MINI, (120, 160))
    assert half.shape == (120, 160) and half.sum() == mask.sum() / 4


def test_a_mask_goes_through_a_bundled_encoder_as_the_page_says(calibration):
    pytest.importorskip("timm")
    page = (Path(__file__).parents[1] / "docs" / "touch.md").read_text(encoding="utf-8")
    text = page.split("An encoder then embeds the frame")[1]
    (code,) = re.findall(r"```python\n(.*?)```", text.split("\n### ")[0], re.S)
    names = {"mask": np.ones((90, 120), bool), "calibration": calibration}
    exec(code, names)
    assert names["touch"].shape == (1, 128)


def test_a_gel_with_markers_is_refused(calibration):
    dotted = background()
    for row, column in product(range(8, SIZE[0], 10), range(8, SIZE[1], 12)):
        dotted[row - 1 : row + 2, column - 1 : column + 2] //= 3
    with pytest.raises(ValueError, match=r"has \d+ dark dots.*take images with a gel without"):
        calibration.reconstruct(dotted, dotted)
    dirty = background()
    dirty[20:23, 30:33] = 0
    calibration.reconstruct(dirty, dirty)


def test_a_depth_of_another_size_is_refused(calibration):
    with pytest.raises(ValueError, match="resize one to the other"):
        calibration.render(np.zeros((10, 10)), background())


def write(path, image):
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def test_the_command_calibrates_and_reconstructs(presses, tmp_path, capsys):
    write(tmp_path / "background.png", background())
    places = [(30, 30), (60, 30), (90, 30), (30, 60), (60, 60), (90, 60), (45, 45), (75, 45)]
    with (tmp_path / "presses.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            ["image", "ball_diameter_mm", "centre_x_px", "centre_y_px", "contact_radius_px"]
        )
        for i, (press, place) in enumerate(zip(presses, places, strict=True)):
            write(tmp_path / f"{i}.png", press.image)
            table.writerow([f"{i}.png", 8.0, *place, 10 + i])
    background_of = ["--background", str(tmp_path / "background.png")]
    made = tmp_path / "made"
    arguments = ["touch", "calibrate", str(tmp_path / "presses.csv"), *background_of]
    assert cli.main([*arguments, "--pixel-mm", "0.12", "--output", str(made)]) == 0
    assert "each rendered and read by a calibration fitted to others" in capsys.readouterr().out
    assert {file.name for file in made.iterdir()} == {
        "calibration.npz",
        "calibration.png",
        "errors.csv",
        "presses.png",
    }
    lit = SensorProfile(colours=str(made / "calibration"))
    env = gymnasium.make("VTInsert-v0", modalities="rgb", touch_sensor=lit, contact_size=32)
    seen = np.moveaxis(env.reset(seed=0)[0]["rgb"], 1, -1).astype(np.int64)
    env.close()
    untouched = np.abs(seen - cv2.resize(background(), (32, 32), interpolation=cv2.INTER_AREA))
    assert np.median(untouched) == 0 and untouched.max() > 10
    arguments = ["touch", "reconstruct", str(tmp_path / "4.png"), *background_of]
    arguments += ["--calibration", str(made / "calibration.npz"), "--output", str(made)]
    assert cli.main(arguments) == 0
    with np.load(made / "4.npz") as file:
        depth, contact = file["depth_mm"], file["contact"]
    assert depth.max() == pytest.approx(presses[4].depth_mm.max(), rel=0.3)
    assert contact.dtype == bool and contact[60, 60] and not contact[10, 10]
    assert cv2.imread(str(made / "4.png")).shape == (SIZE[0], 3 * SIZE[1], 3)

    arguments[2] = str(tmp_path / "presses.csv")
    assert cli.main(arguments) == 2
    assert "presses.csv is no image" in capsys.readouterr().err
    (tmp_path / "presses.csv").write_text("image,ball_diameter_mm\n0.png,8\n")
    assert cli.main(["touch", "calibrate", str(tmp_path / "presses.csv"), *background_of]) == 2
    assert "line 2, has no centre_x_px" in capsys.readouterr().err
