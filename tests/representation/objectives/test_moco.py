from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from representation.objectives.infonce import info_nce
from representation.objectives.moco import KeyQueue, MoCo, queue_info_nce


def numbered(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count, dtype=torch.float32)[:, None]


def test_the_queue_fills_then_forgets_the_oldest():
    queue = KeyQueue(5, 1)
    assert queue.filled.sum() == 0
    queue.push(numbered(1, 2))
    assert queue.keys[queue.filled].flatten().tolist() == [1, 2]
    queue.push(numbered(3, 2))
    assert queue.keys[queue.filled].flatten().tolist() == [1, 2, 3, 4]
    queue.push(numbered(5, 2))  # over the end: 6 where 1 was
    assert queue.keys.flatten().tolist() == [6, 2, 3, 4, 5]
    assert queue.filled.all()
    queue.push(numbered(7, 3))
    assert queue.keys.flatten().tolist() == [6, 7, 8, 9, 5]


@pytest.mark.parametrize("count", [5, 6, 13])
def test_of_a_batch_larger_than_the_queue_the_last_stay(count):
    queue = KeyQueue(5, 1)
    queue.push(numbered(100, 3))
    queue.push(numbered(0, count))
    assert sorted(queue.keys.flatten().tolist()) == list(range(count - 5, count))
    queue.push(numbered(50, 1))  # the oldest is the one that goes
    assert sorted(queue.keys.flatten().tolist()) == [*range(count - 4, count), 50]


def test_the_loss_is_what_loops_give(unit_vectors):
    queries, keys, queue = (unit_vectors(n, 8, seed=n) for n in (3, 6, 5))
    filled = torch.tensor([True, False, True, True, False])
    losses = []
    for i, query in enumerate(queries.numpy()):
        candidates = [*keys.numpy(), *queue.numpy()[filled.numpy()]]
        scores = [float(np.dot(query, key)) / 0.2 for key in candidates]
        losses.append(math.log(sum(math.exp(score) for score in scores)) - scores[2 + i])
    loss = queue_info_nce(queries, keys, queue, filled, 0.2, first=2)
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_an_empty_queue_makes_it_infonce(unit_vectors):
    queries, keys = unit_vectors(4, 8, seed=0), unit_vectors(4, 8, seed=1)
    empty = torch.zeros(5, dtype=torch.bool)
    loss = queue_info_nce(queries, keys, torch.zeros(5, 8), empty, 0.1)
    torch.testing.assert_close(loss, info_nce(queries, keys, 0.1))


def test_all_alike_costs_the_logarithm_of_batch_and_queue():
    ones = torch.ones(3, 1)
    loss = queue_info_nce(ones, ones, torch.ones(7, 1), torch.ones(7, dtype=torch.bool), 0.1)
    assert loss.item() == pytest.approx(math.log(10))


@pytest.fixture
def encoder(make_encoder):
    return make_encoder()


@pytest.fixture
def moco(encoder) -> MoCo:
    return MoCo(encoder, projection_dim=16, queue_size=6, momentum=0.9)


def test_the_first_batch_is_infonce_both_ways(encoder, moco, make_batch):
    batch = make_batch()
    loss = moco(encoder, batch).loss
    queries = moco.projections(encoder.features(batch))
    keys = moco.momentum_projections(moco.momentum_encoder.features(batch))
    expected = (
        info_nce(queries["vision"], keys["touch"], 0.07)
        + info_nce(queries["touch"], keys["vision"], 0.07)
    ) / 2
    torch.testing.assert_close(loss, expected)


def test_the_queues_hold_the_keys_in_order(encoder, moco, make_batch):
    first, second = make_batch(4, seed=1), make_batch(4, seed=2)
    assert moco(encoder, first).metrics["queue_size"] == 0
    assert moco(encoder, second).metrics["queue_size"] == 4
    # The encoder has not moved, so neither has its copy.
    for modality in ("vision", "touch"):
        one, two = (
            moco.momentum_projections(moco.momentum_encoder.features(batch))[modality]
            for batch in (first, second)
        )
        expected = torch.cat([two[2:], one[2:], two[:2]])
        torch.testing.assert_close(moco.queues[modality].keys, expected)


