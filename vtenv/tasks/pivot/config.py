"""Settings of `VTPivot-v0`, and what it observes besides insertion's modalities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from vtenv.modalities import Modality
from vtenv.tasks.behaviours import Mixture
from vtenv.tasks.insertion.config import MODALITIES as HELD_PLUG_MODALITIES
from vtenv.tasks.insertion.config import HeldPlugConfig, InitialStateRanges
from vtenv.tasks.insertion.disturbances import DisturbanceConfig
from vtenv.tasks.insertion.modalities import STATE
from vtenv.validation import Range

GRIP_FORCE = 2.0
"""Force with which each finger closes, in [N]: the plug slides at 6 N along the fingers and turns
at 4 to 6 N on its tip, less than the 12 N that the hand can press with."""

GOAL = Modality(
    key="goal",
    label="Goal",
    unit="cm, rad",
    shape=(2,),
    low=-2.0,
    high=2.0,
)
"""Commanded place along the fingers, and commanded pitch, of the plug in the hand."""

PIVOT_STATE = replace(STATE, shape=(STATE.shape[0] + GOAL.shape[0],))
"""The privileged state of a held plug, and what is missing to the goal."""

MODALITIES = {**HELD_PLUG_MODALITIES, PIVOT_STATE.key: PIVOT_STATE, GOAL.key: GOAL}
"""What can be observed, by key, in the order of an observation."""


@dataclass(frozen=True)
class PivotInitialStateRanges(InitialStateRanges):
    """Ranges from which an episode's initial state is drawn; see `InitialStateRanges`."""

    in_hand_x_mm: Range = (0.0, 3.0)
    in_hand_z_mm: Range = (-1.5, 1.5)
    in_hand_pitch_deg: Range = (-8.0, 8.0)


@dataclass(frozen=True)
class PivotDisturbanceConfig(DisturbanceConfig):
    """Ranges from which an episode's disturbances are drawn; see `DisturbanceConfig`."""

    grip_force_n: Range = (GRIP_FORCE, GRIP_FORCE)
    socket_pitch_deg: Range = (0.0, 0.0)


@dataclass(frozen=True)
class PivotConfig(HeldPlugConfig):
    """The settings of `VTPivot-v0`. The goal is always among the modalities.

    Raises:
        ValueError: If a value is not allowed; names it and what is allowed.
    """

    initial_state_type: ClassVar[type[InitialStateRanges]] = PivotInitialStateRanges
    disturbance_type: ClassVar[type[DisturbanceConfig]] = PivotDisturbanceConfig

    clearance_mm: float | None = 0.4
    lead_in_mm: float | None = 1.0
    insertion_resistance: float = 0.0
    hand_force_n: float = 12.0
    action_delay: int = 0
    observation_delay: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if GOAL.key not in [modality.key for modality in self.modalities]:
            object.__setattr__(self, "modalities", (*self.modalities, GOAL))

    @classmethod
    def available_modalities(cls) -> Mapping[str, Modality]:
        """What can be observed, by key."""
        return MODALITIES


@dataclass(frozen=True)
class PivotMixture(Mixture):
    """How often an episode of experience is of each behaviour; parts of a whole.

    Raises:
        ValueError: If a part is negative, or all are zero.
    """

    expert: float = 0.4
    """The scripted expert: pressed on the fixture, turned and shifted to the goal."""
    noisy: float = 0.4
    """The expert, with Gaussian noise of up to 1 on its actions."""
    walk: float = 0.2
    """A smooth random walk: mostly free space."""
