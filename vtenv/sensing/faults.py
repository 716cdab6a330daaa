"""Faults of real sensors, added to what the engines sense; the same code for every engine.

What is random is a hash of the world's seed, the control step and the pixel, so that both engines
draw the same faults for the same seeds, and an image can be made again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtenv.arrays import Array, constant, namespace
from vtenv.sensing import GREATEST_FORCE, GREATEST_MOTION_MM
from vtenv.sensing.images import (
    DEPTH_EDGE,
    MAX_DEPTH,
    NOISE_SUM_DEVIATION,
    NOISE_SUM_MEAN,
)
from vtenv.validation import as_number, made, require

DRIFT_STEPS = 100
"""Control steps in which what drifts gets from where it was to where it goes."""
_DEPTH_CELL, _HOLE_CELL = 12, 4
"""Pixels between independent values of correlated depth noise, and side of a hole."""
_BIAS, _DEPTH_NOISE, _HOLES, _DRIFT, _EDGES, _DEAD, _FLIPS = range(7)
"""What is drawn; part of what is hashed with a step's number, of which each has room for eight."""
_SHEAR, _MARKERS, _MARKER_DRIFT, _RGB, _RGB_DRIFT = range(1 << 32, (1 << 32) + 5)
"""Likewise, beyond any step's."""
_GOLDEN, _MIX_1, _MIX_2 = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
"""Constants of SplitMix64 as signed numbers, which torch has and unsigned ones it has not."""


@dataclass(frozen=True)
class SensorFaultsConfig:
    """How bad the sensors are; 0, the default, is a sensor without that fault.

    The sizes that a world uses are ours. The kinds are those of structured-light and stereo
    cameras, of masks that are made by a threshold on a gel's image, and of cameras that look at a
    gel and follow its markers. `gel`, from which the mask and colours follow, has but dead pixels.

    Raises:
        ValueError: If a number is not allowed; names it and what is.
    """

    depth_bias_mm: float = 0.0
    """Greatest offset of an episode's depth, either way, 0 to 50."""
    depth_correlated_mm: float = 0.0
    """Standard deviation of noise that neighbouring pixels share, 0 to 50; new in each image."""
    depth_holes: float = 0.0
    """Probability that a patch of 4 by 4 pixels reads 0 where it is next to an edge or a surface
    seen at a grazing angle: where depth steps by over 5 mm from pixel to pixel."""
    touch_blur_px: float = 0.0
    """Standard deviation of a Gaussian by which the contact mask is blurred before its threshold, 0
    to 8: corners round off, and small marks are lost."""
    touch_edge_noise: float = 0.0
    """Standard deviation of noise on the blurred mask, whose values are 0 to 1; 0 to 1. It frays
    the edges."""
    touch_drift: float = 0.0
    """Greatest distance of the threshold from the middle, 0 to 0.4, at an episode's start and after
    2 s: it erodes or dilates the mask, and changes on the way."""
    touch_dead: float = 0.0
    """Probability that a pixel behind a gel, a taxel or a marker reads 0 throughout an episode; of
    `gel`, the mask and colours the same pixels."""
    touch_flips: float = 0.0
    """Probability that a pixel of the mask is wrong in an image."""
    shear_noise_n: float = 0.0
    """Standard deviation of noise on each force of a taxel, 0 to 10; new in each image."""
    marker_noise_mm: float = 0.0
    """Standard deviation of noise on where each marker is seen, 0 to 1; new in each image."""
    marker_drift_mm: float = 0.0
    """Greatest displacement that all markers of a gel share, either way, 0 to 1, at an episode's
    start and after 2 s; it changes on the way."""
    rgb_noise: float = 0.0
    """Standard deviation of noise on each pixel and colour, 0 to 64 levels; new in each image."""
    rgb_drift: float = 0.0
    """Greatest change of a colour of a whole image, either way, 0 to 64 levels, at an episode's
    start and after 2 s; it changes on the way."""

    def __post_init__(self) -> None:
        for field in fields(self):
            given, high = getattr(self, field.name), _HIGHEST[field.name]
            number = as_number(given)
            allowed = f"a number from 0 to {high:g}"
            require(number is not None and 0 <= number <= high, field.name, given, allowed)
            object.__setattr__(self, field.name, number)


_HIGHEST = {
    "depth_bias_mm": 50.0,
    "depth_correlated_mm": 50.0,
    "depth_holes": 1.0,
    "touch_blur_px": 8.0,
    "touch_edge_noise": 1.0,
    "touch_drift": 0.4,
    "touch_dead": 1.0,
    "touch_flips": 1.0,
    "shear_noise_n": 10.0,
    "marker_noise_mm": 1.0,
    "marker_drift_mm": 1.0,
    "rgb_noise": 64.0,
    "rgb_drift": 64.0,
}

