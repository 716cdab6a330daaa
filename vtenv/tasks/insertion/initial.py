"""How episodes start: from uniform random numbers to initial states."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vtenv.arrays import Array, namespace
from vtenv.tasks.insertion.config import HeldPlugConfig, InitialStateRanges
from vtenv.tasks.insertion.scene import HAND_HEIGHT
from vtenv.validation import Range, as_number

NUM_UNIFORMS = 2 + len(InitialStateRanges.names())
"""Random numbers that an initial state takes."""


@dataclass(frozen=True)
class InitialState:
    """How worlds start; N of them.

    Attributes:
        connector: Index in `HeldPlugConfig.connectors`, (N,), integer.
        grasp: Index of a settled grasp of that connector, (N,), integer.
        in_hand: Plug x, z and pitch in the hand, (N, 3), to settle a new grasp there; NaN
            where the grasp of the bank is meant.
        hand: Hand x, y, z, yaw and pitch from its nominal pose, (N, 5).
        socket_pos_w: Centre of the socket's mouth, (N, 3).
        socket_yaw: Yaw of the socket, (N,).
    """

    connector: Array
    grasp: Array
    in_hand: Array
    hand: Array
    socket_pos_w: Array
    socket_yaw: Array


def check_options(
    options: Mapping[str, object] | None, connectors: Sequence[str], limits: Mapping[str, Range]
) -> dict[str, object]:
    """Check what `reset(options=...)` fixes.

    Args:
        options: `connector`, and names of `limits` with a number.
        connectors: The connectors that the environment draws from.
        limits: Least and greatest numbers, by the name that they are fixed by.

    Returns:
        A copy.

    Raises:
        ValueError: If a name or value is not allowed; lists what is.
    """
    checked = dict(options or {})
    allowed = ("connector", *limits)
    unknown = sorted(set(checked) - set(allowed))
    if unknown:
        raise ValueError(f"unknown reset option {unknown[0]!r}; choose from {', '.join(allowed)}")
    for name, value in checked.items():
        if name == "connector":
            if value not in connectors:
                raise ValueError(
                    f"reset option connector={value!r} is not allowed; this environment was "
                    f"made for {', '.join(connectors)}"
                )
            continue
        low, high = limits[name]
        number = as_number(value)
        if number is None or not low <= number <= high:
            raise ValueError(
                f"reset option {name}={value!r} is not allowed; it must be a number from "
                f"{low:g} to {high:g}"
            )
    return checked


def initial_state(
    uniforms: Array, config: HeldPlugConfig, bank_size: int, options: Mapping[str, object]
) -> InitialState:
    """Map uniform random numbers to initial states.

    Args:
        uniforms: Numbers in [0, 1), (N, `NUM_UNIFORMS`), float64.
        config: Connectors to draw from, and ranges.
        bank_size: Number of settled grasps of each connector.
        options: Values that are fixed rather than drawn, checked by `check_options`.

    Returns:
        The states; a plug's place in the hand is the bank's, unless an option fixes a part
        of it.
    """
    xp = namespace(uniforms)
    names = [connector.name for connector in config.connectors]
    first, count = 0, len(names)
    if "connector" in options:
        first, count = names.index(str(options["connector"])), 1
    connector = first + xp.astype(uniforms[:, 0] * count, xp.int64)

    values: dict[str, Array] = {}
    for column, name in enumerate(InitialStateRanges.names(), start=2):
        low, high = getattr(config.initial_state, name)
        if name in options:
            low = high = float(options[name])  # type: ignore[arg-type]
        unit = math.pi / 180 if name.endswith("_deg") else 1e-3
        values[name] = (low + (high - low) * uniforms[:, column]) * unit
    in_hand = xp.stack(
        [values["in_hand_x_mm"], values["in_hand_z_mm"], values["in_hand_pitch_deg"]], axis=-1
    )
    if not any(name.startswith("in_hand_") for name in options):
        in_hand = in_hand * math.nan
    zero = xp.zeros_like(values["hand_y_mm"])
    hand = [zero, values["hand_y_mm"], values["hand_z_mm"], values["hand_yaw_deg"], zero]
    socket = [values["socket_x_mm"], values["socket_y_mm"], values["socket_z_mm"] + HAND_HEIGHT]
    return InitialState(
        connector=connector,
        grasp=xp.astype(uniforms[:, 1] * bank_size, xp.int64),
        in_hand=in_hand,
        hand=xp.stack(hand, axis=-1),
        socket_pos_w=xp.stack(socket, axis=-1),
        socket_yaw=values["socket_yaw_deg"],
    )
