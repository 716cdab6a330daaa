"""Insertion: bring the plug's tip to the socket's mouth, align it, and push it in."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from vtenv.arrays import Array, namespace
from vtenv.rendering.panel import PanelBar, PanelText
from vtenv.tasks import Evaluation
from vtenv.tasks.insertion import measures, probe_targets, scene
from vtenv.tasks.insertion.behaviours import BehaviourMixture, InsertionBehaviours
from vtenv.tasks.insertion.config import InsertionConfig
from vtenv.tasks.insertion.expert import MAX_LATERAL, expert_action
from vtenv.tasks.insertion.held_plug import HeldPlugTask
from vtenv.tasks.insertion.measures import Geometry
from vtenv.tasks.insertion.regions import JAMMED_DEPTH_MM, NEAR_LATERAL_MM, jammed, near_contact
from vtenv.tasks.insertion.state import WorldState
from vtenv.world_model import PhysicsState


@dataclass(frozen=True, eq=False)
class InsertionTask(HeldPlugTask):
    """The task of `VTInsert-v0`; implements `vtenv.tasks.Task`.

    Args:
        config: The settings.
    """

    config: InsertionConfig

    env_id: ClassVar[str] = "VTInsert-v0"
    config_type: ClassVar[type[InsertionConfig]] = InsertionConfig
    reward_weights: ClassVar[Mapping[str, float]] = measures.REWARD_WEIGHTS
    reward_terms: ClassVar[tuple[str, ...]] = tuple(measures.REWARD_WEIGHTS)
    probe_labels: ClassVar[tuple[str, ...]] = probe_targets.TOUCH_LABELS
    probe_bounds: ClassVar[Mapping[str, float]] = probe_targets.BOUNDS
    mixture_type: ClassVar[type[BehaviourMixture]] = BehaviourMixture

    def evaluate(self, physics: PhysicsState, parameters: dict[str, Array]) -> Evaluation:
        """Where the plugs are, and whether they are in."""
        state, clearance = self.view(physics, parameters), parameters["clearance"]
        geometry = self.geometry(state)
        lead_in = self.of_connectors(self._lead_ins, state)
        success = measures.is_success(state, geometry, clearance)
        code = measures.failure(state, geometry)
        xp = namespace(code)
        return Evaluation(
            state=state,
            measures=geometry,
            potentials=measures.potentials(geometry, clearance, lead_in),
            success=success,
            failure=xp.where(success, xp.zeros_like(code), code),
            info={
                "connector": state.connector,
                "insertion_depth": geometry.depth,
                "lateral_error": geometry.lateral,
                "angular_error": geometry.angle,
                "contact_force": state.socket_force,
            },
        )

    def expert_action(self, now: Evaluation, parameters: dict[str, Array]) -> Array:
        """What the scripted expert does, (N, 5), in [-1, 1]."""
        return self.expert_at(now.state, now.measures)

    def capture_range(self) -> dict[str, float]:
        """How far off the plug may be and still slide in."""
        return probe_targets.capture_range(self.config)

    def labels(self, now: Evaluation) -> dict[str, Array]:
        """Depth past the mouth, distance from the axis, force, and what pads that feel it do."""
        pads = now.state.pads
        return {
            "insertion_depth_mm": now.measures.depth * 1e3,
            "lateral_mm": now.measures.lateral * 1e3,
            "contact_force_n": now.state.socket_force,
            **({} if pads is None else measures.pad_labels(now.state, now.measures, pads)),
        }

    def regions(self, labels: Mapping[str, Array]) -> dict[str, Array]:
        """The states that decide an insertion: near the mouth, and jammed on the socket."""
        depth_mm, lateral_mm = labels["insertion_depth_mm"], labels["lateral_mm"]
        return {
            "near": near_contact(depth_mm, lateral_mm),
            "jammed": jammed(depth_mm, lateral_mm, labels["contact_force_n"]),
        }

    def timeouts(self, labels: Mapping[str, Array]) -> dict[str, Array]:
        """Pressed on the socket's face, in the mouth but not deep enough, or anywhere else."""
        depth_mm, lateral_mm = labels["insertion_depth_mm"], labels["lateral_mm"]
        return {
            "jammed": jammed(depth_mm, lateral_mm, labels["contact_force_n"]),
            "partial": (depth_mm > JAMMED_DEPTH_MM) & (lateral_mm <= NEAR_LATERAL_MM),
            **super().timeouts(labels),
        }

    def behaviours(
        self, num_worlds: int, mixture: BehaviourMixture, rng: np.random.Generator
    ) -> InsertionBehaviours:
        """What worlds do that experience is collected from."""
        return InsertionBehaviours(num_worlds, mixture, rng, self.expert_at)

    def expert_at(self, state: WorldState, geometry: Geometry) -> Array:
        """The expert's actions, (N, 5), where the plug is at `geometry`."""
        clearance = scene.metres(self.config.clearance_mm)
        mouths = [
            min(connector.clearance(clearance)) + lead_in
            for connector, lead_in in zip(self.config.connectors, self._lead_ins, strict=True)
        ]
        max_lateral = self.of_connectors(tuple(min(m, MAX_LATERAL) for m in mouths), state)
        return expert_action(state, geometry, max_lateral, self.config.action_delay)

    @functools.cached_property
    def _lead_ins(self) -> tuple[float, ...]:
        """Width of the chamfer of each connector in play, [m]."""
        given = scene.metres(self.config.lead_in_mm)
        return tuple(connector.lead_in(given) for connector in self.config.connectors)

    def panel(self, info: Mapping[str, Any]) -> PanelText:
        """Insertion depth, with a mark where it counts as inserted, errors and force."""
        names = self.connector_names
        name = str(info.get("connector", ""))
        known = self.config.connectors[names.index(name)] if name in names else None
        bars = []
        if known is not None and "insertion_depth" in info:
            travel = known.travel * 1e3
            depth = float(info["insertion_depth"]) * 1e3
            bars.append(
                PanelBar(
                    "Insertion depth",
                    f"{depth:.1f} / {travel:.1f} mm",
                    depth / travel,
                    mark=measures.SUCCESS_FRACTION,
                    is_goal=True,
                )
            )
        for label, key, text, factor, full in _NUMBERS:
            if key in info:
                value = float(info[key]) * factor
                bars.append(PanelBar(label, text.format(value), value / full))
        title = known.label if known is not None else name
        return PanelText(title, "inserted", tuple(bars))


_NUMBERS = (
    ("Lateral error", "lateral_error", "{:.2f} mm", 1e3, 10.0),
    ("Angular error", "angular_error", "{:.2f}\u00b0", 180 / math.pi, 20.0),
    ("Contact force", "contact_force", "{:.1f} N", 1.0, measures.MAX_SOCKET_FORCE),
)
"""Label, key of `info`, text, factor, and what a full bar stands for."""
