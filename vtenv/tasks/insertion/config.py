"""Everything that can be set about the environment, validated where it enters."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES
from vtenv.tasks.insertion.randomization import DomainRandomizationConfig
from vtenv.validation import Range, checked_range, is_number, require

MODALITIES = ("depth", "contact", "gel", "proprio", "state")
"""The closed set of modalities, in the order they appear in an observation."""

REWARDS = ("dense", "sparse")
"""The closed set of reward functions."""


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


@dataclass(frozen=True)
class SceneConfig:
    """What the simulated scene is built from.

    Raises:
        ValueError: If a value is out of its range; names the value and the range.
    """

    clearance_mm: float = 0.4
    """Room between plug and socket on each side, 0.1 to 2."""
    lead_in_mm: float = 1.0
    """Width of the chamfer around the socket's mouth, 0 to 2."""
    image_size: int = 64
    """Rows and columns of the overhead depth image, 8 to 512."""
    contact_size: int = 64
    """Rows and columns of each finger's gel and contact images, 8 to 512."""
    connector_scale: float = 1.0
    """Size of what is inserted, and of its hole, across the axis; 0.8 to 1.2 of the standard's.
    Lengths, the held body, the clearance and the lead-in stay."""

    def __post_init__(self) -> None:
        for name, low, high, unit in (
            ("clearance_mm", 0.1, 2.0, "a number of millimetres"),
            ("lead_in_mm", 0.0, 2.0, "a number of millimetres"),
            ("connector_scale", 0.8, 1.2, "a number"),
        ):
            given = getattr(self, name)
            valid = is_number(given) and low <= given <= high
            require(valid, name, given, f"{unit} from {low:g} to {high:g}")
            object.__setattr__(self, name, float(given))
        for name in ("image_size", "contact_size"):
            given = getattr(self, name)
            require(
                isinstance(given, int) and not isinstance(given, bool) and 8 <= given <= 512,
                name,
                given,
                "a whole number of pixels from 8 to 512",
            )


@dataclass(frozen=True)
class DepthNoiseConfig:
    """Noise of the overhead depth camera; every part is off at zero.

    Attributes:
        noise_mm: Standard deviation of zero-mean Gaussian noise of each pixel at 0.35 m, the
            distance of the hand; it grows with the square of the distance, as in stereo and
            structured-light cameras.
        dropout: Probability that a pixel on a depth edge (a step of over 5 mm to one of its
            four neighbours) is lost and reads 0, 0 to 1.
        quantization_mm: Step to which depth is rounded.
    """

    noise_mm: float = 1.0
    dropout: float = 0.0
    quantization_mm: float = 0.0

    def __post_init__(self) -> None:
        for name, argument, high, unit in (
            ("noise_mm", "depth_noise_mm", 50.0, "a number of millimetres"),
            ("dropout", "depth_dropout", 1.0, "a probability"),
            ("quantization_mm", "depth_quantization_mm", 50.0, "a number of millimetres"),
        ):
            given = getattr(self, name)
            require(
                is_number(given) and 0 <= given <= high, argument, given, f"{unit}, 0 to {high:g}"
            )
            object.__setattr__(self, name, float(given))


