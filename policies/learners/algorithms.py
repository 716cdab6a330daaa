"""The algorithms that policies are trained with, and the models they train."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gymnasium.error import DependencyNotInstalled
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import LinearSchedule

from policies.features import policy_kwargs
from policies.learners.dagger_config import DaggerConfig
from policies.learners.device_ppo import DevicePPO
from policies.learners.train_config import DISTILLATION, ROLLOUT_STEPS, RSL_RL
from policies.representations import Representation
from policies.vec_env import VTInsertVecEnv
from vtenv.import_string import OpenTable, subclass_of


@dataclass(frozen=True)
class Algorithm:
    """An algorithm: a class of Stable-Baselines3, of its contributions or of rsl_rl.

    Attributes:
        title: What people call it.
        starts_from: Algorithms whose policies it can go on from.
        package: Where its class is.
        extra: The extra of this package that brings it.
        class_name: Name of its class; the title if it is empty.
        policy: Its policy on a vector.
        policy_on_images: Its policy on images.
    """

    title: str
    starts_from: tuple[str, ...]
    package: str = "stable_baselines3"
    extra: str = "contrib"
    class_name: str = ""
    policy: str = "MlpPolicy"
    policy_on_images: str = "MultiInputPolicy"

    @property
    def model(self) -> type[Any]:
        """Its class, imported.

        Raises:
            DependencyNotInstalled: If its package is not there.
        """
        try:
            module = importlib.import_module(self.package)
            found: type[Any] = getattr(module, self.class_name or self.title)
        except ImportError as error:
            raise DependencyNotInstalled(
                f"{self.title} needs {self.package} ({error}); install vtinsert[{self.extra}]"
            ) from error
        return found


def _own(name: str, found: Any) -> Algorithm:
    package, _, title = name.partition(":")
    subclass_of(BaseAlgorithm)(name, found)
    return Algorithm(title, (name,), package)


_ON_PPO = ("ppo", RSL_RL, DISTILLATION)
"""What trains a policy of Stable-Baselines3's PPO, and goes on from any other's."""
ALGORITHMS = OpenTable(
    {
        "ppo": Algorithm("PPO", _ON_PPO),
        "sac": Algorithm("SAC", ("sac",)),
        "tqc": Algorithm("TQC", ("tqc",), "sb3_contrib"),
        "recurrent-ppo": Algorithm(
            "RecurrentPPO",
            ("recurrent-ppo",),
            "sb3_contrib",
            policy="MlpLstmPolicy",
            policy_on_images="MultiInputLstmPolicy",
        ),
        RSL_RL: Algorithm("PPO of rsl_rl", _ON_PPO, "rsl_rl.algorithms", "rsl_rl", "PPO"),
        DISTILLATION: Algorithm("DAgger", _ON_PPO),
    },
    "algorithm",
    _own,
)
"""Every algorithm, by name; anybody's by `MODULE:NAME`."""

_DECIDED = {
    *("self", "policy", "env", "policy_kwargs", "tensorboard_log", "verbose", "seed", "device"),
    *("_init_setup_model", "stats_window_size"),
    # A policy with these cannot be exported to act with.
    *("use_sde", "sde_sample_freq", "use_sde_at_warmup"),
    # Of rsl_rl's PPO.
    *("actor", "critic", "storage", "rnd_cfg", "symmetry_cfg"),
    *("multi_gpu_cfg", "grad_reduce_bucket_mb"),
}
"""Arguments of a model that are no hyperparameters."""
_SCHEDULED = ("learning_rate", "clip_range", "clip_range_vf")


def arguments(algorithm: str) -> tuple[str, ...]:
    """Names of an algorithm's hyperparameters, but for those of the policy's network."""
    if algorithm == DISTILLATION:
        budget = ("steps", "seconds")
        return tuple(f.name for f in fields(DaggerConfig) if f.name not in budget)
    names = inspect.signature(ALGORITHMS[algorithm].model.__init__).parameters
    of_runner = (ROLLOUT_STEPS,) if algorithm == RSL_RL else ()
    return (*of_runner, *(name for name in names if name not in _DECIDED))


def make_model(
    algorithm: str,
    representation: Representation,
    venv: VTInsertVecEnv,
    hyperparameters: Mapping[str, Any],
    *,
    seed: int,
    device: str,
) -> BaseAlgorithm:
    """Make what is to be trained. It logs nothing of its own accord.

    Args:
        algorithm: One of `ALGORITHMS` whose class is of Stable-Baselines3's kind.
        representation: What the policy sees.
        venv: The environments.
        hyperparameters: Arguments of the algorithm, as in its file; of the others none counts.
        seed: Of the weights, and of everything else: it seeds PyTorch's, NumPy's and Python's
            generators.
        device: Where the policy learns.

    Raises:
        ValueError: If a hyperparameter has no such value.
    """
    kind = ALGORITHMS[algorithm]
    given = {
        name: hyperparameters[name] for name in arguments(algorithm) if name in hyperparameters
    }
    for name in _SCHEDULED:
        if name in given:
            given[name] = _schedule(name, given[name])
    if isinstance(given.get("train_freq"), list):
        given["train_freq"] = tuple(given["train_freq"])
    if "n_epochs" in given:
        rollout = given["n_steps"] * venv.num_envs
        given["batch_size"] = min(given["batch_size"], rollout)  # a few worlds make no more
    model_type = kind.model
    if algorithm == "ppo" and getattr(venv.envs.unwrapped, "tensors", False):
        model_type = DevicePPO
    network = policy_kwargs(representation) | dict(hyperparameters.get("policy_kwargs", {}))
    with warnings.catch_warnings():
        # It would rather have small networks on a CPU; the worlds are on the GPU.
        warnings.filterwarnings("ignore", message="You are trying to run", category=UserWarning)
        try:
            model: BaseAlgorithm = model_type(
                kind.policy_on_images if representation.pixels else kind.policy,
                venv,
                policy_kwargs=network,
                seed=seed,
                device=device,
                **given,
            )
        except (AssertionError, TypeError) as error:
            raise ValueError(f"{algorithm} takes no such hyperparameters: {error}") from error
    model.set_logger(Logger(None, []))
    return model


def _schedule(name: str, value: Any) -> Any:
    """A number, or rl-zoo's "lin_0.001": falling to 0 with the budget."""
    if not isinstance(value, str):
        return value
    kind, _, start = value.partition("_")
    try:
        if kind == "lin":
            return LinearSchedule(float(start), 0.0, 1.0)
    except ValueError:
        pass
    raise ValueError(f'{name}={value!r} is not allowed; it must be a number, or "lin_NUMBER"')
