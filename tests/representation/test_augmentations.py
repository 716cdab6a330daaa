from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from representation.augmentations import (
    AUGMENTATIONS,
    KINDS,
    Augment,
    centre_crop,
    colour_jitter,
    crop_centre,
    depth_noise,
    dilate,
    dilation_erosion,
    gain_and_noise,
    occlusion,
    rotate,
)
from representation.names import AUGMENTATION_PRESETS
from vtenv.modalities import IMAGE_MODALITIES

IDENTITY = {
    "noise": {"std_mm": 0.0},
    "crop": {"min_scale": 1.0},
    "occlusion": {"max_count": 0},
    "rotation": {"max_deg": 0.0},
    "dilation_erosion": {"max_pixels": 0},
    "field": {"max_gain": 0.0, "noise": 0.0},
    "colour": {"max_gain": 0.0, "max_offset": 0.0},
}
"""Settings with which nothing changes."""

KEYS = {
    "distance": "depth",
    "touch": "contact",
    "mask": "contact",
    "field": "markers",
    "colour": "rgb",
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def one_image(key: str, size: int = 33) -> torch.Tensor:
    """A depth ramp with a hole, or a mask with a corner: nothing about it is symmetric."""
    if key == "depth":
        image = 0.3 + 0.1 * torch.arange(size * size).reshape(1, 1, size, size) / size**2
        image[:, :, 3:6, 4:9] = 0.0
        return image
    if key == "markers":
        return torch.linspace(-1.0, 1.0, size * size).reshape(1, 1, size, size) ** 3
    if key == "rgb":
        return (torch.arange(size * size).reshape(1, 1, size, size) % 200 + 20).to(torch.uint8)
    image = torch.zeros(1, 1, size, size, dtype=torch.uint8)
    image[:, :, 8:20, 10:14] = 1
    image[:, :, 16:20, 10:24] = 1
    return image


def images(key: str, count: int = 16) -> torch.Tensor:
    return one_image(key).repeat(count, 1, 1, 1)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_generator_decides(name):
    kind, change, _ = AUGMENTATIONS[name]
    batch = images(KEYS[kind])
    assert torch.equal(change(batch, seeded(0)), change(batch, seeded(0)))
    assert not torch.equal(change(batch, seeded(0)), change(batch, seeded(1)))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_sample_draws_its_own(name):
    kind, change, _ = AUGMENTATIONS[name]
    augmented = change(images(KEYS[kind]), seeded())
    assert len(torch.unique(augmented, dim=0)) > 3


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_images_given_stay_as_they_are(name):
    kind, change, _ = AUGMENTATIONS[name]
    batch = images(KEYS[kind])
    augmented = change(batch, seeded())
    assert torch.equal(batch, images(KEYS[kind]))
    assert augmented.shape == batch.shape
    assert augmented.dtype == batch.dtype


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_no_strength_is_no_change(name):
    kind, change, _ = AUGMENTATIONS[name]
    for size in (16, 33, 64, 224):
        image = one_image(KEYS[kind], size).repeat(2, 1, 1, 1)
        assert torch.equal(change(image, seeded(), **IDENTITY[name]), image)


@pytest.mark.parametrize("name", ["rotation", "dilation_erosion"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float32])
def test_a_mask_stays_binary(name, dtype):
    augmented = AUGMENTATIONS[name].change(images("contact").to(dtype), seeded())
    assert augmented.dtype == dtype
    assert set(augmented.float().unique().tolist()) <= {0.0, 1.0}


# Vision.


def test_noise_has_its_deviation_and_spares_what_returned_nothing():
    depth = torch.full((4, 1, 100, 100), 0.3)
    depth[:, :, :10] = 0.0
    noisy = depth_noise(depth, seeded(), std_mm=2.0)
    assert (noisy[:, :, :10] == 0).all()
    difference = (noisy - depth)[:, :, 10:]
    assert difference.std().item() == pytest.approx(0.002, rel=0.02)
    assert difference.mean().item() == pytest.approx(0.0, abs=5e-5)


def test_a_crop_shows_the_centre_enlarged():
    image = torch.arange(64.0).reshape(1, 1, 8, 8)
    cropped = crop_centre(image, torch.tensor([0.5]))
    centre = image[:, :, 2:6, 2:6]
    expected = centre.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(cropped, expected)


def test_a_crop_invents_no_depth():
    batch = images("depth")
    cropped = centre_crop(batch, seeded(), min_scale=0.5)
    assert torch.isin(cropped, batch).all()


def test_occluders_are_nearer_than_the_scene():
    batch = images("depth", 64)
    occluded = occlusion(batch, seeded())
    changed = occluded != batch
    per_image = changed.float().mean(dim=(1, 2, 3))
    assert (per_image < 1).all()
    assert (per_image > 0).float().mean() > 0.9
    assert (occluded[changed] < batch[batch > 0].min()).all()
    assert (occluded[changed] > 0).all()


def bounds(covered: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(covered)
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


@pytest.mark.parametrize("strip_chance", [0.0, 1.0])
def test_an_occluder_is_a_box_or_a_strip(strip_chance):
    batch = images("depth", 200)
    settings = {"max_count": 1, "max_size": 0.5, "strip_chance": strip_chance}
    covered = (occlusion(batch, seeded(), **settings) != batch)[:, 0].numpy()
    across = []
    for mask in covered:
        if not mask.any():
            continue
        top, bottom, left, right = bounds(mask)
        assert mask[top:bottom, left:right].all()
        spans = [bottom - top == 33, right - left == 33]
        across.append(spans)
        assert sum(spans) == strip_chance
        assert min(bottom - top, right - left) <= math.ceil(0.5 * 33)
    if strip_chance:
        assert 0.3 < np.mean(across, axis=0)[0] < 0.7


def test_an_image_without_returns_stays_so():
    blank = torch.zeros(4, 1, 16, 16)
    assert torch.equal(occlusion(blank, seeded()), blank)


# Touch.


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_quarter_turns_are_exact(quarters):
    mask = one_image("contact")
    turned = rotate(mask, torch.tensor([quarters * math.pi / 2]))
    assert torch.equal(turned, torch.rot90(mask, quarters, dims=(2, 3)))


@pytest.mark.parametrize("degrees", [-30.0, 5.0, 45.0])
def test_a_bar_turns_by_the_angle(degrees):
    """The principal axis of a bar, by second moments."""
    bar = torch.zeros(1, 1, 101, 101)
    bar[:, :, 46:55, 15:86] = 1.0
    turned = rotate(bar, torch.tensor([math.radians(degrees)]))[0, 0].numpy()
    rows, columns = np.nonzero(turned)
    x, y = columns - 50.0, 50.0 - rows  # up is positive: counter-clockwise too
    angle = 0.5 * math.atan2(2 * np.mean(x * y), np.mean(x * x) - np.mean(y * y))
    assert math.degrees(angle) == pytest.approx(degrees, abs=0.2)
    assert turned.sum() == pytest.approx(bar.sum().item(), rel=0.04)


def test_what_turns_in_has_no_contact():
    full = torch.ones(1, 1, 32, 32, dtype=torch.uint8)
    turned = rotate(full, torch.tensor([math.pi / 4]))
    assert turned[0, 0, 0, 0] == 0
    assert turned[0, 0, 16, 16] == 1


def oracle_dilation(mask, pixels):
    """The largest, or smallest, of the pixels within reach."""
    height, width = mask.shape
    best, reach = (max, pixels) if pixels > 0 else (min, -pixels)
    result = mask.copy()
    for row in range(height):
        for column in range(width):
            rows = slice(max(row - reach, 0), row + reach + 1)
            columns = slice(max(column - reach, 0), column + reach + 1)
            result[row, column] = best(mask[rows, columns].ravel())
    return result


@pytest.mark.parametrize("pixels", [-3, -1, 0, 1, 2])
def test_edges_move_as_loops_move_them(pixels):
    noise = torch.rand(1, 1, 20, 20, generator=seeded())
    for mask in (one_image("contact"), (noise < 0.3).to(torch.uint8)):
        moved = dilate(mask, torch.tensor([pixels]), 3)
        np.testing.assert_array_equal(moved[0, 0], oracle_dilation(mask[0, 0].numpy(), pixels))


def test_dilation_grows_and_erosion_shrinks():
    mask = one_image("contact")
    areas = [dilate(mask, torch.tensor([pixels]), 3).sum().item() for pixels in range(-3, 4)]
    assert areas == sorted(areas)
    assert len(set(areas)) > 5
    grown = dilate(mask, torch.tensor([2]), 2)
    assert (grown >= mask).all()


def test_every_amount_is_drawn_as_often():
    moved = dilation_erosion(images("contact", 900), seeded(), max_pixels=1)
    areas = moved.sum(dim=(1, 2, 3), dtype=torch.int64)
    _, counts = torch.unique(areas, return_counts=True)
    torch.testing.assert_close(counts / 900, torch.full((3,), 1 / 3), atol=0.05, rtol=0)


# Batches.


def batch_of(count: int = 8) -> dict[str, torch.Tensor]:
    depth, contact = images("depth", count), images("contact", count).repeat(1, 2, 1, 1)
    return {
        "depth": depth,
        "contact": contact,
        "next_depth": depth.clone(),
        "next_contact": contact.clone(),
        "connector": torch.arange(count),
    }


def test_the_presets_are_the_papers():
    assert AUGMENTATION_PRESETS == {
        "none": (),
        "occlusion": ("occlusion",),
        "contrastive": ("crop", "rotation", "dilation_erosion"),
        "every": ("crop", "rotation", "dilation_erosion", "field", "colour"),  # ours
    }


def test_no_augmentation_is_no_change():
    batch = batch_of()
    augmented = Augment("none")(batch, seeded())
    assert augmented.keys() == batch.keys()
    assert all(augmented[key] is batch[key] for key in batch)


def test_both_moments_change_alike_and_noise_apart():
    augmented = Augment("contrastive")(batch_of(), seeded())
    assert torch.equal(augmented["depth"], augmented["next_depth"])
    assert torch.equal(augmented["contact"], augmented["next_contact"])
    assert not torch.equal(augmented["depth"], batch_of()["depth"])
    noisy = Augment(["noise"])(batch_of(), seeded())
    assert not torch.equal(noisy["depth"], noisy["next_depth"])


def test_each_finger_changes_by_itself():
    contact = Augment("contrastive")(batch_of(), seeded())["contact"]
    assert not torch.equal(contact[:, 0], contact[:, 1])


def test_a_batch_keeps_shapes_types_and_the_rest():
    batch = batch_of()
    augmented = Augment(list(AUGMENTATIONS))(batch, seeded())
    for key, value in batch.items():
        assert augmented[key].shape == value.shape
        assert augmented[key].dtype == value.dtype
    assert augmented["connector"] is batch["connector"]
    alone = Augment("contrastive")({"contact": batch["contact"]}, seeded())
    assert set(alone) == {"contact"}


def test_an_image_of_ones_own_is_changed_by_what_its_record_says():
    """A wrist camera measures distances as the overhead one does; indentation is no mask."""
    wrist = replace(IMAGE_MODALITIES["depth"], key="wrist")
    records = {"wrist": wrist, "gel": IMAGE_MODALITIES["gel"]}
    batch = {"wrist": images("depth"), "gel": images("contact").float(), "depth": images("depth")}
    changed = {"wrist": ["noise", "crop", "occlusion"], "gel": ["rotation"]}
    for name in AUGMENTATIONS:
        augmented = Augment([name], modalities=records)(batch, seeded())
        assert augmented["depth"] is batch["depth"]
        for key, names in changed.items():
            assert torch.equal(augmented[key], batch[key]) == (name not in names)


def test_settings_reach_their_augmentation():
    augment = Augment(["rotation", "noise"], {"noise": {"std_mm": 3.0}})
    assert augment.names == ("noise", "rotation")
    depth = images("depth")
    noisy = augment({"depth": depth}, seeded())["depth"]
    assert torch.equal(noisy, depth_noise(depth, seeded(), std_mm=3.0))


@pytest.mark.parametrize(
    ("names", "options", "says"),
    [
        ("all", {}, "one of none, occlusion, contrastive, every, or a list of noise"),
        (["blur"], {}, "'blur' is unknown; it must be one of noise, crop"),
        (["noise"], {"noise": {"std": 1.0}}, "no option std; it has std_mm"),
        (["noise"], {"crop": {}}, r"options are given for \['crop'\]"),
        (["noise"], {"noise": {"std_mm": -1.0}}, "std_mm=-1.0"),
        (["crop"], {"crop": {"min_scale": 0.0}}, "min_scale=0.0"),
        (["occlusion"], {"occlusion": {"strip_chance": 2.0}}, "strip_chance=2.0"),
        (["rotation"], {"rotation": {"max_deg": -5.0}}, "max_deg=-5.0"),
        (["dilation_erosion"], {"dilation_erosion": {"max_pixels": -1}}, "max_pixels=-1"),
    ],
)
def test_a_wrong_name_or_setting_is_named(names, options, says):
    with pytest.raises(ValueError, match=says):
        Augment(names, options)


@pytest.mark.gpu
def test_a_generator_on_the_device_draws_there():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    batch = {key: value.cuda() for key, value in batch_of().items()}
    for device in ("cuda", "cpu"):
        generator = torch.Generator(device).manual_seed(0)
        augmented = Augment(list(AUGMENTATIONS))(batch, generator)
        assert all(value.is_cuda for value in augmented.values())


def test_each_modality_has_an_augmentation():
    for record in IMAGE_MODALITIES.values():
        kinds = {AUGMENTATIONS[name].kind for name in AUGMENTATION_PRESETS["every"]}
        assert any(KINDS[kind](record) for kind in kinds), record.key


def test_another_gel_is_stronger_or_weaker():
    fields = torch.ones(64, 4, 9, 7)
    gains = gain_and_noise(fields, seeded(), max_gain=0.3, noise=0.0)[:, 0, 0, 0]
    assert gains.min() >= 0.7 and gains.max() <= 1.3 and gains.std() > 0.1
    noise = gain_and_noise(fields, seeded(), max_gain=0.0, noise=0.1) - fields
    assert noise.std() == pytest.approx(0.1, rel=0.1)


def test_colours_stay_within_their_levels():
    bright = torch.full((64, 6, 8, 8), 250, dtype=torch.uint8)
    changed = colour_jitter(bright, seeded(), max_gain=0.5, max_offset=100.0)
    assert changed.dtype == torch.uint8 and changed.float().std() > 10
    assert changed.max() == 255
