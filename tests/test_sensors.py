"""The gel's images and the depth camera's noise, against closed forms and statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from worlds import make_simulation

from vtenv.sensing.images import (
    CONTACT_THRESHOLD_MM,
    DEPTH_EDGE,
    MAX_DEPTH,
    depth_images,
    gel_images,
)
from vtenv.tasks.insertion.scene import CAMERA_HEIGHT, GEL_SIZE, GEL_THICKNESS

Image = NDArray[np.float32]


THICKNESS_MM = np.float32(GEL_THICKNESS * 1e3)
THRESHOLD_MM = np.float32(CONTACT_THRESHOLD_MM)
DISTANCE = np.float32(CAMERA_HEIGHT)


def press(distance: NDArray) -> tuple[Image, NDArray[np.uint8]]:
    """Gel and contact images of one world, from distances (2, H, W)."""
    distance = np.asarray(distance, np.float32)[None]
    gel = np.full(distance.shape, np.nan, np.float32)
    contact = np.full(distance.shape, 7, np.uint8)
    gel_images(np.zeros(1, np.int64), distance, THICKNESS_MM, THRESHOLD_MM, gel, contact)
    return gel[0], contact[0]


def measure(
    depth: NDArray,
    seeds: NDArray[np.uint64] | None = None,
    *,
    noise_mm: float = 0.0,
    dropout: float = 0.0,
    quantization_mm: float = 0.0,
) -> Image:
    """Depth images (N, H, W) as the camera reports them; world i has seed i by default."""
    depth = np.asarray(depth, np.float32)
    if seeds is None:
        seeds = np.arange(len(depth), dtype=np.uint64)
    # As the engine lays them out: a view of its images (N, 1, H, W).
    true = depth[:, None].copy()
    out = np.full(true.shape, np.nan, np.float32)
    worlds = np.arange(len(depth))
    noise = np.full(len(depth), noise_mm, np.float64)
    depth_images(worlds, true[:, 0], seeds, noise, DISTANCE, dropout, quantization_mm, out[:, 0])
    return out[:, 0]


def flat(distance: float, worlds: int = 1, size: int = 64) -> Image:
    return np.full((worlds, size, size), distance, np.float32)


# The gel -----------------------------------------------------------------------------------


def test_indentation_is_what_is_missing_of_the_gel():
    pressed_mm = np.array([[0.0, 0.01, 0.2, 1.0, 2.5, 6.0]])
    distance = np.stack([GEL_THICKNESS - pressed_mm * 1e-3] * 2)
    gel, _ = press(distance)
    np.testing.assert_allclose(gel, np.stack([pressed_mm] * 2), atol=1e-6)


@pytest.mark.parametrize(
    ("distance", "expected"),
    [(np.inf, 0.0), (0.1, 0.0), (GEL_THICKNESS, 0.0), (0.0, 6.0), (-0.01, 6.0)],
)
def test_indentation_is_from_nothing_to_the_whole_gel(distance, expected):
    gel, contact = press(np.full((2, 8, 8), distance))
    np.testing.assert_allclose(gel, expected, atol=1e-6)
    assert (contact == (expected > 0)).all()


@pytest.mark.parametrize("side", [0, 1], ids=["left", "right"])
def test_contact_is_indentation_over_the_threshold(side):
    distance = np.full((2, 4, 4), np.inf)
    margin = 1e-3
    distance[side, 1, 2] = GEL_THICKNESS - (CONTACT_THRESHOLD_MM + margin) * 1e-3
    distance[side, 2, 1] = GEL_THICKNESS - (CONTACT_THRESHOLD_MM - margin) * 1e-3
    _, contact = press(distance)
    assert np.argwhere(contact).tolist() == [[side, 1, 2]]
    assert contact.dtype == np.uint8


@given(st.lists(st.floats(-1, 1, width=32) | st.just(np.inf), min_size=18, max_size=18))
def test_gel_stays_within_its_bounds_and_agrees_with_the_mask(values):
    gel, contact = press(np.reshape(values, (2, 3, 3)))
    assert ((gel >= 0) & (gel <= np.float32(GEL_THICKNESS * 1e3))).all()
    np.testing.assert_array_equal(contact, gel > np.float32(CONTACT_THRESHOLD_MM))


@pytest.mark.parametrize("pressed_mm", [0.2, 1.0, 2.0])
def test_imprint_of_a_sphere_has_the_radius_of_its_cap(pressed_mm):
    radius, size = 0.008, 64
    centres = ((np.arange(size) + 0.5) / size - 0.5) * GEL_SIZE
    distance = np.hypot(*np.meshgrid(centres, centres))
    with np.errstate(invalid="ignore"):
        surface = GEL_THICKNESS - pressed_mm * 1e-3 + radius - np.sqrt(radius**2 - distance**2)
    _, contact = press(np.stack([np.where(distance < radius, surface, np.inf)] * 2))
    seen = (pressed_mm - CONTACT_THRESHOLD_MM) * 1e-3
    imprint = math.sqrt(2 * radius * seen - seen**2)
    # Read off the picture: from its area, and from its widest row.
    pixel = GEL_SIZE / size
    assert math.sqrt(contact[0].sum() / math.pi) * pixel == pytest.approx(imprint, abs=pixel / 2)
    assert contact[0].sum(axis=1).max() * pixel / 2 == pytest.approx(imprint, abs=pixel / 2)
    np.testing.assert_array_equal(contact[0], contact[1])


def test_gel_of_worlds_not_asked_for_is_left_alone():
    distance = np.zeros((3, 2, 4, 4), np.float32)
    gel = np.full(distance.shape, 99.0, np.float32)
    contact = np.full(distance.shape, 9, np.uint8)
    gel_images(np.array([0, 2]), distance, THICKNESS_MM, THRESHOLD_MM, gel, contact)
    assert (gel[1] == 99.0).all()
    assert (contact[1] == 9).all()
    assert (contact[[0, 2]] == 1).all()


# The depth camera --------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(0, 2**63))
def test_no_noise_is_the_identity(seed, camera_seed):
    depth = np.random.default_rng(seed).uniform(0, MAX_DEPTH, (2, 16, 16)).astype(np.float32)
    seeds = np.array([camera_seed, camera_seed + 1], np.uint64)
    np.testing.assert_array_equal(measure(depth, seeds), depth)


@pytest.mark.parametrize(
    "noise", [{}, {"noise_mm": 5.0}, {"quantization_mm": 3.0}, {"dropout": 0.5, "noise_mm": 1.0}]
)
def test_no_return_reads_zero(noise):
    depth = flat(0.35, worlds=3)
    depth[:, 10:20, 5] = np.inf
    image = measure(depth, **noise)
    assert (image[np.isinf(depth)] == 0).all()


def test_noise_has_zero_mean_and_the_stated_deviation():
    error = measure(flat(CAMERA_HEIGHT, worlds=100), noise_mm=1.0) - np.float32(CAMERA_HEIGHT)
    n = error.size
    deviation = error.std(dtype=np.float64)
    assert abs(error.mean(dtype=np.float64)) < 4e-3 / math.sqrt(n)
    assert deviation == pytest.approx(1e-3, rel=0.01)


def test_noise_has_zero_mean_at_every_pixel():
    """No fixed pattern: an encoder could learn one."""
    worlds = 4000
    error = measure(flat(CAMERA_HEIGHT, worlds, size=16), noise_mm=1.0) - np.float32(CAMERA_HEIGHT)
    mean = error.mean(axis=0, dtype=np.float64) * math.sqrt(worlds) / 1e-3
    # Standard normal at each of 256 pixels.
    assert np.abs(mean).max() < 4.5
    assert mean.std() == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("factor", [0.5, 1.5, 2.0])
def test_noise_grows_with_the_square_of_distance(factor):
    near = measure(flat(CAMERA_HEIGHT), noise_mm=1.0) - np.float32(CAMERA_HEIGHT)
    distance = np.float32(CAMERA_HEIGHT * factor)
    far = measure(flat(distance), noise_mm=1.0) - distance
    # The same seed draws the same numbers, so the ratio holds at each pixel.
    np.testing.assert_allclose(far, near * factor**2, atol=1e-6)


def test_noise_is_proportional_to_its_setting():
    errors = [measure(flat(0.3), noise_mm=noise_mm) - np.float32(0.3) for noise_mm in (0.5, 2.0)]
    np.testing.assert_allclose(errors[1], 4 * errors[0], atol=1e-6)


def test_noise_is_bell_shaped_and_bounded():
    error = measure(flat(CAMERA_HEIGHT, worlds=100), noise_mm=1.0) - np.float32(CAMERA_HEIGHT)
    scaled = error.ravel() / 1e-3
    assert np.abs(scaled).max() < 3.5
    # Of a normal distribution, 68.3% and 95.4% lie within one and two deviations; of the sum
    # of four uniform numbers nearly as many.
    assert (np.abs(scaled) < 1).mean() == pytest.approx(0.683, abs=0.02)
    assert (np.abs(scaled) < 2).mean() == pytest.approx(0.954, abs=0.02)


def test_noise_is_independent_between_pixels_and_worlds():
    worlds = 60
    error = measure(flat(0.35, worlds), noise_mm=1.0).astype(np.float64) - np.float32(0.35)
    error /= error.std()
    pairs = {
        "neighbours in a row": (error[:, :, 1:], error[:, :, :-1]),
        "neighbours in a column": (error[:, 1:], error[:, :-1]),
        # Seeds one apart, as they would be for worlds seeded in a row.
        "next world": (error[1:], error[:-1]),
        "next world, next pixel": (error[1:, :, 1:], error[:-1, :, :-1]),
    }
    for name, (one, other) in pairs.items():
        assert abs((one * other).mean()) < 4.5 / math.sqrt(one.size), name


def test_noise_depends_on_the_seed_and_the_pixel_alone():
    depth = flat(0.3, worlds=4)
    seeds = np.array([5, 6, 5, 2**64 - 1], np.uint64)
    image = measure(depth, seeds, noise_mm=1.0)
    np.testing.assert_array_equal(image[0], image[2])
    for one, other in ((0, 1), (0, 3), (1, 3)):
        assert (image[one] != image[other]).mean() > 0.9
    np.testing.assert_array_equal(measure(depth[:1], seeds[3:], noise_mm=1.0)[0], image[3])


def edges_by_definition(depth: Image) -> NDArray[np.bool_]:
    """Pixels over `DEPTH_EDGE` from one of their four neighbours, by plain loops."""
    edges = np.zeros(depth.shape, bool)
    for row, column in np.ndindex(depth.shape):
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= r < depth.shape[0] and 0 <= c < depth.shape[1]:
                edges[row, column] |= abs(depth[row, column] - depth[r, c]) > DEPTH_EDGE
    return edges


def stepped(worlds: int, size: int = 64) -> Image:
    """A block on a table; half of the table rises by less than an edge."""
    depth = flat(0.4, worlds, size)
    depth[:, : size // 2] -= 0.9 * DEPTH_EDGE
    depth[:, size // 4 : size // 2, size // 8 : size // 3] = 0.3
    return depth


def test_dropout_of_one_loses_edges_and_nothing_else():
    depth = stepped(worlds=2)
    depth[:, -5:, -3:] = np.inf  # beyond the table: its rim is an edge too
    with np.errstate(invalid="ignore"):
        edges = edges_by_definition(depth[0])
    assert 20 < edges.sum() < 300
    image = measure(depth, dropout=1.0)
    np.testing.assert_array_equal(image == 0, np.stack([edges | np.isinf(depth[0])] * 2))
    kept = image > 0
    np.testing.assert_array_equal(image[kept], depth[kept])


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_dropout_has_the_stated_rate(rate):
    worlds = 300
    depth = stepped(worlds, size=32)
    edges = edges_by_definition(depth[0])
    lost = measure(depth, dropout=rate)[:, edges] == 0
    tolerance = 4.5 * math.sqrt(rate * (1 - rate) / lost.size)
    assert lost.mean() == pytest.approx(rate, abs=tolerance)
    # And at each edge pixel, not here always and there never.
    each = 5 * math.sqrt(rate * (1 - rate) / worlds)
    assert np.abs(lost.mean(axis=0) - rate).max() < each


def test_dropout_does_not_change_the_noise_of_what_is_kept():
    depth = stepped(worlds=3)
    plain = measure(depth, noise_mm=2.0)
    dropped = measure(depth, noise_mm=2.0, dropout=0.5)
    kept = dropped > 0
    assert 0.8 < kept.mean() < 1.0
    np.testing.assert_array_equal(dropped[kept], plain[kept])


def test_dropout_is_independent_of_noise():
    """Both come from one seed; the sign of a pixel's noise must not tell its loss."""
    depth = stepped(worlds=300, size=32)
    edges = edges_by_definition(depth[0])
    noise = (measure(depth, noise_mm=1.0) - depth)[:, edges]
    lost = measure(depth, dropout=0.5)[:, edges] == 0
    correlation = np.corrcoef(noise.ravel(), lost.ravel())[0, 1]
    assert abs(correlation) < 4.5 / math.sqrt(noise.size)


