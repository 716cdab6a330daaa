"""From what the sensors measure to what a network takes: normalised images."""

from __future__ import annotations

import torch
from torch import Tensor

DEPTH_FAR = 1.0
"""Normalised depth of the far end of the range, and of pixels with no return."""


def normalise_depth(depth: Tensor, depth_range_m: tuple[float, float]) -> Tensor:
    """Map depth linearly to [-1, 1]: -1 at the near end of the range, 1 at the far end.

    A pixel with no return shows what it means to the camera: nothing within range, the far end.

    Args:
        depth: Planar depth, any shape, floating, [m]; 0, negative or not finite: no return.
        depth_range_m: Near and far end; depth beyond is clipped.

    Returns:
        Normalised depth, same shape, in [-1, 1].
    """
    near, far = depth_range_m
    normalised = ((depth - near) * (2.0 / (far - near)) - 1.0).clamp(-1.0, DEPTH_FAR)
    measured = torch.isfinite(depth) & (depth > 0.0)
    return torch.where(measured, normalised, DEPTH_FAR)


def normalise_contact(contact: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Map a contact mask to -1 (no contact) and 1 (contact).

    Args:
        contact: Contact masks, any shape, in {0, 1}, of any type.
        dtype: Type of the result.

    Returns:
        Normalised masks, same shape.
    """
    return contact.to(dtype) * 2.0 - 1.0
