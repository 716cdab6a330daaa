"""Who can be evaluated: the expert, chance, policies that were learned, and anybody's function."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from policies.deployable import CONFIG_FILE, DeployablePolicy, load_policy
from policies.evaluation.conditions import Condition
from policies.evaluation.episodes import Act
from policies.worlds import DEFAULT_TASK, expert, make_task, make_worlds
from representation.runtime import torch_threads
from vtenv.arrays import Array
from vtenv.simulation import Simulation
from vtenv.tasks import Task

Make = Callable[..., VectorEnv[Any, Any, Any]]


@dataclass(frozen=True)
class Player:
    """Who is evaluated: what acts, and how it sees the environment.

    Attributes:
        name: What to call it.
        act: Chooses actions.
        modalities: What it senses.
        task: The task it plays, an id of Gymnasium's registry.
        settings: The environment's settings that it was trained with.
        told: What else a report says of it, in JSON's types.
        perceive: Makes worlds as it sees them, from the arguments of `Representation.make`; None
            for the modalities as they are.
        looks: Whether it acts on what it senses; one that does not can be filmed with every sense.
    """

    name: str
    act: Act
    modalities: tuple[str, ...] = ("proprio",)
    task: str = DEFAULT_TASK
    settings: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    perceive: Make | None = None
    looks: bool = True

    def played(self, condition: Condition) -> Task:
        """The task as it is for it in a condition.

        Raises:
            ValueError, TypeError: If its settings are not allowed; says what is.
        """
        settings = condition.environment(self.modalities, self.settings)
        return make_task(self.task, {"modalities": self.modalities, **settings})

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
                episode leaves the device.
            device: Device of the Warp engine; None for "cuda:0".
            num_threads: Threads of the CPU engine; None for one a core.

        Raises:
            ValueError, TypeError: If a setting is not allowed; says what is.
        """
        settings = dict(
            engine=engine,
            device=device,
            num_threads=num_threads,
            observations="numpy" if engine == "cpu" else "torch",
            autoreset_mode=AutoresetMode.NEXT_STEP,
            **condition.environment(self.modalities, self.settings),
        )
        if self.perceive is not None:
            return self.perceive(num_envs, **settings)
        return make_worlds(self.task, num_envs, modalities=self.modalities, **settings)

    def filmed(self, modalities: tuple[str, ...]) -> Player:
        """The player for a film that shows modalities, with those that it does without."""
        return self if self.looks else dataclasses.replace(self, modalities=modalities)


def _expert(task: str) -> Player:
    """The scripted expert, on privileged state: what can be reached in a condition."""

    def act(_: Any, simulation: Simulation, __: NDArray[np.bool_]) -> Array:
        return expert(simulation)

    return Player("expert", act, task=task, looks=False)


def _random(task: str) -> Player:
    """Uniform random actions: what chance reaches."""
    generator = np.random.default_rng(0)

    def act(_: Any, simulation: Simulation, __: NDArray[np.bool_]) -> Array:
        size = simulation.task.action_space.shape
        return generator.uniform(-1.0, 1.0, (simulation.num_worlds, *size)).astype(np.float32)

    return Player("random", act, task=task, looks=False)


PLAYERS: dict[str, Callable[[str], Player]] = {"expert": _expert, "random": _random}
"""Players that need no file: what makes them for a task, by name."""


def learned(policy: DeployablePolicy, name: str = "policy") -> Player:
    """A learned policy, to be evaluated.

    Args:
        policy: The policy; it is moved to where its observations are.
        name: What to call it.
    """
    representation = policy.representation

    def perceive(num_envs: int, **settings: Any) -> VectorEnv[Any, Any, Any]:
        on_cpu = settings["observations"] != "torch"
        policy.to("cpu" if on_cpu else settings["device"] or "cuda:0")
        return representation.make(num_envs, **settings)

    def act(observation: Any, _: Simulation, started: NDArray[np.bool_]) -> Array:
        if started.any():
            policy.reset(started)
        # A few small layers: threads would wait for each other longer than they compute.
        with torch_threads(None if representation.pixels else 1):
            return policy(observation)

    return Player(
        name,
        act,
        representation.modalities,
        representation.task,
        policy.settings,
        {
            "representation": representation.name,
            "encoder_digest": representation.digest,
            "provenance": policy.provenance,
        },
        perceive,
    )


def own(source: str, task: str) -> Player:
    """Anybody's function from observations to actions.

    Args:
        source: "MODULE:NAME", the module importable, also from the current folder. What is there
            is called with a dictionary of arrays, (N, ...) by modality, and returns actions
            (N, A) in [-1, 1]. It may have `modalities`, the keys that it takes, and
            `reset(started)`, which is told in which worlds, (N,) bool, an episode starts.
        task: The task it plays.

    Raises:
        ValueError: If there is nothing to call; says why.
    """
    module, _, name = source.partition(":")
    sys.path.insert(0, "")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot load the policy {source!r}: {error}") from error
    finally:
        sys.path.remove("")
    if not callable(function):
        raise ValueError(f"{source!r} is a {type(function).__name__}, which cannot be called")
    reset = getattr(function, "reset", None)

    def act(observation: Any, _: Simulation, started: NDArray[np.bool_]) -> Array:
        if reset is not None and started.any():
            reset(started)
        action: Array = function(observation)
        return action

    default = tuple(modality.key for modality in make_task(task, {}).config.modalities)
    return Player(source, act, tuple(getattr(function, "modalities", default)), task)


def load_player(source: str, task: str | None = None) -> Player:
    """Load who is to be evaluated.

    Args:
        source: One of `PLAYERS`, a bundled policy's name, the folder of a policy or that of a
            training run, whose best policy it is; or MODULE:NAME, as `own` takes it.
        task: The task to play; None for that which a policy was trained on, or the default.

    Raises:
        ValueError: If there is no such policy, or it cannot be loaded; says why.
    """
    if source in PLAYERS:
        return PLAYERS[source](task or DEFAULT_TASK)
    if ":" in source and not Path(source).exists():
        return own(source, task or DEFAULT_TASK)
    policy = load_policy(_policy_folder(source))
    if task is not None:
        policy.representation = dataclasses.replace(policy.representation, task=task)
    return learned(policy, source)


_OF_A_RUN = ("best", "policy")
"""Folders of a training run that hold a policy, the one to take first."""


def _policy_folder(source: str) -> str | Path:
    """Where a training run keeps its best policy, or its last; anything else as it is."""
    run = Path(source).expanduser()
    for name in _OF_A_RUN:
        if (run / name / CONFIG_FILE).is_file():
            return run / name
    return source
