"""From distances to the images a policy sees, and the noise of the depth camera.

Compiled and free of the GIL, one pass over each image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vtenv.jit import jit

CONTACT_THRESHOLD_MM = 0.05
"""Indentation from which the gel counts as touched, in [mm]."""
MAX_DEPTH = 1.0
"""Upper bound of depth images, in [m]; nothing in the scene is as far."""
DEPTH_EDGE = 0.005
"""Difference to a neighbouring pixel that makes a depth edge, in [m]."""
NOISE_SUM_MEAN, NOISE_SUM_DEVIATION = 131070, 37837.2
"""Mean and standard deviation of the sum of four uniform 16-bit numbers."""

_ZERO, _ONE, _MAX_DEPTH = np.float32(0.0), np.float32(1.0), np.float32(MAX_DEPTH)
_EDGE = np.float32(DEPTH_EDGE)
_SUM_MEAN, _SUM_SCALE = np.int64(NOISE_SUM_MEAN), np.float32(1 / NOISE_SUM_DEVIATION)


@jit()
def gel_images(
    worlds: NDArray[np.int64],
    distance: NDArray[np.float32],
    thickness_mm: np.float32,
    threshold_mm: np.float32,
    gel: NDArray[np.float32],
    contact: NDArray[np.uint8],
) -> None:
    """Indentation of the gel, and the binary contact mask: 1 where it is indented.

    Args:
        worlds: Which worlds to do, int64.
        distance: Planar depth from the back of the gel, (N, 2, H, W), float32, [m];
            infinity for nothing.
        thickness_mm: Thickness of the gel, float32, [mm]; no indentation is deeper.
        threshold_mm: Indentation from which the gel counts as touched, float32, [mm].
        gel: Filled with the indentation, (N, 2, H, W), float32, [mm], from 0 to the gel's
            thickness.
        contact: Filled with the mask, (N, 2, H, W), uint8.

    Source:
        Bronars and Sunil, section C: a thresholded virtual depth camera behind the gel.
    """
    fingers, height, width = distance.shape[1:]
    for world in worlds:
        for finger in range(fingers):
            for row in range(height):
                for column in range(width):
                    seen = distance[world, finger, row, column]
                    pressed = thickness_mm - seen * np.float32(1e3)
                    pressed = min(max(pressed, _ZERO), thickness_mm)
                    gel[world, finger, row, column] = pressed
                    contact[world, finger, row, column] = pressed > threshold_mm


@jit()
def hash_pixels(seed: np.uint64, pixel: int) -> np.uint64:
    """A 64-bit hash of a pixel's number: random bits for it.

    Source:
        Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    z = seed + np.uint64(pixel + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@jit()
def depth_images(
    worlds: NDArray[np.int64],
    depth: NDArray[np.float32],
    seeds: NDArray[np.uint64],
    noise_mm: NDArray[np.float64],
    noise_distance: np.float32,
    dropout: float,
    quantization_mm: float,
    out: NDArray[np.float32],
) -> None:
    """What the overhead camera reports of the true depth.

    Noise is a bell curve, the sum of four uniform numbers, so none is over 3.5 standard
    deviations. It is a function of the seed and the pixel alone, on every engine.

    Args:
        worlds: Which worlds to do, int64.
        depth: True planar depth, (N, H, W), float32, [m]; infinity where nothing is hit.
        seeds: Seed of each world's noise, (N,), uint64.
        noise_mm: Standard deviation of each pixel's noise at `noise_distance`, for each world,
            (N,), float64; it grows with the square of the distance, as in stereo and
            structured-light cameras.
        noise_distance: float32, [m].
        dropout: Probability that a pixel on a depth edge (a step of over `DEPTH_EDGE` to one of
            its four neighbours) is lost and reads 0, 0 to 1.
        quantization_mm: Step to which depth is rounded; 0 for none.
        out: Filled with the images, (N, H, W), float32, [m], within [0, `MAX_DEPTH`]; 0 where
            there is no return.
    """
    height, width = depth.shape[1:]
    step = np.float32(quantization_mm * 1e-3)
    for world in worlds:
        true, image, seed = depth[world], out[world], seeds[world]
        scale = np.float32(noise_mm[world] * 1e-3)
        scale = scale / (noise_distance * noise_distance) * _SUM_SCALE
        for row in range(height):
            for column in range(width):
                z = true[row, column]
                if not z < np.inf:
                    image[row, column] = _ZERO
                    continue
                pixel = row * width + column
                if dropout > 0:
                    edge = (
                        (row > 0 and abs(z - true[row - 1, column]) > _EDGE)
                        or (row < height - 1 and abs(z - true[row + 1, column]) > _EDGE)
                        or (column > 0 and abs(z - true[row, column - 1]) > _EDGE)
                        or (column < width - 1 and abs(z - true[row, column + 1]) > _EDGE)
                    )
                    bits = hash_pixels(~seed, pixel)
                    if edge and np.float64(bits >> np.uint64(11)) * 2.0**-53 < dropout:
                        image[row, column] = _ZERO
                        continue
                if scale > 0:
                    bits = hash_pixels(seed, pixel)
                    total = np.int64(bits & np.uint64(0xFFFF))
                    total += np.int64((bits >> np.uint64(16)) & np.uint64(0xFFFF))
                    total += np.int64((bits >> np.uint64(32)) & np.uint64(0xFFFF))
                    total += np.int64(bits >> np.uint64(48))
                    z += np.float32(total - _SUM_MEAN) * scale * z * z
                if step > np.float32(1e-8):
                    z = np.float32(np.rint(z / step)) * step
                image[row, column] = min(max(z, _ZERO), _MAX_DEPTH)
