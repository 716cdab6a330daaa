"""Coloured images of a gel from its indentation: `GelCalibration.render`, for many worlds at once.

Compiled and free of the GIL. `GelColours` has what both engines render with.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vtenv.jit import jit
from vtenv.sensing.photometry import BUNDLED, MEMBRANE_MM, SLOPE_DEGREE, GelCalibration
from vtenv.sensing.touch_pictures import read_image

DEGREE = SLOPE_DEGREE
BLURS = len(MEMBRANE_MM) + 1
"""Gaussians that make a membrane of what is pressed in."""


class GelColours(NamedTuple):
    """How a gel's image follows from its indentation.

    Attributes:
        taps: Weights of each Gaussian, (`BLURS`, taps), float32, 0 beyond its own.
        radii: Its taps on either side of the middle, (`BLURS`,), int64.
        pixel_mm: Pitch of the pixels, [mm].
        steepest: Greatest slope, [mm/mm].
        deepest_mm: Greatest depth, [mm].
        coefficients: Of each pixel's polynomial, by colour, (terms, 3, H, W), float32.
        background: Image without contact, (H, W, 3), uint8, RGB.
    """

    taps: NDArray[np.float32]
    radii: NDArray[np.int64]
    pixel_mm: float
    steepest: float
    deepest_mm: float
    coefficients: NDArray[np.float32]
    background: NDArray[np.uint8]

    @classmethod
    def bundled(cls, size: tuple[int, int], pixel_mm: float) -> GelColours:
        """Those of the bundled GelSight, whose image is stretched over the pad.

        Args:
            size: Rows and columns of the image.
            pixel_mm: Pitch of its pixels on the pad, [mm].
        """
        calibration = GelCalibration.load(BUNDLED / "gelsight.npz")
        image = read_image(BUNDLED / "gelsight.png")
        background = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        pixels = np.asarray(background, np.uint8)
        deviations = np.array([*MEMBRANE_MM, MEMBRANE_MM[-1]]) / pixel_mm
        counts = [round(8 * deviation + 1) | 1 for deviation in deviations]  # as in OpenCV
        taps = np.zeros((BLURS, max(counts)), np.float32)
        for row, count, deviation in zip(taps, counts, deviations, strict=True):
            row[:count] = cv2.getGaussianKernel(count, deviation)[:, 0]
        return cls(
            taps,
            np.array(counts, np.int64) // 2,
            pixel_mm,
            float(calibration.steepest),
            float(calibration.deepest_mm),
            np.moveaxis(calibration.coefficients(pixels), (2, 3), (0, 1)).astype(np.float32),
            pixels,
        )


@jit()
def _mirror(image: NDArray[np.float32], pad: int) -> None:
    """Fill the frame of `pad` pixels around an image by its reflection, as OpenCV's 101."""
    rows, columns = image.shape
    for k in range(1, pad + 1):
        image[pad - k, :] = image[pad + k, :]
        image[rows - pad - 1 + k, :] = image[rows - pad - 1 - k, :]
    for k in range(1, pad + 1):
        image[:, pad - k] = image[:, pad + k]
        image[:, columns - pad - 1 + k] = image[:, columns - pad - 1 - k]


# Rows that start at 0, which Numba turns into vector instructions.
@jit()
def _add_scaled(out: NDArray[np.float32], by: np.float32, values: NDArray[np.float32]) -> None:
    for k in range(out.size):
        out[k] += by * values[k]


@jit()
def _add_product(
    out: NDArray[np.float32], left: NDArray[np.float32], right: NDArray[np.float32]
) -> None:
    for k in range(out.size):
        out[k] += left[k] * right[k]