@dataclass(frozen=True)
class VTInsertConfig:
    """The environment's settings: the keyword arguments of `VTInsert-v0`, checked.

    Raises:
        ValueError: If a value is not allowed; names it and what is allowed.
    """

    connector: str = "random"
    modalities: tuple[str, ...] = ("depth", "contact", "proprio")
    scene: SceneConfig = field(default_factory=SceneConfig)
    depth_noise: DepthNoiseConfig = field(default_factory=DepthNoiseConfig)
    reward: str = "dense"
    initial_state: InitialStateRanges = field(default_factory=InitialStateRanges)
    domain_randomization: DomainRandomizationConfig | None = None

    def __post_init__(self) -> None:
        choices = ("random", *CONNECTOR_NAMES)
        require(
            isinstance(self.connector, str) and self.connector in choices,
            "connector",
            self.connector,
            f"one of {', '.join(choices)}",
        )
        given = self.modalities
        given = (given,) if isinstance(given, str) else given
        given = tuple(given) if isinstance(given, Iterable) else ()
        require(
            bool(given)
            and all(isinstance(name, str) for name in given)
            and set(given) <= set(MODALITIES)
            and len(set(given)) == len(given),
            "modalities",
            self.modalities,
            f"one or more of {', '.join(MODALITIES)}, each once",
        )
        object.__setattr__(self, "modalities", tuple(m for m in MODALITIES if m in given))
        require(
            isinstance(self.reward, str) and self.reward in REWARDS,
            "reward",
            self.reward,
            f"one of {', '.join(REWARDS)}",
        )
        require(
            isinstance(self.initial_state, InitialStateRanges),
            "initial_state",
            self.initial_state,
            "an InitialStateRanges (or None for the default ranges)",
        )
        require(
            isinstance(self.domain_randomization, DomainRandomizationConfig | None),
            "domain_randomization",
            self.domain_randomization,
            "a DomainRandomizationConfig (or None for none)",
        )

    @property
    def built(self) -> scene.SceneConfig:
        """What the scene is built from."""
        s = self.scene
        image, contact = (s.image_size,) * 2, (s.contact_size,) * 2
        return scene.SceneConfig(s.clearance_mm, s.lead_in_mm, s.connector_scale, image, contact)

    @property
    def connectors(self) -> tuple[str, ...]:
        """The connectors an episode may draw."""
        return CONNECTOR_NAMES if self.connector == "random" else (self.connector,)

    @classmethod
    def from_settings(
        cls,
        *,
        connector: str = "random",
        modalities: Iterable[str] = ("depth", "contact", "proprio"),
        image_size: int | None = None,
        contact_size: int | None = None,
        clearance_mm: float = 0.4,
        lead_in_mm: float = 1.0,
        connector_scale: float = 1.0,
        depth_noise_mm: float | None = None,
        depth_dropout: float | None = None,
        depth_quantization_mm: float | None = None,
        reward: str = "dense",
        initial_state: InitialStateRanges | None = None,
        domain_randomization: DomainRandomizationConfig | None = None,
        **unknown: object,
    ) -> VTInsertConfig:
        """Make a configuration from the environment's keyword arguments.

        Raises:
            TypeError: If an argument is unknown; lists those there are.
            ValueError: If a value is not allowed, or is for a sensor that is not asked for.
        """
        if unknown:
            raise TypeError(
                f"unknown argument {sorted(unknown)[0]!r}; VTInsert-v0 takes {', '.join(SETTINGS)}"
            )
        given: dict[str, dict[str, object]] = {
            "depth": {
                "image_size": image_size,
                "depth_noise_mm": depth_noise_mm,
                "depth_dropout": depth_dropout,
                "depth_quantization_mm": depth_quantization_mm,
            },
            "contact or gel": {"contact_size": contact_size},
        }
        config = cls(
            connector=connector,
            modalities=modalities,  # type: ignore[arg-type] # checked there
            scene=SceneConfig(
                clearance_mm=clearance_mm,
                lead_in_mm=lead_in_mm,
                image_size=64 if image_size is None else image_size,
                contact_size=64 if contact_size is None else contact_size,
                connector_scale=connector_scale,
            ),
            depth_noise=DepthNoiseConfig(
                noise_mm=1.0 if depth_noise_mm is None else depth_noise_mm,
                dropout=0.0 if depth_dropout is None else depth_dropout,
                quantization_mm=0.0 if depth_quantization_mm is None else depth_quantization_mm,
            ),
            reward=reward,
            initial_state=InitialStateRanges() if initial_state is None else initial_state,
            domain_randomization=domain_randomization,
        )
        for sensors, arguments in given.items():
            if set(sensors.split(" or ")) & set(config.modalities):
                continue
            for name, value in arguments.items():
                if value is not None:
                    raise ValueError(
                        f"{name}={value!r} is for a sensor that is not among "
                        f"modalities={config.modalities}; add {sensors} or leave {name} out"
                    )
        return config


SETTINGS = tuple(
    name
    for name, parameter in inspect.signature(VTInsertConfig.from_settings).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
)
"""The keyword arguments that `VTInsertConfig.from_settings` takes."""
