"""Domains: what domain randomisation has drawn for the episodes of N worlds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtenv.tasks.insertion.config import HeldPlugConfig
from vtenv.tasks.insertion.connectors import PLUG_MASS
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig
from vtenv.tasks.insertion.scene import CONNECTOR_FRICTION, PAD_FRICTION

CLEARANCE_LEVELS = 8
"""Values of a randomised clearance: sockets are models, compiled before they are drawn."""

_AXES = {"camera_shift_mm": 3, "camera_tilt_deg": 3}
"""Numbers that a field of `DomainRandomizationConfig` takes, where not one."""

NUM_DOMAIN_UNIFORMS = sum(_AXES.get(name, 1) for name in DomainRandomizationConfig.names())
"""Random numbers that a domain takes, whichever of its parts are randomised."""


@dataclass(frozen=True)
class Domain:
    """The domains of N worlds, NumPy arrays on the host, float64 unless said.

    Attributes:
        connector_friction: Sliding friction between plug and socket, (N,).
        pad_friction: Sliding friction of the gel pads, (N,).
        clearance_level: Index in `clearances`, (N,), int64.
        clearance: Room between plug and socket on each side, (N,), [m]; NaN for each connector's
            own.
        plug_mass: Mass of the plug, (N,), [kg].
        gel_stiffness: Stiffness of the gel pads, in parts of the nominal, (N,).
        camera_shift: Shift of the overhead camera in the world's axes, (N, 3), [m].
        camera_tilt: Its rotation vector in its own axes, right, up, backwards, (N, 3), [rad].
        depth_noise_mm: As the setting of that name, (N,).
    """

    connector_friction: NDArray[np.float64]
    pad_friction: NDArray[np.float64]
    clearance_level: NDArray[np.int64]
    clearance: NDArray[np.float64]
    plug_mass: NDArray[np.float64]
    gel_stiffness: NDArray[np.float64]
    camera_shift: NDArray[np.float64]
    camera_tilt: NDArray[np.float64]
    depth_noise_mm: NDArray[np.float64]


def clearances(config: HeldPlugConfig) -> tuple[float | None, ...]:
    """The clearances that sockets may have, in [mm]: one, or `CLEARANCE_LEVELS`.

    None stands for each connector's own.
    """
    ranges = config.domain_randomization
    if ranges is None or ranges.clearance_mm is None:
        return (config.clearance_mm,)
    low, high = ranges.clearance_mm
    if low == high:
        return (low,)
    return tuple(np.linspace(low, high, CLEARANCE_LEVELS).tolist())


def draw_domain(uniforms: NDArray[np.float64], config: HeldPlugConfig) -> Domain:
    """Map uniform random numbers to domains.

    Args:
        uniforms: Numbers in [0, 1), (N, `NUM_DOMAIN_UNIFORMS`).
        config: Its `domain_randomization`; what holds where that is None, or a field of it.
    """
    ranges = config.domain_randomization or DomainRandomizationConfig.only()
    nominal = {
        "connector_friction": CONNECTOR_FRICTION,
        "pad_friction": PAD_FRICTION,
        "plug_mass_g": PLUG_MASS * 1e3,
        "gel_stiffness": 1.0,
        "camera_shift_mm": 0.0,
        "camera_tilt_deg": 0.0,
        "depth_noise_mm": config.depth_noise_mm,
    }
    levels = np.array(clearances(config), np.float64)
    column, values = 0, {}
    level = np.zeros(len(uniforms), np.int64)
    for name in DomainRandomizationConfig.names():
        count = _AXES.get(name, 1)
        drawn = uniforms[:, column : column + count]
        column += count
        if name == "clearance_mm":
            level = (drawn[:, 0] * len(levels)).astype(np.int64)
            continue
        low, high = getattr(ranges, name) or (nominal[name], nominal[name])
        value = low + (high - low) * drawn
        values[name] = value if name in _AXES else value[:, 0]
    return Domain(
        connector_friction=values["connector_friction"],
        pad_friction=values["pad_friction"],
        clearance_level=level,
        clearance=levels[level] * 1e-3,
        plug_mass=values["plug_mass_g"] * 1e-3,
        gel_stiffness=values["gel_stiffness"],
        camera_shift=values["camera_shift_mm"] * 1e-3,
        camera_tilt=values["camera_tilt_deg"] * (math.pi / 180),
        depth_noise_mm=values["depth_noise_mm"],
    )
