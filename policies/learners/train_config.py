"""What a policy is trained from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal, Self

import tyro

from policies.choices import default
from policies.representation_names import END_TO_END
from policies.seeds import seeds_from
from representation.require import require, unbox_scalars

AlgorithmName = Literal["ppo", "sac", "tqc", "recurrent-ppo", "rsl-rl-ppo", "dagger"]
DISTILLATION = "dagger"
"""The algorithm that learns from the scripted expert; what it trains is a model of PPO."""
RSL_RL = "rsl-rl-ppo"
"""PPO of rsl_rl; what it trains is a model of PPO, too."""
CRITIC_WARMUP = "critic_warmup_steps"
"""A hyperparameter of PPO beside its arguments: steps in which the critic learns alone."""
ROLLOUT_STEPS = "num_steps_per_env"
"""A hyperparameter of rsl_rl's PPO beside its arguments: steps of a rollout."""

_EVALUATIONS = {"cpu": 20, "warp": 5}
"""Evaluations, and checkpoints, of a run, unless told otherwise, by engine. On a GPU an evaluation
takes as long as its longest episode: a hundred steps, in which thousands of worlds could learn."""
_EPISODES = {"cpu": 100, "warp": 400}
"""Episodes of an evaluation, by engine."""
_WHOLE_EPISODES = 500
"""Least control steps of a world between checkpoints, at which episodes are cut off."""
_CURRICULUM = 0.1
"""Part of the initial state's ranges that reinforcement learning from scratch begins with."""


def _of_preset(name: str) -> Any:
    """An option whose default is the presets': the help reads them."""

    def hint(_: str) -> str:
        from policies.hyperparameters import preset_values

        return f"(default: {preset_values(name)})"

    return tyro.conf.arg(help_behavior_hint=hint)