@pytest.mark.parametrize("step_mm", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("noise_mm", [0.0, 2.0])
def test_quantization_rounds_to_the_step(step_mm, noise_mm):
    depth = np.random.default_rng(0).uniform(0.2, 0.5, (2, 64, 64)).astype(np.float32)
    before = measure(depth, noise_mm=noise_mm)
    image = measure(depth, noise_mm=noise_mm, quantization_mm=step_mm)
    steps = image.astype(np.float64) / (step_mm * 1e-3)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert np.abs(image - before).max() <= step_mm * 1e-3 / 2 + 1e-6
    assert len(np.unique(image)) > 10, "not all rounded to one step"


@pytest.mark.parametrize("step_mm", [1e-6, 1e-40, 1e-98])
def test_quantization_finer_than_single_precision_changes_nothing(step_mm):
    depth = np.random.default_rng(0).uniform(0.2, 0.5, (1, 8, 8))
    np.testing.assert_allclose(measure(depth, quantization_mm=step_mm), depth, atol=1e-7)


@settings(max_examples=100)
@given(
    depth=st.lists(
        st.floats(0, 1e6, width=32) | st.sampled_from([np.inf, np.nan]), min_size=9, max_size=9
    ),
    seed=st.integers(0, 2**64 - 1),
    noise_mm=st.floats(0, 50),
    dropout=st.floats(0, 1),
    quantization_mm=st.just(0.0) | st.floats(1e-3, 50),
)
def test_depth_is_finite_and_within_its_bounds(depth, seed, noise_mm, dropout, quantization_mm):
    image = measure(
        np.reshape(depth, (1, 3, 3)),
        np.array([seed], np.uint64),
        noise_mm=noise_mm,
        dropout=dropout,
        quantization_mm=quantization_mm,
    )
    assert np.isfinite(image).all()
    assert ((image >= 0) & (image <= MAX_DEPTH)).all()


def test_depth_of_worlds_not_asked_for_is_left_alone():
    true = flat(0.3, worlds=3)[:, None]
    out = np.full(true.shape, -7.0, np.float32)
    seeds, noise = np.zeros(3, np.uint64), np.ones(3)
    depth_images(np.array([0, 2]), true[:, 0], seeds, noise, DISTANCE, 0.5, 0.5, out[:, 0])
    assert (out[1] == -7.0).all()
    assert (out[[0, 2]] > 0.29).all()


# From the environment's generators ---------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "draws"),
    [
        ({"depth_noise_mm": 0.0}, False),
        ({"depth_noise_mm": 0.0, "depth_quantization_mm": 2.0}, False),
        ({"depth_noise_mm": 1.0}, True),
        ({"depth_noise_mm": 0.0, "depth_dropout": 0.5}, True),
        ({"modalities": ("contact", "gel", "proprio")}, False),
    ],
    ids=["off", "quantization", "noise", "dropout", "no depth"],
)
def test_only_noise_that_is_on_draws_from_the_generator(settings, draws):
    simulation = make_simulation(2, engine_settings={"num_threads": 1}, **settings)
    try:
        simulation.reset(np.arange(2), [np.random.default_rng(i) for i in range(2)])
        before = [generator.bit_generator.state for generator in simulation.generators]
        simulation.observe(np.array([0]))
        after = [generator.bit_generator.state for generator in simulation.generators]
        assert (before[0] != after[0]) is draws
        assert before[1] == after[1], "a world that was not observed drew a number"
    finally:
        simulation.close()


def test_noise_is_new_at_every_observation():
    simulation = make_simulation(modalities="depth", observation_delay=0)
    try:
        world = np.zeros(1, np.int64)
        simulation.reset(world, [np.random.default_rng(0)])
        images = [simulation.observe(world)["depth"][0, 0] for _ in range(2)]
        assert (images[0] != images[1]).mean() > 0.9
        assert np.abs(images[0] - images[1]).max() < 0.01
    finally:
        simulation.close()
