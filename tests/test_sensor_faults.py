"""Faults of sensors: off at zero, drawn from the world's generator, the same on every engine."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import pytest
from worlds import make_simulation

from vtenv.sensing.faults import (
    SENSOR_FAULTS,
    SensorFaultsConfig,
    faulty_contact,
    faulty_depth,
    faulty_images,
    get_sensor_faults,
)

WORLDS = 64
SEED = np.arange(WORLDS) * 7919 + 3
START = np.zeros(WORLDS, np.int64)
ALL = {
    "depth_bias_mm": 4.0,
    "depth_correlated_mm": 2.0,
    "depth_holes": 0.3,
    "touch_blur_px": 1.5,
    "touch_edge_noise": 0.2,
    "touch_drift": 0.2,
    "touch_dead": 0.02,
    "touch_flips": 0.01,
    "shear_noise_n": 0.01,
    "marker_noise_mm": 0.02,
    "marker_drift_mm": 0.1,
    "rgb_noise": 3.0,
    "rgb_drift": 8.0,
}


@pytest.fixture
def depth():
    """A table 0.43 m away, with a block on it, and a lost pixel."""
    image = np.full((WORLDS, 1, 48, 64), 0.43, np.float32)
    image[:, :, 16:32, 20:44] = 0.34
    image[:, :, 0, 0] = 0.0
    return image


@pytest.fixture
def contact():
    """A disc on both fingers, 20 pixels across."""
    y, x = np.mgrid[:48, :64]
    mask = (np.hypot(y - 24, x - 32) < 10).astype(np.uint8)
    return np.broadcast_to(mask, (WORLDS, 2, 48, 64)).copy()


@pytest.fixture
def images(depth, contact):
    """One of each sense; forces, markers and colours are the same everywhere."""
    return {
        "depth": depth,
        "contact": contact,
        "gel": contact * np.float32(0.5),
        "shear": np.full((WORLDS, 2, 3, 16, 16), 0.1, np.float32),
        "markers": np.full((WORLDS, 2, 2, 9, 7), -0.2, np.float32),
        "rgb": np.full((WORLDS, 2, 3, 16, 16), 128, np.uint8),
    }


def test_without_faults_images_are_as_they_were(images):
    told = faulty_images(images, SensorFaultsConfig(), SEED, START)
    for key, image in images.items():
        np.testing.assert_array_equal(told[key], image)


@pytest.mark.parametrize(
    ("key", "fault", "deviation"),
    [
        ("shear", "shear_noise_n", 0.03),
        ("markers", "marker_noise_mm", 0.02),
        ("rgb", "rgb_noise", 4.0),
    ],
)
def test_noise_of_touch_is_each_images_own(images, key, fault, deviation):
    faults = SensorFaultsConfig(**{fault: deviation})
    first, later = (faulty_images(images, faults, SEED, START + t) for t in (0, 1))
    noise, next_noise = (told[key].astype(np.float64) - images[key] for told in (first, later))
    assert noise.std() == pytest.approx(deviation, rel=0.05)
    assert abs(noise.mean()) < 0.05 * deviation
    assert abs(np.corrcoef(noise.ravel(), next_noise.ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.02
    assert first[key].dtype == images[key].dtype
    for other in images.keys() - {key}:
        np.testing.assert_array_equal(first[other], images[other])


@pytest.mark.parametrize(
    ("key", "fault", "greatest"), [("markers", "marker_drift_mm", 0.1), ("rgb", "rgb_drift", 20.0)]
)
def test_drift_is_shared_by_an_image_and_changes_on_the_way(images, key, fault, greatest):
    faults = SensorFaultsConfig(**{fault: greatest})
    off = [
        faulty_images(images, faults, SEED, START + t)[key].astype(np.float64) - images[key]
        for t in (0, 50, 100, 150)
    ]
    assert all(np.ptp(each, axis=(-2, -1)).max() < 1e-6 for each in off)
    start, halfway, end, after = (each[..., 0, 0] for each in off)
    assert np.abs(start).max() <= greatest and np.abs(start).std() > 0.2 * greatest
    np.testing.assert_allclose(halfway, (start + end) / 2, atol=1 if key == "rgb" else 1e-6)
    np.testing.assert_array_equal(end, after)
    assert np.mean(start != end) > 0.9


def test_readings_stay_within_their_bounds(images):
    full = {**images, "rgb": np.full_like(images["rgb"], 250)}
    full["markers"] = np.full_like(images["markers"], 10.0)
    full["shear"] = np.full_like(images["shear"], -100.0)
    faults = SensorFaultsConfig(shear_noise_n=5.0, marker_noise_mm=1.0, rgb_noise=20.0)
    told = faulty_images(full, faults, SEED, START)
    assert told["rgb"].max() == 255 and told["rgb"].min() > 100
    assert told["markers"].max() == 10.0 and told["shear"].min() == -100.0


def test_a_bias_is_an_episodes_own(depth):
    faults = SensorFaultsConfig(depth_bias_mm=4.0)
    off = (faulty_depth(depth, faults, SEED, START) - depth)[:, 0, 1:, 1:] * 1e3
    assert np.ptp(off, axis=(1, 2)).max() < 1e-3
    offs = off[:, 0, 0]
    assert np.abs(offs).max() <= 4.0 and offs.std() == pytest.approx(8 / 12**0.5, rel=0.25)
    later = faulty_depth(depth, faults, SEED, START + 50)
    np.testing.assert_array_equal(later, faulty_depth(depth, faults, SEED, START))
    assert (later[:, 0, 0, 0] == 0).all()


def test_correlated_noise_is_shared_by_neighbours(depth):
    faults = SensorFaultsConfig(depth_correlated_mm=2.0)
    noise = (faulty_depth(depth, faults, SEED, START) - depth)[:, 0, 1:] * 1e3
    assert noise.std() == pytest.approx(2.0, rel=0.05)
    assert np.std(noise[:, 1:] - noise[:, :-1]) < 0.5
    apart = np.corrcoef(noise[:, 10, 4].ravel(), noise[:, 10, 60].ravel())[0, 1]
    assert abs(apart) < 0.4
    assert not np.array_equal(faulty_depth(depth, faults, SEED, START + 1)[:, 0, 1:], noise)


def test_holes_are_beside_edges(depth):
    lost = faulty_depth(depth, SensorFaultsConfig(depth_holes=0.5), SEED, START) == 0
    beside = np.zeros((48, 64), bool)
    beside[13:35, 17:47] = True
    beside[18:30, 22:42] = False
    beside[:4, :4] = True  # the pixel that was lost
    assert lost[:, 0, ~beside].sum() == 0
    assert lost[:, 0, 15:33, 20:44][:, [0, -1]].mean() == pytest.approx(0.5, abs=0.1)
    assert (
        faulty_depth(depth, SensorFaultsConfig(depth_holes=1.0), SEED, START)[:, 0, 16, 30] == 0
    ).all()


def test_blur_rounds_and_drift_grows_or_shrinks_the_mask(contact):
    blurred = faulty_contact(contact, SensorFaultsConfig(touch_blur_px=1.5), SEED, START)
    assert np.mean(blurred != contact) < 0.005
    faults = SensorFaultsConfig(touch_blur_px=1.5, touch_drift=0.4)
    areas = [faulty_contact(contact, faults, SEED, START + t).sum((1, 2, 3)) for t in (0, 50, 100)]
    exact = contact[0].sum()
    assert areas[0].min() < 0.93 * exact and areas[0].max() > 1.07 * exact
    # It drifts from one end to the other, and is between them on the way.
    between = (areas[1] - areas[0]) * (areas[2] - areas[1])
    assert (between >= 0).all() and (areas[0] != areas[2]).mean() > 0.9


def test_edge_noise_frays_edges_alone(contact):
    faults = SensorFaultsConfig(touch_blur_px=1.5, touch_edge_noise=0.3)
    wrong = faulty_contact(contact, faults, SEED, START) != contact
    y, x = np.mgrid[:48, :64]
    far = np.abs(np.hypot(y - 24, x - 32) - 10) > 5
    assert wrong[..., far].sum() == 0
    assert wrong[..., ~far].mean() > 0.03


def test_dead_pixels_stay_and_flipped_ones_change(contact):
    full = np.ones_like(contact)
    dead = [
        faulty_contact(full, SensorFaultsConfig(touch_dead=0.02), SEED, START + t) for t in (0, 9)
    ]
    np.testing.assert_array_equal(*dead)
    assert 1 - dead[0].mean() == pytest.approx(0.02, rel=0.1)
    flips = [
        faulty_contact(full, SensorFaultsConfig(touch_flips=0.02), SEED, START + t) for t in (0, 9)
    ]
    assert 1 - flips[0].mean() == pytest.approx(0.02, rel=0.1)
    assert not np.array_equal(*flips)


def test_what_is_dead_reads_nothing_in_any_image_of_touch(images):
    faults = SensorFaultsConfig(touch_dead=0.05)
    full = {key: np.ones_like(image) for key, image in images.items()}
    full["rgb"] = np.ones((WORLDS, 2, 3, 48, 64), np.uint8)  # of as many pixels as the mask
    first, later = (faulty_images(full, faults, SEED, START + t) for t in (0, 9))
    np.testing.assert_array_equal(first["depth"], full["depth"])
    for key in ("gel", "contact", "shear", "markers", "rgb"):
        np.testing.assert_array_equal(first[key], later[key])
        assert first[key].dtype == full[key].dtype
        assert 1 - first[key].mean() == pytest.approx(0.05, rel=0.1)
    for key in ("shear", "markers"):
        assert (np.ptp(first[key], axis=2) == 0).all()
    np.testing.assert_array_equal(first["gel"], first["contact"])
    np.testing.assert_array_equal(first["rgb"], np.repeat(first["contact"][:, :, None], 3, axis=2))


def test_arrays_of_both_libraries_have_the_same_faults(images):
    torch = pytest.importorskip("torch")
    faults = SensorFaultsConfig(**ALL)
    seed, step = torch.from_numpy(SEED), torch.from_numpy(START + 7)
    tensors = {key: torch.from_numpy(image) for key, image in images.items()}
    ours = faulty_images(images, faults, SEED, START + 7)
    theirs = {k: v.numpy() for k, v in faulty_images(tensors, faults, seed, step).items()}
    for key in ("depth", "gel", "shear", "markers"):
        np.testing.assert_allclose(theirs[key], ours[key], atol=1e-6)
    for key in ("contact", "rgb"):
        assert theirs[key].dtype == np.uint8
        assert (theirs[key] != ours[key]).mean() < 1e-4


def test_an_environment_draws_its_faults_from_its_generator():
    keys = ("depth", "contact", "shear", "markers", "rgb")
    env = gymnasium.make("VTInsert-v0", modalities=keys, contact_size=16, sensor_faults=ALL)
    seen = [env.reset(seed=s)[0] for s in (1, 1, 2)]
    for key in keys:
        np.testing.assert_array_equal(seen[0][key], seen[1][key])
        assert not np.array_equal(seen[0][key], seen[2][key])
        assert env.observation_space[key].contains(seen[0][key])
    env.close()
    env = gymnasium.make("VTInsert-v0", sensor_faults={"touch_dead": 1.0})
    assert env.reset(seed=0)[0]["contact"].sum() == 0
    env.close()


def test_a_minis_faults_are_those_of_colours_and_markers(images):
    faults = get_sensor_faults("gelsight-mini")
    told = faulty_images(images, faults, SEED, START)
    changed = {key for key, image in images.items() if not np.array_equal(told[key], image)}
    assert changed == {"markers", "rgb"}
    grey = {"rgb": np.full((WORLDS, 2, 3, 48, 64), 128, np.uint8)}
    levels = faulty_images(grey, faults, SEED, START)["rgb"].astype(np.float64)
    deviation = levels.std(axis=(-1, -2))
    assert deviation.mean() == pytest.approx(np.hypot(1.5, 12**-0.5), rel=0.02)  # and of rounding
    assert np.abs(levels.mean(axis=(-1, -2)) - 128).max() < 1.2 + 0.1


def test_faults_by_name_are_those_of_the_table():
    env = gymnasium.make("VTInsert-v0", modalities="markers", sensor_faults="gelsight-mini")
    assert env.unwrapped.simulation.task.config.sensor_faults == SENSOR_FAULTS["gelsight-mini"]
    env.close()
    with pytest.raises(ValueError, match=r"sensor_faults='digit'.*gelsight-mini.*marker_noise_mm"):
        gymnasium.make("VTInsert-v0", sensor_faults="digit")


@pytest.mark.slow
def test_engines_have_the_same_faults():
    pytest.importorskip("mujoco_warp")
    keys = ("depth", "contact", "shear", "markers", "rgb")
    settings = {"modalities": keys, "depth_noise_mm": 0.0, "sensor_faults": ALL}
    worlds, seen = np.arange(4), []
    for engine, more in (("cpu", {}), ("warp", {"device": "cpu"})):
        simulation = make_simulation(4, engine, engine_settings=more, **settings)
        simulation.reset(worlds, [np.random.default_rng(i) for i in worlds])
        seen.append(simulation.fetch(simulation.observe(worlds))[0])
        simulation.close()
    assert (np.abs(seen[0]["depth"] - seen[1]["depth"]) > 1e-4).mean() < 0.005
    assert (seen[0]["contact"] != seen[1]["contact"]).mean() < 0.005
    for key, unit in {"shear": 0.02, "markers": 0.02, "rgb": 1}.items():
        ours, theirs = (images[key].astype(np.float64) for images in seen)
        np.testing.assert_allclose(ours, theirs, atol=unit)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(SensorFaultsConfig)])
@pytest.mark.parametrize("given", [-0.1, 1e3, "much", None])
def test_a_fault_that_is_not_allowed(name, given):
    with pytest.raises(ValueError, match=f"{name}=.*a number from 0 to"):
        SensorFaultsConfig(**{name: given})
