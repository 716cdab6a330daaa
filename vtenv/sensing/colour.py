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
            np.moveaxis(calibration.coefficients(background), (2, 3), (0, 1)).astype(np.float32),
            np.asarray(background, np.uint8),
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
    row_of = np.zeros((4, columns), np.float32)  # of slopes, depth and one term
    x_power = np.ones((DEGREE + 1, columns), np.float32)
    y_power = np.ones((DEGREE + 1, columns), np.float32)
    change = np.zeros((3, columns), np.float32)
    margin = radii.sum() + 1
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
            # Beyond, the membrane is level.
            top, bottom = max(top - margin, 0), min(bottom + margin, rows)
            left, right = max(left - margin, 0), min(right + margin, columns)
            for blur in range(BLURS):
                radius = radii[blur]
                _mirror(surface, pad_by)
                for row in range(top + pad_by, bottom + pad_by):
                    across[row, :] = zero
                    for tap in range(2 * radius + 1):
                        weight, shift = taps[blur, tap], tap - radius
                        for column in range(left + pad_by, right + pad_by):
                            across[row, column] += weight * surface[row, column + shift]
                _mirror(across, pad_by)
                for row in range(top + pad_by, bottom + pad_by):
                    surface[row, :] = zero
                    for tap in range(2 * radius + 1):
                        weight, shift = taps[blur, tap], tap - radius
                        for column in range(left + pad_by, right + pad_by):
                            surface[row, column] += weight * across[row + shift, column]
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
                for power in range(1, DEGREE + 1):
                    for column in range(left, right):
                        x_power[power, column] = x_power[power - 1, column] * row_of[0, column]
                        y_power[power, column] = y_power[power - 1, column] * row_of[1, column]
                change[:] = zero
                term = 0
                for i in range(DEGREE + 1):
                    for j in range(DEGREE + 1 - i):
                        if i + j == 0:
                            continue
                        for column in range(left, right):
                            row_of[3, column] = x_power[i, column] * y_power[j, column]
                        for k in range(3):
                            for column in range(left, right):
                                factor = coefficients[term, k, row, column]
                                change[k, column] += factor * row_of[3, column]
                        term += 1
                for i in range(3):
                    for column in range(left, right):
                        by = one if i == 0 else row_of[i - 1, column]
                        row_of[3, column] = row_of[2, column] * by
                    for k in range(3):
                        for column in range(left, right):
                            factor = coefficients[term, k, row, column]
                            change[k, column] += factor * row_of[3, column]
                    term += 1
                for k in range(3):
                    for column in range(left, right):
                        level = np.rint(np.float32(background[row, column, k]) + change[k, column])
                        image[k, row, column] = np.uint8(min(max(level, zero), np.float32(255.0)))