def test_images_are_compared_with_earlier_touches_and_touches_with_earlier_images(
    encoder, moco, make_batch
):
    first, second = make_batch(4, seed=1), make_batch(4, seed=2)
    moco(encoder, first)
    loss = moco(encoder, second).loss
    queries = moco.projections(encoder.features(second))
    earlier, keys = (
        moco.momentum_projections(moco.momentum_encoder.features(batch))
        for batch in (first, second)
    )
    filled = torch.ones(4, dtype=torch.bool)
    expected = [
        queue_info_nce(queries[query], keys[key], earlier[key], filled, 0.07)
        for query, key in (("vision", "touch"), ("touch", "vision"))
    ]
    torch.testing.assert_close(loss, sum(expected) / 2)


def test_the_momentum_copy_gets_no_gradients(encoder, moco, make_batch):
    moco(encoder, make_batch()).loss.backward()
    for copied in (moco.momentum_encoder, moco.momentum_projections):
        assert all(value.grad is None and not value.requires_grad for value in copied.parameters())


def test_the_momentum_copy_follows_slowly(encoder, moco, make_batch):
    before = [value.clone() for value in moco.momentum_encoder.parameters()]
    with torch.no_grad():
        for value in encoder.parameters():
            value += 1.0
        for value in moco.projections.parameters():
            value += 1.0
    heads = [value.clone() for value in moco.momentum_projections.parameters()]
    moco(encoder, make_batch())
    for old, new in zip(before, moco.momentum_encoder.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)
    for old, new in zip(heads, moco.momentum_projections.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)


def test_evaluation_changes_nothing(encoder, moco, make_batch):
    moco.eval()
    encoder.eval()
    with torch.no_grad():
        for value in encoder.parameters():
            value += 1.0
    before = {name: value.clone() for name, value in moco.state_dict().items()}
    moco(encoder, make_batch())
    assert all(torch.equal(value, before[name]) for name, value in moco.state_dict().items())


def test_a_resumed_run_has_the_same_queue(encoder, moco, make_batch):
    moco(encoder, make_batch(seed=1))
    resumed = MoCo(encoder, projection_dim=16, queue_size=6, momentum=0.9)
    resumed.load_state_dict(moco.state_dict())
    batch = make_batch(seed=2)
    assert torch.equal(moco(encoder, batch).loss, resumed(encoder, batch).loss)


@pytest.mark.parametrize(("option", "value"), [("momentum", 1.0), ("queue_size", 0)])
def test_settings_are_checked(encoder, option, value):
    with pytest.raises(ValueError, match=f"{option}={value}"):
        MoCo(encoder, **{option: value})


@pytest.fixture
def normed(make_encoder):
    """An encoder with batch norms."""
    return make_encoder(backbone="test_resnet")


@pytest.mark.parametrize("shuffle", [False, True])
def test_groups_have_their_own_statistics_and_keep_the_order(normed, make_batch, shuffle):
    moco = MoCo(normed, groups=2, shuffle=shuffle, momentum=0.0)
    batch = make_batch(8)
    order = torch.tensor([3, 0, 6, 5, 1, 7, 2, 4])
    found = moco._features(normed, batch, order if shuffle else None)
    for rows in (order if shuffle else torch.arange(8)).chunk(2):
        expected = normed.features({key: batch[key][rows] for key in normed.keys})
        for sense, value in expected.items():
            torch.testing.assert_close(found[sense][rows], value)


def test_keys_are_shuffled_by_the_generator_in_training_alone(normed, make_batch):
    moco, batch = MoCo(normed, groups=2), make_batch(8)
    queries = normed.features(batch)
    first, second = (moco._order(queries, torch.Generator().manual_seed(n)) for n in (1, 2))
    assert sorted(first.tolist()) == list(range(8))
    assert not torch.equal(first, second)
    assert moco.eval()._order(queries, None) is None
    assert MoCo(normed, groups=2, shuffle=False)._order(queries, None) is None


def test_groups_must_divide_the_batch(normed, make_batch):
    with pytest.raises(ValueError, match=r"groups=3.*divisor"):
        MoCo(normed, groups=3)(normed, make_batch(4))
