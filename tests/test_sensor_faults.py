"""Faults of sensors: off at zero, drawn from the world's generator, the same on every engine."""

from __future__ import annotations

import dataclasses

import gymnasium
import numpy as np
import pytest
from worlds import make_simulation

from vtenv.sensing.faults import SensorFaultsConfig, faulty_contact, faulty_depth

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


def test_without_faults_images_are_as_they_were(depth, contact):
    none = SensorFaultsConfig()
    np.testing.assert_array_equal(faulty_depth(depth, none, SEED, START), depth)
    np.testing.assert_array_equal(faulty_contact(contact, none, SEED, START), contact)


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


def test_arrays_of_both_libraries_have_the_same_faults(depth, contact):
    torch = pytest.importorskip("torch")
    faults = SensorFaultsConfig(**ALL)
    seed, step = torch.from_numpy(SEED), torch.from_numpy(START + 7)
    told = faulty_depth(torch.from_numpy(depth), faults, seed, step).numpy()
    np.testing.assert_allclose(told, faulty_depth(depth, faults, SEED, START + 7), atol=1e-6)
    felt = faulty_contact(torch.from_numpy(contact), faults, seed, step).numpy()
    assert (felt != faulty_contact(contact, faults, SEED, START + 7)).mean() < 1e-4


def test_an_environment_draws_its_faults_from_its_generator():
    env = gymnasium.make("VTInsert-v0", sensor_faults=ALL)
    seen = [env.reset(seed=s)[0] for s in (1, 1, 2)]
    for key in ("depth", "contact"):
        np.testing.assert_array_equal(seen[0][key], seen[1][key])
        assert not np.array_equal(seen[0][key], seen[2][key])
        assert env.observation_space[key].contains(seen[0][key])
    env.close()
    env = gymnasium.make("VTInsert-v0", sensor_faults={"touch_dead": 1.0})
    assert env.reset(seed=0)[0]["contact"].sum() == 0
    env.close()


@pytest.mark.slow
def test_engines_have_the_same_faults():
    pytest.importorskip("mujoco_warp")
    settings = {"modalities": ("depth", "contact"), "depth_noise_mm": 0.0, "sensor_faults": ALL}
    worlds, seen = np.arange(4), []
    for engine, more in (("cpu", {}), ("warp", {"device": "cpu"})):
        simulation = make_simulation(4, engine, engine_settings=more, **settings)
        simulation.reset(worlds, [np.random.default_rng(i) for i in worlds])
        seen.append(simulation.fetch(simulation.observe(worlds))[0])
        simulation.close()
    assert (np.abs(seen[0]["depth"] - seen[1]["depth"]) > 1e-4).mean() < 0.005
    assert (seen[0]["contact"] != seen[1]["contact"]).mean() < 0.005


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(SensorFaultsConfig)])
@pytest.mark.parametrize("given", [-0.1, 1e3, "much", None])
def test_a_fault_that_is_not_allowed(name, given):
    with pytest.raises(ValueError, match=f"{name}=.*a number from 0 to"):
        SensorFaultsConfig(**{name: given})
