"""What cameras and gels measure, without OpenGL.

A sensor is a record that names its implementation for each engine, so that importing it loads
neither the one nor the other. An implementation is a class, made once for each engine:

* for the CPU engine `vtenv.sensing.cpu.CPUSensor`,
* for the Warp engine `vtenv.sensing.warp.WarpSensor`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sensor:
    """A sensor, as each engine implements it.

    Attributes:
        name: What it is called.
        cpu: Its class for the CPU engine, as "module:name".
        warp: Its class for the Warp engine, likewise.
    """

    name: str
    cpu: str
    warp: str

    def implementation(self, engine: str) -> Any:
        """Its class for an engine, "cpu" or "warp"."""
        module, _, name = getattr(self, engine).partition(":")
        return getattr(importlib.import_module(module), name)


DEPTH_SENSOR = Sensor("depth", "vtenv.sensing.cpu:DepthSensor", "vtenv.sensing.warp:DepthSensor")
"""A depth camera with noise."""
GEL_SENSOR = Sensor("gel", "vtenv.sensing.cpu:GelSensor", "vtenv.sensing.warp:GelSensor")
"""Cameras behind gels: indentation and contact mask."""


def sensor_passes(modalities: Iterable[Any]) -> list[tuple[Sensor, str, tuple[str, ...]]]:
    """The sensors that modalities need, each with its camera and the keys that it makes.

    Modalities of one sensor and camera are measured together.
    """
    keys: dict[tuple[Sensor, str], list[str]] = {}
    for modality in modalities:
        if modality.sensor is not None:
            keys.setdefault((modality.sensor, modality.camera), []).append(modality.key)
    return [(sensor, camera, tuple(made)) for (sensor, camera), made in keys.items()]
