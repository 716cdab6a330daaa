from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest
import torch
from memory_split import MemorySplit

from representation.data.sources import DatasetSource


@pytest.fixture
def split() -> MemorySplit:
    """Rows that carry their own number in the first action."""
    split = MemorySplit(50)
    split.arrays["action"][:, 0] = np.arange(50)
    return split


def numbers(batches) -> list[list[int]]:
    return [batch["action"][:, 0].int().tolist() for batch in batches]


def test_an_epoch_has_each_row_once_and_drops_what_fills_no_batch(split):
    source = DatasetSource(split, 8, ("action",), seed=0)
    batches = numbers(source.epoch(0))
    drawn = list(itertools.chain(*batches))
    assert len(batches) == source.batches_per_epoch == 6
    assert {len(batch) for batch in batches} == {8}
    assert len(set(drawn)) == 48


def test_the_order_follows_from_seed_and_epoch_alone(split):
    def order(seed: int, epoch: int, **options):
        return numbers(DatasetSource(split, 8, ("action",), seed=seed, **options).epoch(epoch))

    assert order(0, 1) == order(0, 1) == order(0, 1, workers=5, ahead=1) == order(0, 1, hold=True)
    assert order(0, 0) != order(0, 1) != order(1, 1)


@pytest.mark.parametrize("hold", [False, True])
def test_an_epoch_goes_on_from_any_batch(split, hold):
    source = DatasetSource(split, 8, ("action",), seed=0, hold=hold)
    assert numbers(source.epoch(2, first=4)) == numbers(source.epoch(2))[4:]


@pytest.mark.parametrize("hold", [False, True])
def test_batches_hold_what_the_split_has(split, hold):
    source = DatasetSource(split, 8, ("depth", "contact", "action"), seed=0, hold=hold)
    for batch in source.epoch(0):
        assert set(batch) == set(source.keys)
        rows = batch["action"][:, 0].long().numpy()
        for key, value in batch.items():
            assert torch.equal(value, torch.from_numpy(split.arrays[key][rows]))


@pytest.mark.parametrize("hold", [False, True])
def test_the_next_moment_is_of_the_same_episode(split, hold):
    keys = ("action", "next_action", "next_depth", "next_contact", "episode", "next_episode")
    source = DatasetSource(split, 4, keys, seed=0, hold=hold)
    batches = list(source.epoch(0))
    for batch in batches:
        assert torch.equal(batch["next_action"][:, 0], batch["action"][:, 0] + 1)
        assert torch.equal(batch["next_episode"], batch["episode"])
        after = batch["next_action"][:, 0].long().numpy()
        assert torch.equal(batch["next_depth"], torch.from_numpy(split.arrays["depth"][after]))
    assert len(batches) == len(split.transitions()) // 4


def test_a_held_split_is_read_once(split):
    source = DatasetSource(split, 8, ("depth", "action"), seed=0, hold=True)
    list(source.epoch(0))
    reads = split.reads
    list(source.epoch(1))
    assert split.reads == reads


@pytest.mark.parametrize("hold", [False, True])
def test_channels_that_are_kept_are_the_first(split, hold):
    split.arrays["contact"][:, 1] = 7
    for batch in DatasetSource(
        split, 8, ("contact",), seed=0, channels={"contact": 1}, hold=hold
    ).epoch(0):
        assert batch["contact"].shape == (8, 1, 32, 32)
        assert batch["contact"].max() <= 1


@pytest.mark.parametrize("hold", [False, True])
def test_several_processes_share_each_batch(split, hold):
    whole = numbers(DatasetSource(split, 8, ("action",), seed=3).epoch(2))
    parts = [
        numbers(
            DatasetSource(split, 8, ("action",), seed=3, rank=rank, world_size=2, hold=hold).epoch(
                2
            )
        )
        for rank in (0, 1)
    ]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole


def test_evaluation_has_every_row_in_order(split):
    source = DatasetSource(split, 8, ("action",), seed=0, shuffle=False)
    batches = numbers(source.epoch(0))
    assert list(itertools.chain(*batches)) == list(range(50))
    assert len(batches) == source.batches_per_epoch == 7


def test_it_reads_ahead_while_the_batch_is_used(split):
    read, first = [], threading.Event()
    whole = split.read

    def counted(rows, columns=None):
        read.append(threading.current_thread().name)
        if len(read) >= 4:
            first.set()
        return whole(rows, columns)

    split.read = counted
    batches = DatasetSource(split, 8, ("depth",), seed=0, hold=False, ahead=3).epoch(0)
    read.clear()
    next(batches)
    assert first.wait(10.0)
    assert threading.main_thread().name not in read


def test_an_abandoned_epoch_leaves_no_thread(split):
    batches = DatasetSource(split, 8, ("depth",), seed=0, hold=False).epoch(0)
    next(batches)
    batches.close()
    deadline = time.monotonic() + 10.0
    while any(thread.name.startswith("batches") for thread in threading.enumerate()):
        assert time.monotonic() < deadline


def test_an_error_of_a_reader_reaches_the_trainer(split):
    source = DatasetSource(split, 8, ("depth",), seed=0, hold=False)

    def broken(rows, columns=None):
        raise OSError("the disk is gone")

    split.read = broken
    with pytest.raises(OSError, match="the disk is gone"):
        list(source.epoch(0))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"batch_size": 51}, "50 rows"),
        ({"batch_size": 0}, "at least 1"),
        ({"batch_size": 9, "world_size": 2}, "multiple of 2"),
        ({"keys": ("depth", "force")}, "no force; it has depth, contact"),
        ({"keys": ("next_force",)}, "no next_force"),
    ],
)
def test_what_cannot_be_is_said(split, changes, expected):
    settings = {"batch_size": 8, "keys": ("depth",), "seed": 0} | changes
    with pytest.raises(ValueError, match=expected):
        DatasetSource(split, **settings)


def test_the_next_moment_needs_episodes(split):
    del split.arrays["episode"]
    with pytest.raises(ValueError, match="no episode"):
        DatasetSource(split, 8, ("next_depth",), seed=0)
