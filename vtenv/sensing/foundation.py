"""How deep a force presses into a gel: the more, the smaller the area that carries it.

In a rigid-body engine what touches overlaps with the pad by as much as its contacts give, whatever
their area. Here the gel is an elastic foundation, a bed of springs side by side: pressure is its
modulus times indentation over thickness. What touches is moved along the gel's normal until the
pressure over all pixels sums up to the normal force that the engine tells. Its shape stays.

Source:
    Johnson, "Contact Mechanics", 1985, section 4.3 (elastic foundation). The search for where
    it comes to rest is that of Michelot, "A finite algorithm for finding the projection of a point
    onto the canonical simplex of R^n", 1986.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vtenv.jit import jit
from vtenv.sensing.profiles import SensorProfile


def softness(
    profile: SensorProfile, half_extent: tuple[float, float], size: tuple[int, int]
) -> float:
    """Indentation that a newton makes, summed up over pixels, in [m/N]; 0 without a modulus.

    Args:
        profile: The sensor.
        half_extent: Half the width and height that the pixels cover, in [m].
        size: Rows and columns of pixels.
    """
    if not profile.modulus_mpa:
        return 0.0
    pixel = 4 * half_extent[0] * half_extent[1] / math.prod(size)
    return profile.thickness / (profile.modulus_mpa * 1e6 * pixel)


@jit()
def normal_force(wrench: NDArray[np.float64], mat: NDArray[np.float64], at_rest: float) -> float:
    """Normal force of what touches on a pad, [N].

    Args:
        wrench: Of the pad on what touches it, (9,), in the world frame, force first.
        mat: Orientation of the camera behind the pad, (9,).
        at_rest: Its value where the wrench reads nothing, as between a reset and the first step.
    """
    if wrench[0] == 0.0 and wrench[1] == 0.0 and wrench[2] == 0.0:
        return at_rest
    return -(wrench[0] * mat[2] + wrench[1] * mat[5] + wrench[2] * mat[8])


@jit()
def press_gels(
    worlds: NDArray[np.int64],
    distance: NDArray[np.float32],
    thickness: float,
    softness: float,
    wrenches: NDArray[np.float64],
    cam_mat: NDArray[np.float64],
    at_rest: NDArray[np.float64],
) -> None:
    """Move what gels see along their normals, until they carry the force that presses on them.

    Args:
        worlds: Which worlds to do, int64.
        distance: Planar depth from the back of the gel, (N, P, H, W), float32, [m]; infinity
            for nothing. Changed by as much for all pixels of an image.
        thickness: Of the gel, in [m].
        softness: Of the function `softness`, [m/N].
        wrenches: As in `vtenv.sensing.tractions.spread_forces`, like the next two.
        cam_mat: Likewise.
        at_rest: Likewise.
    """
    pads, rows, columns = distance.shape[1:]
    for world in worlds:
        for pad in range(pads):
            image, wrench, mat = distance[world, pad], wrenches[world, pad], cam_mat[world, pad]
            force = normal_force(wrench, mat, at_rest[world, pad])
            total, shift, count = max(force, 0.0) * softness, np.inf, -1
            while True:  # pixels that the last shift leaves untouched carry nothing
                overlap, touched = 0.0, 0
                for row in range(rows):
                    for column in range(columns):
                        deep = thickness - image[row, column]
                        if deep > -np.inf and deep + shift > 0.0:
                            overlap += deep
                            touched += 1
                if touched == count or touched == 0:
                    break
                count, shift = touched, (total - overlap) / touched
            if count > 0:
                for row in range(rows):
                    for column in range(columns):
                        image[row, column] -= np.float32(shift)
