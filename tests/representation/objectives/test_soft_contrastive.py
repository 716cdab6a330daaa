from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from representation.objectives.infonce import info_nce
from representation.objectives.soft_contrastive import (
    SoftContrastive,
    soft_info_nce,
    soft_targets,
)


def oracle_targets(keys, neighbours, temperature):
    count = len(keys)
    weights = np.zeros((count, count))
    for i in range(count):
        similarities = [float(np.dot(keys[i], keys[j])) for j in range(count)]
        nearest = sorted(range(count), key=lambda j: -similarities[j])[:neighbours]
        total = sum(math.exp(similarities[j] / temperature) for j in nearest)
        for j in nearest:
            weights[i, j] = math.exp(similarities[j] / temperature) / total
    return weights


def oracle_loss(queries, keys, weights, temperature):
    losses = []
    for i in range(len(queries)):
        scores = [float(np.dot(queries[i], key)) / temperature for key in keys]
        total = math.log(sum(math.exp(score) for score in scores))
        losses.append(-sum(weights[i, j] * (scores[j] - total) for j in range(len(keys))))
    return np.mean(losses)


@pytest.mark.parametrize("neighbours", [1, 3, 6, None])
def test_targets_and_loss_are_what_loops_give(unit_vectors, neighbours):
    queries, keys = unit_vectors(6, 8, seed=0), unit_vectors(6, 8, seed=1)
    targets = soft_targets(keys, slice(0, 6), neighbours, 0.3)
    expected = oracle_targets(keys.numpy(), neighbours, 0.3)
    np.testing.assert_allclose(targets, expected, rtol=1e-4, atol=1e-7)
    loss = soft_info_nce(queries, keys, targets, 0.2).item()
    assert loss == pytest.approx(
        oracle_loss(queries.numpy(), keys.numpy(), expected, 0.2), rel=1e-4
    )


def test_targets_of_some_rows_are_those_rows(unit_vectors):
    keys = unit_vectors(6, 8, seed=1)
    whole = soft_targets(keys, slice(0, 6), 3, 0.3)
    torch.testing.assert_close(soft_targets(keys, slice(2, 4), 3, 0.3), whole[2:4])


def test_a_single_neighbour_makes_it_infonce(unit_vectors):
    queries, keys = unit_vectors(5, 8, seed=0), unit_vectors(5, 8, seed=1)
    targets = soft_targets(keys, slice(0, 5), 1, 0.1)
    assert torch.equal(targets, torch.eye(5))
    torch.testing.assert_close(
        soft_info_nce(queries, keys, targets, 0.1), info_nce(queries, keys, 0.1)
    )


def test_a_twin_is_as_good_as_the_partner():
    """InfoNCE cannot fall below log 2 where two touches are the same; nor is it to be pushed."""
    keys = torch.eye(3)[[0, 0, 1]]
    targets = soft_targets(keys, slice(0, 3), 2, 0.05)
    torch.testing.assert_close(targets[:2], torch.tensor([[0.5, 0.5, 0.0]] * 2), atol=1e-6, rtol=0)
    # Each of the pair's queries is content: its probabilities are the targets.
    queries = keys.clone().requires_grad_()
    soft_info_nce(queries[:2], keys, targets[:2], 0.01).backward()
    torch.testing.assert_close(queries.grad, torch.zeros_like(queries), atol=1e-5, rtol=0)


def test_a_twin_never_takes_the_place_of_the_key_itself():
    keys = torch.ones(4, 1)
    assert torch.equal(soft_targets(keys, slice(0, 4), 1, 0.1), torch.eye(4))


def test_keys_all_alike_cost_the_logarithm_of_their_number():
    keys = torch.ones(5, 1)
    targets = soft_targets(keys, slice(0, 5), None, 0.1)
    torch.testing.assert_close(targets, torch.full((5, 5), 0.2))
    assert soft_info_nce(keys, keys, targets, 0.1).item() == pytest.approx(math.log(5))


def test_the_objective_averages_both_directions(make_encoder, make_batch):
    encoder, batch = make_encoder().eval(), make_batch(5)
    objective = SoftContrastive(encoder, projection_dim=16, temperature=0.2, neighbours=3)
    output = objective(encoder, batch)
    projected = objective.projections(encoder.features(batch))
    vision, touch = projected["vision"].detach().numpy(), projected["touch"].detach().numpy()
    of_vision, of_touch = (oracle_targets(keys, 3, 0.1) for keys in (vision, touch))
    expected = (
        oracle_loss(vision, touch, of_touch, 0.2) + oracle_loss(touch, vision, of_vision, 0.2)
    ) / 2
    assert output.loss.item() == pytest.approx(expected, rel=1e-4)
    own = (of_vision.diagonal().mean() + of_touch.diagonal().mean()) / 2
    assert output.metrics["own_weight"] == pytest.approx(own, rel=1e-4)


def test_targets_have_no_gradients(unit_vectors):
    keys = unit_vectors(4, 8, seed=0).requires_grad_()
    assert not soft_targets(keys, slice(0, 4), 2, 0.1).requires_grad


def test_settings_are_checked(make_encoder):
    with pytest.raises(ValueError, match="neighbours=0"):
        SoftContrastive(make_encoder(), neighbours=0)
    with pytest.raises(ValueError, match="'vision' alone"):
        SoftContrastive(make_encoder(images={"depth": (1, 32, 32)}))
