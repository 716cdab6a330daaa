"""Connectors as data: what is held, what is inserted, and the hole that it goes into.

Anyone can make a `Connector`; those in `CONNECTORS` come with the environment. Frames and
primitives are those of `vtenv.tasks.insertion.primitives`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vtenv.tasks.insertion.primitives import (
    ALONG_Y,
    HOUSING_HALF_SIZE,
    Primitive,
    bounds,
    box,
    capsule,
    cylinder,
)
from vtenv.tasks.insertion.profiles import (
    PROFILES,
    PinRowProfile,
    Profile,
    RoundProfile,
    ShellProfile,
)
from vtenv.validation import as_number

SHOULDER_IN_HAND = 0.0165
"""Distance of a centred plug's shoulder ahead of the hand's centre, in [m]: far enough beyond
the gel (12 mm) that a plug held 3 mm back and 10 degrees tilted still goes in."""
FINGER_OPEN = 0.020
"""Distance of each pad's face from the hand's centre plane when fully open, in [m]."""
PLUG_MASS = 0.014
"""Mass of a plug and the first centimetres of its cable, in [kg]."""
BACK_GAP = 0.0005
"""Room behind the tip of a fully inserted plug, in [m]."""

MAX_TRAVEL = 0.016
"""Longest inserted part, in [m]: the housing is 24 mm deep, and a longer plug, held 3 mm ahead,
would start inside the nearest socket, 36 mm ahead of the hand."""
MIN_BODY_LENGTH = 0.0085
"""Shortest held body, in [m]: it reaches 4 mm between the pads."""
MAX_BODY_WIDTH = 2 * (FINGER_OPEN - 0.0005)
"""Widest held body, in [m]: what the open fingers leave room for."""
MAX_BODY_HEIGHT = 0.032
"""Highest held body, in [m]: the palm is 24 mm above the hand's centre."""

_HOUSING = box(0.0, 2 * HOUSING_HALF_SIZE[0], *HOUSING_HALF_SIZE[1:])
_TOLERANCE = 1e-6
"""Rounding, in [m], that the bounds of primitives are compared with."""

FIT_LIMITS = (0.00003, 0.002)
"""Least and greatest clearance of a fit, in [m]; a lead-in is from 0 to the greatest."""

SIZE_NAMES = ("inserted_width", "inserted_height", "held_width", "held_height")
"""What `Connector.sizes` returns, in its order."""


class ConnectorError(ValueError):
    """A connector that cannot be used; names it, what is wrong with it, and what is allowed."""


def _within(inner: Iterable[Primitive], outer: Primitive) -> bool:
    """Whether primitives lie in an axis-aligned box."""
    (low, high), (least, most) = bounds(inner), bounds([outer])
    return bool((low >= least - _TOLERANCE).all() and (high <= most + _TOLERANCE).all())


class Style(NamedTuple):
    """What a connector looks like in pictures for people.

    Attributes:
        body: Material of what is held, a name in `vtenv.rendering.materials.MATERIALS`.
        insert: Material of what is inserted, and of the rim of its hole.
        cable: Radius of the cable that leaves the body, in [m]; 0 for none.
    """

    body: str = "black_plastic"
    insert: str = "steel"
    cable: float = 0.0016


_PLAIN = Style()


@dataclass(frozen=True)
class Fit:
    """How loosely a connector's socket holds what is inserted.

    Attributes:
        clearance: Room on each side, along y and along z, in [m].
        lead_in: Width of the chamfer at the mouth, in [m].
        source: Where the numbers come from.
    """

    clearance: tuple[float, float] = (0.0004, 0.0004)
    lead_in: float = 0.001
    source: str = ""


@dataclass(frozen=True)
class Mating:
    """How a connector's socket resists: a pair of springs that press on what is inserted.

    They press along the narrower side of what is inserted, from both sides alike, and friction
    on them is what an insertion works against; spreading them at the tip takes more than sliding.

    Attributes:
        force: Force that slides what is inserted along the springs, in [N].
        depth: Where they are behind the mouth, in [m].
        deflection: How far what is inserted spreads each of them, in [m].
        source: Where the numbers come from.
        span: Length of each along the wider side of what is inserted, in [m]; None for all of that
            side but its corners.
    """

    force: float
    depth: float
    deflection: float
    source: str = ""
    span: float | None = None


_LOOSE = Fit()


SPRING_RADIUS = 0.002
"""Radius of the springs' rounded tips, in [m]."""


