"""Who can be evaluated: any callable from observation to action, the expert, and chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from policies.deployable import DeployablePolicy, load_policy
from policies.evaluation.conditions import Condition
from policies.evaluation.episodes import Act
from policies.evaluation.judge import import_function
from policies.policy_files import of_a_run
from policies.representation_names import EXPERT, RANDOM, is_function
from policies.worlds import DEFAULT_TASK
from representation.runtime import torch_threads
from vtenv.arrays import Array
from vtenv.expert_policy import expert_actions
from vtenv.registry import make_task, make_worlds
from vtenv.simulation import Simulation
from vtenv.tasks import Task


@dataclass(frozen=True)
class Player:
    """Who is evaluated: what acts, and how it sees the environment.

    Attributes:
        name: What to call it.
        act: Chooses actions.
        task: The task it plays, an id of Gymnasium's registry.
        modalities: What it senses.
        settings: The environment's settings that it was trained with.
        told: What else a report says of it, in JSON's types.
        policy: The policy that it is, whose representation makes worlds as it sees them; None for
            the modalities as they are.
        looks: Whether it acts on what it senses; one that does not can be filmed with every sense.
    """

    name: str
    act: Act
    task: str = DEFAULT_TASK
    modalities: tuple[str, ...] = ("proprio",)
    settings: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    policy: DeployablePolicy | None = None
    looks: bool = True

    def played(self, condition: Condition) -> Task:
        """The task as it is for it in a condition.

        Raises:
            ValueError, TypeError: If its settings are not allowed; says what is.
        """
        settings = condition.environment(self.modalities, self.settings)
        return make_task(self.task, modalities=self.modalities, **settings)

    def make(
        self,
        condition: Condition,
        num_envs: int,
        *,
        engine: str = "cpu",
        device: str | None = None,
        num_threads: int | None = None,
    ) -> VectorEnv[Any, Any, Any]:
        """Worlds of a condition, for `episodes.play`.

        Args:
            condition: What they are like.
            num_envs: How many.
            engine: One of `vtenv.engines.ENGINE_NAMES`; on "warp", nothing but what comes of an
                episode leaves the device, and an encoder computes in the precision in which the
                policy was trained.
            device: Device of the Warp engine; None for "cuda:0".
            num_threads: Threads of the CPU engine; None for one a core.

        Raises:
            ValueError, TypeError: If a setting is not allowed; says what is.
        """
        settings: dict[str, Any] = {
            "engine": engine,
            "device": device,
            "num_threads": num_threads,
            "observations": "numpy" if engine == "cpu" else "torch",
            "autoreset_mode": AutoresetMode.NEXT_STEP,
            **condition.environment(self.modalities, self.settings),
        }
        if self.policy is None:
            return make_worlds(self.task, num_envs, modalities=self.modalities, **settings)
        self.policy.to("cpu" if engine == "cpu" else device or "cuda:0")
        if engine != "cpu":
            settings["precision"] = self.policy.provenance.get("precision", "float32")
        return self.policy.representation.make(num_envs, **settings)

    def filmed(self, modalities: tuple[str, ...]) -> Player:
        """The player for a film that shows modalities, with those that it does without."""
        return self if self.looks else dataclasses.replace(self, modalities=modalities)


def player_of(
    policy: Callable[[Any], Array], name: str = "policy", task: str = DEFAULT_TASK
) -> Player:
    """The player of any callable from observation to action.

    Args:
        policy: A `DeployablePolicy`, which sees as it was trained, and is moved to where its
            observations are; or what is called with a dictionary of arrays, (N, ...) by modality,
            and returns actions (N, A) in [-1, 1]. It may have `modalities`, the keys that it
            takes, and `reset(started)`, which is told in which worlds, (N,) bool, an episode
            starts.
        name: What to call it.
        task: The task it plays; that of a `DeployablePolicy` is its representation's.
    """
    reset = getattr(policy, "reset", None)

    def act(observation: Any, _: Simulation, started: NDArray[np.bool_]) -> Array:
        if reset is not None and started.any():
            reset(started)
        return policy(observation)

    if not isinstance(policy, DeployablePolicy):
        default = tuple(modality.key for modality in make_task(task).config.modalities)
        return Player(name, act, task, tuple(getattr(policy, "modalities", default)))

    seen = policy.representation

    def act_alone(*arguments: Any) -> Array:
        # A few small layers: threads would wait for each other longer than they compute.
        with torch_threads(None if seen.pixels else 1):
            return act(*arguments)

    told = {
        "representation": seen.name,
        "encoder_digest": seen.digest,
        "provenance": policy.provenance,
    }
    return Player(name, act_alone, seen.task, seen.modalities, policy.settings, told, policy)


def load_player(source: str, task: str | None = None) -> Player:
    """Load who is to be evaluated.

    Args:
        source: `EXPERT`, `RANDOM`, a bundled policy's name, the folder of a policy or that of a
            training run, whose best policy it is; or "MODULE:NAME", a callable as `player_of`
            takes it, of a module that can be imported, also from the current folder.
        task: The task to play; None for that which a policy was trained on, or the default.

    Raises:
        ValueError: If there is no such policy, or it cannot be loaded; says why.
    """
    if source == EXPERT:
        return Player(
            source,
            lambda _, simulation, __: expert_actions(simulation),
            task or DEFAULT_TASK,
            looks=False,
        )
    if source == RANDOM:
        return Player(source, _random(), task or DEFAULT_TASK, looks=False)
    if is_function(source):
        return player_of(import_function(source), source, task or DEFAULT_TASK)
    policy = load_policy(of_a_run(source))
    if task is not None:
        policy.representation = dataclasses.replace(policy.representation, task=task)
    return player_of(policy, source)


def _random() -> Act:
    """Uniform random actions, the same each time."""
    generator = np.random.default_rng(0)

    def act(_: Any, simulation: Simulation, __: NDArray[np.bool_]) -> Array:
        shape = (simulation.num_worlds, *simulation.task.action_space.shape)
        return generator.uniform(-1.0, 1.0, shape).astype(np.float32)

    return act
