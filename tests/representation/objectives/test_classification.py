from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from representation.objectives.classification import Classification


def oracle(logits, labels):
    losses = []
    for row, label in zip(logits, labels, strict=True):
        total = sum(math.exp(score - max(row)) for score in row)
        losses.append(math.log(total) + max(row) - row[label])
    return np.mean(losses)


@pytest.mark.parametrize("keys", [("depth",), ("contact",), ("depth", "contact")])
def test_the_loss_is_the_cross_entropy(make_encoder, make_batch, keys):
    images = {key: ({"depth": 1, "contact": 2}[key], 32, 32) for key in keys}
    encoder, batch = make_encoder(images=images).eval(), make_batch()
    objective = Classification(encoder)
    output = objective(encoder, batch)
    weight, bias = (value.detach().numpy() for value in objective.classifier.parameters())
    logits = encoder(batch).detach().numpy() @ weight.T + bias
    labels = batch["connector"].numpy()
    assert output.loss.item() == pytest.approx(oracle(logits.tolist(), labels), rel=1e-4)
    assert output.metrics["accuracy"] == np.mean(logits.argmax(axis=1) == labels)


def test_equal_scores_cost_the_logarithm_of_the_classes(make_encoder, make_batch):
    encoder = make_encoder()
    objective = Classification(encoder)
    torch.nn.init.zeros_(objective.classifier.weight)
    torch.nn.init.zeros_(objective.classifier.bias)
    loss = objective(encoder, make_batch()).loss
    assert loss.item() == pytest.approx(math.log(4))


def test_certainty_costs_nothing(make_encoder, make_batch):
    encoder, batch = make_encoder(), make_batch()
    batch["connector"][:] = 2
    objective = Classification(encoder)
    torch.nn.init.zeros_(objective.classifier.weight)
    objective.classifier.bias.data = torch.tensor([0.0, 0.0, 100.0, 0.0])
    output = objective(encoder, batch)
    assert output.loss.item() == pytest.approx(0.0, abs=1e-6)
    assert output.metrics["accuracy"] == 1


def test_a_number_of_classes_must_be_positive(make_encoder):
    with pytest.raises(ValueError, match="num_classes=0"):
        Classification(make_encoder(), num_classes=0)
