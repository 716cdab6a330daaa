"""What cameras and gels measure, without OpenGL.

A sensor is a record that names its implementation for each engine, so that importing it loads
neither the one nor the other. An implementation is a class, made once for each engine:

* for the CPU engine `vtenv.sensing.cpu.CPUSensor`,
* for the Warp engine `vtenv.sensing.warp.WarpSensor`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sensor:
    """A sensor, as each engine implements it.

    Attributes:
        name: What it is called.
        implementations: Its class for each engine that has one, as "module:name".
    """

    name: str
    implementations: Mapping[str, str] = field(hash=False)

    def implementation(self, engine: str) -> Any:
        """Its class for one of `vtenv.engines.ENGINE_NAMES`.

        Raises:
            ValueError: If it has none; names those it has.
        """
        if engine not in self.implementations:
            raise ValueError(
                f"the sensor {self.name!r} has no implementation for engine={engine!r}; it has "
                f"one for {', '.join(self.implementations)}"
            )
        return pkgutil.resolve_name(self.implementations[engine])


DEPTH_SENSOR = Sensor(
    "depth",
    {"cpu": "vtenv.sensing.cpu:DepthSensor", "warp": "vtenv.sensing.warp:DepthSensor"},
)
"""A depth camera with noise."""
GEL_SENSOR = Sensor(
    "gel",
    {"cpu": "vtenv.sensing.cpu:GelSensor", "warp": "vtenv.sensing.warp:GelSensor"},
)
"""Cameras behind gels: indentation and contact mask."""

PAD_SENSOR = Sensor(
    "pad",
    {"cpu": "vtenv.sensing.cpu:PadSensor", "warp": "vtenv.sensing.warp:PadSensor"},
)
"""Pads behind gels: the force on each taxel, and markers."""
GREATEST_INDENTATION_MM = 6.0
"""Bound of the indentation of a gel, in [mm]."""
GREATEST_FORCE = 100.0
"""Bound of the force of a taxel, in [N]."""
GREATEST_MOTION_MM = 10.0
"""Bound of the displacement of a marker, in [mm]."""


def sensor_passes(modalities: Iterable[Any]) -> list[tuple[Sensor, str, tuple[str, ...]]]:
    """The sensors that modalities need, each with its camera and the keys that it makes.

    Modalities of one sensor and camera are measured together.
    """
    keys: dict[tuple[Sensor, str], list[str]] = {}
    for modality in modalities:
        if modality.sensor is not None:
            keys.setdefault((modality.sensor, modality.camera), []).append(modality.key)
    return [(sensor, camera, tuple(made)) for (sensor, camera), made in keys.items()]


def memory_of(sensors: Iterable[Any]) -> dict[str, Any]:
    """What sensors remember, by name."""
    return {name: values for sensor in sensors for name, values in sensor.memory.items()}
