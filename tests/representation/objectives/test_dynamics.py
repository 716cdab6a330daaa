from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from representation.objectives.dynamics import Dynamics, contact_cells, mix_up


def binary_cross_entropy(logits, targets):
    probabilities = 1 / (1 + np.exp(-logits))
    return -np.mean(targets * np.log(probabilities) + (1 - targets) * np.log(1 - probabilities))


@pytest.fixture
def encoder(make_encoder):
    return make_encoder().eval()


@pytest.mark.parametrize("fusion", ["concat", "cross_attention"])
def test_each_term_is_what_its_definition_gives(make_encoder, make_batch, fusion):
    encoder, batch = make_encoder(fusion=fusion).eval(), make_batch(6)
    objective = Dynamics(encoder, contact_grid=4)
    with torch.no_grad():
        metrics = objective(encoder, batch, torch.Generator().manual_seed(0)).metrics
        now = encoder(batch)
        after = encoder({"depth": batch["next_depth"], "contact": batch["next_contact"]})
        action = objective.heads["inverse"](torch.cat([now, after], dim=1))
        cells = objective.heads["contact"](torch.cat([now, batch["action"]], dim=1))
        mixed = mix_up(6, torch.device("cpu"), torch.Generator().manual_seed(0))
        pairs = {"depth": batch["depth"], "contact": batch["contact"][mixed]}
        same = objective.heads["alignment"](encoder(pairs))[:, 0]
    assert metrics["inverse"] == pytest.approx(
        np.mean((action.numpy() - batch["action"].numpy()) ** 2), rel=1e-4
    )
    targets = np.array(
        [
            [
                batch["next_contact"][i, finger, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
                .float()
                .mean()
                for finger in range(2)
                for y in range(4)
                for x in range(4)
            ]
            for i in range(6)
        ]
    )
    assert metrics["contact"] == pytest.approx(
        binary_cross_entropy(cells.numpy(), targets), rel=1e-4
    )
    aligned = (mixed == torch.arange(6)).numpy()
    assert metrics["alignment"] == pytest.approx(
        binary_cross_entropy(same.numpy(), aligned), rel=1e-4
    )
    assert metrics["alignment_accuracy"] == pytest.approx(np.mean((same.numpy() > 0) == aligned))


@pytest.mark.parametrize("terms", [("inverse",), ("contact",), ("alignment", "inverse")])
def test_the_loss_is_the_sum_of_the_terms_asked_for(encoder, make_batch, terms):
    objective = Dynamics(encoder, terms=terms)
    output = objective(encoder, make_batch())
    assert set(output.metrics) - {"alignment_accuracy"} == set(terms)
    torch.testing.assert_close(output.loss.detach(), sum(output.metrics[term] for term in terms))


def test_indifference_costs_the_logarithm_of_two(encoder, make_batch):
    objective = Dynamics(encoder)
    for head in objective.heads.values():
        torch.nn.init.zeros_(head[-1].weight)
        torch.nn.init.zeros_(head[-1].bias)
    batch = make_batch()
    metrics = objective(encoder, batch).metrics
    assert metrics["contact"] == pytest.approx(math.log(2))
    assert metrics["alignment"] == pytest.approx(math.log(2))
    assert metrics["inverse"] == pytest.approx(batch["action"].square().mean().item())


@pytest.mark.parametrize("count", [2, 3, 7, 8])
def test_half_of_the_pairs_are_mixed_up(count):
    for seed in range(20):
        mixed = mix_up(count, torch.device("cpu"), torch.Generator().manual_seed(seed))
        assert sorted(mixed.tolist()) == list(range(count))
        assert (mixed != torch.arange(count)).sum() == max(count // 2, 2)


def test_cells_hold_the_part_in_contact():
    contact = torch.zeros(1, 2, 8, 8, dtype=torch.uint8)
    contact[0, 0, :4, :4] = 1
    contact[0, 1, 4:, 4:6] = 1
    assert contact_cells(contact, 2).tolist() == [[1, 0, 0, 0, 0, 0, 0, 0.5]]


def test_terms_are_checked(make_encoder, encoder):
    with pytest.raises(ValueError, match="inverse, contact, alignment"):
        Dynamics(encoder, terms=("flow",))
    with pytest.raises(ValueError, match="inverse, contact, alignment"):
        Dynamics(encoder, terms=())
    blind = make_encoder(images={"contact": (2, 32, 32)})
    with pytest.raises(ValueError, match="'touch' alone"):
        Dynamics(blind)
    assert Dynamics(blind, terms=("inverse", "contact")).terms == ("inverse", "contact")
