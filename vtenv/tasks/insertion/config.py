"""Everything that can be set about the environment, validated where it enters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from vtenv.arrays import Array
from vtenv.import_string import import_string, is_import_string
from vtenv.modalities import IMAGE_MODALITIES, Modality, choose_modalities
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, Connector, get_connectors
from vtenv.tasks.insertion.modalities import PROPRIO, STATE
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig
from vtenv.tasks.insertion.scene import GRIP_FORCE
from vtenv.validation import Range, as_number, checked_range, require

REWARDS = ("dense", "sparse")
"""Reward functions by name; a callable is one's own."""

Reward = str | Callable[[Mapping[str, Array]], Array]
"""A name of `REWARDS`, or a function of the terms of the dense reward, weighted, (N,) each, to the
reward, (N,); itself or as `MODULE:NAME`."""

T = TypeVar("T")


@dataclass(frozen=True)
class InitialStateRanges:
    """Ranges from which an episode's initial state is drawn, uniformly and independently.

    Every field is a `(low, high)` pair; equal bounds fix the value. `reset(options=...)`
    takes the same names, with a number, for one episode.
    """

    in_hand_x_mm: Range = (-3.0, 3.0)
    """Plug along the fingers, from its nominal place in the hand; positive towards the tip."""
    in_hand_z_mm: Range = (-3.0, 3.0)
    """Plug across the fingers, positive upwards."""
    in_hand_pitch_deg: Range = (-10.0, 10.0)
    """Plug about the fingers' closing axis, positive nose-down."""
    hand_y_mm: Range = (-2.0, 2.0)
    """Hand sideways, from its nominal place."""
    hand_z_mm: Range = (-2.0, 2.0)
    """Hand upwards, from its nominal place."""
    hand_yaw_deg: Range = (-3.0, 3.0)
    """Hand about the vertical, positive to the left."""
    socket_x_mm: Range = (36.0, 43.0)
    """The socket's mouth ahead of the hand's nominal centre."""
    socket_y_mm: Range = (-12.0, 12.0)
    """The socket's mouth, sideways."""
    socket_z_mm: Range = (-2.0, 2.0)
    """The socket's mouth above the hand's nominal centre."""
    socket_yaw_deg: Range = (-10.0, 10.0)
    """The socket about the vertical, positive to the left."""

    def __post_init__(self) -> None:
        for name, limits in _LIMITS.items():
            object.__setattr__(self, name, checked_range(name, getattr(self, name), limits))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the fields, in the order initial states are drawn in."""
        return tuple(f.name for f in fields(cls))

    @staticmethod
    def limits(name: str) -> Range:
        """Widest bounds that the field `name` may take, in its unit."""
        return _LIMITS[name]


_LIMITS: dict[str, Range] = {
    "in_hand_x_mm": (-6.0, 6.0),
    "in_hand_z_mm": (-6.0, 6.0),
    "in_hand_pitch_deg": (-20.0, 20.0),
    "hand_y_mm": (-10.0, 10.0),
    "hand_z_mm": (-10.0, 10.0),
    "hand_yaw_deg": (-15.0, 15.0),
    "socket_x_mm": (36.0, 60.0),
    "socket_y_mm": (-30.0, 30.0),
    "socket_z_mm": (-10.0, 10.0),
    "socket_yaw_deg": (-30.0, 30.0),
}


MODALITIES = {**IMAGE_MODALITIES, PROPRIO.key: PROPRIO, STATE.key: STATE}
"""What can be observed, by key, in the order of an observation."""


@dataclass(frozen=True)
class HeldPlugConfig:
    """Settings of a world in which a hand holds a plug before a socket.

    Raises:
        ValueError: If a value is not allowed; names it and what is allowed.
    """

    initial_state_type: ClassVar[type[InitialStateRanges]] = InitialStateRanges
    """The class of `initial_state`."""
    grip_force: ClassVar[float] = GRIP_FORCE
    """Force with which each finger closes, in [N]; the task's, and no setting."""

    connectors: tuple[Connector, ...] = CONNECTOR_NAMES  # type: ignore[assignment] # made below
    """Connectors that an episode may draw: names of `vtenv.CONNECTOR_NAMES`, `Connector`s, their
    `MODULE:NAME`, or mappings as `Connector.to_dict` returns."""
    modalities: tuple[Modality, ...] = ("depth", "contact", "proprio")  # type: ignore[assignment]
    """What to observe: keys of the task's table, or `Modality` records."""
    image_size: tuple[int, int] = 64  # type: ignore[assignment] # made a pair below
    """Rows and columns of the overhead depth image, 8 to 512; one number for both."""
    contact_size: tuple[int, int] = 64  # type: ignore[assignment]
    """Rows and columns of each finger's gel and contact images, 8 to 512; one number for both."""
    clearance_mm: float = 0.4
    """Room between plug and socket on each side, 0.1 to 2."""
    lead_in_mm: float = 1.0
    """Width of the chamfer around the socket's mouth, 0 to 2."""
    connector_scale: float = 1.0
    """Size of what is inserted, and of its hole, across the axis; 0.8 to 1.2 of the standard's.
    Lengths, the held body, the clearance and the lead-in stay."""
    depth_noise_mm: float = 1.0
    """Standard deviation of the depth camera's noise at 0.35 m, 0 to 50; it grows with the square
    of the distance."""
    depth_dropout: float = 0.0
    """Probability that a pixel on a depth edge is lost and reads 0, 0 to 1."""
    depth_quantization_mm: float = 0.0
    """Step to which depth is rounded, 0 to 50; 0 for none."""
    reward: Reward = "dense"
    """`dense`, `sparse`, or a function of the dense reward's terms, itself or as `MODULE:NAME`."""
    initial_state: InitialStateRanges = None  # type: ignore[assignment] # made below
    """Ranges of the initial state, or a mapping; None for the default ranges."""
    domain_randomization: DomainRandomizationConfig | None = None
    """Ranges of domain randomisation, or a mapping; None for none."""

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "connectors", get_connectors(self.connectors))
        put(self, "modalities", choose_modalities(self.modalities, self.available_modalities()))
        for name in ("image_size", "contact_size"):
            put(self, name, _size(name, getattr(self, name)))
        for name, (low, high, unit) in _NUMBERS.items():
            given = getattr(self, name)
            number = as_number(given)
            require(
                number is not None and low <= number <= high,
                name,
                given,
                f"{unit} from {low:g} to {high:g}",
            )
            put(self, name, number)
        if is_import_string(self.reward):
            put(self, "reward", import_string(str(self.reward), "reward"))
        require(
            callable(self.reward) or (isinstance(self.reward, str) and self.reward in REWARDS),
            "reward",
            self.reward,
            f"one of {', '.join(REWARDS)}, or a function of the terms, itself or as MODULE:NAME",
        )
        kind = self.initial_state_type
        ranges = kind() if self.initial_state is None else self.initial_state
        put(self, "initial_state", made("initial_state", ranges, kind))
        if self.domain_randomization is not None:
            domain = self.domain_randomization
            put(
                self,
                "domain_randomization",
                made("domain_randomization", domain, DomainRandomizationConfig),
            )

    @classmethod
    def available_modalities(cls) -> Mapping[str, Modality]:
        """What can be observed, by key."""
        return MODALITIES

    @classmethod
    def from_settings(cls, name: str, settings: Mapping[str, Any]) -> Self:
        """Make a configuration from an environment's keyword arguments.

        Args:
            name: The environment's id, for errors.
            settings: Fields of this class by name; None is as good as leaving one out.

        Raises:
            TypeError: If an argument is unknown; lists those there are.
            ValueError: If a value is not allowed, or is for a sensor that is not asked for.
        """
        allowed = [field.name for field in fields(cls)]
        unknown = [key for key in settings if key not in allowed]
        if unknown:
            raise TypeError(
                f"{name} got an unexpected keyword argument {unknown[0]!r}; it takes "
                f"{', '.join(allowed)}"
            )
        given = {key: value for key, value in settings.items() if value is not None}
        config = cls(**given)
        cameras = {modality.camera for modality in config.modalities}
        for key, camera in SENSOR_SETTINGS.items():
            if key in given and camera not in cameras:
                keys = [m.key for m in cls.available_modalities().values() if m.camera == camera]
                raise ValueError(
                    f"{key}={given[key]!r} is for a sensor that is not among modalities="
                    f"{tuple(m.key for m in config.modalities)}; add {' or '.join(keys)}, or "
                    f"leave {key} out"
                )
        return config


