"""Coloured images of a gel from its indentation: `GelCalibration.render`, for many worlds at once.

Compiled and free of the GIL. `GelColours` has what both engines render with.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vtenv.jit import jit
from vtenv.sensing.photometry import BUNDLED, MEMBRANE_MM, GelCalibration
from vtenv.sensing.touch_pictures import read_image

BLURS = len(MEMBRANE_MM) + 1
"""Gaussians that make a membrane of what is pressed in."""
LEAST_TAP = 1e-3
"""Weight at which a Gaussian ends, of that in its middle."""


class GelColours(NamedTuple):
    """How a gel's image follows from its indentation.

    Attributes:
        taps: Weights of each Gaussian, (`BLURS`, taps), float32, 0 beyond its own; a multiple of 4.
        radii: Its taps on either side of the middle, (`BLURS`,), int64.
        pixel_mm: Pitch of the pixels, [mm].
        steepest: Greatest slope, [mm/mm].
        deepest_mm: Greatest depth, [mm].
        coefficients: Of each pixel's polynomial, by colour, (H, 3, terms, W), float32.
        background: Image without contact, (3, H, W), uint8, RGB.
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
        radii = np.ceil(deviations * math.sqrt(-2 * math.log(LEAST_TAP))).astype(np.int64)
        taps = np.zeros((BLURS, (2 * int(radii.max()) // 4 + 1) * 4), np.float32)
        for row, radius, deviation in zip(taps, radii, deviations, strict=True):
            row[: 2 * radius + 1] = cv2.getGaussianKernel(int(2 * radius + 1), deviation)[:, 0]
        coefficients = np.moveaxis(calibration.coefficients(pixels), (0, 3, 2, 1), (0, 1, 2, 3))
        return cls(
            taps,
            radii,
            pixel_mm,
            float(calibration.steepest),
            float(calibration.deepest_mm),
            np.ascontiguousarray(coefficients, np.float32),
            np.ascontiguousarray(np.moveaxis(pixels, -1, 0)),
        )


# Loops over rows that start at 0, which Numba turns into vector instructions.
@jit()
def _add_four(
    out: NDArray[np.float32],
    by: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    third: NDArray[np.float32],
    fourth: NDArray[np.float32],
) -> None:
    a, b, c, d = by[0], by[1], by[2], by[3]
    for k in range(out.size):
        out[k] += a * first[k] + b * second[k] + c * third[k] + d * fourth[k]


@jit()
def _blur(
    surface: NDArray[np.float32],
    across: NDArray[np.float32],
    taps: NDArray[np.float32],
    radius: int,
    frame: int,
    region: tuple[int, int, int, int],
) -> None:
    """Blur a region of what lies in a frame; beyond its edges it is mirrored, as OpenCV's 101."""
    top, bottom, left, right = region
    rows, columns = surface.shape[0] - 2 * frame, surface.shape[1] - 2 * frame
    count = 2 * radius + 1
    for row in range(top + frame, bottom + frame):
        source, out = surface[row], across[row, left + frame : right + frame]
        for k in range(1, radius + 1):
            source[frame - k] = source[frame + k]
            source[frame + columns - 1 + k] = source[frame + columns - 1 - k]
        out[:] = np.float32(0.0)
        width = right - left
        for tap in range(0, count, 4):
            first = left + frame - radius + tap
            _add_four(
                out,
                taps[tap : tap + 4],
                source[first : first + width],
                source[first + 1 : first + 1 + width],
                source[first + 2 : first + 2 + width],
                source[first + 3 : first + 3 + width],
            )
    for k in range(1, radius + 1):
        across[frame - k] = across[frame + k]
        across[frame + rows - 1 + k] = across[frame + rows - 1 - k]
    inside = slice(left + frame, right + frame)
    for row in range(top + frame, bottom + frame):
        out = surface[row, inside]
        out[:] = np.float32(0.0)
        for tap in range(0, count, 4):
            first = row - radius + tap
            _add_four(
                out,
                taps[tap : tap + 4],
                across[first, inside],
                across[first + 1, inside],
                across[first + 2, inside],
                across[first + 3, inside],
            )


@jit()
def _stretch(
    pressed: NDArray[np.float32],
    taps: NDArray[np.float32],
    radii: NDArray[np.int64],
    frame: int,
    surface: NDArray[np.float32],
    across: NDArray[np.float32],
) -> tuple[int, int]:
    """Stretch a membrane over what is pressed into a gel.

    Args:
        pressed: Indentation, (H, W), float32, [mm].
        taps: Of `GelColours`.
        radii: Likewise.
        frame: Pixels around the membrane.
        surface: Filled with its depth, (H + 2 frame, W + 2 frame), float32, [mm].
        across: Room for another.

    Returns:
        The first row, and one past the last, that are not as without contact.
    """
    rows, columns = pressed.shape
    zero = np.float32(0.0)
    top, bottom, left, right = rows, 0, columns, 0
    for row in range(rows):
        for column in range(columns):
            if pressed[row, column] > zero:
                top, bottom = min(top, row), row + 1
                left, right = min(left, column), max(right, column + 1)
    if bottom == 0:
        return rows, 0
    margin = radii[0] + 2  # what narrower Gaussians carry farther is less than a level
    top, bottom = max(top - margin, 0), min(bottom + margin, rows)
    left, right = max(left - margin, 0), min(right + margin, columns)
    surface[:] = zero
    across[:] = zero
    surface[frame : frame + rows, frame : frame + columns] = pressed
    for blur in range(BLURS):
        _blur(surface, across, taps[blur], radii[blur], frame, (top, bottom, left, right))
        if blur < BLURS - 1:
            for row in range(top, bottom):
                touched, smooth = pressed[row], surface[row + frame]
                for column in range(left, right):
                    deep = touched[column]
                    smooth[column + frame] = deep if deep > zero else smooth[column + frame]
    # Beyond the edges it goes on as steep as it reaches them.
    first, last = frame, frame + rows - 1
    surface[first - 1] = 2 * surface[first] - surface[first + 1]
    surface[last + 1] = 2 * surface[last] - surface[last - 1]
    first, last = frame, frame + columns - 1
    for row in range(top + frame, bottom + frame):
        surface[row, first - 1] = 2 * surface[row, first] - surface[row, first + 1]
        surface[row, last + 1] = 2 * surface[row, last] - surface[row, last - 1]
    return top, bottom


@jit()
def _slopes(
    before: NDArray[np.float32],
    here: NDArray[np.float32],
    after: NDArray[np.float32],
    half: np.float32,
    steepest: np.float32,
    across: NDArray[np.float32],
    down: NDArray[np.float32],
) -> None:
    """Slopes of a row of pixels, from it, with a pixel more at both ends, and its neighbours."""
    one, tiny = np.float32(1.0), np.float32(1e-9)
    for k in range(across.size):
        x, y = half * (here[k + 2] - here[k]), half * (after[k] - before[k])
        part = min(one, steepest / max(np.sqrt(x * x + y * y), tiny))
        across[k], down[k] = x * part, y * part


@jit()
def _colour_row(
    x_slope: NDArray[np.float32],
    y_slope: NDArray[np.float32],
    depth: NDArray[np.float32],
    deepest: np.float32,
    c: NDArray[np.float32],
    background: NDArray[np.uint8],
    out: NDArray[np.uint8],
) -> None:
    """One colour of a row of pixels: the polynomial, (terms, W), in Horner's form."""
    zero, full = np.float32(0.0), np.float32(255.0)
    for k in range(out.size):
        x, y, deep = x_slope[k], y_slope[k], min(max(depth[k], zero), deepest)
        y_alone = c[0, k] + y * (c[1, k] + y * (c[2, k] + y * (c[3, k] + y * c[4, k])))
        by_x = c[5, k] + y * (c[6, k] + y * (c[7, k] + y * (c[8, k] + y * c[9, k])))
        by_x2 = c[10, k] + y * (c[11, k] + y * (c[12, k] + y * c[13, k]))
        by_x3 = c[14, k] + y * (c[15, k] + y * c[16, k])
        by_x4 = c[17, k] + y * c[18, k]
        change = x * (by_x + x * (by_x2 + x * (by_x3 + x * (by_x4 + x * c[19, k]))))
        change += y * y_alone + deep * (c[20, k] + x * c[21, k] + y * c[22, k])
        level = np.rint(np.float32(background[k]) + change)
        out[k] = np.uint8(min(max(level, zero), full))


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
    frame = radii.max() + 3  # as four taps are taken at once
    surfaces = np.empty((pads, rows + 2 * frame, columns + 2 * frame), np.float32)
    across = np.empty_like(surfaces[0])
    x_slope, y_slope = np.empty(columns, np.float32), np.empty(columns, np.float32)
    ends = np.empty((pads, 2), np.int64)
    inside = slice(frame, frame + columns)
    half = np.float32(0.5 / pixel_mm)
    limit, deepest = np.float32(steepest), np.float32(deepest_mm)
    for world in worlds:
        for pad in range(pads):
            rgb[world, pad] = background
            ends[pad] = _stretch(gel[world, pad], taps, radii, frame, surfaces[pad], across)
        # Both pads at once: reading a row's coefficients takes longer than computing with them.
        for row in range(ends[:, 0].min(), ends[:, 1].max()):
            at = row + frame
            for pad in range(pads):
                if not ends[pad, 0] <= row < ends[pad, 1]:
                    continue
                surface, image = surfaces[pad], rgb[world, pad]
                _slopes(
                    surface[at - 1, inside],
                    surface[at, frame - 1 : frame + columns + 1],
                    surface[at + 1, inside],
                    half,
                    limit,
                    x_slope,
                    y_slope,
                )
                for k in range(3):
                    _colour_row(
                        x_slope,
                        y_slope,
                        surface[at, inside],
                        deepest,
                        coefficients[row, k],
                        background[k, row],
                        image[k, row],
                    )
