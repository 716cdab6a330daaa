"""Everything that can be set about the environment, validated where it enters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from vtenv.arrays import Array
from vtenv.import_string import import_string, is_import_string
from vtenv.modalities import IMAGE_MODALITIES, Modality, choose_modalities
from vtenv.sensing.faults import SensorFaultsConfig, get_sensor_faults
from vtenv.sensing.profiles import SensorProfile, get_sensor_profile
from vtenv.tasks.insertion.actions import HAND_FORCE
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, Connector
from vtenv.tasks.insertion.disturbances import DisturbanceConfig
from vtenv.tasks.insertion.modalities import PROPRIO, STATE
from vtenv.tasks.insertion.named_connectors import get_connectors
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig
from vtenv.tasks.insertion.ranges import Ranges
from vtenv.tasks.insertion.scene import GEL_SIZE, IMPEDANCE
from vtenv.tasks.insertion.tracks import track_settings
from vtenv.validation import Range, as_integer, as_number, checked_range, made, require

REWARDS = ("dense", "sparse")
"""Reward functions by name; a callable is one's own."""

Reward = str | Callable[[Mapping[str, Array]], Array]
"""A name of `REWARDS`, or a function of the terms of the dense reward, weighted, (N,) each, to the
reward, (N,); itself or as `MODULE:NAME`."""


@dataclass(frozen=True)
class InitialStateRanges(Ranges):
    """Ranges from which an episode's initial state is drawn, uniformly and independently.

    Every field is a `(low, high)` pair; equal bounds fix the value. `reset(options=...)`
    takes the same names, with a number, for one episode.
    """

    widest: ClassVar[Mapping[str, Range]] = {
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

    in_hand_x_mm: Range = (-3.0, 3.0)
    """Plug along the fingers, from its nominal place in the hand; positive towards the tip."""
    in_hand_z_mm: Range = (-4.0, 4.0)
    """Plug across the fingers, positive upwards."""
    in_hand_pitch_deg: Range = (-12.0, 12.0)
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
    disturbance_type: ClassVar[type[DisturbanceConfig]] = DisturbanceConfig
    """The class of `disturbances`."""

    connectors: tuple[Connector, ...] = CONNECTOR_NAMES  # type: ignore[assignment] # made below
    """Connectors that an episode may draw: names of `vtenv.CONNECTOR_NAMES` or generated ones
    like `generated-17`, `Connector`s, their `MODULE:NAME`, or mappings as `Connector.to_dict`
    returns."""
    modalities: tuple[Modality, ...] = ("depth", "contact", "proprio")  # type: ignore[assignment]
    """What to observe: keys of the task's table, or `Modality` records."""
    image_size: tuple[int, int] = 64  # type: ignore[assignment] # made a pair below
    """Rows and columns of the overhead depth image, 8 to 512; one number for both."""
    touch_sensor: SensorProfile = "square-24mm"  # type: ignore[assignment] # made below
    """What lies on the pads: a name of `vtenv.sensing.profiles.SENSOR_PROFILES`, a `SensorProfile`,
    its `MODULE:NAME`, or a mapping of fields that differ from `square-24mm`."""
    contact_size: tuple[int, int] = None  # type: ignore[assignment] # made below
    """Rows and columns of each finger's gel, contact and colour images, 8 to 512; one number for
    both; None for the sensor's own."""
    taxel_size: tuple[int, int] = 16  # type: ignore[assignment]
    """Rows and columns of taxels of each pad, 2 to 64; one number for both. They span what the
    sensor sees."""
    clearance_mm: float | None = None
    """Room between plug and socket on each side, 0.03 to 2; None for each connector's own fit."""
    lead_in_mm: float | None = None
    """Width of the chamfer around the socket's mouth, 0 to 2; None for each connector's own."""
    contact_impedance: Range = IMPEDANCE
    """Impedance of contacts between plug and socket as they touch and once they overlap by 0.5 mm,
    0.9 to 0.9999: how little they give. MuJoCo's `solimp`, `d0` and `d_width`."""
    insertion_resistance: float = 1.0
    """Force of the springs in the sockets, in parts of each connector's own, `Mating.force`: 0 for
    none, to 2."""
    hand_force_n: float = HAND_FORCE
    """Greatest force of the hand along each axis, 1 to 40 N: how far its target may lead it."""
    grip_creep: float = 1.0
    """How fast a plug under a load drifts between the fingers, in parts of the usual: 0.5 to 5."""
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
    action_delay: int = 1
    """Control steps from an action to what it does, 0 to 3."""
    observation_delay: int = 1
    """Control steps from what is sensed to its observation, 0 to 3; `info` and `state` of the
    simulation are not late."""
    touch_delay: int = 0
    """Control steps by which images of touch are later than that, 0 to 3: the lag of a camera
    behind the gel, and of what reads its images."""
    reward: Reward = "dense"
    """`dense`, `sparse`, or a function of the dense reward's terms, itself or as `MODULE:NAME`."""
    initial_state: InitialStateRanges = None  # type: ignore[assignment] # made below
    """Ranges of the initial state, or a mapping; None for the default ranges."""
    domain_randomization: DomainRandomizationConfig | None = None
    """Ranges of domain randomisation, or a mapping; None for none."""
    disturbances: DisturbanceConfig = None  # type: ignore[assignment] # made below
    """Ranges of grip, cable and tilt, or a mapping; None for the default ranges."""
    sensor_faults: SensorFaultsConfig | None = None
    """Faults of the sensors: a name of `vtenv.sensing.faults.SENSOR_FAULTS`, a
    `SensorFaultsConfig`, or a mapping; None for none."""

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "connectors", get_connectors(self.connectors))
        put(self, "modalities", choose_modalities(self.modalities, self.available_modalities()))
        put(self, "touch_sensor", get_sensor_profile(self.touch_sensor))
        seen = self.touch_sensor.field_of_view_mm
        require(
            max(seen) <= 1e3 * GEL_SIZE,
            "touch_sensor.field_of_view_mm",
            seen,
            f"at most {1e3 * GEL_SIZE:g} mm high and wide, as the hand's pads are",
        )
        if self.contact_size is None:
            put(self, "contact_size", self.touch_sensor.image_size)
        for name, limits in _SIZES.items():
            put(self, name, _size(name, getattr(self, name), *limits))
        for name, (low, high, unit) in _NUMBERS.items():
            given = getattr(self, name)
            if given is None and name in _OWN_FIT:
                continue
            number = as_number(given)
            require(
                number is not None and low <= number <= high,
                name,
                given,
                f"{unit} from {low:g} to {high:g}"
                + (", or None for each connector's own" if name in _OWN_FIT else ""),
            )
            put(self, name, number)
        for name in ("action_delay", "observation_delay", "touch_delay"):
            steps = as_integer(getattr(self, name))
            low, high = _DELAYS
            require(
                steps is not None and low <= steps <= high,
                name,
                getattr(self, name),
                f"a whole number of control steps from {low} to {high}",
            )
            put(self, name, steps)
        impedance = checked_range("contact_impedance", self.contact_impedance, _IMPEDANCES)
        put(self, "contact_impedance", impedance)
        if is_import_string(self.reward):
            put(self, "reward", import_string(str(self.reward), "reward"))
        require(
            callable(self.reward) or (isinstance(self.reward, str) and self.reward in REWARDS),
            "reward",
            self.reward,
            f"one of {', '.join(REWARDS)}, or a function of the terms, itself or as MODULE:NAME",
        )
        for name, kind in (
            ("initial_state", self.initial_state_type),
            ("disturbances", self.disturbance_type),
        ):
            given = getattr(self, name)
            put(self, name, made(name, {} if given is None else given, kind))
        domain = self.domain_randomization
        if domain is not None:
            domain = made("domain_randomization", domain, DomainRandomizationConfig)
            put(self, "domain_randomization", domain)
        if self.sensor_faults is not None:
            put(self, "sensor_faults", get_sensor_faults(self.sensor_faults))

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
        for key in unused_settings(config.modalities):
            if key in given:
                camera = SENSOR_SETTINGS[key]
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
    "taxel_size": "taxels",
}
"""Settings of sensors, and the camera of each."""


