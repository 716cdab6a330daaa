"""Domain randomisation: what may be drawn anew for each episode of each world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vtenv.tasks.insertion.ranges import Ranges
from vtenv.validation import Range


@dataclass(frozen=True)
class DomainRandomizationConfig(Ranges):
    """Ranges from which an episode's physics, geometry and sensors are drawn.

    Every field is a `(low, high)` pair, from which each world draws uniformly and independently
    at each reset, or None for what holds without randomisation. Equal bounds fix the value.

    Raises:
        ValueError: If a pair is out of its limits; names it and them.
    """

    widest: ClassVar[Mapping[str, Range]] = {
        "connector_friction": (0.0, 1.0),
        "pad_friction": (0.5, 3.0),
        "clearance_mm": (0.1, 2.0),
        "plug_mass_g": (5.0, 50.0),
        # Softer, and plugs turn in their grasp; stiffer, and the time constant of the gel's
        # contacts falls below two physics steps, where MuJoCo holds it.
        "gel_stiffness": (0.7, 2.0),
        "camera_shift_mm": (-10.0, 10.0),
        "camera_tilt_deg": (-5.0, 5.0),
        "depth_noise_mm": (0.0, 50.0),
    }
    optional: ClassVar[bool] = True

    connector_friction: Range | None = (0.1, 0.3)
    """Sliding friction between plug and socket; 0.2 without randomisation."""
    pad_friction: Range | None = (1.0, 2.0)
    """Sliding friction of the gel pads; 1.5 without randomisation."""
    clearance_mm: Range | None = (0.3, 0.6)
    """Room between plug and socket on each side, in place of the environment's `clearance_mm`:
    one of eight values, evenly spaced from the one bound to the other."""
    plug_mass_g: Range | None = (10.0, 20.0)
    """The plug and the first centimetres of its cable; 14 g without randomisation."""
    gel_stiffness: Range | None = (0.8, 1.25)
    """Stiffness of both gel pads, 1 without randomisation: how deep the plug presses in."""
    camera_shift_mm: Range | None = (-1.0, 1.0)
    """Shift of the overhead camera along each of the world's axes."""
    camera_tilt_deg: Range | None = (-0.5, 0.5)
    """Turn of the overhead camera about each of its own axes: right, up and backwards."""
    depth_noise_mm: Range | None = (0.5, 1.5)
    """Noise of the depth camera, in place of the environment's `depth_noise_mm`."""

    @classmethod
    def only(cls, **ranges: Range | None) -> DomainRandomizationConfig:
        """Randomise what is named, and nothing else.

        Raises:
            TypeError: If there is no field of a name.
            ValueError: If a pair is out of its limits.
        """
        return cls(**{**dict.fromkeys(cls.names()), **ranges})
