"""Who can be evaluated: the scripted expert, and policies that were learned."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from policies.deployable import CONFIG_FILE, DeployablePolicy, load_policy
from policies.evaluation.conditions import Condition
from policies.evaluation.episodes import Act, expert_acts
from vtenv.simulation import Simulation
from vtenv.state import Array
from vtenv.tasks.insertion.config import VTInsertConfig
from vtenv.vector_env import VTInsertVectorEnv


@dataclass(frozen=True)
class Player:
    """Who is evaluated: what acts, and how it sees the environment.

    Attributes:
        name: What to call it.
        act: Chooses actions.
        make: Makes worlds that it can act in; takes the arguments of `Representation.make`.
        modalities: What it senses.
        settings: The environment's settings that it was trained with.
        told: What else a report says of it, in JSON's types.
    """

    name: str
    act: Act
    make: Callable[..., VectorEnv[Any, Any, Any]]
    modalities: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)

    def config(self, condition: Condition) -> VTInsertConfig:
        """The environment's settings for it in a condition.

        Raises:
            ValueError, TypeError: If they are not allowed; says what is.
        """
        settings = condition.environment(self.modalities, self.settings)
        return VTInsertConfig.from_settings(modalities=self.modalities, **settings)

    def worlds(
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
        return self.make(
            num_envs,
            engine=engine,
            device=device,
            num_threads=num_threads,
            observations="numpy" if engine == "cpu" else "torch",
            autoreset_mode=AutoresetMode.NEXT_STEP,
            **condition.environment(self.modalities, self.settings),
        )


EXPERT = Player(
    "expert",
    expert_acts,
    functools.partial(VTInsertVectorEnv, modalities=("proprio",)),
    ("proprio",),
)
"""The scripted expert, on privileged state: what can be reached in a condition."""


def learned(policy: DeployablePolicy, name: str = "policy") -> Player:
    """A learned policy, to be evaluated.

    Args:
        policy: The policy; it is moved to where its observations are.
        name: What to call it.
    """

    def make(num_envs: int, **arguments: Any) -> VectorEnv[Any, Any, Any]:
        envs = policy.representation.make(num_envs, **arguments)
        on_cpu = arguments.get("observations") != "torch"
        policy.to("cpu" if on_cpu else arguments.get("device") or "cuda:0")
        return envs

    def act(observation: Any, _: Simulation, started: NDArray[np.bool_]) -> Array:
        if started.any():
            policy.reset(started)
        # A few small layers: threads would wait for each other longer than they compute.
        with contextlib.nullcontext() if representation.pixels else _one_thread():
            return policy(observation)

    representation = policy.representation
    told = {
        "representation": representation.name,
        "encoder_digest": representation.digest,
        "provenance": policy.provenance,
    }
    return Player(name, act, make, representation.modalities, policy.settings, told)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch use one thread of the CPU inside, and as many as before outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def load_player(source: str) -> Player:
    """Load who is to be evaluated.

    Args:
        source: "expert", a bundled policy's name, the folder of a policy, or that of a training
            run, whose best policy it is.

    Raises:
        PolicyError: If there is no such policy, or it cannot be loaded; says why.
    """
    if source == EXPERT.name:
        return EXPERT
    return learned(load_policy(_policy_folder(source)), source)


_OF_A_RUN = ("best", "policy")
"""Folders of a training run that hold a policy, the one to take first."""


def _policy_folder(source: str) -> str | Path:
    """Where a training run keeps its best policy, or its last; anything else as it is."""
    run = Path(source).expanduser()
    for name in _OF_A_RUN:
        if (run / name / CONFIG_FILE).is_file():
            return run / name
    return source
