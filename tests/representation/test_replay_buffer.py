from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.data.columns import Column
from representation.data.replay_buffer import ReplayBuffer
from vtenv.modalities import IMAGE_MODALITIES

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
def make_buffer():
    def make(
        steps: int, columns=("depth", "contact", "action"), episodes=None, **options
    ) -> ReplayBuffer:
        buffer = ReplayBuffer(STEPS, WORLDS, columns, modalities=IMAGE_MODALITIES, **options)
        for step in range(steps):
            buffer.append(row(step, *([] if episodes is None else [episodes[step]])))
        return buffer

    return make


def numbers(rows) -> list[int]:
    return sorted(int(number) for number in rows["action"][:, 0])


@pytest.mark.parametrize("size", [6, 5])
def test_rows_come_back_as_from_a_data_set(size):
    """Depth to 0.01 mm; masks whose pixels fill no whole bytes too."""
    columns = ("depth", "contact", "action")
    buffer = ReplayBuffer(STEPS, WORLDS, columns, modalities=IMAGE_MODALITIES)
    given = row(0, size=size)
    buffer.append(given)
    there = buffer.read(np.arange(3))
    assert set(there) == {"depth", "contact", "action", "episode"}
    column = Column.of(given["depth"], IMAGE_MODALITIES["depth"].storage)
    expected = column.decode(column.encode("depth", given["depth"]))
    np.testing.assert_allclose(there["depth"], expected, atol=1e-7)
    np.testing.assert_array_equal(there["contact"], given["contact"])
    assert (there["depth"].dtype, there["contact"].dtype) == (np.float32, np.uint8)


def test_depth_that_cannot_be_stored_is_limited():
    buffer, given = ReplayBuffer(1, 3, ("depth",), modalities=IMAGE_MODALITIES), row(0)
    given["depth"][:, :, 0, 0] = 1.0
    buffer.append(given)
    assert buffer.read(np.arange(3))["depth"].max() == pytest.approx(0.65535)


def test_the_oldest_rows_are_written_over(make_buffer):
    assert numbers(make_buffer(2).read(np.arange(6))) == [0, 1, 2, 100, 101, 102]
    buffer = make_buffer(7)
    assert buffer.full and len(buffer) == WORLDS * STEPS
    steps = {number // 100 for number in numbers(buffer.read(np.arange(len(buffer))))}
    assert steps == {2, 3, 4, 5, 6}


@pytest.mark.parametrize("steps", [4, 5, 7, 10])
def test_the_next_moment_is_of_the_same_world(make_buffer, steps):
    buffer = make_buffer(steps)
    places = buffer.places(followed=True)
    batch = buffer.gather(places, ("action", "next_action", "depth", "next_depth", "next_contact"))
    assert len(places) == WORLDS * (min(steps, STEPS) - 1)
    assert torch.equal(batch["next_action"], batch["action"] + 100.0)
    for action, depth in zip(batch["next_action"][:, 0].int(), batch["next_depth"], strict=True):
        expected = row(int(action) // 100)["depth"][int(action) % 100]
        np.testing.assert_allclose(depth.numpy(), expected, atol=1e-5)
    assert len(buffer.transitions()) == len(places)
    assert numbers(buffer.read(buffer.transitions())) == sorted(
        batch["action"][:, 0].int().tolist()
    )


def test_another_episode_is_no_next_moment_and_what_failed_is_no_row(make_buffer):
    buffer = make_buffer(3, episodes=[(0, 1, 2), (0, 3, -1), (0, 3, -1)])
    assert numbers(buffer.read(np.arange(len(buffer)))) == [0, 1, 2, 100, 101, 200, 201]
    followed = buffer.gather(buffer.places(followed=True), ("action",))
    assert sorted(followed["action"][:, 0].int().tolist()) == [0, 100, 101]


def test_channels_that_are_kept_are_the_first(make_buffer):
    buffer = make_buffer(1, channels={"contact": 1})
    np.testing.assert_array_equal(buffer.read(np.arange(3))["contact"], row(0)["contact"][:, :1])


def test_too_many_moments_for_the_memory_are_refused_at_once():
    buffer = ReplayBuffer(10**9, WORLDS, ("depth",))
    with pytest.raises(ValueError, match=r"3,000,000,000 moments need .* ask for fewer"):
        buffer.append(row(0))
