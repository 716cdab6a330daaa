"""What a policy is trained from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from policies.environment_settings import settings_from_json, settings_to_json
from policies.hyperparameters import merge, preset
from policies.learners.algorithms import ALGORITHMS, DISTILLATION, arguments
from policies.representations import END_TO_END
from vtenv.engines import ENGINE_NAMES

CRITIC_WARMUP = "critic_warmup_steps"
"""A hyperparameter of PPO beside its arguments: steps in which the critic learns alone."""

_EVALUATIONS = 20
"""Evaluations, and checkpoints, of a run, unless told otherwise."""
_EPISODES = {"cpu": 100, "warp": 400}
"""Episodes of an evaluation, by engine."""
_WHOLE_EPISODES = 500
"""Least control steps of a world between checkpoints, at which episodes are cut off."""
_CURRICULUM = 0.1
"""Part of the initial state's ranges that reinforcement learning from scratch begins with."""


@dataclass(frozen=True)
class TrainConfig:
    """What decides the result of a training run. Saved with it.

    None stands for what the algorithm's preset has; see `resolved`.

    Raises:
        ValueError: If a value is not allowed; names it and what is.
    """

    representation: str = "state"
    """What the policy sees, as `make_representation` takes it."""
    algorithm: str = "ppo"
    """One of `ALGORITHMS`."""
    steps: int | None = None
    """The budget: control steps, all worlds together."""
    max_minutes: float | None = None
    """The budget: time; the budget that ends first counts."""
    seed: int = 0
    """Of weights, worlds, exploration and minibatches."""
    num_envs: int | None = None
    """Worlds that are stepped together."""
    engine: str = "cpu"
    """One of `vtenv.engines.ENGINE_NAMES`."""
    device: str | None = None
    """Where the policy learns, and the Warp engine runs; None for "cuda:0" with that engine and
    "cpu" otherwise."""
    num_threads: int | None = None
    """Threads of the CPU engine, the encoder and PyTorch; None for one a core."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `VTInsert-v0`, but for `modalities`."""
    start: str | None = None
    """Folder of a run whose policy training starts from."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """What is different from the algorithm's preset, by name."""
    curriculum: float | None = None
    """Part of the initial state's ranges to begin with, in (0, 1]; it grows with success. 1 for
    none."""
    evaluate_every: int | None = None
    """Steps between evaluations."""
    evaluation_episodes: int | None = None
    """Episodes of each."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; an interruption that is no Ctrl-C loses at most so many."""

    def __post_init__(self) -> None:
        _require(
            self.algorithm in ALGORITHMS,
            "algorithm",
            self.algorithm,
            f"one of {', '.join(ALGORITHMS)}",
        )
        _require(
            self.engine in ENGINE_NAMES, "engine", self.engine, f"one of {', '.join(ENGINE_NAMES)}"
        )
        for name in (
            "steps",
            "max_minutes",
            "num_envs",
            "num_threads",
            "evaluate_every",
            "evaluation_episodes",
            "checkpoint_every",
        ):
            value = getattr(self, name)
            _require(value is None or value > 0, name, value, "positive")
        _require(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 4,294,967,295")
        part = self.curriculum
        _require(part is None or 0 < part <= 1, "curriculum", part, "in (0, 1]")
        if self.algorithm == DISTILLATION:
            # The expert knows the way from anywhere.
            _require(part in (None, 1), "curriculum", part, f"left out for {DISTILLATION}")
        allowed = [*arguments(self.algorithm), "policy_kwargs"]
        if self.algorithm == "ppo":
            allowed.append(CRITIC_WARMUP)
        for name in self.hyperparameters:
            _require(
                name in allowed,
                "hyperparameters",
                name,
                f"of {self.algorithm}: {', '.join(sorted(allowed))}",
            )

    @property
    def torch_device(self) -> str:
        """Where the policy learns."""
        return self.device or ("cuda:0" if self.engine == "warp" else "cpu")

    @property
    def reinforcement(self) -> bool:
        """Whether the policy learns from rewards rather than from the expert."""
        return self.algorithm != DISTILLATION

    def resolved(self) -> Self:
        """This configuration with everything said that was left to the preset."""
        chosen = preset(
            self.algorithm,
            {
                "warp": self.engine == "warp",
                "pixels": self.representation == END_TO_END,
                "start": self.start is not None,
            },
        )
        steps = self.steps or chosen.pop("n_timesteps")
        num_envs = self.num_envs or chosen.pop("n_envs")
        for name in ("n_timesteps", "n_envs"):
            chosen.pop(name, None)
        scratch = self.reinforcement and self.start is None
        often = math.ceil(steps / _EVALUATIONS)
        return replace(
            self,
            steps=steps,
            num_envs=num_envs,
            hyperparameters=merge(chosen, self.hyperparameters),
            curriculum=self.curriculum or (_CURRICULUM if scratch else 1.0),
            evaluate_every=self.evaluate_every or often,
            evaluation_episodes=self.evaluation_episodes or _EPISODES[self.engine],
            checkpoint_every=self.checkpoint_every or max(often, _WHOLE_EPISODES * num_envs),
        )

    def as_json(self) -> dict[str, Any]:
        """The fields, as `json` takes them."""
        document = {f.name: getattr(self, f.name) for f in fields(self)}
        document["settings"] = settings_to_json(self.settings)
        plain: dict[str, Any] = json.loads(json.dumps(document))
        return plain

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The configuration that `as_json` described.

        Args:
            document: Its fields.

        Raises:
            ValueError: If a field is unknown or not allowed.
        """
        if unknown := set(document) - {f.name for f in fields(cls)}:
            raise ValueError(f"a configuration of training has no {', '.join(sorted(unknown))}")
        settings = settings_from_json(document.get("settings", {}))
        return cls(**{**document, "settings": settings})


def _require(condition: bool, name: str, given: object, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{name}={given!r} is not allowed; {name} must be {allowed}")