GELSIGHT_MINI_FAULTS = SensorFaultsConfig(rgb_noise=1.5, rgb_drift=1.2, marker_noise_mm=0.05)
"""Faults of a GelSight Mini, as far as images tell them.

Colours: 54 images of one Mini and its image without contact, farther than four radii from the
contact. Noise is what is left of their difference after a Gaussian of 3 pixels is taken away, over
the root of two; drift the greatest mean change of a colour. No pixel of 76,800 was dead. Markers:
what the motion of 99 markers in two frames of another GelSight, told in whole pixels of 0.051 mm,
leaves of a polynomial of degree 5 in place: noise, rounding and what is not smooth together.
Nothing was measured of a drift of markers, of forces or of masks, which stay as they are.

Source: The images of rpl-cmu/gelslam (`example_calibration`) and Rancho-zhao/FOTS
(`marker_calib`).
"""

SENSOR_FAULTS: Mapping[str, SensorFaultsConfig] = {"gelsight-mini": GELSIGHT_MINI_FAULTS}
"""Faults of sensors that somebody has measured, by name."""


def get_sensor_faults(given: str | SensorFaultsConfig | Mapping[str, Any]) -> SensorFaultsConfig:
    """The faults that are meant.

    Args:
        given: A name of `SENSOR_FAULTS`, a `SensorFaultsConfig`, or a mapping of its fields.

    Raises:
        ValueError: If it is none of these; says what there is.
    """
    return made(
        "sensor_faults",
        given,
        SensorFaultsConfig,
        found=SENSOR_FAULTS.get(given) if isinstance(given, str) else None,
        others=f"one of {', '.join(SENSOR_FAULTS)}, a SensorFaultsConfig",
    )


def faulty_images(
    images: Mapping[str, Array], faults: SensorFaultsConfig, seed: Array, step: Array
) -> dict[str, Array]:
    """Images of sensors with faults; those of sensors that have none as they are.

    Args:
        images: What is sensed without, (N, ...) each, by modality.
        faults: How bad the sensors are.
        seed: Seeds of the episodes' faults, (N,), int64.
        step: Control steps since the reset, (N,), int64.
    """
    told = dict(images)
    for key in _FAULTY.keys() & images.keys():
        told[key] = _FAULTY[key](images[key], faults, seed, step)
    return told


def faulty_depth(depth: Array, faults: SensorFaultsConfig, seed: Array, step: Array) -> Array:
    """Depth images of a camera with faults.

    Args:
        depth: What it senses without, (N, 1, H, W), float32, [m]; 0 for no return.
        faults: How bad it is.
        seed: As in `faulty_images`.
        step: As in `faulty_images`.

    Returns:
        (N, 1, H, W), float32, within [0, `MAX_DEPTH`]; 0 where there was no return, or is none.
    """
    xp, told = namespace(depth), depth
    rows, columns = depth.shape[-2:]
    if faults.depth_bias_mm:
        off = 2 * _uniform(seed, 0 * step, _BIAS, (1, 1)) - 1
        told = told + off[:, None] * (faults.depth_bias_mm * 1e-3)
    if faults.depth_correlated_mm:
        lattice = _normal(seed, step, _DEPTH_NOISE, _lattice(rows, columns, _DEPTH_CELL))
        spread = _mixed(lattice, _linear(rows, _DEPTH_CELL), _linear(columns, _DEPTH_CELL))
        told = told + spread[:, None] * (faults.depth_correlated_mm * 1e-3)
    lost = depth <= 0
    if faults.depth_holes:
        cells = _uniform(seed, step, _HOLES, _lattice(rows, columns, _HOLE_CELL))
        nearest = _nearest(rows, _HOLE_CELL), _nearest(columns, _HOLE_CELL)
        chance = _mixed(cells, *nearest)[:, None]
        lost = lost | (_beside_edge(depth) & (chance < faults.depth_holes))
    told = xp.clip(told, 0.0, MAX_DEPTH)
    return xp.astype(xp.where(lost, xp.zeros_like(told), told), depth.dtype)