SENSOR_SETTINGS = {
    "image_size": "overhead",
    "depth_noise_mm": "overhead",
    "depth_dropout": "overhead",
    "depth_quantization_mm": "overhead",
    "contact_size": "gel",
}
"""Settings of sensors, and the camera of each."""

_NUMBERS = {
    "clearance_mm": (0.1, 2.0, "a number of millimetres"),
    "lead_in_mm": (0.0, 2.0, "a number of millimetres"),
    "connector_scale": (0.8, 1.2, "a number"),
    "depth_noise_mm": (0.0, 50.0, "a number of millimetres"),
    "depth_dropout": (0.0, 1.0, "a probability"),
    "depth_quantization_mm": (0.0, 50.0, "a number of millimetres"),
}


@dataclass(frozen=True)
class InsertionConfig(HeldPlugConfig):
    """The settings of `VTInsert-v0`."""


def made(name: str, given: object, kind: type[T]) -> T:
    """A configuration object, from itself or from a mapping of its fields.

    Raises:
        ValueError: If it is neither, or a field is unknown; names what is allowed.
    """
    if isinstance(given, kind):
        return given
    allowed = inspect.signature(kind).parameters
    require(
        isinstance(given, Mapping) and set(given) <= set(allowed),
        name,
        given,
        f"a {kind.__name__}, or a mapping of {', '.join(allowed)}",
    )
    return kind(**given)  # type: ignore[arg-type]


def _size(name: str, given: object) -> tuple[int, int]:
    pair = tuple(given) if isinstance(given, tuple | list) else (given, given)
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in pair)
    require(
        len(pair) == 2 and whole and all(8 <= n <= 512 for n in pair),
        name,
        given,
        "a whole number of pixels from 8 to 512, or a pair of rows and columns",
    )
    return int(pair[0]), int(pair[1])
