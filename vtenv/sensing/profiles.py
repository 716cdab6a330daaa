"""Tactile sensors as data: what a gel and its camera are, whatever senses with them.

A `SensorProfile` holds what belongs to a sensor; how large images are, how late and how noisy is
up to who uses it. `SENSOR_PROFILES` are ours by name. Anybody's own works alike: the object
itself, a mapping of its fields, or its `MODULE:NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vtenv.import_string import import_string, is_import_string
from vtenv.sensing import GREATEST_INDENTATION_MM
from vtenv.validation import as_integer, as_number, made, require


@dataclass(frozen=True)
class SensorProfile:
    """A tactile sensor that looks at a gel from behind.

    Pairs are along the image's rows and then along its columns: height, width. The defaults are
    those of the profile `square-24mm`, so a mapping of a few fields changes that one.

    Raises:
        ValueError: If a value is not allowed; names it and what is allowed.
    """

    field_of_view_mm: tuple[float, float] = (24.0, 24.0)
    """Height and width of what its camera sees of the gel, 2 to 200."""
    image_size: tuple[int, int] = (64, 64)
    """Rows and columns of its images where no others are asked for, 8 to 512."""
    thickness_mm: float = 6.0
    """Thickness of the gel, 0.5 to 6; no indentation is deeper."""
    modulus_mpa: float = 0.0
    """Modulus of the gel in compression, as a layer on its backing, 0 to 100: forces press it in
    the deeper, the smaller the area that carries them; see `vtenv.sensing.foundation`. 0 for where
    rigid bodies overlap with it."""
    membrane_mm: float = 0.0
    """How far the membrane of `gel` and `contact` bridges what does not touch it, 0 to 2: the
    standard deviation of the widest of its Gaussians. 0 for none."""
    marker_size: tuple[int, int] = (9, 7)
    """Rows and columns of markers, 1 to 512."""
    marker_pitch_mm: tuple[float, float] | None = None
    """From one row and one column of markers to the next, 0.1 to 20; their middle is the image's.
    None for markers that divide the field of view evenly."""
    shear_decay: float = 10_800.0
    """Decay of the kernel that drags markers along, with the square of distance, 1,000 to
    1,000,000 per m^2; see `vtenv.sensing.tractions`."""
    dilation_decay: float = 20_000.0
    """Likewise, of the kernel that pushes them outwards."""
    shear_modulus_mpa: float = 0.1
    """Shear modulus of the gel, 0.001 to 100: how far forces move markers."""
    friction: float | None = None
    """Friction of the gel, 0.01 to 10, from which taxels slip; None for that of the pads in
    physics. It changes no physics."""
    colours: str = "gelsight"
    """What `rgb` is rendered with: a name of what comes with the package, or the path, without
    its ending, of a `GelCalibration` (.npz) and an image without contact (.png) beside it."""

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name, (kind, low, high) in _PAIRS.items():
            given = getattr(self, name)
            if given is None and name in _MAY_BE_NONE:
                continue
            sides = tuple(given) if isinstance(given, tuple | list) else ()
            pair = tuple(side for side in map(kind, sides) if side is not None)
            valid = len(pair) == len(sides) == 2 and all(low <= side <= high for side in pair)
            require(valid, name, given, f"a pair of numbers from {low:g} to {high:g}")
            put(self, name, pair)
        for name, (low, high) in _NUMBERS.items():
            given = getattr(self, name)
            if given is None and name in _MAY_BE_NONE:
                continue
            number = as_number(given)
            valid = number is not None and low <= number <= high
            require(valid, name, given, f"a number from {low:g} to {high:g}")
            put(self, name, number)
        named = isinstance(self.colours, str) and bool(self.colours)
        require(named, "colours", self.colours, "a name or a path without its ending")

    @property
    def thickness(self) -> float:
        """Thickness of the gel, [m]."""
        return self.thickness_mm / 1e3

    @property
    def half_extent(self) -> tuple[float, float]:
        """Half the width and height of the field of view, [m]."""
        height, width = self.field_of_view_mm
        return width / 2e3, height / 2e3

    def half_extent_of(self, size: tuple[int, int]) -> tuple[float, float]:
        """Half the width and height that an image covers, [m].

        Pixels are square. Where the image is wider or higher than the field of view, one side spans
        it and the other covers its middle.

        Args:
            size: Rows and columns of the image.
        """
        pixel = min(side / pixels for side, pixels in zip(self.field_of_view_mm, size, strict=True))
        return pixel * size[1] / 2e3, pixel * size[0] / 2e3


_PAIRS: Mapping[str, tuple[Any, float, float]] = {
    "field_of_view_mm": (as_number, 2.0, 200.0),
    "image_size": (as_integer, 8, 512),
    "marker_size": (as_integer, 1, 512),
    "marker_pitch_mm": (as_number, 0.1, 20.0),
}
_NUMBERS = {
    "thickness_mm": (0.5, GREATEST_INDENTATION_MM),
    "modulus_mpa": (0.0, 100.0),
    "membrane_mm": (0.0, 2.0),
    "shear_decay": (1e3, 1e6),
    "dilation_decay": (1e3, 1e6),
    "shear_modulus_mpa": (1e-3, 100.0),
    "friction": (0.01, 10.0),
}
_MAY_BE_NONE = ("marker_pitch_mm", "friction")

SQUARE_24MM = SensorProfile()
"""No sensor that is made: a square gel of 24 mm, as large as the environment's pads, that is rigid
to look at. The environment's own, as the bundled encoders and policies have learned from it.

