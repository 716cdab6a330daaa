from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.objectives.masked import (
    MaskedReconstruction,
    draw_mask,
    masked_error,
    patchify,
)


def oracle_patches(images, side):
    count, channels, size, _ = images.shape
    pixels = size // side
    patches = np.zeros((count, side * side, channels * pixels * pixels), images.dtype)
    for i in range(count):
        for row in range(side):
            for column in range(side):
                rows = slice(row * pixels, (row + 1) * pixels)
                columns = slice(column * pixels, (column + 1) * pixels)
                patches[i, row * side + column] = images[i, :, rows, columns].ravel()
    return patches


@pytest.mark.parametrize("channels", [1, 2])
def test_patches_are_what_loops_cut(channels):
    images = torch.randn(2, channels, 12, 12)
    np.testing.assert_array_equal(patchify(images, 3), oracle_patches(images.numpy(), 3))


def test_the_error_is_that_of_the_hidden_patches_alone():
    generator = torch.Generator().manual_seed(0)
    predicted, patches = torch.randn(2, 3, 5, 4, generator=generator)
    mask = draw_mask((3, 5), 0.4, torch.device("cpu"), generator)
    errors = [
        np.mean((predicted[i, j].numpy() - patches[i, j].numpy()) ** 2)
        for i in range(3)
        for j in range(5)
        if mask[i, j]
    ]
    assert masked_error(predicted, patches, mask).item() == pytest.approx(np.mean(errors), rel=1e-5)
    seen = patches + 100.0 * ~mask[..., None]
    torch.testing.assert_close(
        masked_error(predicted, seen, mask), masked_error(predicted, patches, mask)
    )


@pytest.mark.parametrize(("ratio", "hidden"), [(0.75, 12), (0.001, 1), (0.999, 15)])
def test_each_sample_hides_as_many(ratio, hidden):
    mask = draw_mask((50, 16), ratio, torch.device("cpu"), torch.Generator().manual_seed(0))
    assert (mask.sum(dim=1) == hidden).all()
    assert len(torch.unique(mask, dim=0)) > 1


def test_every_patch_is_hidden_as_often():
    mask = draw_mask((4000, 16), 0.5, torch.device("cpu"), torch.Generator().manual_seed(0))
    torch.testing.assert_close(mask.float().mean(dim=0), torch.full((16,), 0.5), atol=0.04, rtol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"backbone": "test_resnet"},
        {"fusion": "cross_attention"},
        {"images": {"contact": (2, 32, 32)}},
        {"images": {"depth": (1, 48, 32), "contact": (2, 32, 32)}},
    ],
    ids=str,
)
def test_any_encoder_will_do(make_encoder, make_batch, changes):
    encoder, batch = make_encoder(**changes), make_batch()
    batch["depth"] = torch.nn.functional.interpolate(
        batch["depth"], encoder.image_shapes.get("depth", (1, 32, 32))[1:]
    )
    objective = MaskedReconstruction(encoder, patches_per_side=4, decoder_dim=16)
    output = objective(encoder, batch)
    output.loss.backward()
    errors = [output.metrics[f"error_{key}"] for key in encoder.keys]
    torch.testing.assert_close(output.loss.detach(), torch.stack(errors).mean())
    for module in (encoder, objective):
        assert all(value.grad is not None for value in module.parameters())


@pytest.fixture
def encoder(make_encoder):
    return make_encoder().eval()


@pytest.fixture
def objective(encoder) -> MaskedReconstruction:
    torch.manual_seed(0)
    return MaskedReconstruction(encoder, patches_per_side=4, decoder_dim=16)


def test_what_is_hidden_cannot_be_seen(encoder, objective, make_batch):
    images = encoder.preprocess(make_batch())
    mask = torch.zeros(4, 16, dtype=torch.bool)
    mask[:, 5] = True  # row 1, column 1: pixels 8 to 15
    masks = {"depth": mask, "contact": mask}
    before = objective.reconstruct(encoder, images, masks)
    for image in images.values():
        image[:, :, 8:16, 8:16] *= -1
    after = objective.reconstruct(encoder, images, masks)
    assert all(torch.equal(before[name], after[name]) for name in before)
    images["depth"][:, :, 7, 7] *= -1  # one pixel off, and it is seen, by both
    after = objective.reconstruct(encoder, images, masks)
    assert not any(torch.equal(before[name], after[name]) for name in before)


def test_the_generator_decides(encoder, objective, make_batch):
    batch = make_batch()
    losses = [
        objective(encoder, batch, torch.Generator().manual_seed(seed)).loss.item()
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_training_learns_to_draw(make_encoder, make_batch):
    """Four flat images, one shade each: what is left tells what is hidden."""
    encoder, batch = make_encoder(), make_batch(4)
    batch["depth"][:] = torch.linspace(0.25, 0.45, 4)[:, None, None, None]
    batch["contact"][:] = torch.tensor([0, 1, 1, 0])[:, None, None, None]
    objective = MaskedReconstruction(encoder, patches_per_side=4, decoder_dim=32)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *objective.parameters()], lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = objective(encoder, batch, generator).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.1 * losses[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mask_ratio": 1.0}, r"in \(0, 1\)"),
        ({"patches_per_side": 5}, "divide the 32 x 32 pixels of depth"),
        ({"patches_per_side": 1}, "at least 2"),
        ({"decoder_dim": 18}, "multiple of 4"),
        ({"touch_weight": 0.0}, "positive"),
    ],
)
def test_settings_are_checked(encoder, options, says):
    with pytest.raises(ValueError, match=says):
        MaskedReconstruction(encoder, **options)