@jit()
def colour_images(
    worlds: NDArray[np.int64],
    gel: NDArray[np.float32],
    taps: NDArray[np.float32],
    radii: NDArray[np.int64],
    pixel_mm: float,
    steepest: float,
    deepest_mm: float,
    coefficients: NDArray[np.float32],
    background: NDArray[np.uint8],
    rgb: NDArray[np.uint8],
) -> None:
    """Render gels.

    Args:
        worlds: Which worlds to do, int64.
        gel: Indentation, (N, P, H, W), float32, [mm].
        taps: Of `GelColours`, like all that follow but the last.
        radii: Likewise.
        pixel_mm: Likewise.
        steepest: Likewise.
        deepest_mm: Likewise.
        coefficients: Likewise.
        background: Likewise.
        rgb: Filled with images, (N, P, 3, H, W), uint8.
    """
    pads, rows, columns = gel.shape[1:]
    pad_by = radii.max()
    framed = rows + 2 * pad_by, columns + 2 * pad_by
    surface, across = np.zeros(framed, np.float32), np.zeros(framed, np.float32)
    row_of = np.zeros((3, columns), np.float32)  # slopes and depth
    ones, value = np.ones(columns, np.float32), np.zeros(columns, np.float32)
    x_power = np.ones((DEGREE + 1, columns), np.float32)
    y_power = np.ones((DEGREE + 1, columns), np.float32)
    change = np.zeros((3, columns), np.float32)
    margin = radii[0] + 2  # what narrower Gaussians carry farther is less than a level
    half, greatest = np.float32(0.5 / pixel_mm), np.float32(deepest_mm)
    zero, one, limit = np.float32(0.0), np.float32(1.0), np.float32(steepest)
    for world in worlds:
        for pad in range(pads):
            pressed, image = gel[world, pad], rgb[world, pad]
            top, bottom, left, right = rows, 0, columns, 0
            surface[:] = zero
            across[:] = zero
            for row in range(rows):
                for column in range(columns):
                    for k in range(3):
                        image[k, row, column] = background[row, column, k]
                    if pressed[row, column] > 0:
                        surface[row + pad_by, column + pad_by] = pressed[row, column]
                        top, bottom = min(top, row), max(bottom, row + 1)
                        left, right = min(left, column), max(right, column + 1)
            if bottom == 0:
                continue
            top, bottom = max(top - margin, 0), min(bottom + margin, rows)
            left, right = max(left - margin, 0), min(right + margin, columns)
            for blur in range(BLURS):
                radius = radii[blur]
                _mirror(surface, pad_by)
                for row in range(top + pad_by, bottom + pad_by):
                    across[row, :] = zero
                    for tap in range(2 * radius + 1):
                        first, last = left + pad_by + tap - radius, right + pad_by + tap - radius
                        _add_scaled(
                            across[row, left + pad_by : right + pad_by],
                            taps[blur, tap],
                            surface[row, first:last],
                        )
                _mirror(across, pad_by)
                for row in range(top + pad_by, bottom + pad_by):
                    surface[row, :] = zero
                    for tap in range(2 * radius + 1):
                        _add_scaled(
                            surface[row, left + pad_by : right + pad_by],
                            taps[blur, tap],
                            across[row + tap - radius, left + pad_by : right + pad_by],
                        )
                    if blur < BLURS - 1:
                        for column in range(left, right):
                            deep = pressed[row - pad_by, column]
                            if deep > 0:
                                surface[row, column + pad_by] = deep
            for row in range(top, bottom):
                before, after = max(row - 1, 0) + pad_by, min(row + 1, rows - 1) + pad_by
                down = half if after - before == 2 else 2 * half
                for column in range(left, right):
                    first, last = max(column - 1, 0) + pad_by, min(column + 1, columns - 1) + pad_by
                    x = surface[row + pad_by, last] - surface[row + pad_by, first]
                    x *= half if last - first == 2 else 2 * half
                    y = down * (surface[after, column + pad_by] - surface[before, column + pad_by])
                    part = min(one, limit / max(np.sqrt(x * x + y * y), np.float32(1e-9)))
                    row_of[0, column], row_of[1, column] = x * part, y * part
                    deep = surface[row + pad_by, column + pad_by]
                    row_of[2, column] = min(max(deep, zero), greatest)
                count = right - left
                for power in range(1, DEGREE + 1):
                    for axis, powers in enumerate((x_power, y_power)):
                        powers[power, :count] = zero
                        _add_product(
                            powers[power, :count],
                            powers[power - 1, :count],
                            row_of[axis, left:right],
                        )
                change[:] = zero
                term = 0
                for i in range(DEGREE + 1):
                    for j in range(DEGREE + 1 - i):
                        if i + j > 0:
                            value[:count] = zero
                            _add_product(value[:count], x_power[i, :count], y_power[j, :count])
                            for k in range(3):
                                factors = coefficients[term, k, row, left:right]
                                _add_product(change[k, left:right], factors, value[:count])
                            term += 1
                for slope in (ones, x_power[1], y_power[1]):  # times depth
                    value[:count] = zero
                    _add_product(value[:count], slope[:count], row_of[2, left:right])
                    for k in range(3):
                        factors = coefficients[term, k, row, left:right]
                        _add_product(change[k, left:right], factors, value[:count])
                    term += 1
                for k in range(3):
                    for column in range(left, right):
                        level = np.rint(np.float32(background[row, column, k]) + change[k, column])
                        image[k, row, column] = np.uint8(min(max(level, zero), np.float32(255.0)))
