"""Images of touch on disk, and pictures of what was made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vtenv.atomic_write import atomic_write
from vtenv.sensing.photometry import Press, Tried
from vtenv.sensing.pictures import ScalarPicture

Image = NDArray[np.uint8]
_coloured = ScalarPicture((0.0, 1.5), "viridis")
"""Depth in colours, [mm]."""
_SHOWN = 6
_GAIN = 3


def read_image(path: Path) -> Image:
    """An image file as RGB, (H, W, 3), uint8.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no image.
    """
    data = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
    if image is None:
        raise ValueError(f"{path} is no image that OpenCV can read, such as PNG or JPEG")
    return np.asarray(image, np.uint8)


def write_image(path: Path, image: Image) -> None:
    """Write an RGB image as the file's suffix says, whole or not at all."""
    with atomic_write(path) as part:
        cv2.imwrite(str(part), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def reconstruction_picture(
    image: Image, depth_mm: NDArray[np.float64], mask: NDArray[np.bool_]
) -> Image:
    """An image, its depth from 0 to 1.5 mm, and its contact outlined, side by side."""
    edge = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    outlined = np.where(edge[..., None] > 0, np.uint8(255), image)
    return np.hstack([image, _coloured(depth_mm), outlined])


def calibration_picture(presses: Sequence[Press], found: Sequence[Tried]) -> Image:
    """Presses from the best rendered to the worst: real, rendered, their difference, and depth.

    Args:
        presses: The presses.
        found: What calibrations that were not fitted to them made of each.
    """
    order = np.argsort([tried.errors["colour error"] for tried in found])
    rows = []
    for index in order[np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).astype(int)]:
        press, tried = presses[index], found[index]
        difference = (tried.rendered.astype(np.int16) - press.image) * _GAIN + 128
        parts = [press.image, tried.rendered, np.clip(difference, 0, 255).astype(np.uint8)]
        rows.append(np.hstack([*parts, _coloured(press.depth_mm), _coloured(tried.depth_mm)]))
    return np.vstack(rows)
