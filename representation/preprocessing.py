"""From what the sensors measure to what a network takes: normalised images."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Normalisation(Protocol):
    """What decides how an image is normalised; a `vtenv.modalities.Modality` has it."""

    @property
    def encoded_range(self) -> tuple[float, float] | None:
        """Values that become -1 and 1; those beyond are clipped."""

    @property
    def missing_at_zero(self) -> bool:
        """Whether 0 stands for no measurement."""


def flat_channels(images: Any) -> Any:
    """Images (N, C, H, W) of any, such as those of fingers and components, (N, F, C, H, W).

    Args:
        images: Arrays of NumPy or torch; those of four axes stay as they are.
    """
    return images.reshape(len(images), -1, *images.shape[-2:]) if images.ndim > 4 else images


def normalise(image: Tensor, by: Normalisation) -> Tensor:
    """Map an image linearly to [-1, 1].

    Where 0 stands for no measurement, it becomes 1, and so does what is negative or not finite: a
    pixel of a depth image with no return shows that nothing is within range.

    Args:
        image: Any shape and type, in the unit of its modality.
        by: The range, and what 0 stands for.

    Returns:
        The normalised image, same shape, float32.
    """
    assert by.encoded_range is not None
    low, high = by.encoded_range
    image = image.to(torch.float32)
    normalised = ((image - low) * (2.0 / (high - low)) - 1.0).clamp(-1.0, 1.0)
    if not by.missing_at_zero:
        return normalised
    measured = torch.isfinite(image) & (image > 0.0)
    return torch.where(measured, normalised, 1.0)
