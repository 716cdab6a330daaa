"""Modalities: what can be observed, one record each.

Spaces, data-set columns, replay buffers, preprocessing, augmentations, probes and films iterate
over these records; none of them names a modality.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from vtenv.sensing import (
    DEPTH_SENSOR,
    GEL_SENSOR,
    GREATEST_FORCE,
    GREATEST_INDENTATION_MM,
    GREATEST_MOTION_MM,
    PAD_SENSOR,
    Sensor,
)
from vtenv.sensing.pictures import (
    ScalarPicture,
    colour_picture,
    force_picture,
    marker_picture,
    mask_picture,
)
from vtenv.validation import require


@dataclass(frozen=True)
class Modality:
    """One thing that an environment observes.

    Attributes:
        key: Its key in an observation, and its column in a data set.
        label: What people call it.
        unit: Unit of its values; "1" for none.
        shape: Shape of an image's channels, (C,) or (C, components), or of a vector, (n,).
        low: Least value.
        high: Greatest value.
        dtype: NumPy's name of its type.
        sensor: What measures it; None for a vector, which the task computes from the state.
        camera: Which of the task's cameras the sensor looks through: `overhead`, `gel` or
            `taxels`.
        size_setting: The environment's setting that gives an image's rows and columns, such as
            `contact_size`, or `touch_sensor.marker_size` where a sensor has its own; None for a
            vector.
        encoded_range: Values that an encoder maps to -1 and 1, clipping those beyond; None for
            what is not encoded.
        missing_at_zero: Whether 0 stands for no measurement, which an encoder maps to 1.
        storage: How a data set stores it: "raw"; "bits" for flags; or the step, in its unit, of
            which it stores 16-bit multiples.
        draw: Maps one channel of an image, (H, W) or (components, H, W), to a picture
            (rows, columns, 3), uint8, RGB; None for a vector.
    """

    key: str
    label: str
    unit: str
    shape: tuple[int, ...]
    low: float
    high: float
    dtype: str = "float32"
    sensor: Sensor | None = None
    camera: str | None = None
    size_setting: str | None = None
    encoded_range: tuple[float, float] | None = None
    missing_at_zero: bool = False
    storage: str | float = "raw"
    draw: Callable[[NDArray[Any]], NDArray[np.uint8]] | None = None

    @property
    def is_image(self) -> bool:
        """Whether it has rows and columns."""
        return self.size_setting is not None

    @property
    def is_sized_by_sensor(self) -> bool:
        """Whether the rows and columns of an image are a sensor's own, which no setting changes."""
        return "." in (self.size_setting or "")

    @property
    def is_touch(self) -> bool:
        """Whether a sensor of the fingers measures it."""
        return self.sensor is not None and self.camera != "overhead"

    def space(self, size: tuple[int, int] | None = None) -> spaces.Box:
        """Its observation space.

        Args:
            size: Rows and columns of an image.
        """
        low, high = (np.array(v, self.dtype).item() for v in (self.low, self.high))
        shape = (*self.shape, *(size or ())) if self.is_image else self.shape
        return spaces.Box(low, high, shape, np.dtype(self.dtype).type)


def choose_modalities(
    chosen: Iterable[str | Modality] | str, available: Mapping[str, Modality]
) -> tuple[Modality, ...]:
    """The records of what was asked for, in the order of the table, then those of one's own.

    Args:
        chosen: Keys of the table, or records.
        available: The modalities that a task has, by key.

    Raises:
        ValueError: If a key is not in the table, or comes twice; lists those there are.
    """
    given = (chosen,) if isinstance(chosen, str | Modality) else chosen
    items = tuple(given) if isinstance(given, Iterable) else ()
    own = tuple(item for item in items if isinstance(item, Modality))
    keys = [item.key if isinstance(item, Modality) else item for item in items]
    valid = bool(keys) and all(isinstance(key, str) for key in keys)
    valid = valid and set(keys) - {m.key for m in own} <= set(available)
    require(
        valid and len(set(keys)) == len(keys),
        "modalities",
        chosen,
        f"one or more of {', '.join(available)}, or Modality objects, each once",
    )
    listed = {key: record for key, record in available.items() if key in keys}
    return tuple({**listed, **{m.key: m for m in own}}.values())


DEPTH = Modality(
    key="depth",
    label="Overhead depth",
    unit="m",
    shape=(1,),
    low=0.0,
    high=1.0,
    sensor=DEPTH_SENSOR,
    camera="overhead",
    size_setting="image_size",
    encoded_range=(0.25, 0.45),
    missing_at_zero=True,
    storage=1e-5,
    draw=ScalarPicture((0.44, 0.29), "viridis", missing=0.0),
)
"""Planar depth from overhead; 0 for no return."""

_of_gel = functools.partial(Modality, sensor=GEL_SENSOR, camera="gel", size_setting="contact_size")
_of_pad = functools.partial(Modality, sensor=PAD_SENSOR, camera="taxels")

GEL = _of_gel(
    key="gel",
    label="Gel indentation",
    unit="mm",
    shape=(2,),
    low=0.0,
    high=GREATEST_INDENTATION_MM,
    encoded_range=(0.0, 2.0),
    draw=ScalarPicture((0.0, 1.5), "inferno"),
)
"""How deep the gel of the left and the right finger is pressed in."""

CONTACT = _of_gel(
    key="contact",
    label="Contact mask",
    unit="1",
    shape=(2,),
    low=0,
    high=1,
    dtype="uint8",
    encoded_range=(0.0, 1.0),
    storage="bits",
    draw=mask_picture,
)
"""Where the gel of the left and the right finger is touched."""

SHEAR = _of_pad(
    key="shear",
    label="Force of the taxels",
    unit="N",
    shape=(2, 3),
    low=-GREATEST_FORCE,
    high=GREATEST_FORCE,
    size_setting="taxel_size",
    encoded_range=(-1.0, 1.0),
    draw=force_picture,
)
"""Force on each taxel of the left and the right finger: pressing, along columns and along rows."""

MARKERS = _of_pad(
    key="markers",
    label="Markers",
    unit="mm",
    shape=(2, 2),
    low=-GREATEST_MOTION_MM,
    high=GREATEST_MOTION_MM,
    size_setting="touch_sensor.marker_size",
    encoded_range=(-1.5, 1.5),
    draw=marker_picture,
)
"""Displacement of the markers of the left and the right gel, along columns and along rows."""

RGB = _of_gel(
    key="rgb",
    label="Gel",
    unit="1",
    shape=(2, 3),
    low=0,
    high=255,
    dtype="uint8",
    encoded_range=(0.0, 255.0),
    draw=colour_picture,
)
"""What the cameras behind the left and the right gel see: red, green and blue."""

IMAGE_MODALITIES = {
    modality.key: modality for modality in (DEPTH, CONTACT, GEL, SHEAR, MARKERS, RGB)
}
"""Images that every task has, by key."""

GEOMETRY = ("depth", "contact", "gel")
"""Those that follow from poses alone; what films show."""
