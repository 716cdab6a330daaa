"""Augmentations of images, batched, on the device they lie on.

Each is a function of images, (N, C, H, W), and a generator on any device, and gives new images of
the same shape and type. Every sample draws its own change; its channels share it.

Source: the paper, section C, "Dataset": noise, random centre crop and occlusions for the visual
image, slight rotations and morphological transformations for the tactile one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, max_pool2d

from representation.names import chosen_augmentations, require_augmentations
from representation.options import require_chosen, require_known
from vtenv.import_string import OpenTable, instance_of
from vtenv.modalities import IMAGE_MODALITIES, Modality
from vtenv.validation import require

KINDS: dict[str, Callable[[Modality], bool]] = {
    "distance": lambda modality: modality.missing_at_zero,
    "touch": lambda modality: not modality.missing_at_zero and len(modality.shape) == 1,
    "mask": lambda modality: modality.dtype == "uint8" and (modality.low, modality.high) == (0, 1),
    "field": lambda modality: len(modality.shape) == 2 and modality.low < 0,
    "colour": lambda modality: modality.dtype == "uint8" and modality.high == 255,
}
"""Kinds of images that augmentations change, told by a modality's record: distances [m], in which
0 is no return; what touches, in which 0 is no contact; flags; fields of vectors, whose components
are channels; and colours of 8 bits."""


def depth_noise(images: Tensor, generator: torch.Generator, *, std_mm: float = 1.0) -> Tensor:
    """Gaussian noise on each pixel that has a return."""
    noise = torch.randn(images.shape, generator=generator, device=generator.device)
    noisy = (images + 1e-3 * std_mm * noise.to(images)).clamp(min=0.0)
    return torch.where(images > 0.0, noisy, images)


def centre_crop(images: Tensor, generator: torch.Generator, *, min_scale: float = 0.8) -> Tensor:
    """Cut out the centre, of random size, and enlarge it to the image.

    Args:
        images: Distances.
        generator: Draws the sizes.
        min_scale: Smallest side of the crop, as a part of the image's.
    """
    return crop_centre(images, _uniform((len(images),), min_scale, 1.0, images, generator))


def occlusion(
    images: Tensor,
    generator: torch.Generator,
    *,
    max_count: int = 3,
    max_size: float = 0.4,
    strip_chance: float = 0.5,
) -> Tensor:
    """Boxes and strips that stand before the scene, nearer than anything in it.

    Args:
        images: Distances.
        generator: Draws the shapes.
        max_count: Most occluders in an image; at least one, unless this is 0.
        max_size: Largest side of a box and width of a strip, as a part of the image's side.
        strip_chance: Chance that an occluder is a strip across the whole image.

    Source: the paper, figure 5.
    """
    count, (height, width) = len(images), images.shape[-2:]
    if max_count == 0:
        return images.clone()
    shape = (count, max_count)
    present = torch.arange(max_count, device=images.device) < _uniform(
        (count, 1), 1.0, max_count + 1.0, images, generator
    ).floor().to(torch.int64)
    centre = _uniform((*shape, 2), 0.0, 1.0, images, generator)
    half = _uniform((*shape, 2), 0.1, 1.0, images, generator) * (max_size / 2)
    kind = _uniform(shape, 0.0, 1.0, images, generator)
    along = torch.stack(  # which side of a strip spans the image: rows or columns
        [kind < strip_chance / 2, kind > 1.0 - strip_chance / 2], dim=-1
    )
    half = torch.where(along, torch.full_like(half, 2.0), half)
    rows = (torch.arange(height, device=images.device) + 0.5) / height
    columns = (torch.arange(width, device=images.device) + 0.5) / width
    in_rows = (rows - centre[..., :1]).abs() < half[..., :1]  # (N, K, H)
    in_columns = (columns - centre[..., 1:]).abs() < half[..., 1:]  # (N, K, W)
    covers = in_rows[..., :, None] & in_columns[..., None, :] & present[..., None, None]
    seen = torch.where(images > 0.0, images, torch.full_like(images, torch.inf))
    nearest = seen.amin(dim=(1, 2, 3), keepdim=True)
    nearest = torch.where(nearest.isfinite(), nearest, torch.zeros_like(nearest))
    depth = nearest * _uniform((count, 1, 1, 1), 0.7, 0.95, images, generator)
    return torch.where(covers.any(dim=1, keepdim=True), depth.to(images), images)


def slight_rotation(images: Tensor, generator: torch.Generator, *, max_deg: float = 10.0) -> Tensor:
    """Turn each finger's image about its centre. What comes in from outside has no contact.

    It turns the plug in the hand too: not for an encoder that is to tell its pitch.

    Args:
        images: What touches.
        generator: Draws the angles.
        max_deg: Largest angle, either way.
    """
    limit = math.radians(max_deg)
    return rotate(images, _uniform((len(images),), -limit, limit, images, generator))


def dilation_erosion(images: Tensor, generator: torch.Generator, *, max_pixels: int = 2) -> Tensor:
    """Grow or shrink the area in contact, as more or less force would.

    Args:
        images: Masks in {0, 1}.
        generator: Draws how far.
        max_pixels: Most pixels by which an edge moves, either way.
    """
    drawn = _uniform((len(images),), -max_pixels, max_pixels + 1, images, generator)
    return dilate(images, drawn.floor().to(torch.int64), max_pixels)


def gain_and_noise(
    images: Tensor, generator: torch.Generator, *, max_gain: float = 0.2, noise: float = 0.05
) -> Tensor:
    """Another gel: stronger or weaker fields, and noise in parts of their root mean square.

    Args:
        images: Fields.
        generator: Draws both.
        max_gain: Greatest change of the strength, either way.
        noise: Standard deviation of the noise.
    """
    gain = _uniform((len(images), 1, 1, 1), 1 - max_gain, 1 + max_gain, images, generator)
    size = images.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    drawn = torch.randn(images.shape, generator=generator, device=generator.device).to(images)
    return images * gain + noise * size * drawn


def colour_jitter(
    images: Tensor, generator: torch.Generator, *, max_gain: float = 0.1, max_offset: float = 10.0
) -> Tensor:
    """Another camera and light: each channel brighter or darker, by a factor and an offset.

    Args:
        images: Colours, uint8.
        generator: Draws both.
        max_gain: Greatest change of the factor, either way.
        max_offset: Greatest offset, either way, in levels of 255.
    """
    shape, like = (len(images), 1, 1, 1), images.float()
    gain = _uniform(shape, 1 - max_gain, 1 + max_gain, like, generator)
    offset = _uniform(shape, -max_offset, max_offset, like, generator)
    return (like * gain + offset).round().clamp(0, 255).to(images.dtype)


def crop_centre(images: Tensor, scale: Tensor) -> Tensor:
    """Enlarge the centre of images, (N, C, H, W), floating, to the whole.

    Pixels are the nearest, not mixed: a mean of the plug's and the table's depth is neither's.

    Args:
        images: The images.
        scale: Side of what is kept, as a part of the image's, (N,).
    """
    zero = torch.zeros_like(scale)
    rows = [torch.stack([scale, zero, zero], -1), torch.stack([zero, scale, zero], -1)]
    return _resample(images, torch.stack(rows, dim=1))


def rotate(images: Tensor, angles: Tensor) -> Tensor:
    """Turn images, (N, C, S, S), of any type, about their centre; nearest pixel, 0 from outside.

    Args:
        images: The images.
        angles: Counter-clockwise as one looks at the image, (N,), [rad].
    """
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    rows = [torch.stack([cos, -sin, zero], -1), torch.stack([sin, cos, zero], -1)]
    return _resample(images, torch.stack(rows, dim=1))


def dilate(masks: Tensor, pixels: Tensor, max_pixels: int) -> Tensor:
    """Dilate or erode masks, (N, C, H, W), in {0, 1}, of any type, with a square.

    What lies outside of the image changes nothing: it is neither contact that grows in, nor a gap
    that eats at what touches the border.

    Args:
        masks: The masks.
        pixels: How far an edge moves, (N,), int64; positive dilates, negative erodes.
        max_pixels: Bound on its magnitude.
    """
    area = masks.float()
    moves = pixels[:, None, None, None]
    for step in range(1, max_pixels + 1):
        grown = max_pool2d(area, 3, stride=1, padding=1)
        shrunk = -max_pool2d(-area, 3, stride=1, padding=1)
        area = torch.where(moves >= step, grown, torch.where(moves <= -step, shrunk, area))
    return area.to(masks.dtype)


def _resample(images: Tensor, matrices: Tensor) -> Tensor:
    """Each pixel from where its matrix, (N, 2, 3), sends it; exact where that is a pixel."""
    sources = images if images.is_floating_point() else images.float()
    grid = affine_grid(matrices.to(sources.dtype), list(images.shape), align_corners=False)
    moved = grid_sample(sources, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved.to(images.dtype)


def _uniform(
    shape: Sequence[int], low: float, high: float, like: Tensor, generator: torch.Generator
) -> Tensor:
    drawn = torch.rand(tuple(shape), generator=generator, device=generator.device)
    return (low + (high - low) * drawn).to(like.device)


class Augmentation(NamedTuple):
    """An augmentation, what it changes, and what can be set."""

    kind: str
    """What it changes, one of `KINDS`."""
    change: Callable[..., Tensor]
    """The function."""
    limits: dict[str, tuple[float, float]]
    """Least and greatest value of each of its settings."""


AUGMENTATIONS = OpenTable(
    {
        "noise": Augmentation("distance", depth_noise, {"std_mm": (0.0, 1000.0)}),
        "crop": Augmentation("distance", centre_crop, {"min_scale": (0.01, 1.0)}),
        "occlusion": Augmentation(
            "distance",
            occlusion,
            {"max_count": (0, 100), "max_size": (0.01, 1.0), "strip_chance": (0.0, 1.0)},
        ),
        "rotation": Augmentation("touch", slight_rotation, {"max_deg": (0.0, 180.0)}),
        "dilation_erosion": Augmentation("mask", dilation_erosion, {"max_pixels": (0, 100)}),
        "field": Augmentation(
            "field", gain_and_noise, {"max_gain": (0.0, 1.0), "noise": (0.0, 10.0)}
        ),
        "colour": Augmentation(
            "colour", colour_jitter, {"max_gain": (0.0, 1.0), "max_offset": (0.0, 255.0)}
        ),
    },
    "augmentation",
    instance_of(Augmentation),
)
"""Every augmentation by its name, in the order they are applied; anybody's by `MODULE:NAME`, which
come last."""


class Augment:
    """Augmentations by name, applied to a batch.

    The two moments of a transition are changed alike, noise apart. Each finger's image is turned
    and dilated by itself, as each gel is mounted and pressed by itself.

    Args:
        names: A preset of `AUGMENTATION_PRESETS`, or names of `AUGMENTATIONS` and `MODULE:NAME`s.
        options: Settings of augmentations by name.
        modalities: Records of the images by key, which say what changes them; other columns of a
            batch stay as they are.

    Raises:
        ValueError: If a name or a setting is unknown or not allowed; lists those that are.
    """

    def __init__(
        self,
        names: str | Sequence[str] = "none",
        options: Mapping[str, Mapping[str, float]] | None = None,
        modalities: Mapping[str, Modality] = IMAGE_MODALITIES,
    ) -> None:
        options = options or {}
        names = chosen_augmentations(names)
        require_augmentations(options)
        require_chosen(options, names, "augmentations")
        for name, given in options.items():
            limits = AUGMENTATIONS[name].limits
            require_known(given, limits, f"augmentation {name!r}")
            for setting, value in given.items():
                low, high = limits[setting]
                require(low <= value <= high, setting, value, f"from {low:g} to {high:g}")
        ordered = dict.fromkeys((*AUGMENTATIONS, *names))
        self.names = tuple(name for name in ordered if name in names)
        self._changes = {
            key: [
                partial(AUGMENTATIONS[name].change, **options.get(name, {}))
                for name in self.names
                if KINDS[AUGMENTATIONS[name].kind](record)
            ]
            for key, record in modalities.items()
        }

    def __call__(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Augment a batch.

        Args:
            batch: Images by key, (B, C, H, W), and perhaps those of the next moment as
                `next_KEY`; the rest stays as it is.
            generator: Draws the changes.

        Returns:
            A new batch; the tensors given are not changed.
        """
        augmented = dict(batch)
        for key, changes in self._changes.items():
            moments = [name for name in (key, f"next_{key}") if name in batch]
            if not (moments and changes):
                continue
            images = torch.stack([batch[name] for name in moments], dim=2)  # (B, C, T, H, W)
            rows = images.flatten(0, 1)
            for change in changes:
                rows = change(rows, generator)
            for name, image in zip(moments, rows.reshape(images.shape).unbind(2), strict=True):
                augmented[name] = image
        return augmented
