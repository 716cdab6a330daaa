"""The tasks, one folder each, and the protocol that they implement.

An environment id is a task: `vtenv.registry.make_task("VTInsert-v0", clearance_mm=0.3)`. Outside
its folder a task is one entry of Gymnasium's registry, whose entry points are `vtenv.env.TaskEnv`
and `vtenv.vector_env.TaskVectorEnv` (or subclasses of them) with the task's class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from vtenv.arrays import Array
from vtenv.modalities import Modality
from vtenv.world_model import Episodes, PhysicsState, WorldModel

if TYPE_CHECKING:
    import mujoco


class TaskConfig(Protocol):
    """Settings that every task has; a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What to observe."""

    @property
    def reward(self) -> Any:
        """The name of a reward function, or one."""

    @property
    def action_delay(self) -> int:
        """Control steps from an action to what it does."""

    @property
    def observation_delay(self) -> int:
        """Control steps from what is sensed to its observation."""

    @property
    def touch_delay(self) -> int:
        """Control steps by which images of touch are later than that."""


@dataclass(frozen=True)
class Evaluation:
    """What a task makes of the state of N worlds.

    Attributes:
        state: The state, as the task names its parts; a dataclass of arrays.
        measures: What the task computes from it, likewise.
        potentials: Terms that are rewarded by their change over a step, (N,) each.
        success: Whether a step that led here ended in success, (N,), bool.
        failure: Code into `Task.failures` of what it ended in, (N,), integer; 0 is none.
        info: Numbers for `info`, (N,) each.
    """

    state: Any
    measures: Any
    potentials: dict[str, Array]
    success: Array
    failure: Array
    info: dict[str, Array]


class Behaviours(Protocol):
    """What N worlds do, each its own behaviour for an episode."""

    def start(self, worlds: NDArray[np.bool_]) -> None:
        """Draw a behaviour for each episode that starts, a flag a world."""

    def act(self, now: Evaluation) -> Array:
        """Actions of all worlds, (N, A), an array of the state's library."""


