"""The world in which a hand holds a plug before a socket, without what is asked of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from operator import attrgetter
from typing import Any, ClassVar, Self

import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from vtenv.arrays import Array, constant, namespace
from vtenv.modalities import Modality
from vtenv.provenance import cores
from vtenv.rendering.looks import build_render_spec, show_connector
from vtenv.sensing.faults import faulty_images
from vtenv.sensing.tractions import RAYS
from vtenv.tasks import Evaluation
from vtenv.tasks.insertion import measures, scene
from vtenv.tasks.insertion.actions import ACTION_SCALE, next_target
from vtenv.tasks.insertion.config import HeldPlugConfig
from vtenv.tasks.insertion.disturbances import (
    NUM_DISTURBANCE_UNIFORMS,
    cable_forces,
    draw_disturbances,
)
from vtenv.tasks.insertion.domain import (
    NUM_DOMAIN_UNIFORMS,
    Domain,
    clearances,
    draw_domain,
)
from vtenv.tasks.insertion.domain_fields import DOMAIN_FIELDS, DomainFields
from vtenv.tasks.insertion.grasp_bank import BANK_SIZE, GraspBank, load_banks
from vtenv.tasks.insertion.initial import NUM_UNIFORMS, check_options, initial_state
from vtenv.tasks.insertion.measures import Geometry
from vtenv.tasks.insertion.placement import place
from vtenv.tasks.insertion.pose_labels import POSE_LABELS
from vtenv.tasks.insertion.state import WorldState, world_state
from vtenv.validation import Range
from vtenv.world_model import Camera, Episodes, InitialPhysics, PhysicsState, WorldModel

_CURRICULUM_PREFIXES = ("hand_", "socket_")
"""Fields that a curriculum narrows. Where the plug sits in the hand it leaves: grasps are drawn
from those that are settled."""


@dataclass(frozen=True, eq=False)
class HeldPlugTask:
    """The part of a `Task` that is the world's: models, initial states, hand and looks.

    Args:
        config: The settings.
    """

    config: HeldPlugConfig

    config_type: ClassVar[type[HeldPlugConfig]] = HeldPlugConfig
    failures: ClassVar[tuple[str, ...]] = measures.FAILURES
    pose_labels: ClassVar[tuple[str, ...]] = POSE_LABELS
    reward_weights: ClassVar[Mapping[str, float]]
    """Weight of each term of the dense reward: potentials, success, failure, force and time."""
    probe_labels: ClassVar[tuple[str, ...]] = ()
    probe_bounds: ClassVar[Mapping[str, float]] = {}

    def capture_range(self) -> dict[str, float]:
        """How far off a pose label may be and the task still succeed uncorrected: unknown."""
        return {}

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """What can be observed, by key."""
        return self.config.available_modalities()

    @functools.cached_property
    def action_space(self) -> spaces.Box:
        """Change of the hand's target: x, y, z, yaw, pitch."""
        return spaces.Box(-1.0, 1.0, (len(ACTION_SCALE),), np.float32)

    @property
    def connector_names(self) -> tuple[str, ...]:
        """Names of the connectors in play."""
        return tuple(connector.name for connector in self.config.connectors)

    @property
    def code_names(self) -> Mapping[str, tuple[str, ...]]:
        """What the codes of `info` mean, by key."""
        return {"connector": self.connector_names, "failure": self.failures}

    @property
    def option_limits(self) -> Mapping[str, Range]:
        """Least and greatest numbers that `reset(options=...)` fixes, by name."""
        ranges = self.config.initial_state_type
        return {name: ranges.limits(name) for name in ranges.names()}

    @property
    def num_uniforms(self) -> int:
        """Random numbers that the start of an episode takes."""
        always = NUM_UNIFORMS + NUM_DISTURBANCE_UNIFORMS
        return always + sum(self._optional_uniforms.values())

    @property
    def _optional_uniforms(self) -> dict[str, int]:
        """How many more each optional setting takes where it is on, in the order of drawing."""
        each = {
            "domain_randomization": NUM_DOMAIN_UNIFORMS,
            "sensor_faults": 1,
        }
        return {n: count for n, count in each.items() if getattr(self.config, n) is not None}

    @functools.cached_property
    def world_model(self) -> WorldModel:
        """The models: of each connector one for every clearance."""
        config = self.config
        settings = scene.SceneConfig(
            config.clearance_mm,
            config.lead_in_mm,
            config.connector_scale,
            config.image_size,
            config.contact_size,
            config.touch_sensor,
            config.contact_impedance,
            config.insertion_resistance,
            config.grip_creep,
            pad_wrenches=self._feels_forces,
        )
        noise = {
            "noise_distance": scene.CAMERA_HEIGHT,
            "dropout": config.depth_dropout,
            "quantization_mm": config.depth_quantization_mm,
        }
        sensor = config.touch_sensor
        overhead = (scene.SCENE_GROUP, scene.PLUG_GROUP)
        wrenches = {"pad_wrenches": scene.PAD_WRENCHES} if self._feels_forces else {}
        sides = ("gel_left", "gel_right")
        return WorldModel(
            models=scene.build_models(settings, config.connectors, self._clearances),
            substeps=scene.SUBSTEPS,
            joints={"hand": scene.HAND_JOINTS, "fingers": scene.FINGER_JOINTS},
            actuators={"hand": scene.HAND_JOINTS},
            driven="hand",
            bodies=("hand", "plug", "socket"),
            pushed="plug" if config.disturbances.pulls else None,
            sensors={"socket_force": ("socket_force",), "gel_contacts": sides, **wrenches},
            rest_readings={"gel_contacts": 1.0},
            own_fields=() if config.domain_randomization is None else DOMAIN_FIELDS,
            cameras={
                "overhead": Camera(("overhead",), overhead, config.image_size, noise),
                "gel": Camera(
                    sides,
                    (scene.PLUG_GROUP,),
                    config.contact_size,
                    profile=sensor,
                    wrenches=scene.PAD_WRENCHES if sensor.modulus_mpa else (),
                ),
                "taxels": Camera(
                    sides,
                    (scene.PLUG_GROUP,),
                    (RAYS * config.taxel_size[0], RAYS * config.taxel_size[1]),
                    profile=sensor,
                    half_extent=sensor.half_extent,
                    wrenches=scene.PAD_WRENCHES,
                ),
            },
            modalities=config.modalities,
        )

    @property
    def _feels_forces(self) -> bool:
        """Whether a modality senses the forces on the pads."""
        pressed = ("taxels", "gel") if self.config.touch_sensor.modulus_mpa else ("taxels",)
        return any(modality.camera in pressed for modality in self.config.modalities)

    def image_size(self, modality: Modality) -> tuple[int, int]:
        """Rows and columns of an image."""
        size: tuple[int, int] = attrgetter(str(modality.size_setting))(self.config)
        return size

    def timeouts(self, labels: Mapping[str, Array]) -> dict[str, Array]:
        """Where episodes end when time is over: anywhere."""
        values = next(iter(labels.values()))
        xp = namespace(values)
        return {"missed": xp.ones_like(values, dtype=xp.bool)}

    def narrowed(self, scale: float) -> Self:
        """The task with socket and hand nearer to the middle of their ranges."""

        def about_middle(bounds: Range) -> Range:
            middle, half = sum(bounds) / 2, (bounds[1] - bounds[0]) / 2
            return middle - scale * half, middle + scale * half

        ranges = self.config.initial_state
        changed = {
            field.name: about_middle(getattr(ranges, field.name))
            for field in fields(ranges)
            if field.name.startswith(_CURRICULUM_PREFIXES)
        }
        config = replace(self.config, initial_state=replace(ranges, **changed))
        task = replace(self, config=config)
        for made_once in ("world_model", "_banks", "_domain_fields"):
            if made_once in self.__dict__:
                task.__dict__[made_once] = self.__dict__[made_once]
        return task

    def check_options(self, options: Mapping[str, object] | None) -> dict[str, object]:
        """A copy of what `reset(options=...)` fixes: `connector`, names of `option_limits`."""
        return check_options(options, self.connector_names, self.option_limits)

    def draw(self, uniforms: NDArray[np.float64], options: Mapping[str, object]) -> Episodes:
        """Map uniform random numbers to initial states, and then to domains and the rest."""
        config, levels = self.config, self._clearances
        counts = self._optional_uniforms
        ends = np.cumsum([NUM_UNIFORMS, NUM_DISTURBANCE_UNIFORMS, *counts.values()])[:-1]
        first, second, *parts = np.split(uniforms, ends, axis=1)
        more = dict(zip(counts, parts, strict=True))
        initial = initial_state(first, config, BANK_SIZE, options)
        variant = initial.connector * len(levels)
        noise_mm = np.full(len(uniforms), config.depth_noise_mm)
        pad_friction = np.full(len(uniforms), scene.PAD_FRICTION)
        drawn: Domain | None = None
        own_fields: dict[str, NDArray[np.float64]] = {}
        if config.domain_randomization is not None:
            drawn = draw_domain(more["domain_randomization"], config)
            variant = variant + drawn.clearance_level
            noise_mm, pad_friction = drawn.depth_noise_mm, drawn.pad_friction
            own_fields = self._domain_fields.rows(variant, drawn)
        parameters = {"clearance": self._widest_clearances[variant]}
        disturbances = draw_disturbances(second, config.disturbances)
        if config.disturbances.pulls:
            parameters |= {"cable_force": disturbances.cable_force, "tugs": disturbances.tugs}
        if config.sensor_faults is not None:
            parameters["fault_seed"] = (more["sensor_faults"][:, 0] * 2**53).astype(np.int64)
        if config.touch_sensor.friction is not None:
            pad_friction = np.full(len(uniforms), config.touch_sensor.friction)
        placed = place(initial, self._banks, disturbances, drawn)
        grip = placed.ctrl[:, scene.FINGER_CTRL]
        if self._feels_forces:
            parameters |= {"grip": grip, "grasp": placed.in_hand}
        physics = InitialPhysics(
            variant=variant,
            qpos=placed.qpos,
            ctrl=placed.ctrl,
            mocap_pos=placed.socket_pos[:, None],
            mocap_quat=placed.socket_quat[:, None],
            fields=own_fields,
            noise={
                "depth_noise_mm": noise_mm,
                "pad_friction": pad_friction,
                "grip_n": grip,
            },
        )
        return Episodes(physics, parameters, {} if drawn is None else asdict(drawn))

    def next_controls(self, controls: Array, joints: Array, actions: Array) -> Array:
        """Move the hand's target by an action; keep it on its leash and in the workspace."""
        return next_target(controls, joints, actions, self.config.hand_force_n)

    def forces(self, now: Evaluation, elapsed: Array, parameters: dict[str, Array]) -> Array:
        """The pull of the cables."""
        lengths = tuple(connector.body_size[0] for connector in self.config.connectors)
        return cable_forces(
            now.state,
            elapsed,
            parameters["cable_force"],
            parameters["tugs"],
            self.of_connectors(lengths, now.state),
        )

    def disturbed(
        self, images: dict[str, Array], elapsed: Array, parameters: dict[str, Array]
    ) -> dict[str, Array]:
        """Images with the sensors' faults of the settings."""
        faults = self.config.sensor_faults
        if faults is None:
            return images
        return faulty_images(images, faults, parameters["fault_seed"], elapsed)

    def view(self, physics: PhysicsState, parameters: Mapping[str, Array]) -> WorldState:
        """The state of the worlds, with the scene's own names."""
        return world_state(physics, len(self._clearances), parameters)

    def geometry(self, state: WorldState) -> Geometry:
        """Where the plugs are, relative to socket and hand."""
        travels = tuple(connector.travel for connector in self.config.connectors)
        return measures.geometry(state, self.of_connectors(travels, state))

    def reward(self, before: dict[str, Array], now: Evaluation) -> dict[str, Array]:
        """Weighted terms of the dense reward of a step, (N,) each."""
        failed, force = now.failure > 0, now.state.socket_force
        return measures.dense_reward(
            before, now.potentials, now.success, failed, force, self.reward_weights
        )

    def vectors(self, now: Evaluation, parameters: dict[str, Array]) -> dict[str, Array]:
        """Proprioception and the privileged state, as asked for."""
        keys = [modality.key for modality in self.config.modalities]
        vectors: dict[str, Array] = {}
        if "proprio" in keys:
            vectors["proprio"] = measures.proprio(now.state)
        if "state" in keys:
            vectors["state"] = self.privileged(now)
        return self.bounded(vectors)

    def privileged(self, now: Evaluation) -> Array:
        """The privileged state; `now.measures` is a `Geometry`."""
        sizes = self.of_connectors(self.connector_sizes, now.state)
        return measures.privileged(now.state, now.measures, sizes)

    def poses(self, now: Evaluation) -> Array:
        """The plug in the hand, and the socket's mouth in the hand's frame."""
        return measures.poses(now.state, now.measures)

    def bounded(self, vectors: Mapping[str, Array]) -> dict[str, Array]:
        """Vectors as they are observed: float32, within their spaces."""
        bounded = {}
        for key, values in vectors.items():
            xp, modality = namespace(values), self.modalities[key]
            bounded[key] = xp.astype(xp.clip(values, modality.low, modality.high), xp.float32)
        return bounded

    @property
    def connector_sizes(self) -> tuple[tuple[float, ...], ...]:
        """`Connector.sizes` of the connectors in play."""
        scale = self.config.connector_scale
        return tuple(connector.sizes(scale) for connector in self.config.connectors)

    def of_connectors(self, numbers: tuple[Any, ...], state: WorldState) -> Array:
        """Numbers of each connector in play, of the worlds' connectors, (N, ...)."""
        return constant(numbers, state.hand)[state.connector]

    def render_spec(self) -> mujoco.MjSpec:
        """The scene as people see it, with all connectors in play."""
        config = self.config
        settings = scene.SceneConfig(config.clearance_mm, config.lead_in_mm, config.connector_scale)
        return build_render_spec(settings, config.connectors)

    def show_variant(self, model: mujoco.MjModel, variant: int) -> None:
        """Show a variant's connector, and hide the others."""
        show_connector(model, self.connector_names[variant // len(self._clearances)])

    @functools.cached_property
    def _clearances(self) -> tuple[float | None, ...]:
        return clearances(self.config)

    @functools.cached_property
    def _widest_clearances(self) -> NDArray[np.float64]:
        """Room between plug and socket on its widest side, of each variant, [m]."""
        rooms = [
            max(connector.clearance(scene.metres(clearance)))
            for connector in self.config.connectors
            for clearance in self._clearances
        ]
        return np.array(rooms)

    @functools.cached_property
    def _banks(self) -> tuple[GraspBank, ...]:
        return load_banks(self.config, cores())

    @functools.cached_property
    def _domain_fields(self) -> DomainFields:
        return DomainFields(self.world_model.models)
