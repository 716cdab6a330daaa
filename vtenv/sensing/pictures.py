"""Images of sensors as people see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNTOUCHED, TOUCHED = (44, 48, 55), (234, 236, 240)
"""Colours of a contact mask."""


@dataclass(frozen=True)
class ScalarPicture:
    """Scalars in colours.

    Attributes:
        limits: Values of the first and of the last colour.
        colormap: Name of one of OpenCV's colour maps, in lower case.
        missing: Value of pixels without a measurement, which are black.
    """

    limits: tuple[float, float]
    colormap: str
    missing: float | None = None

    def __call__(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """An image (H, W), floating, as (H, W, 3), uint8, RGB."""
        import cv2

        first, last = self.limits
        level = np.clip(np.nan_to_num((image - first) / (last - first)), 0.0, 1.0) * 255
        named = getattr(cv2, f"COLORMAP_{self.colormap.upper()}")
        blue_first = cv2.applyColorMap(level.round().astype(np.uint8), named)
        picture = np.ascontiguousarray(blue_first[..., ::-1], np.uint8)
        if self.missing is not None:
            picture[image <= self.missing] = 0
        return picture


def mask_picture(image: NDArray[Any]) -> NDArray[np.uint8]:
    """A mask (H, W) in two colours, (H, W, 3), uint8, RGB."""
    picture = np.empty((*image.shape, 3), np.uint8)
    picture[:] = UNTOUCHED
    picture[image > 0] = TOUCHED
    return picture