Source: The paper's mask, a thresholded overlap, for the rigid gel; HydroShear's kernels, see
`GELSIGHT_MINI`. Size, thickness, markers and shear modulus are ours.
"""

GELSIGHT_MINI = SensorProfile(
    field_of_view_mm=(15.216, 20.288),
    image_size=(240, 320),
    thickness_mm=4.5,
    modulus_mpa=1.0,
    membrane_mm=0.5,
    marker_size=(7, 9),
    marker_pitch_mm=(2.03, 1.97),
    friction=0.5,
)
"""A GelSight Mini with a gel that has markers.

Source:
    GelSight's gsrobotics: 0.0634 mm a pixel at 240 x 320 (`mmpp` of its examples), and 7 rows
    and 9 columns of markers, 32 and 31 pixels apart (`demos/mini_marker_tracking/setting.py`).
    TacEx (Nguyen et al., arXiv 2411.04776): a gel of 20.75 x 25.25 x 4.5 mm
    (`gelpad_dimensions` of its `GelSightMiniCfg`).
    HydroShear (arXiv 2603.00446), `configs/sensor/hydroshear.yaml`: `lambda_s` 10,800 and
    `lambda_d` 20,000 per m^2, `mu` 0.5; constants of its simulation, not measured on a gel.
    `vtenv.sensing.photometry.MEMBRANE_MM`, for the membrane that calibrations are fitted with.
    Both moduli are ours: none was measured.
"""

SENSOR_PROFILES: Mapping[str, SensorProfile] = {
    "gelsight-mini": GELSIGHT_MINI,
    "square-24mm": SQUARE_24MM,
}
"""Ours, by name."""


def get_sensor_profile(given: str | SensorProfile | Mapping[str, Any]) -> SensorProfile:
    """The profile that is meant.

    Args:
        given: A name of `SENSOR_PROFILES`, a `SensorProfile`, its `MODULE:NAME`, or a mapping of
            its fields.

    Raises:
        ValueError: If it is none of these; says what there is.
    """
    found: object = None
    if isinstance(given, str):
        found = SENSOR_PROFILES.get(given)
        if is_import_string(given):
            found = import_string(given, "touch sensor")
    return made(
        "touch_sensor",
        given,
        SensorProfile,
        found=found,
        others=f"one of {', '.join(SENSOR_PROFILES)}, a SensorProfile, its MODULE:NAME",
    )
