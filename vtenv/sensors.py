"""From distances to the images a policy sees, and the noise of the depth camera."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vtenv.config import DepthNoiseConfig
from vtenv.scene import CAMERA_HEIGHT, GEL_THICKNESS

CONTACT_THRESHOLD_MM = 0.05
"""Indentation from which the gel counts as touched, in [mm]."""
MAX_DEPTH = 1.0
"""Upper bound of depth images, in [m]; nothing in the scene is as far."""
_EDGE_STEP = 0.005
"""Difference to a neighbouring pixel that makes a depth edge, in [m]."""


def gel_indentation(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Indentation of the gel by what a camera behind it sees.

    Args:
        distance: Planar depth from the back of the gel, any shape, [m]; infinity for nothing.

    Returns:
        Indentation of the gel's face, same shape, float32, [mm], from 0 to the gel's thickness.
    """
    return np.clip((GEL_THICKNESS - distance) * 1e3, 0.0, GEL_THICKNESS * 1e3, dtype=np.float32)


def contact_mask(gel: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Binary contact mask: 1 where the gel is indented.

    Args:
        gel: Indentation, any shape, [mm].

    Source:
        Bronars and Sunil, section C: a thresholded virtual depth camera behind the gel.
    """
    return (gel > CONTACT_THRESHOLD_MM).astype(np.uint8)


def depth_image(
    depth: NDArray[np.float32], noise: DepthNoiseConfig, generator: np.random.Generator
) -> NDArray[np.float32]:
    """What the overhead camera reports of the true depth.

    Args:
        depth: True planar depth, (H, W), float32, [m]; infinity where nothing is hit.
        noise: Which noise to add; draws nothing from the generator for a part that is off.
        generator: Source of randomness.

    Returns:
        The image, (H, W), float32, [m], within [0, `MAX_DEPTH`]; 0 where there is no return.
    """
    lost = np.isinf(depth)
    image = np.where(lost, np.float32(0.0), depth)
    if noise.dropout > 0:
        lost |= _edges(image) & (generator.random(depth.shape, np.float32) < noise.dropout)
    if noise.noise_mm > 0:
        scale = np.float32(noise.noise_mm * 1e-3 / CAMERA_HEIGHT**2)
        image = image + generator.standard_normal(depth.shape, np.float32) * (scale * image * image)
    if noise.quantization_mm > 0:
        step = np.float32(noise.quantization_mm * 1e-3)
        image = np.round(image / step) * step
    image = np.clip(image, np.float32(0.0), np.float32(MAX_DEPTH))
    image[lost] = 0.0
    return image


def _edges(depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels with a depth step to one of their four neighbours."""
    edges = np.zeros(depth.shape, bool)
    down = np.abs(np.diff(depth, axis=0)) > _EDGE_STEP
    across = np.abs(np.diff(depth, axis=1)) > _EDGE_STEP
    edges[1:] |= down
    edges[:-1] |= down
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    return edges
