"""Pivoting: turn and shift the plug in the hand to a goal, by pressing it on the fixture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vtenv.arrays import Array, constant, namespace
from vtenv.rendering.panel import PanelBar, PanelText
from vtenv.tasks import Evaluation
from vtenv.tasks.behaviours import MixedBehaviours
from vtenv.tasks.insertion.held_plug import HeldPlugTask
from vtenv.tasks.insertion.measures import MAX_SOCKET_FORCE
from vtenv.tasks.pivot import measures
from vtenv.tasks.pivot.config import GOAL, PivotConfig, PivotMixture
from vtenv.tasks.pivot.expert import expert_action
from vtenv.tasks.pivot.goal import NUM_GOAL_UNIFORMS, OPTION_LIMITS, draw_goals
from vtenv.validation import Range
from vtenv.world_model import Episodes, PhysicsState

_PITCH, _PLACE = "{:.1f}\u00b0, goal {:.1f}\u00b0", "{:.1f} mm, goal {:.1f} mm"


@dataclass(frozen=True, eq=False)
class PivotTask(HeldPlugTask):
    """The task of `VTPivot-v0`; implements `vtenv.tasks.Task`.

    Args:
        config: The settings.
    """

    config: PivotConfig

    env_id: ClassVar[str] = "VTPivot-v0"
    config_type: ClassVar[type[PivotConfig]] = PivotConfig
    reward_weights: ClassVar[Mapping[str, float]] = measures.REWARD_WEIGHTS
    reward_terms: ClassVar[tuple[str, ...]] = tuple(measures.REWARD_WEIGHTS)
    mixture_type: ClassVar[type[PivotMixture]] = PivotMixture

    @property
    def num_uniforms(self) -> int:
        """Random numbers that the start of an episode takes, the goal's last."""
        return super().num_uniforms + NUM_GOAL_UNIFORMS

    @property
    def option_limits(self) -> Mapping[str, Range]:
        """Least and greatest numbers that `reset(options=...)` fixes, by name."""
        return {**super().option_limits, **OPTION_LIMITS}

    def draw(self, uniforms: NDArray[np.float64], options: Mapping[str, object]) -> Episodes:
        """Map uniform random numbers to initial states and domains, and then to goals."""
        episodes = super().draw(uniforms[:, :-NUM_GOAL_UNIFORMS], options)
        goal = draw_goals(uniforms[:, -NUM_GOAL_UNIFORMS:], episodes.physics.qpos, options)
        return replace(episodes, parameters={**episodes.parameters, "goal": goal})

    def evaluate(self, physics: PhysicsState, parameters: dict[str, Array]) -> Evaluation:
        """Where the plugs are, and whether they are at their goals."""
        state = self.view(physics, parameters)
        geometry = measures.pivot_geometry(self.geometry(state), parameters["goal"])
        success = measures.is_success(state, geometry)
        code = measures.failure(state, geometry)
        return Evaluation(
            state=state,
            measures=geometry,
            potentials=measures.potentials(geometry),
            success=success,
            failure=namespace(code).where(success, 0, code),
            info={
                "connector": state.connector,
                "in_hand_x": geometry.in_hand[:, 0],
                "in_hand_pitch": geometry.in_hand[:, 2],
                "place_error": geometry.place_error,
                "pitch_error": geometry.pitch_error,
                "contact_force": state.socket_force,
            },
        )

    def vectors(self, now: Evaluation, parameters: dict[str, Array]) -> dict[str, Array]:
        """The goal; proprioception and the privileged state, as asked for."""
        goal = parameters["goal"]
        observed = {GOAL.key: goal * constant((100.0, 1.0), goal)}
        return super().vectors(now, parameters) | self.bounded(observed)

    def privileged(self, now: Evaluation) -> Array:
        """The privileged state of a held plug, and what is missing to the goal."""
        state, missing = super().privileged(now), now.measures
        errors = missing.place_error[:, None] * 100, missing.pitch_error[:, None]
        return namespace(state).concat([state, *errors], axis=-1)

    def expert_action(self, now: Evaluation, parameters: dict[str, Array]) -> Array:
        """What the scripted expert does, (N, 5), in [-1, 1]."""
        return self._expert(now)

    def labels(self, now: Evaluation) -> dict[str, Array]:
        """Errors of pitch and place, and force."""
        return {
            "pitch_error_deg": now.measures.pitch_error * (180 / math.pi),
            "place_error_mm": now.measures.place_error * 1e3,
            "contact_force_n": now.state.socket_force,
        }

    def regions(self, labels: Mapping[str, Array]) -> dict[str, Array]:
        """The states that decide: pressed on the fixture, and there nearly at the goal."""
        pressed = labels["contact_force_n"] > measures.PRESSED_FORCE_N
        xp = namespace(pressed)
        pitch = math.degrees(measures.FINISHING * measures.PITCH_TOLERANCE)
        place = 1e3 * measures.FINISHING * measures.PLACE_TOLERANCE
        turned = xp.abs(labels["pitch_error_deg"]) <= pitch
        shifted = xp.abs(labels["place_error_mm"]) <= place
        return {"pressed": pressed, "finishing": pressed & turned & shifted}

    def behaviours(
        self, num_worlds: int, mixture: PivotMixture, rng: np.random.Generator
    ) -> MixedBehaviours:
        """What worlds do that experience is collected from."""
        return MixedBehaviours(num_worlds, mixture, rng, self._expert)

    def panel(self, info: Mapping[str, Any]) -> PanelText:
        """Pitch and place in the hand, with marks at the goal, and force."""
        names = self.connector_names
        name = str(info.get("connector", ""))
        title = self.config.connectors[names.index(name)].label if name in names else name
        bars = []
        for label, key, error, text, factor, (low, high) in _GOALS:
            if key in info and error in info:
                value = float(info[key]) * factor
                goal = value + float(info[error]) * factor
                part, mark = ((number - low) / (high - low) for number in (value, goal))
                mark = min(max(mark, 0.0), 1.0)
                bars.append(PanelBar(label, text.format(value, goal), part, mark, is_goal=True))
        if "contact_force" in info:
            force = float(info["contact_force"])
            bars.append(PanelBar("Contact force", f"{force:.1f} N", force / MAX_SOCKET_FORCE))
        return PanelText(title, "at the goal", tuple(bars))

    def _expert(self, now: Evaluation) -> Array:
        half_heights = tuple(sizes[1] / 2 for sizes in self.connector_sizes)
        return expert_action(now.state, now.measures, self.of_connectors(half_heights, now.state))


_GOALS = (
    ("Pitch in the hand", "in_hand_pitch", "pitch_error", _PITCH, 180 / math.pi, (-25.0, 25.0)),
    ("Place in the hand", "in_hand_x", "place_error", _PLACE, 1e3, (-10.0, 6.0)),
)
"""Label, key of `info`, key of its error, text, factor, and what an empty and a full bar stand
for."""