@dataclass(frozen=True)
class TrainConfig:
    """What decides the result of a training run. Saved with it.

    None stands for what the algorithm's preset has; see `resolved`.

    Raises:
        ValueError: If a value is not allowed; names it and what is.
    """

    task: str = "VTInsert-v0"
    """What to learn: an id of Gymnasium's registry, or MODULE:FUNCTION for worlds in wrappers. Its
    environment's settings are options too, such as --connectors usb pin or --clearance-mm 0.8;
    --help beside --task lists them."""
    representation: str = "state"
    """What the policy sees: state, proprio, end-to-end, random, imagenet; or an encoder: a bundled
    name, a folder or an id on the Hub, with :vision or :touch for a part of it."""
    algorithm: AlgorithmName | str = "ppo"
    """How it learns; rsl-rl-ppo is rsl_rl's, dagger distillation from the scripted expert. Or
    MODULE:NAME, a class of Stable-Baselines3's kind."""
    steps: Annotated[int | None, _of_preset("n_timesteps")] = None
    """The budget in control steps, all worlds together."""
    max_minutes: Annotated[float | None, default("no limit")] = None
    """The budget in minutes; the budget that ends first counts."""
    seed: int = 0
    """Seed of weights, worlds, exploration and minibatches; below a million."""
    num_envs: Annotated[int | None, _of_preset("n_envs")] = None
    """Worlds that are stepped together."""
    engine: Literal["cpu", "warp"] = "cpu"
    """The physics engine: cpu, or warp for thousands of worlds on a GPU."""
    device: Annotated[str | None, default("cpu, or cuda:0 with warp")] = None
    """Where the policy learns, and the Warp engine runs."""
    num_threads: Annotated[int | None, default("one a core")] = None
    """Threads of the CPU engine, the encoder and PyTorch."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What an encoder computes in; bfloat16 is for a GPU."""
    settings: tyro.conf.Suppress[Mapping[str, Any]] = field(default_factory=dict)
    """Keyword arguments of the environment, but for `modalities`."""
    start: Annotated[str | None, default("from scratch")] = None
    """Folder of a run whose policy to start from."""
    hyperparameters: tyro.conf.Suppress[Mapping[str, Any]] = field(default_factory=dict)
    """What is different from the algorithm's preset, by name."""
    curriculum: Annotated[
        float | None, default(f"{_CURRICULUM}; 1 with --start and for {DISTILLATION}")
    ] = None
    """Part of the initial state's ranges to begin with, above 0; it grows with success. 1 for no
    curriculum."""
    evaluate_every: Annotated[
        int | None,
        default(", ".join(f"{n} times a run with {engine}" for engine, n in _EVALUATIONS.items())),
    ] = None
    """Steps between evaluations."""
    evaluation_episodes: Annotated[
        int | None, default(", ".join(f"{n} with {engine}" for engine, n in _EPISODES.items()))
    ] = None
    """Episodes of each."""
    checkpoint_every: Annotated[int | None, default("as evaluations, or rarer")] = None
    """Steps between checkpoints; an interruption that is no Ctrl-C loses at most so many."""
    filmed: int = 1
    """Most successes and failures of each connector in the video; 0 for no video."""

    def __post_init__(self) -> None:
        unbox_scalars(self)
        algorithms = AlgorithmName.__args__  # type: ignore[attr-defined]
        known = self.algorithm in algorithms or ":" in self.algorithm
        listed = f"one of {', '.join(algorithms)}, or MODULE:NAME"
        require(known, "algorithm", self.algorithm, listed)
        require(self.engine in ("cpu", "warp"), "engine", self.engine, "one of cpu, warp")
        for name in (
            *("steps", "max_minutes", "num_envs", "num_threads"),
            *("evaluate_every", "evaluation_episodes", "checkpoint_every"),
        ):
            value = getattr(self, name)
            require(value is None or value > 0, name, value, "positive")
        seeds_from("training", self.seed, self.num_envs or 1)
        if "connectors" in self.settings:
            from vtenv.tasks.insertion.generated import require_trainable  # imports MuJoCo

            require_trainable(self.settings["connectors"])
        require(self.filmed >= 0, "filmed", self.filmed, "0 or more")
        part = self.curriculum
        require(part is None or 0 < part <= 1, "curriculum", part, "in (0, 1]")
        if self.algorithm == DISTILLATION:
            # The expert knows the way from anywhere.
            require(part in (None, 1), "curriculum", part, f"left out for {DISTILLATION}")
        if self.hyperparameters:
            from policies.learners.algorithms import arguments

            allowed = sorted([*arguments(self.algorithm), "policy_kwargs"])
            if self.algorithm in ("ppo", RSL_RL):
                allowed.append(CRITIC_WARMUP)
            listed = f"of {self.algorithm}: {', '.join(allowed)}"
            for name in self.hyperparameters:
                require(name in allowed, "hyperparameters", name, listed)

    @property
    def torch_device(self) -> str:
        """Where the policy learns."""
        return self.device or ("cuda:0" if self.engine == "warp" else "cpu")

    @property
    def worlds(self) -> dict[str, Any]:
        """Keyword arguments of `Representation.make`, for training and for evaluating alike."""
        return {
            "engine": self.engine,
            "device": self.device,
            "num_threads": self.num_threads,
            "precision": self.precision,
            "observations": "numpy" if self.engine == "cpu" else "torch",
            **self.settings,
        }

    @property
    def reinforcement(self) -> bool:
        """Whether the policy learns from rewards rather than from the expert."""
        return self.algorithm != DISTILLATION

    def resolved(self) -> Self:
        """This configuration with everything said that was left to the preset."""
        from policies.hyperparameters import merge, preset

        chosen = preset(
            self.algorithm,
            {
                "warp": self.engine == "warp",
                "pixels": self.representation == END_TO_END,
                "start": self.start is not None,
            },
        )
        steps, num_envs = chosen.pop("n_timesteps"), chosen.pop("n_envs")
        steps, num_envs = self.steps or steps, self.num_envs or num_envs
        scratch = self.reinforcement and self.start is None
        often = math.ceil(steps / _EVALUATIONS[self.engine])
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
        """The fields, as `json` takes them, and `vtenv.json_document.from_document` reads them."""
        from policies.worlds import settings_to_json

        document = {f.name: getattr(self, f.name) for f in fields(self)}
        document["settings"] = settings_to_json(self.settings)
        plain: dict[str, Any] = json.loads(json.dumps(document))
        return plain