class Shape(NamedTuple):
    """The primitives of a connector at one fit, by role."""

    grip: tuple[Primitive, ...]
    body: tuple[Primitive, ...]
    insert: tuple[Primitive, ...]
    walls: tuple[Primitive, ...]
    springs: tuple[Primitive, ...] = ()


@dataclass(frozen=True)
class Connector:
    """A connector: frozen, hashable and picklable data.

    Attributes:
        name: Letters, digits, "_", "-" and ".", a letter first.
        travel: Length of the inserted part, from shoulder to tip, in [m].
        body_size: Length, width (along y, between the fingers) and height of the held body, in
            [m].
        profile: Makes the inserted part and its hole.
        body: What is seen and felt of the held body; empty for a box of `body_size`.
        grip: Convex hull of the body, on which the gel pads press; empty for a box of
            `body_size`. The gel bridges the grooves of a ribbed body, so the hull carries the
            load and the ribs make the imprint.
        mass: Mass of the plug and the first centimetres of its cable, in [kg].
        label: What people call it; empty for its name.
        source: Where the dimensions come from.
        style: What it looks like.
        fit: Its socket's own fit, of which the environment's `clearance_mm` and `lead_in_mm` take
            the place unless they are None.
        mating: How its socket resists, where the environment's `insertion_resistance` is not 0;
            None for not at all.

    Raises:
        ConnectorError: If it cannot be held, reached or inserted; says what is wrong and why.
    """

    name: str
    travel: float
    body_size: tuple[float, float, float]
    profile: Profile
    body: tuple[Primitive, ...] = ()
    grip: tuple[Primitive, ...] = ()
    mass: float = PLUG_MASS
    label: str = ""
    source: str = ""
    style: Style = _PLAIN
    fit: Fit = _LOOSE
    mating: Mating | None = None

    def __post_init__(self) -> None:
        valid = isinstance(self.name, str) and re.fullmatch(r"[A-Za-z][\w.-]*", self.name)
        if not valid:
            raise ConnectorError(
                f"name={self.name!r} is not allowed; a connector's name has letters, digits, '_', "
                "'-' and '.', a letter first"
            )
        put = object.__setattr__
        put(self, "label", self.label or self.name)
        size = tuple(self.body_size) if isinstance(self.body_size, Iterable) else ()
        self._require(len(size) == 3, "body_size", "length, width and height, in [m]")
        numbers = [as_number(number) for number in (self.travel, self.mass, *size)]
        positive = [number for number in numbers if number is not None and number > 0]
        if len(positive) < len(numbers):
            self._refuse("travel, mass and body_size must be positive numbers, in [m] and [kg]")
        put(self, "travel", positive[0])
        put(self, "mass", positive[1])
        put(self, "body_size", tuple(positive[2:]))
        self._require(
            0.001 <= self.travel <= MAX_TRAVEL,
            "travel",
            f"from 0.001 to {MAX_TRAVEL} m: the housing is {2 * HOUSING_HALF_SIZE[0]} m deep, and "
            "a longer plug would start inside the nearest socket",
        )
        length, width, height = self.body_size
        self._require(
            length >= MIN_BODY_LENGTH,
            "body_size",
            f"at least {MIN_BODY_LENGTH} m long: a shorter body is not within the hand's reach",
        )
        self._require(
            width <= MAX_BODY_WIDTH,
            "body_size",
            f"at most {MAX_BODY_WIDTH} m wide: the fingers open no farther",
        )
        self._require(
            height <= MAX_BODY_HEIGHT,
            "body_size",
            f"at most {MAX_BODY_HEIGHT} m high: the palm is above it",
        )
        try:
            hash(self.profile)
        except TypeError:
            self._refuse(f"profile={self.profile!r} cannot be hashed; make it a frozen dataclass")
        block = box(-length, 0.0, width / 2, height / 2)
        for role in ("body", "grip"):
            given = tuple(Primitive(*part) for part in getattr(self, role)) or (block,)
            put(self, role, given)
            self._check_primitives(role, given)
            if not _within(given, block):
                self._refuse(
                    f"{role} reaches beyond body_size={self.body_size}, which spans x from -length "
                    "to 0, and y and z evenly about the axis; or make body_size larger"
                )
        if np.ptp(bounds(self.grip)[:, 1]) < width - 2 * _TOLERANCE:
            self._refuse(f"grip is narrower than the body, {width} m, that the fingers close on")
        self._check_fit()
        self._check_mating()
        shape = self.shape()
        self._check_primitives("insert", shape.insert)
        self._check_primitives("walls", shape.walls)
        low, high = bounds(shape.insert)
        if abs(high[0] - self.travel) > 1e-5 or low[0] > 0:
            self._refuse(
                f"insert reaches from x={low[0]:.6g} to {high[0]:.6g} m; it must begin at the "
                f"shoulder or behind it (x <= 0) and end at travel={self.travel} m"
            )
        if not (low[1:] < 0).all() or not (high[1:] > 0).all():
            self._refuse("insert does not surround its axis, y = z = 0, on which the mouth lies")

    def _refuse(self, why: str) -> None:
        raise ConnectorError(f"connector {self.name!r}: {why}")

    def _require(self, condition: bool, field: str, allowed: str) -> None:
        if not condition:
            self._refuse(f"{field}={getattr(self, field)!r} is not allowed; it must be {allowed}")

    def _check_fit(self) -> None:
        fit = self.fit
        clearance = tuple(fit.clearance) if isinstance(fit.clearance, Iterable) else ()
        given = [as_number(number) for number in (*clearance, fit.lead_in)]
        numbers = [number for number in given if number is not None]
        low, high = FIT_LIMITS
        least = (low, low, 0.0)
        valid = len(clearance) == 2 and len(numbers) == 3
        if not valid or not all(m <= n <= high for m, n in zip(least, numbers, strict=True)):
            self._refuse(
                f"fit={fit!r} is not allowed; its clearance must be two numbers from {low} to "
                f"{high} m, and its lead-in one from 0 to {high} m"
            )

    def _check_mating(self) -> None:
        mating = self.mating
        if mating is None:
            return
        span = () if mating.span is None else (mating.span,)
        given = [as_number(n) for n in (mating.force, mating.depth, mating.deflection, *span)]
        positive = [number for number in given if number is not None and number > 0]
        if len(positive) < len(given) or mating.depth >= self.travel:
            self._refuse(
                f"mating={mating!r} is not allowed; its force, depth, deflection and span must be "
                f"positive numbers, in [N] and [m], and its depth less than travel={self.travel} m"
            )
        half = float(np.abs(bounds(self.insert())[1, 1:]).min())
        if mating.deflection >= half:
            self._refuse(
                f"mating={mating!r} is not allowed; its deflection must be less than {half:.6g} m, "
                "half of what is inserted"
            )

    def _check_primitives(self, role: str, primitives: Sequence[Primitive]) -> None:
        if not primitives:
            self._refuse(f"{role} has no primitives")
        for index, primitive in enumerate(primitives):
            wrong = (
                primitive.check()
                if isinstance(primitive, Primitive)
                else f"{primitive!r} is not a Primitive"
            )
            if wrong is not None:
                self._refuse(f"{role}[{index}] is not allowed; {wrong}")
            if role == "walls" and not _within([primitive], _HOUSING):
                self._refuse(
                    f"walls[{index}], a {primitive.kind}, reaches out of the housing, where nobody "
                    f"would see it; the housing spans x from 0 to {2 * HOUSING_HALF_SIZE[0]} m, y "
                    f"to {HOUSING_HALF_SIZE[1]} and z to {HOUSING_HALF_SIZE[2]} m on both sides"
                )

    def insert(self, scale: float = 1.0) -> tuple[Primitive, ...]:
        """The inserted part; see `shape`."""
        return tuple(self.profile.insert(self.travel, scale))

    def clearance(self, given: float | None) -> tuple[float, float]:
        """Room on each side, along y and along z, in [m]: as given, or that of its own fit."""
        return self.fit.clearance if given is None else (given, given)

    def lead_in(self, given: float | None) -> float:
        """Width of the chamfer at the mouth, in [m]: as given, or that of its own fit."""
        return self.fit.lead_in if given is None else given

    def shape(
        self, clearance: float | None = None, lead_in: float | None = None, scale: float = 1.0
    ) -> Shape:
        """The primitives of plug and hole.

        Args:
            clearance: Room between insert and hole on each side, in [m]; None for its own fit.
            lead_in: Width of the chamfer at the mouth, in [m]; None for its own fit.
            scale: Size of what is inserted and of its hole, across the axis, in parts of the
                standard's. Lengths stay, so that a plug reaches as far ahead of the hand; so
                does the held body, and with it how a settled grasp holds and feels.
        """
        depth = self.travel + BACK_GAP
        walls = self.profile.hole(depth, self.clearance(clearance), self.lead_in(lead_in), scale)
        return Shape(self.grip, self.body, self.insert(scale), tuple(walls))

    def springs(self, scale: float = 1.0) -> tuple[Primitive, ...]:
        """The springs of its socket, none where it does not resist."""
        if self.mating is None:
            return ()
        half = np.abs(bounds(self.insert(scale))[1])
        across = 2 if half[1] > half[2] else 1  # z where it is wider than high
        along = 3 - across
        place = half[across] - self.mating.deflection + SPRING_RADIUS
        # Clear of the rounded corners, which would press on them besides the face.
        length = max(half[along] - 2 * half[across], SPRING_RADIUS / 4)
        if self.mating.span is not None:
            length = self.mating.span / 2
        springs = []
        for side in (place, -place):
            pos = [self.mating.depth, 0.0, 0.0]
            pos[across] = side
            size = (SPRING_RADIUS, float(length))
            quat = (ALONG_Y,) if along == 1 else ()
            springs.append(
                Primitive("capsule", size, (pos[0], float(pos[1]), float(pos[2])), *quat)
            )
        return tuple(springs)

    def sizes(self, scale: float = 1.0) -> tuple[float, float, float, float]:
        """Width and height of what is inserted and of what is held, as `SIZE_NAMES`, in [m]."""
        width, height = np.ptp(bounds(self.insert(scale))[:, 1:], axis=0).tolist()
        return (width, height, *self.body_size[1:])

    def to_dict(self) -> dict[str, Any]:
        """The connector as JSON values; `from_mapping` is its inverse.

        Raises:
            ConnectorError: If its profile is not one of the built-in classes.
        """
        kind = next((kind for kind, cls in PROFILES.items() if type(self.profile) is cls), None)
        if kind is None:
            self._refuse(
                f"a {type(self.profile).__name__} cannot be written as JSON; of profiles, "
                f"{', '.join(cls.__name__ for cls in PROFILES.values())} can"
            )
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return values | {
            "body_size": list(self.body_size),
            "profile": {"kind": kind, **vars(self.profile)},
            "body": [primitive._asdict() for primitive in self.body],
            "grip": [primitive._asdict() for primitive in self.grip],
            "style": self.style._asdict(),
            "mating": None if self.mating is None else dataclasses.asdict(self.mating),
            "fit": dataclasses.asdict(self.fit) | {"clearance": list(self.fit.clearance)},
        }

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Connector:
        """Make a connector from what `to_dict` returns.

        Raises:
            ConnectorError: If a key or value is not allowed; says which, and what is.
        """
        given = dict(values)
        try:
            for role in ("body", "grip"):
                parts: list[Any] = [Primitive(**part) for part in given.get(role, ())]
                given[role] = tuple(
                    part._replace(size=tuple(part.size), pos=tuple(part.pos), quat=tuple(part.quat))
                    for part in parts
                )
            given["style"] = Style(**given.get("style", {}))
            fit = dict(given.get("fit", {}))
            given["fit"] = Fit(**fit | {"clearance": tuple(fit.get("clearance", _LOOSE.clearance))})
            if given.get("mating") is not None:
                given["mating"] = Mating(**given["mating"])
            profile = dict(given["profile"])
            given["profile"] = PROFILES[profile.pop("kind")](**profile)
            return cls(**given)
        except (KeyError, TypeError, AttributeError) as error:
            fields = ", ".join(field.name for field in dataclasses.fields(cls))
            raise ConnectorError(
                f"{values!r} describes no connector ({error!r}); a mapping has {fields}, and its "
                f"profile a kind, one of {', '.join(PROFILES)}, and what that takes"
            ) from error


