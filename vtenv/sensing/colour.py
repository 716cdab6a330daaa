"""Coloured images of a gel from its indentation: `GelCalibration.render`, for many worlds at once.

Compiled and free of the GIL. `GelColours` has what both engines render with.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vtenv.jit import jit
from vtenv.sensing.membrane import frame_of, stretch
from vtenv.sensing.photometry import BUNDLED, GelCalibration
from vtenv.sensing.profiles import SensorProfile
from vtenv.sensing.touch_pictures import read_image


class GelColours(NamedTuple):
    """How a gel's image follows from its indentation.

    Attributes:
        pixel_mm: Pitch of the pixels, [mm].
        steepest: Greatest slope, [mm/mm].
        deepest_mm: Greatest depth, [mm].
        coefficients: Of each pixel's polynomial, by colour, (H, 3, terms, W), float32.
        background: Image without contact, (3, H, W), uint8, RGB.
    """

    pixel_mm: float
    steepest: float
    deepest_mm: float
    coefficients: NDArray[np.float32]
    background: NDArray[np.uint8]

    @classmethod
    def of(cls, profile: SensorProfile, size: tuple[int, int], pixel_mm: float) -> GelColours:
        """Those of a sensor, whose image is stretched over its field of view.

        Args:
            profile: The sensor.
            size: Rows and columns of the image.
            pixel_mm: Pitch of its pixels on the gel, [mm].

        Raises:
            FileNotFoundError: If it has none; says what to give.
            ValueError: If its files are none.
        """
        bundled = (BUNDLED / f"{profile.colours}.npz").is_file()
        files = str(BUNDLED / profile.colours if bundled else profile.colours)
        fitted, untouched = Path(f"{files}.npz"), Path(f"{files}.png")
        for path in (fitted, untouched):
            if not path.is_file():
                raise FileNotFoundError(
                    f"colours={profile.colours!r} of the touch sensor, but there is no {path}; "
                    "give `gelsight`, or what `vtinsert touch calibrate` writes, such as "
                    "outputs/touch/calibration"
                )
        calibration, image = GelCalibration.load(fitted), read_image(untouched)
        whole, seen = [], []
        for side, count in zip(profile.field_of_view_mm, size, strict=True):
            whole.append(max(round(side / pixel_mm), count))
            first = (whole[-1] - count) // 2
            seen.append(slice(first, first + count))
        background = cv2.resize(image, whole[::-1], interpolation=cv2.INTER_AREA)
        pixels = np.asarray(background, np.uint8)
        coefficients = calibration.coefficients(pixels)[tuple(seen)]
        coefficients = np.moveaxis(coefficients, (0, 3, 2, 1), (0, 1, 2, 3))
        pixels = pixels[tuple(seen)]
        return cls(
            pixel_mm,
            float(calibration.steepest),
            float(calibration.deepest_mm),
            np.ascontiguousarray(coefficients, np.float32),
            np.ascontiguousarray(np.moveaxis(pixels, -1, 0)),
        )


# Loops over rows that start at 0, which Numba turns into vector instructions.
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
        taps: Of the `Membrane` that the colours were fitted with.
        radii: Likewise.
        pixel_mm: Of `GelColours`, like all that follow but the last.
        steepest: Likewise.
        deepest_mm: Likewise.
        coefficients: Likewise.
        background: Likewise.
        rgb: Filled with images, (N, P, 3, H, W), uint8.
    """
    pads, rows, columns = gel.shape[1:]
    frame = frame_of(radii)
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
            ends[pad] = stretch(gel[world, pad], taps, radii, surfaces[pad], across)
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