class Task(Protocol):
    """What is asked of the robot, in which world; small, frozen and stateless.

    Functions of arrays have a leading world axis and serve every engine: NumPy's arrays and
    torch's, through `array-api-compat`; they may be captured as CUDA graphs, and look at no value.

    Attributes:
        env_id: Its environment's id.
        failures: Names of failures by code; the first is none, "".
        reward_terms: Names of the terms of the dense reward.
        pose_labels: Names of the columns of `poses`, each with its unit at the end.
        probe_labels: Names of those of `labels` that probes read out besides, where a data set has
            them, each with its unit at the end.
        probe_bounds: What an encoder should know in the widest region before a policy is trained
            on it: the largest mean absolute error by label, and the least accuracy as
            "connector"; empty for no bounds.
        mixture_type: How often each behaviour is drawn: a dataclass of parts with defaults.
    """

    env_id: ClassVar[str]
    failures: ClassVar[tuple[str, ...]]
    reward_terms: ClassVar[tuple[str, ...]]
    pose_labels: ClassVar[tuple[str, ...]]
    probe_labels: ClassVar[tuple[str, ...]]
    probe_bounds: ClassVar[Mapping[str, float]]
    mixture_type: ClassVar[type[Any]]

    @property
    def config(self) -> TaskConfig:
        """Its settings."""

    @property
    def num_uniforms(self) -> int:
        """Random numbers that the start of an episode takes."""

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """What can be observed, by key."""

    @property
    def action_space(self) -> spaces.Box:
        """The action space of one world."""

    @property
    def world_model(self) -> WorldModel:
        """What an engine simulates; made once."""

    @property
    def code_names(self) -> Mapping[str, tuple[str, ...]]:
        """What the codes of `info` mean, by key: `failure`, and what worlds differ in."""

    def image_size(self, modality: Modality) -> tuple[int, int]:
        """Rows and columns of an image."""

    def narrowed(self, scale: float) -> Self:
        """The task with initial states nearer to the middle of their ranges, for a curriculum.

        Args:
            scale: Part of the ranges to keep, 0 to 1.
        """

    def check_options(self, options: Mapping[str, object] | None) -> dict[str, object]:
        """A copy of what `reset(options=...)` fixes.

        Raises:
            ValueError: If a name or value is not allowed; lists what is.
        """

    def draw(self, uniforms: NDArray[np.float64], options: Mapping[str, object]) -> Episodes:
        """Map uniform random numbers to how episodes start.

        Args:
            uniforms: Numbers in [0, 1), (N, `num_uniforms`).
            options: Values that are fixed rather than drawn, checked by `check_options`.
        """

    def next_controls(self, controls: Array, joints: Array, actions: Array) -> Array:
        """Inputs of the driven actuators after an action.

        Args:
            controls: Their present inputs, (N, n).
            joints: Positions of their joints, (N, n).
            actions: Actions, finite, (N, A); those out of the action space are clipped.
        """

    def forces(self, now: Evaluation, elapsed: Array, parameters: dict[str, Array]) -> Array:
        """Force and torque on the body that is pushed, in a step: see `Engine.step`, (N, 6).

        Args:
            now: The worlds before it.
            elapsed: Control steps since the reset, (N,), integer.
            parameters: Those of `Episodes`, of all worlds.
        """

    def disturbed(
        self, images: dict[str, Array], elapsed: Array, parameters: dict[str, Array]
    ) -> dict[str, Array]:
        """What sensors with faults make of images (N, C, H, W), by key; arguments as `forces`."""

    def evaluate(self, physics: PhysicsState, parameters: dict[str, Array]) -> Evaluation:
        """What the state of the worlds means.

        Args:
            physics: The state.
            parameters: Those of `Episodes`, of all worlds.
        """

    def reward(self, before: dict[str, Array], now: Evaluation) -> dict[str, Array]:
        """Weighted terms of the dense reward of a step, (N,) each.

        Args:
            before: Potentials before it.
            now: The worlds after it.
        """

    def vectors(self, now: Evaluation, parameters: dict[str, Array]) -> dict[str, Array]:
        """Observations that are vectors, of the modalities of the settings, float32."""

    def expert_action(self, now: Evaluation, parameters: dict[str, Array]) -> Array:
        """What the scripted expert does, from the whole state, (N, A), in [-1, 1]."""

    def poses(self, now: Evaluation) -> Array:
        """What probes read out, the columns of `pose_labels`, (N, P)."""

    def capture_range(self) -> dict[str, float]:
        """How far off a pose label may be and the task still succeed uncorrected, if known."""

    def labels(self, now: Evaluation) -> dict[str, Array]:
        """Numbers of the states that a data set keeps besides poses, (N,) each."""

    def regions(self, labels: Mapping[str, Array]) -> dict[str, Array]:
        """Flags of the states that decide the task, (n,) each, the widest region first.

        Args:
            labels: Columns of `labels`, of worlds or of a data set's rows.
        """

    def timeouts(self, labels: Mapping[str, Array]) -> dict[str, Array]:
        """Flags of where episodes end when time is over, (n,) each, by cause of failure.

        The first that holds counts; one does for every state.

        Args:
            labels: Columns of `labels`.
        """

    def behaviours(self, num_worlds: int, mixture: Any, rng: np.random.Generator) -> Behaviours:
        """What worlds do that experience is collected from.

        Args:
            num_worlds: Worlds.
            mixture: How often each behaviour is drawn, a `mixture_type`.
            rng: Source of all randomness.
        """

    def render_spec(self) -> mujoco.MjSpec:
        """The scene as people see it: `qpos` and mocap bodies as in the models."""

    def show_variant(self, model: mujoco.MjModel, variant: int) -> None:
        """Show the parts of one variant in a compiled `render_spec`, and hide the others'."""

    def panel(self, info: Mapping[str, Any]) -> Any:
        """What the sensor panel says of a world, a `vtenv.rendering.panel.PanelText`."""