def round_body(length: float, radius: float) -> dict[str, Any]:
    """A round held body: its size, what is seen of it, and what is gripped."""
    return {
        "body_size": (length, 2 * radius, 2 * radius),
        "body": (cylinder(-length, 0.0, radius),),
        "grip": (capsule(-length, 0.0, radius),),
    }


POST_SIDE = 0.00064
"""Side of a header's square posts, in [m]: 0.64 mm (0.025 in), as datasheets of headers on a 2.54
mm pitch have it, Samtec TSW among them."""

_HEADER = PinRowProfile(count=4, pitch=0.00254, radius=POST_SIDE / 2, square=True)

CONNECTORS = {
    connector.name: connector
    for connector in (
        Connector(
            name="aux",
            label="3.5 mm audio plug",
            source="3.5 mm three-pole plug, diameter 3.5 mm, length 14.0 mm: IEC 60603-11 and "
            "JEITA RC-5325A. Moulded barrel, 9 mm across and 18 mm long: typical.",
            travel=0.0140,
            profile=RoundProfile(0.00175),
            style=Style(insert="gold"),
            fit=Fit(
                (0.00005, 0.00005),
                0.0003,
                "Bushing 3.6 mm across for a plug of 3.5 mm: typical of panel jacks. "
                "Its rounded edge, 0.3 mm: typical.",
            ),
            mating=Mating(
                10.0,
                0.0040,
                0.0003,
                "Insertion and withdrawal from 3 to 30 N: typical of panel jacks' datasheets. The "
                "place of the contact and its deflection: ours.",
            ),
            **round_body(0.018, 0.0045),
        ),
        Connector(
            name="pin",
            label="2.54 mm pin header",
            source="1 x 4 header: 0.64 mm (0.025 in) square posts on a 2.54 mm grid, mating "
            "length 5.84 mm: Samtec TSW series. Their tips, a third narrower: ours. Crimp housing "
            "14.0 mm long, 2.54 mm a position: typical of 2.54 mm wire housings.",
            travel=0.00584,
            body_size=(0.0140, 0.00254, _HEADER.count * _HEADER.pitch),
            body=tuple(box(-0.0140, 0.0, 0.00254 / 2, 0.00085, z=z) for z in _HEADER.rows.tolist()),
            profile=_HEADER,
            style=Style(insert="gold", cable=0.0007),
            fit=Fit(
                (0.0001, 0.0001),
                0.0003,
                "Openings 0.84 mm across, widened to 1.4 mm at the face, for posts of 0.64 mm: "
                "typical of 2.54 mm socket strips.",
            ),
            mating=Mating(
                5.0,
                0.0025,
                0.00015,
                "About 1.3 N a contact, of four: typical of 2.54 mm socket strips. The place of "
                "the springs, which press on the two posts in the middle, and their deflection: "
                "ours.",
                span=0.00254,
            ),
        ),
        Connector(
            name="usb",
            label="USB-A plug",
            source="USB-A plug, shell 12.0 x 4.5 mm, 11.75 mm long, overmould at most 16 x 8 "
            "mm: USB 2.0 specification, section 6.5. Tongue 0.50 mm behind the mouth, 8.38 mm "
            "long: USB 1.1 specification, figure 6-7. Overmould 20 mm long, sheet metal 0.315 mm "
            "thick, cavity 1.95 mm high: typical. The tongue's half-round tip and length, as all "
            "of the shell goes in: ours.",
            travel=0.01175,
            body_size=(0.020, 0.016, 0.008),
            profile=ShellProfile(
                width=0.0120,
                height=0.0045,
                thickness=0.000315,
                cavity=0.00195,
                setback=0.0005,
                slack_y=0.000115,
                slack_z=0.000255,
            ),
            style=Style(body="white_plastic"),
            fit=Fit(
                (0.000135, 0.000055),
                0.0005,
                "Tongue 11.10 x 1.84 mm, in a cavity of 11.37 x 1.95 mm; the receptacle's opening, "
                "12.50 x 5.12 mm, leaves a shell of 12.0 x 4.5 mm more: USB 2.0 specification, "
                "figure 6-7. Its flared edge, 0.5 mm: typical.",
            ),
            mating=Mating(
                10.0,
                0.0050,
                0.0003,
                "Insertion at most 35 N and extraction at least 10 N: USB 2.0 specification, table "
                "6-7; the place of the springs and their deflection: ours.",
            ),
        ),
        Connector(
            name="stud",
            label="M6 stud",
            source="M6 thread, major diameter 6.0 mm: ISO 261; 12 mm long: ISO 888, in a plain "
            "clearance hole as ISO 273. Shank 8 mm across and 20 mm long: ours.",
            travel=0.0120,
            profile=RoundProfile(0.0030),
            style=Style(body="dark_steel", cable=0.0),
            fit=Fit(
                (0.0002, 0.0002),
                0.0005,
                "Hole 6.4 mm across for M6: ISO 273, fine series. Chamfer 0.5 mm: ours.",
            ),
            mating=Mating(3.0, 0.0040, 0.0003, "Drag of the thread in its hole, 3 N: ours."),
            **round_body(0.020, 0.0040),
        ),
    )
}
"""The connectors that come with the environment, by name, in the paper's order."""

CONNECTOR_NAMES = tuple(CONNECTORS)
"""Their names."""