def faulty_contact(contact: Array, faults: SensorFaultsConfig, seed: Array, step: Array) -> Array:
    """Contact masks of gels with faults.

    Args:
        contact: What they feel without, (N, C, H, W), uint8.
        faults: How bad they are.
        seed: As in `faulty_images`.
        step: As in `faulty_images`.

    Returns:
        (N, C, H, W), uint8.
    """
    xp = namespace(contact)
    shape = tuple(contact.shape[1:])
    felt = xp.astype(contact, xp.float32)
    if faults.touch_blur_px:
        blurs = (_gaussian(side, faults.touch_blur_px) for side in shape[1:])
        felt = _mixed(felt, *blurs)
    if faults.touch_edge_noise:
        # On edges alone: where a pixel and all around it agree, no noise reaches the threshold.
        unsure = 4 * felt * (1 - felt)
        felt = felt + faults.touch_edge_noise * unsure * _normal(seed, step, _EDGES, shape)
    threshold = 0.5
    if faults.touch_drift:
        threshold = 0.5 + faults.touch_drift * _drift(seed, step, _DRIFT, (1, 1, 1))
    mask = felt > threshold
    if faults.touch_dead:
        mask = mask & ~_dead(faults, seed, step, shape)
    if faults.touch_flips:
        mask = mask ^ (_uniform(seed, step, _FLIPS, shape) < faults.touch_flips)
    return xp.astype(mask, xp.uint8)


def faulty_gel(gel: Array, faults: SensorFaultsConfig, seed: Array, step: Array) -> Array:
    """Indentation, (N, P, H, W), float32, [mm], with dead pixels; arguments as `faulty_images`."""
    return _without_dead(gel, faults, seed, step)


def faulty_shear(shear: Array, faults: SensorFaultsConfig, seed: Array, step: Array) -> Array:
    """Forces of taxels, (N, P, 3, H, W), float32, [N], with noise; arguments as `faulty_images`."""
    told = shear
    if faults.shear_noise_n:
        told = shear + faults.shear_noise_n * _normal(seed, step, _SHEAR, tuple(shear.shape[1:]))
        told = namespace(shear).clip(told, -GREATEST_FORCE, GREATEST_FORCE)
    return _without_dead(told, faults, seed, step)


def faulty_markers(markers: Array, faults: SensorFaultsConfig, seed: Array, step: Array) -> Array:
    """Motion of markers, (N, P, 2, H, W), float32, [mm]; arguments as `faulty_images`."""
    shape, told = tuple(markers.shape[1:]), markers
    if faults.marker_drift_mm:
        shared = (*shape[:2], 1, 1)
        told = told + faults.marker_drift_mm * _drift(seed, step, _MARKER_DRIFT, shared)
    if faults.marker_noise_mm:
        told = told + faults.marker_noise_mm * _normal(seed, step, _MARKERS, shape)
    told = namespace(markers).clip(told, -GREATEST_MOTION_MM, GREATEST_MOTION_MM)
    return _without_dead(told, faults, seed, step)


def faulty_rgb(rgb: Array, faults: SensorFaultsConfig, seed: Array, step: Array) -> Array:
    """Colours of gels, (N, P, 3, H, W), uint8; arguments as `faulty_images`."""
    xp, shape = namespace(rgb), tuple(rgb.shape[1:])
    if not (faults.rgb_drift or faults.rgb_noise):
        return _without_dead(rgb, faults, seed, step)
    told = xp.astype(rgb, xp.float32)
    if faults.rgb_drift:
        told = told + faults.rgb_drift * _drift(seed, step, _RGB_DRIFT, (*shape[:2], 1, 1))
    if faults.rgb_noise:
        told = told + faults.rgb_noise * _normal(seed, step, _RGB, shape)
    told = xp.astype(xp.clip(xp.round(told), 0.0, 255.0), xp.uint8)
    return _without_dead(told, faults, seed, step)


_FAULTY: Mapping[str, Callable[[Array, SensorFaultsConfig, Array, Array], Array]] = {
    "depth": faulty_depth,
    "contact": faulty_contact,
    "gel": faulty_gel,
    "shear": faulty_shear,
    "markers": faulty_markers,
    "rgb": faulty_rgb,
}


def _dead(faults: SensorFaultsConfig, seed: Array, step: Array, shape: tuple[int, ...]) -> Array:
    """What feels nothing throughout an episode, (N, *shape), bool."""
    return _uniform(seed, 0 * step, _DEAD, shape) < faults.touch_dead


def _without_dead(images: Array, faults: SensorFaultsConfig, seed: Array, step: Array) -> Array:
    """Images of gels, (N, P, H, W) or (N, P, components, H, W), 0 in all components of the dead."""
    if not faults.touch_dead:
        return images
    xp, pads, size = namespace(images), images.shape[1], tuple(images.shape[-2:])
    components = (1,) * (images.ndim - 4)
    dead = xp.reshape(_dead(faults, seed, step, (pads, *size)), (-1, pads, *components, *size))
    return xp.where(dead, xp.zeros_like(images), images)


