"""How the force on a pad spreads over its taxels, sticks and slips, and moves the gel's markers.

A physics engine tells the wrench between a pad and what it holds, and nothing of how it is spread.
Here normal force is spread like indentation, and tangential force like this: each taxel is a spring
between the gel and what touches it. What touches is rigid, so a change of the wrench stretches all
springs by one translation and one rotation. No taxel carries more than friction allows: it
slips, stays stretched to that limit, and the others take over. Springs are remembered from image to
image and let go when the taxel is no longer touched. A load that made taxels slip therefore leaves
a field that sums up to nothing but is not zero; one that did not, leaves none.

Frames: x along an image's columns, y along its rows, origin in the middle of the pad, as
the camera behind it sees it.

Source:
    An et al., HydroShear (arXiv 2603.00446), for tractions that are kept for each point of the
    surface, clipped to Coulomb's cone and forgotten on leaving, and for a shear and a dilation
    kernel; Zhao et al., FOTS (RA-L 2024), for the kernels' form. Driving tractions by the wrench is
    ours: in rigid-body physics what touches hardly moves before it slips.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtenv.jit import jit
from vtenv.sensing import GREATEST_FORCE, GREATEST_MOTION_MM
from vtenv.sensing.foundation import normal_force
from vtenv.sensing.profiles import SensorProfile

WRENCH_SIZE = 9
"""Readings of a contact sensor of a pad: force, torque, and the point that it is about."""
RAYS = 3
"""Rays of a taxel along each side, over which indentation is averaged: what leaves a taxel leaves
it by and by."""
ROUNDS = 8
"""Times that slipping taxels hand on what they do not carry, at most."""
TOLERANCE = 1e-3
"""Part of the normal force that may stay undistributed."""
FIRM = 0.999
"""Part of the limit of friction from which a taxel counts as slipping."""


class MarkerKernels(NamedTuple):
    """What taxels do to markers: kernels that are products of one along rows and one along columns.

    Three of each: shear [mm/N], dilation, and dilation times the distance from the taxel. Outwards
    goes dilation along the one axis times dilation with distance along the other.

    Attributes:
        by_rows: (3, marker rows, taxel rows), float32.
        by_columns: (3, marker columns, taxel columns), float32.
    """

    by_rows: NDArray[np.float32]
    by_columns: NDArray[np.float32]


def grid(count: int, half_extent: float) -> NDArray[np.float64]:
    """Coordinates of the centres of `count` cells that divide a pad, (count,), in [m]."""
    return (2 * (np.arange(count) + 0.5) / count - 1) * half_extent


def marker_places(profile: SensorProfile, axis: int) -> NDArray[np.float64]:
    """Coordinates of markers along the rows' axis, 0, or the columns', 1: (count,), in [m]."""
    count = profile.marker_size[axis]
    if profile.marker_pitch_mm is None:
        return grid(count, profile.half_extent[1 - axis])
    steps = np.arange(count) - (count - 1) / 2
    return np.asarray(steps * profile.marker_pitch_mm[axis] / 1e3)


def marker_kernels(
    taxels: tuple[int, int],
    profile: SensorProfile,
) -> MarkerKernels:
    """The kernels of a gel.

    Both are Gaussian, and the gel decides how high. Shear: over the whole surface, displacement
    sums up to that of a layer that is sheared, force times thickness over shear modulus. Dilation:
    rubber keeps its volume, so what is pressed in flows outwards through the ring where most
    flows; the layer does not move at its back, and most at its face (a parabola).

    Args:
        taxels: Rows and columns of taxels, which span the field of view.
        profile: The sensor.
    """
    thickness, modulus = profile.thickness, profile.shear_modulus_mpa * 1e6
    compliance = profile.shear_decay * thickness / (math.pi * modulus) * 1e3  # [mm/N]
    volume = profile.dilation_decay * math.e * 3 / (4 * math.pi * thickness) * 1e-9  # [1/mm^3]
    cell = math.prod(profile.field_of_view_mm) / math.prod(taxels)  # [mm^2]
    kernels = []
    for axis, half in enumerate(reversed(profile.half_extent)):
        away = marker_places(profile, axis)[:, None] - grid(taxels[axis], half)
        shear = np.exp(-profile.shear_decay * away**2) * (compliance if axis else 1.0)
        dilation = np.exp(-profile.dilation_decay * away**2)
        lever = dilation * away * 1e3 * volume * cell
        kernels.append(np.stack([shear, dilation, lever]).astype(np.float32))
    return MarkerKernels(*kernels)


@jit()
def press_taxels(
    worlds: NDArray[np.int64],
    distance: NDArray[np.float32],
    thickness: float,
    pressed: NDArray[np.float32],
) -> None:
    """Indentation of taxels, the mean over their rays.

    Args:
        worlds: Which worlds to do, int64.
        distance: Planar depth from the back of the gel, (N, P, `RAYS` H, `RAYS` W), float32, [m];
            infinity for nothing.
        thickness: Of the gel, in [m].
        pressed: Filled with the indentation, (N, P, H, W), float32, [mm].
    """
    pads, rows, columns = pressed.shape[1:]
    for world in worlds:
        for pad in range(pads):
            for row in range(rows):
                for column in range(columns):
                    total = 0.0
                    for i in range(RAYS * row, RAYS * (row + 1)):
                        for j in range(RAYS * column, RAYS * (column + 1)):
                            total += max(thickness - distance[world, pad, i, j], 0.0)
                    pressed[world, pad, row, column] = 1e3 * total / RAYS**2


@jit()
def spread_forces(
    worlds: NDArray[np.int64],
    pressed: NDArray[np.float32],
    wrenches: NDArray[np.float64],
    cam_pos: NDArray[np.float64],
    cam_mat: NDArray[np.float64],
    half_width: float,
    half_height: float,
    friction: NDArray[np.float64],
    at_rest: NDArray[np.float64],
    traction: NDArray[np.float32],
    shear: NDArray[np.float32],
) -> None:
    """Spread wrenches over taxels.

    Args:
        worlds: Which worlds to do, int64.
        pressed: Indentation of each taxel, (N, P, H, W), float32, [mm].
        wrenches: Of each pad on what it touches, in the world frame: force, torque and the point
            that it is about, (N, P, 9).
        cam_pos: Positions of the cameras behind the pads, (N, P, 3).
        cam_mat: Their orientations, (N, P, 9).
        half_width: Half the pad's extent along the columns, in [m].
        half_height: Half its extent along the rows, in [m].
        friction: Of the pads, (N,).
        at_rest: Normal force where a wrench reads nothing, as it does between a reset and the first
            step, (N, P), [N].
        traction: Tangential force on each taxel, along columns and rows, as it was and will
            be, (N, P, 2, H, W), float32, [N]; 0 before first touch.
        shear: Filled with the normal and the tangential force of each taxel, (N, P, 3, H, W),
            float32, [N].
    """
    pads, rows, columns = pressed.shape[1:]
    for world in worlds:
        for pad in range(pads):
            wrench, mat = wrenches[world, pad], cam_mat[world, pad]
            tangent, told = traction[world, pad], shear[world, pad]
            force_x, force_y, torque, x, y = 0.0, 0.0, 0.0, 0.0, 0.0
            force_z = normal_force(wrench, mat, at_rest[world, pad])
            for k in range(3):  # of what touches on the pad, so with the other sign
                right, up, back = mat[3 * k], mat[3 * k + 1], mat[3 * k + 2]
                force_x -= wrench[k] * right
                force_y += wrench[k] * up
                torque += wrench[3 + k] * back
                away = wrench[6 + k] - cam_pos[world, pad, k]
                x += away * right
                y -= away * up
            torque += x * force_y - y * force_x

            total = 0.0
            for row in range(rows):
                for column in range(columns):
                    total += pressed[world, pad, row, column]
            if total <= 0.0 or force_z <= 0.0:
                tangent[:] = 0.0
                told[:] = 0.0
                continue
            for row in range(rows):
                for column in range(columns):
                    normal = force_z * pressed[world, pad, row, column] / total
                    told[0, row, column] = normal
                    limit = friction[world] * normal
                    size = math.hypot(tangent[0, row, column], tangent[1, row, column])
                    if size > limit:
                        tangent[0, row, column] *= limit / size
                        tangent[1, row, column] *= limit / size

            for attempt in range(ROUNDS):
                rest_x, rest_y, rest = force_x, force_y, torque
                count, sum_x, sum_y, squares = 0, 0.0, 0.0, 0.0
                for row in range(rows):
                    y = (2 * (row + 0.5) / rows - 1) * half_height
                    for column in range(columns):
                        limit = friction[world] * told[0, row, column]
                        if limit == 0.0:
                            continue
                        x = (2 * (column + 0.5) / columns - 1) * half_width
                        on_x, on_y = tangent[0, row, column], tangent[1, row, column]
                        rest_x -= on_x
                        rest_y -= on_y
                        rest -= x * on_y - y * on_x
                        if attempt == 0 or math.hypot(on_x, on_y) < FIRM * limit:
                            count += 1
                            sum_x += x
                            sum_y += y
                            squares += x * x + y * y
                enough = TOLERANCE * force_z
                done = max(abs(rest_x), abs(rest_y)) < enough and abs(rest) < enough * half_width
                if done or count == 0:
                    break
                middle_x, middle_y = sum_x / count, sum_y / count
                inertia = squares - count * (middle_x**2 + middle_y**2)
                turn = 0.0
                if inertia > 1e-9:
                    turn = (rest - middle_x * rest_y + middle_y * rest_x) / inertia
                for row in range(rows):
                    y = (2 * (row + 0.5) / rows - 1) * half_height
                    for column in range(columns):
                        limit = friction[world] * told[0, row, column]
                        on_x, on_y = tangent[0, row, column], tangent[1, row, column]
                        slips = math.hypot(on_x, on_y) >= FIRM * limit
                        if limit == 0.0 or (attempt > 0 and slips):
                            continue
                        x = (2 * (column + 0.5) / columns - 1) * half_width
                        on_x += rest_x / count - turn * (y - middle_y)
                        on_y += rest_y / count + turn * (x - middle_x)
                        part = min(1.0, limit / max(math.hypot(on_x, on_y), 1e-12))
                        tangent[0, row, column] = on_x * part
                        tangent[1, row, column] = on_y * part
            for row in range(rows):
                for column in range(columns):
                    told[0, row, column] = min(told[0, row, column], GREATEST_FORCE)
                    for axis in range(2):
                        on = tangent[axis, row, column]
                        told[1 + axis, row, column] = max(min(on, GREATEST_FORCE), -GREATEST_FORCE)


@jit()
def move_markers(
    worlds: NDArray[np.int64],
    pressed: NDArray[np.float32],
    traction: NDArray[np.float32],
    by_rows: NDArray[np.float32],
    by_columns: NDArray[np.float32],
    markers: NDArray[np.float32],
) -> None:
    """Displacement of the markers, from the taxels' tractions and indentation.

    Args:
        worlds: As in `spread_forces`, like the next two.
        pressed: (N, P, H, W).
        traction: (N, P, 2, H, W).
        by_rows: Of `MarkerKernels`.
        by_columns: Of `MarkerKernels`.
        markers: Filled with displacements along columns and rows, (N, P, 2, marker rows, marker
            columns), float32, [mm].
    """
    pads, rows, columns = pressed.shape[1:]
    greatest = np.float32(GREATEST_MOTION_MM)
    along = np.zeros((4, columns), np.float32)  # what all rows of a column do to a row of markers
    for world in worlds:
        for pad in range(pads):
            for i in range(markers.shape[3]):
                along[:] = 0.0
                for row in range(rows):
                    for column in range(columns):
                        deep = pressed[world, pad, row, column]
                        if deep <= 0.0:
                            continue
                        on_x = traction[world, pad, 0, row, column]
                        on_y = traction[world, pad, 1, row, column]
                        along[0, column] += by_rows[0, i, row] * on_x
                        along[1, column] += by_rows[0, i, row] * on_y
                        along[2, column] += by_rows[1, i, row] * deep
                        along[3, column] += by_rows[2, i, row] * deep
                for j in range(markers.shape[4]):
                    by_x, by_y = np.float32(0.0), np.float32(0.0)
                    for column in range(columns):
                        by_x += by_columns[0, j, column] * along[0, column]
                        by_x += by_columns[2, j, column] * along[2, column]
                        by_y += by_columns[0, j, column] * along[1, column]
                        by_y += by_columns[1, j, column] * along[3, column]
                    markers[world, pad, 0, i, j] = max(min(by_x, greatest), -greatest)
                    markers[world, pad, 1, i, j] = max(min(by_y, greatest), -greatest)
