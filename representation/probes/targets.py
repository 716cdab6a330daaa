"""What can be asked of a data set: its labels, classes and regions, and bounds on the answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from representation.data.dataset import Dataset
from vtenv.registry import make_task

POSE, CLASS, EPISODE, REGION = "pose", "connector", "episode", "region"
"""Columns of a data set that probes read: labels, class, episode and region of each row."""


@dataclass(frozen=True)
class ProbeTargets:
    """What can be asked of a data set.

    Attributes:
        variables: Names of the columns of `pose`; the unit is the last word ("mm", "deg").
        classes: Names of the classes, by number.
        regions: Names of the regions, by number: elsewhere, then one within the other; the widest
            of these decides.
        bounds: What an encoder should reach where it decides: the largest mean absolute error by
            variable, and the least accuracy as "connector".
        capture_range: How far off the plug may be and the task still succeeds without a
            correction, by variable: a yardstick for errors.
    """

    variables: tuple[str, ...]
    classes: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    bounds: Mapping[str, float] = field(default_factory=dict)
    capture_range: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset) -> ProbeTargets:
        """What a data set says of itself, and the task that it is of, if it is of one."""
        codes, settings = dataset.codes, dataset.settings
        targets = cls(dataset.labels, codes.get(CLASS, ()), codes.get(REGION, ()))
        if "task" not in settings:
            return targets
        fields = vars(make_task(settings["task"]).config)
        known = {name: settings[name] for name in fields if name in settings}
        task = make_task(settings["task"], **known)
        return dataclasses.replace(
            targets, bounds=task.probe_bounds, capture_range=task.capture_range()
        )
