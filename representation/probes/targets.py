"""What can be asked of a data set: its labels, classes and regions, and bounds on the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

POSE, CLASS, EPISODE = "pose", "connector", "episode"
"""Columns of a data set that probes read: labels, class and episode of each row."""


@dataclass(frozen=True)
class ProbeTargets:
    """What can be asked of a data set. A task knows it, and `vtinsert dataset` writes it down.

    Attributes:
        variables: Names of the columns of `pose`; the unit is the last word ("mm", "deg").
        classes: Names of the classes, by number.
        regions: Columns of flags that tell rows apart, and what people call them; the first
            decides.
        bounds: What an encoder should reach where it decides: the largest mean absolute error by
            variable, and the least accuracy as "connector".
        capture_range: How far off the plug may be and the task still succeeds without a
            correction, by variable: a yardstick for errors.
    """

    variables: tuple[str, ...]
    classes: tuple[str, ...] = ()
    regions: Mapping[str, str] = field(default_factory=dict)
    bounds: Mapping[str, float] = field(default_factory=dict)
    capture_range: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", tuple(self.variables))
        object.__setattr__(self, "classes", tuple(self.classes))