def unused_settings(modalities: Iterable[Modality]) -> tuple[str, ...]:
    """Those of `SENSOR_SETTINGS` that are for none of some modalities."""
    cameras = {modality.camera for modality in modalities}
    return tuple(name for name, camera in SENSOR_SETTINGS.items() if camera not in cameras)


_OWN_FIT = ("clearance_mm", "lead_in_mm")
"""Settings that are each connector's own where they are None."""

_SIZES = {
    "image_size": (8, 512),
    "contact_size": (8, 512),
    "taxel_size": (2, 64),
}
_DELAYS = (0, 3)
_IMPEDANCES = (0.9, 0.9999)
_NUMBERS = {
    "clearance_mm": (0.03, 2.0, "a number of millimetres"),
    "lead_in_mm": (0.0, 2.0, "a number of millimetres"),
    "insertion_resistance": (0.0, 2.0, "a number"),
    "hand_force_n": (1.0, 40.0, "a number of newtons"),
    "grip_creep": (0.5, 5.0, "a number"),
    "connector_scale": (0.8, 1.2, "a number"),
    "depth_noise_mm": (0.0, 50.0, "a number of millimetres"),
    "depth_dropout": (0.0, 1.0, "a probability"),
    "depth_quantization_mm": (0.0, 50.0, "a number of millimetres"),
}


@dataclass(frozen=True)
class InsertionConfig(HeldPlugConfig):
    """The settings of `VTInsert-v0`.

    `track`, one of `vtenv.tasks.insertion.tracks.TRACKS`, is allowed among an environment's keyword
    arguments besides: it fills in settings that are not given.
    """

    shorthands: ClassVar[Mapping[str, Any]] = {"track": None}
    """Keyword arguments that stand for several settings, and their defaults."""

    @classmethod
    def from_settings(cls, name: str, settings: Mapping[str, Any]) -> Self:
        """As `HeldPlugConfig.from_settings`, with the settings of a `track`."""
        given = dict(settings)
        track = given.pop("track", None)
        if track is None:
            return super().from_settings(name, given)
        named = {key: value for key, value in given.items() if value is not None}
        filled = track_settings(track)
        keys = choose_modalities(
            named.get("modalities", cls.modalities), cls.available_modalities()
        )
        unused = unused_settings(keys)  # a track's sensors are for whoever has them
        filled = {key: value for key, value in filled.items() if key not in unused}
        return super().from_settings(name, {**filled, **named})


def _size(name: str, given: object, low: int, high: int) -> tuple[int, int]:
    pair = tuple(given) if isinstance(given, tuple | list) else (given, given)
    sides = [side for side in map(as_integer, pair) if side is not None and low <= side <= high]
    require(
        len(pair) == len(sides) == 2,
        name,
        given,
        f"a whole number from {low} to {high}, or a pair of rows and columns",
    )
    return sides[0], sides[1]
