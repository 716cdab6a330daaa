"""The membrane of a gel: `photometry.membrane`, for many worlds at once.

Compiled and free of the GIL. `Membrane` has what both engines stretch with.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vtenv.jit import jit
from vtenv.sensing.photometry import MEMBRANE_MM

BLURS = len(MEMBRANE_MM) + 1
"""Gaussians that make a membrane of what is pressed in."""
LEAST_TAP = 1e-3
"""Weight at which a Gaussian ends, of that in its middle."""


class Membrane(NamedTuple):
    """How a membrane bridges what does not touch it.

    Attributes:
        taps: Weights of each Gaussian, (`BLURS`, taps), float32, 0 beyond its own; a multiple of 4.
        radii: Its taps on either side of the middle, (`BLURS`,), int64.
    """

    taps: NDArray[np.float32]
    radii: NDArray[np.int64]

    @classmethod
    def of(cls, widest_mm: float, size: tuple[int, int], pixel_mm: float) -> Membrane:
        """One whose Gaussians are to each other as `MEMBRANE_MM`.

        Args:
            widest_mm: Standard deviation of the widest, [mm].
            size: Rows and columns of the image.
            pixel_mm: Pitch of its pixels on the pad, [mm].
        """
        deviations = np.array([*MEMBRANE_MM, MEMBRANE_MM[-1]]) * widest_mm / MEMBRANE_MM[0]
        deviations /= pixel_mm
        radii = np.ceil(deviations * math.sqrt(-2 * math.log(LEAST_TAP))).astype(np.int64)
        radii = np.minimum(radii, min(size) - 1)
        taps = np.zeros((BLURS, (2 * int(radii.max()) // 4 + 1) * 4), np.float32)
        for row, radius, deviation in zip(taps, radii, deviations, strict=True):
            row[: 2 * radius + 1] = cv2.getGaussianKernel(int(2 * radius + 1), deviation)[:, 0]
        return cls(taps, radii)


@jit()
def stretch_gels(
    worlds: NDArray[np.int64],
    gel: NDArray[np.float32],
    taps: NDArray[np.float32],
    radii: NDArray[np.int64],
    threshold_mm: np.float32,
    contact: NDArray[np.uint8],
) -> None:
    """Stretch membranes over what is pressed into gels.

    Args:
        worlds: Which worlds to do, int64.
        gel: Indentation, which becomes the membrane's depth, (N, P, H, W), float32, [mm].
        taps: Of `Membrane`.
        radii: Likewise.
        threshold_mm: Depth from which the gel counts as touched, [mm].
        contact: Filled with the mask, (N, P, H, W), uint8.
    """
    pads, rows, columns = gel.shape[1:]
    frame = frame_of(radii)
    surface = np.empty((rows + 2 * frame, columns + 2 * frame), np.float32)
    across = np.empty_like(surface)
    for world in worlds:
        for pad in range(pads):
            first, end = stretch(gel[world, pad], taps, radii, surface, across)
            for row in range(first, end):
                for column in range(columns):
                    deep = surface[row + frame, column + frame]
                    gel[world, pad, row, column] = deep
                    contact[world, pad, row, column] = deep > threshold_mm


@jit()
def frame_of(radii: NDArray[np.int64]) -> int:
    """Pixels that `stretch` needs around a membrane: four taps are taken at once."""
    return radii.max() + 3


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
def stretch(
    pressed: NDArray[np.float32],
    taps: NDArray[np.float32],
    radii: NDArray[np.int64],
    surface: NDArray[np.float32],
    across: NDArray[np.float32],
) -> tuple[int, int]:
    """Stretch a membrane over what is pressed into a gel.

    Args:
        pressed: Indentation, (H, W), float32, [mm].
        taps: Of `Membrane`.
        radii: Likewise.
        surface: Filled with its depth, float32, [mm]: (H, W) and `frame_of` more on each side.
        across: Room for another.

    Returns:
        The first row, and one past the last, that are not as without contact.
    """
    rows, columns = pressed.shape
    frame, zero = frame_of(radii), np.float32(0.0)
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
