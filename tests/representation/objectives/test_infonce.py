from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from representation.objectives.infonce import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    InfoNCE,
    info_nce,
    retrieval_accuracy,
)


def oracle(queries, keys, temperature, first=0):
    losses = []
    for i, query in enumerate(queries):
        scores = [float(np.dot(query, key)) / temperature for key in keys]
        losses.append(-scores[first + i] + math.log(sum(math.exp(score) for score in scores)))
    return np.mean(losses)


@pytest.mark.parametrize(("queries", "keys", "first"), [(5, 5, 0), (3, 6, 3), (1, 1, 0)])
def test_the_loss_is_what_loops_give(unit_vectors, queries, keys, first):
    left, right = unit_vectors(queries, 8, seed=0), unit_vectors(keys, 8, seed=1)
    loss = info_nce(left, right, 0.2, first).item()
    assert loss == pytest.approx(oracle(left.numpy(), right.numpy(), 0.2, first), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0])
def test_orthonormal_pairs_have_a_closed_form(temperature):
    pairs = torch.eye(6)
    expected = math.log(1 + 5 * math.exp(-1 / temperature))
    loss = info_nce(pairs, pairs, temperature).item()
    assert loss == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_keys_all_alike_cost_the_logarithm_of_their_number(unit_vectors):
    keys = unit_vectors(1, 8, seed=0).expand(7, 8)
    assert info_nce(unit_vectors(7, 8, seed=1), keys, 0.1).item() == pytest.approx(math.log(7))


def test_opposite_pairs_are_the_worst():
    pairs = torch.eye(4)
    assert info_nce(pairs, -pairs, 0.1) > info_nce(pairs, pairs.roll(1, 0), 0.1) - 1e-6
    assert info_nce(pairs, pairs, 0.1) < info_nce(pairs, pairs.roll(1, 0), 0.1)


def test_accuracy_counts_the_partners_found_first():
    keys = torch.eye(4)
    queries = keys[[0, 1, 3, 2]]
    assert retrieval_accuracy(queries, keys) == 0.5
    assert retrieval_accuracy(keys[2:], keys, first=2) == 1


def test_the_objective_averages_both_directions(make_encoder, make_batch):
    encoder, batch = make_encoder().eval(), make_batch(5)
    objective = InfoNCE(encoder, projection_dim=16, temperature=0.2)
    output = objective(encoder, batch)
    projected = objective.projections(encoder.features(batch))
    vision, touch = projected["vision"].detach().numpy(), projected["touch"].detach().numpy()
    np.testing.assert_allclose(np.linalg.norm(vision, axis=1), 1, rtol=1e-5)
    expected = (oracle(vision, touch, 0.2) + oracle(touch, vision, 0.2)) / 2
    assert output.loss.item() == pytest.approx(expected, rel=1e-4)
    assert output.metrics["temperature"] == pytest.approx(0.2)
    nearest = (vision @ touch.T).argmax(axis=1)
    assert output.metrics["accuracy_vision"] == pytest.approx(np.mean(nearest == np.arange(5)))


def test_the_temperature_stays_within_its_bounds_and_can_return(make_encoder, make_batch):
    encoder, batch = make_encoder(), make_batch()
    objective = InfoNCE(encoder)
    for pushed, bound in ((-20.0, MIN_TEMPERATURE), (20.0, MAX_TEMPERATURE)):
        objective.temperature.log_temperature.data.fill_(pushed)
        output = objective(encoder, batch)
        assert output.metrics["temperature"] == pytest.approx(bound)
        objective.zero_grad()
        output.loss.backward()
        assert objective.temperature.log_temperature.grad != 0


def test_training_learns_which_touch_belongs_to_which_image(make_encoder, make_batch):
    encoder, batch = make_encoder(), make_batch(8)
    objective = InfoNCE(encoder)
    parameters = [*encoder.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        output = objective(encoder, batch)
        output.loss.backward()
        optimizer.step()
    assert output.loss < 0.2 * math.log(8)
    assert output.metrics["accuracy_vision"] == output.metrics["accuracy_touch"] == 1


def test_a_single_modality_has_nothing_to_compare(make_encoder):
    with pytest.raises(ValueError, match=r"'infonce'.*'touch' alone"):
        InfoNCE(make_encoder(images={"contact": (2, 32, 32)}))


@pytest.mark.parametrize("option", ["temperature", "projection_dim"])
def test_settings_must_be_positive(make_encoder, option):
    with pytest.raises(ValueError, match=f"{option}=0"):
        InfoNCE(make_encoder(), **{option: 0})


@pytest.mark.parametrize("layers", [0, 1])
def test_without_a_perceptron_the_features_or_their_logits_are_compared(
    make_encoder, make_batch, layers
):
    encoder, batch = make_encoder().eval(), make_batch()
    objective = InfoNCE(encoder, projection_dim=24, layers=layers)
    features = encoder.features(batch)
    compared = objective.projections(features)
    for sense, value in features.items():
        expected = value if layers == 0 else objective.projections.heads[sense](value)
        torch.testing.assert_close(compared[sense], torch.nn.functional.normalize(expected, dim=1))
        assert compared[sense].shape[1] == (encoder.feature_sizes[sense] if layers == 0 else 24)


def test_features_of_different_widths_need_heads(make_encoder):
    images = {"depth": (1, 32, 32), "contact": (2, 32, 48)}
    encoder = make_encoder(images=images, pooling="flatten")
    with pytest.raises(ValueError, match=r"layers=0.*different widths"):
        InfoNCE(encoder, layers=0)
