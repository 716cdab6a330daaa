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


_CELL = 16
_ARROWS = 8  # at most along each side


def _with_arrows(
    picture: NDArray[np.uint8], field: NDArray[Any], scale: float
) -> NDArray[np.uint8]:
    """Arrows (2, rows, columns), `scale` pixels a unit, on a picture of `_CELL` pixels each."""
    import cv2

    rows, columns = field.shape[1:]
    field = np.nan_to_num(field)
    for row in range(0, rows, -(-rows // _ARROWS)):
        for column in range(0, columns, -(-columns // _ARROWS)):
            at = np.array([column + 0.5, row + 0.5]) * _CELL
            tip = at + field[:, row, column] * scale
            first, last = np.clip([at, tip], -9999, 9999).round().astype(int).tolist()
            cv2.arrowedLine(picture, first, last, TOUCHED, 2, cv2.LINE_AA, tipLength=0.3)
    return picture


def force_picture(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Forces of taxels, (3, H, W), [N]: pressing in colours, tangential as arrows."""
    coloured = ScalarPicture((0.0, 1.0), "inferno")(image[0])
    picture = np.ascontiguousarray(coloured.repeat(_CELL, 0).repeat(_CELL, 1))
    return _with_arrows(picture, image[1:], 3.0 * _CELL)


def marker_picture(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Displacements of markers, (2, H, W), [mm], three times enlarged, as arrows."""
    rows, columns = image.shape[1:]
    picture = np.full((rows * _CELL, columns * _CELL, 3), UNTOUCHED, np.uint8)
    return _with_arrows(picture, image, 3.0 * _CELL / 3.0)


def colour_picture(image: NDArray[Any]) -> NDArray[np.uint8]:
    """An image (3, H, W), uint8, with its colours last."""
    return np.ascontiguousarray(np.moveaxis(image, 0, -1))
