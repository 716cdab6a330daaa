from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.data.columns import Column
from representation.data.ring import Ring

WORLDS, STEPS = 3, 5


def row(step: int, episode=(0, 1, 2), size: int = 6):
    """A step whose actions are numbered by step and world."""
    rng = np.random.default_rng(step)
    number = 100.0 * step + np.arange(len(episode), dtype=np.float32)
    return {
        "depth": rng.uniform(0.0, 0.6, (len(episode), 1, size, size)).astype(np.float32),
        "contact": rng.integers(0, 2, (len(episode), 2, size, size), dtype=np.uint8),
        "action": np.repeat(number[:, None], 5, axis=1).astype(np.float32),
        "episode": np.array(episode),
        "proprio": np.zeros((len(episode), 12), np.float32),
    }


@pytest.fixture
def make_ring():
    def make(steps: int, columns=("depth", "contact", "action"), episodes=None, **options) -> Ring:
        ring = Ring(STEPS, WORLDS, columns, **options)
        for step in range(steps):
            ring.append(row(step, *([] if episodes is None else [episodes[step]])))
        return ring

    return make


def numbers(rows) -> list[int]:
    return sorted(rows["action"][:, 0].astype(int).tolist())


@pytest.mark.parametrize("size", [6, 5])
def test_rows_come_back_as_from_a_data_set(size):
    """Depth to 0.01 mm; masks whose pixels fill no whole bytes too."""
    ring, given = Ring(STEPS, WORLDS, ("depth", "contact", "action")), row(0, size=size)
    ring.append(given)
    there = ring.read(np.arange(3))
    assert set(there) == {"depth", "contact", "action", "episode"}
    column = Column.of("depth", given["depth"])
    expected = column.decode(column.encode("depth", given["depth"]))
    np.testing.assert_allclose(there["depth"], expected, atol=1e-7)
    np.testing.assert_array_equal(there["contact"], given["contact"])
    assert (there["depth"].dtype, there["contact"].dtype) == (np.float32, np.uint8)


def test_depth_that_cannot_be_stored_is_limited():
    ring, given = Ring(1, 3, ("depth",)), row(0)
    given["depth"][:, :, 0, 0] = 1.0
    ring.append(given)
    assert ring.read(np.arange(3))["depth"].max() == pytest.approx(0.65535)


def test_the_oldest_rows_are_written_over(make_ring):
    assert numbers(make_ring(2).read(np.arange(6))) == [0, 1, 2, 100, 101, 102]
    ring = make_ring(7)
    assert ring.full and len(ring) == WORLDS * STEPS
    steps = {number // 100 for number in numbers(ring.read(np.arange(len(ring))))}
    assert steps == {2, 3, 4, 5, 6}


@pytest.mark.parametrize("steps", [4, 5, 7, 10])
def test_the_next_moment_is_of_the_same_world(make_ring, steps):
    ring = make_ring(steps)
    places = ring.places(followed=True)
    batch = ring.gather(places, ("action", "next_action", "depth", "next_depth", "next_contact"))
    assert len(places) == WORLDS * (min(steps, STEPS) - 1)
    assert torch.equal(batch["next_action"], batch["action"] + 100.0)
    for action, depth in zip(batch["next_action"][:, 0].int(), batch["next_depth"], strict=True):
        expected = row(int(action) // 100)["depth"][int(action) % 100]
        np.testing.assert_allclose(depth.numpy(), expected, atol=1e-5)
    assert len(ring.transitions()) == len(places)
    assert numbers(ring.read(ring.transitions())) == sorted(batch["action"][:, 0].int().tolist())


def test_another_episode_is_no_next_moment_and_what_failed_is_no_row(make_ring):
    ring = make_ring(3, episodes=[(0, 1, 2), (0, 3, -1), (0, 3, -1)])
    assert numbers(ring.read(np.arange(len(ring)))) == [0, 1, 2, 100, 101, 200, 201]
    followed = ring.gather(ring.places(followed=True), ("action",))
    assert sorted(followed["action"][:, 0].int().tolist()) == [0, 100, 101]


def test_one_finger_is_the_first(make_ring):
    ring = make_ring(1, fingers=1)
    np.testing.assert_array_equal(ring.read(np.arange(3))["contact"], row(0)["contact"][:, :1])


def test_too_many_moments_for_the_memory_are_refused_at_once():
    ring = Ring(10**9, WORLDS, ("depth",))
    with pytest.raises(ValueError, match=r"3,000,000,000 moments need .* ask for fewer"):
        ring.append(row(0))