def _drift(seed: Array, step: Array, salt: int, shape: tuple[int, ...]) -> Array:
    """From one uniform number in [-1, 1) to another by `DRIFT_STEPS`, (N, *shape), float32."""
    xp = namespace(seed)
    ends = 2 * _uniform(seed, 0 * step, salt, (2, *shape)) - 1
    part = xp.astype(xp.clip(step, 0, DRIFT_STEPS), xp.float32) / DRIFT_STEPS
    part = xp.reshape(part, (-1, *(1 for _ in shape)))
    return (1 - part) * ends[:, 0] + part * ends[:, 1]


def _bits(seed: Array, step: Array, salt: int, shape: tuple[int, ...]) -> Array:
    """64 random bits for each of (N, *shape), int64.

    Source:
        Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    """
    xp = namespace(seed)
    start = _hashed(seed + (step * 8 + salt + 1) * _GOLDEN)
    places = constant(range(1, math.prod(shape) + 1), seed)
    return xp.reshape(_hashed(start[:, None] + places * _GOLDEN), (-1, *shape))


def _hashed(z: Array) -> Array:
    # Shifts of signed numbers copy the sign, which the masks take away.
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * _MIX_1
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * _MIX_2
    return z ^ ((z >> 31) & 0x1FFFFFFFF)


def _uniform(seed: Array, step: Array, salt: int, shape: tuple[int, ...]) -> Array:
    """Uniform numbers in [0, 1), (N, *shape), float32."""
    xp = namespace(seed)
    return xp.astype(_bits(seed, step, salt, shape) >> 40 & 0xFFFFFF, xp.float32) * 2.0**-24


def _normal(seed: Array, step: Array, salt: int, shape: tuple[int, ...]) -> Array:
    """Numbers of a bell curve, the sum of four uniform ones, (N, *shape), float32."""
    xp, bits = namespace(seed), _bits(seed, step, salt, shape)
    total = sum((bits >> 16 * part) & 0xFFFF for part in range(4))
    return (xp.astype(total, xp.float32) - NOISE_SUM_MEAN) * (1 / NOISE_SUM_DEVIATION)


def _mixed(values: Array, rows: NDArray[Any], columns: NDArray[Any]) -> Array:
    """Images (..., H, W) of values (..., h, w): `rows` (H, h) times them times `columns`' own."""
    xp = namespace(values)
    left, right = (xp.asarray(m, dtype=values.dtype, device=values.device) for m in (rows, columns))
    return left @ values @ right.T


def _lattice(rows: int, columns: int, cell: int) -> tuple[int, int]:
    return (rows - 1) // cell + 2, (columns - 1) // cell + 2


def _linear(pixels: int, cell: int) -> NDArray[np.float64]:
    """Weights (pixels, points) that interpolate between points `cell` pixels apart."""
    points = np.arange((pixels - 1) // cell + 2) * cell
    away = np.abs(np.arange(pixels)[:, None] - points) / cell
    weights = np.clip(1 - away, 0, None)
    # Between two independent values the mean of them varies less: make up for it.
    return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True))


def _nearest(pixels: int, cell: int) -> NDArray[np.float64]:
    """Weights (pixels, points) that repeat each point `cell` times."""
    points = (pixels - 1) // cell + 2
    return np.eye(points)[np.arange(pixels) // cell]


def _gaussian(pixels: int, deviation: float) -> NDArray[np.float64]:
    """Weights (pixels, pixels) of a Gaussian blur."""
    away = np.arange(pixels)[:, None] - np.arange(pixels)
    weights = np.exp(-0.5 * (away / deviation) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _beside_edge(depth: Array) -> Array:
    """Pixels at a depth edge, and those next to them, as `depth` in shape, bool."""
    xp = namespace(depth)

    def both_sides(steps: Array, axis: int) -> Array:
        none = xp.zeros_like(xp.take(steps, constant(range(1), depth, xp.int64), axis=axis))
        return xp.concat([steps, none], axis=axis) | xp.concat([none, steps], axis=axis)

    along_rows = xp.abs(depth[..., 1:, :] - depth[..., :-1, :]) > DEPTH_EDGE
    along_columns = xp.abs(depth[..., :, 1:] - depth[..., :, :-1]) > DEPTH_EDGE
    edge = both_sides(along_rows, -2) | both_sides(along_columns, -1)
    edge = edge | both_sides(edge[..., 1:, :] | edge[..., :-1, :], -2)
    return edge | both_sides(edge[..., :, 1:] | edge[..., :, :-1], -1)
