from __future__ import annotations

import pytest
import torch

from representation.objectives.combine import OBJECTIVES, WeightedSum, build_objective


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_a_loss_that_reaches_everything_of_what_it_says_it_reads(
    make_encoder, make_batch, name
):
    attends = "cross_attention" if OBJECTIVES[name].trains_fusion else "concat"
    encoder, batch = make_encoder(fusion=attends), make_batch()
    objective = build_objective(name, encoder)
    assert isinstance(objective, OBJECTIVES[name])
    later = [f"next_{key}" for key in encoder.keys if objective.reads_next]
    read = {key: batch[key] for key in (*encoder.keys, *later, *objective.keys)}
    output = objective(encoder, read, torch.Generator().manual_seed(0))
    assert output.loss.ndim == 0
    assert torch.isfinite(output.loss)
    assert all(value.ndim == 0 and not value.requires_grad for value in output.metrics.values())
    output.loss.backward()
    for module in (encoder, objective):
        learned = [value for value in module.parameters() if value.requires_grad]
        assert all(value.grad is not None for value in learned)


@pytest.mark.parametrize("name", ["classification", "infonce", "soft_contrastive", "moco", "pose"])
def test_the_order_of_samples_does_not_matter(make_encoder, make_batch, name):
    encoder, batch = make_encoder().eval(), make_batch(5)
    objective = build_objective(name, encoder).eval()
    other = {key: value[[3, 0, 4, 1, 2]] for key, value in batch.items()}
    torch.testing.assert_close(objective(encoder, batch).loss, objective(encoder, other).loss)


def test_the_sum_is_weighted(make_encoder, make_batch):
    encoder, batch = make_encoder().eval(), make_batch()
    weights = {"pose": 2.0, "classification": 0.5}
    combined = build_objective(weights, encoder, {"pose": {"std": (2.0,) * 8}})
    output = combined(encoder, batch)
    parts = {name: combined.objectives[name](encoder, batch) for name in weights}
    expected = 2.0 * parts["pose"].loss + 0.5 * parts["classification"].loss
    torch.testing.assert_close(output.loss, expected)
    assert torch.equal(output.metrics["pose/loss"], parts["pose"].loss)
    assert output.metrics["classification/accuracy"] == parts["classification"].metrics["accuracy"]
    assert set(combined.keys) == {"pose", "connector"}
    assert combined.objectives["pose"].std.tolist() == [2.0] * 8


def test_gradients_of_the_sum_are_the_sum_of_gradients(make_encoder, make_batch):
    encoder, batch = make_encoder().eval(), make_batch()
    combined = build_objective({"pose": 2.0, "infonce": 3.0}, encoder)
    parameters = list(encoder.parameters())

    def gradients(loss):
        return torch.autograd.grad(loss, parameters)

    together = gradients(combined(encoder, batch).loss)
    pose = gradients(combined.objectives["pose"](encoder, batch).loss)
    contrast = gradients(combined.objectives["infonce"](encoder, batch).loss)
    for total, left, right in zip(together, pose, contrast, strict=True):
        torch.testing.assert_close(total, 2.0 * left + 3.0 * right, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "options", "says"),
    [
        ("simclr", {}, r"'simclr' is not allowed.*classification, infonce, .* pose"),
        ({"pose": 1.0, "simclr": 1.0}, {}, "'simclr' is not allowed"),
        ("infonce", {"infonce": {"queue": 3}}, "no option queue; it has projection_dim, temp"),
        ("infonce", {"moco": {}}, "options are given for"),
        ({"pose": 0.0}, {}, "pose=0"),
        ({}, {}, "at least one"),
    ],
)
def test_a_wrong_name_or_option_is_named(make_encoder, names, options, says):
    with pytest.raises(ValueError, match=says):
        build_objective(names, make_encoder(), options)


def test_weights_and_objectives_go_together(make_encoder):
    pose = build_objective("pose", make_encoder())
    with pytest.raises(ValueError, match="a weight for each"):
        WeightedSum({"pose": pose}, {"masked": 1.0})


@pytest.mark.parametrize("name", ["infonce", "moco", "soft_contrastive"])
def test_cross_attention_that_nothing_trains_is_refused(make_encoder, name):
    encoder = make_encoder(fusion="cross_attention")
    with pytest.raises(ValueError, match="cross-attention would stay as it was drawn"):
        build_objective(name, encoder)
    assert build_objective({name: 1.0, "masked": 1.0}, encoder).trains_fusion


@pytest.mark.parametrize("name", OBJECTIVES)
def test_mixed_precision_gives_about_the_same(make_encoder, make_batch, name):
    encoder, batch = make_encoder(), make_batch()
    objective = build_objective(name, encoder)
    state = {key: value.clone() for key, value in objective.state_dict().items()}
    full = objective(encoder, batch, torch.Generator().manual_seed(0)).loss
    objective.load_state_dict(state)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = objective(encoder, batch, torch.Generator().manual_seed(0)).loss
    mixed.backward()
    torch.testing.assert_close(mixed.float(), full, rtol=0.05, atol=0.05)
