"""Generated connectors: rectangles, rounds, D-shapes and rows of pins, each drawn from its number.

They are data as every other connector, and `generated-17` names one wherever a connector is named.
All their sizes are ours, about those of small plugs. Some are never trained on: a policy that
inserts these has learned more than the connectors that it knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vtenv.tasks.insertion.connectors import Connector, ConnectorError, Fit, Mating, round_body
from vtenv.tasks.insertion.profiles import DProfile, PinRowProfile, RectangularProfile, RoundProfile
from vtenv.validation import as_integer

TRAINING = range(0, 1000)
"""Numbers of generated connectors that may be trained on."""
HELD_OUT = range(1000, 2000)
"""Numbers of those that never are."""

_NAME = re.compile(r"generated-(0|[1-9]\d*)")
_SOURCE = "Drawn from its number: ours."

Draw = Callable[[float, float], float]
"""A number between two, uniformly."""


def generated(index: int) -> Connector:
    """The generated connector of a number; four in a row are one of each kind.

    Args:
        index: In `TRAINING` or `HELD_OUT`.

    Raises:
        ConnectorError: If it is in neither.
    """
    number = as_integer(index)
    if number is None or not (number in TRAINING or number in HELD_OUT):
        raise ConnectorError(
            f"generated-{index} is no connector; generated ones are numbered from "
            f"{TRAINING.start} to {TRAINING.stop - 1}, and from {HELD_OUT.start} to "
            f"{HELD_OUT.stop - 1} those that are never trained on"
        )
    generator = np.random.default_rng([number, 0x5EED])
    kind, make = _KINDS[number % len(_KINDS)]

    def draw(low: float, high: float) -> float:
        return round(generator.uniform(low, high), 5)

    clearance = draw(0.00008, 0.0003)
    return Connector(
        name=f"generated-{number}",
        label=f"generated {kind} {number}",
        source=_SOURCE,
        fit=Fit((clearance, clearance), draw(0.0003, 0.0006), _SOURCE),
        mating=Mating(draw(2.0, 10.0), draw(0.002, 0.004), draw(0.0001, 0.0002), _SOURCE),
        **make(draw),
    )


def require_trainable(connectors: object) -> None:
    """Refuse to train on generated connectors that are held out.

    Args:
        connectors: As the setting `connectors` of an environment; anything else is let through.

    Raises:
        ValueError: If one of them is held out; names it.
    """
    given = connectors if isinstance(connectors, list | tuple) else (connectors,)
    for item in given:
        name = item.get("name") if isinstance(item, Mapping) else getattr(item, "name", item)
        if isinstance(name, str) and (index_of(name) or 0) in HELD_OUT:
            raise ValueError(
                f"{name} is held out, and nobody is trained on it; take generated-"
                f"{TRAINING.start} to generated-{TRAINING.stop - 1}"
            )


def index_of(name: str) -> int | None:
    """The number of a generated connector by its name; None for any other name."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def _rectangle(draw: Draw) -> dict[str, Any]:
    width, height = draw(0.006, 0.013), draw(0.003, 0.0055)
    profile = RectangularProfile(width, height, nose=round(height / 5, 5))
    return {"travel": draw(0.007, 0.013), "profile": profile, **_overmould(draw, width, height)}


def _round(draw: Draw) -> dict[str, Any]:
    radius = draw(0.0015, 0.0035)
    body = round_body(draw(0.016, 0.020), round(radius + draw(0.0015, 0.0025), 5))
    return {"travel": draw(0.008, 0.014), "profile": RoundProfile(radius), **body}


def _d(draw: Draw) -> dict[str, Any]:
    width, height = draw(0.007, 0.012), draw(0.0035, 0.006)
    profile = DProfile(width, height, nose=round(height / 6, 5))
    return {"travel": draw(0.007, 0.013), "profile": profile, **_overmould(draw, width, height)}


def _pins(draw: Draw) -> dict[str, Any]:
    count, pitch = int(draw(2, 7)), draw(0.0020, 0.0030)
    profile = PinRowProfile(count, pitch, radius=round(pitch / 8, 5))
    body = {"body_size": (draw(0.012, 0.016), draw(0.0025, 0.004), round(count * pitch, 5))}
    return {"travel": draw(0.005, 0.008), "profile": profile, **body}


def _overmould(draw: Draw, width: float, height: float) -> dict[str, Any]:
    """A block that is wider and higher than what is inserted."""
    size = (draw(0.016, 0.020), width + draw(0.002, 0.004), height + draw(0.002, 0.004))
    return {"body_size": tuple(round(side, 5) for side in size)}


_KINDS = (("rectangle", _rectangle), ("round", _round), ("D", _d), ("row of pins", _pins))
