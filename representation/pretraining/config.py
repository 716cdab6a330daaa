"""What a training run is made from, and its learning rate."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from representation.encoder_config import EncoderConfig
from representation.require import require, unbox_scalars

Schedule = Literal["constant", "exponential", "cosine"]
Selection = Literal["lowest_loss", "last"]
Precision = Literal["auto", "32-true", "bf16-mixed"]
Weights = Literal["float32", "float16"]

BUDGETS = ("epochs", "max_steps", "max_minutes")
_CHOICES = {
    "schedule": get_args(Schedule),
    "select": get_args(Selection),
    "precision": get_args(Precision),
    "weights": get_args(Weights),
}


@dataclass(frozen=True)
class PretrainConfig:
    """What decides the result of a training run, data apart. Saved with it.

    Names of networks, objectives and augmentations are looked up where they are built, or by
    `representation.pretraining.initial_encoder.require_buildable`: this needs no torch.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The encoder to train."""
    objective: str | Mapping[str, float] = "infonce"
    """A name of `OBJECTIVES`; or weights by name, for their sum."""
    objective_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Arguments of the objectives by name."""
    augment: str | Sequence[str] = "none"
    """A preset of augmentations ("none", "occlusion", "contrastive"), or their names."""
    augment_options: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Settings of augmentations by name."""
    pretrained: bool = False
    """Whether the backbones start from ImageNet weights."""
    start: str | None = None
    """An encoder (a bundled name, a folder or a hub id) whose backbones training starts from, for
    the images that both have; None for new ones."""
    batch_size: int = 64
    """Samples in a step, over all processes."""
    epochs: int | None = 50
    """The budget: passes through the data; None where another budget is given."""
    max_steps: int | None = None
    """The budget: steps of the optimizer."""
    max_minutes: float | None = None
    """The budget: time, with decoding, evaluation and checkpoints."""
    learning_rate: float = 1e-3
    """Highest learning rate of AdamW."""
    schedule: Schedule = "cosine"
    """How the rate falls: "constant"; "exponential", by `gamma` after each epoch, as in the paper;
    "cosine", to 0 at the end of the budget."""
    gamma: float = 0.95
    """What the exponential schedule multiplies the rate by after each epoch."""
    warmup: float = 0.0
    """Part of the budget in which the rate rises from 0, in [0, 1)."""
    weight_decay: float = 0.01
    """Of AdamW; weights of one dimension (biases, norms) are spared."""
    clip_norm: float | None = None
    """Largest norm of the gradient; None for any."""
    select: Selection = "lowest_loss"
    """Which epoch's weights are the result: "lowest_loss", in training, as in the paper; or
    "last", for losses that are not alike from epoch to epoch, such as that of a filling queue."""
    precision: Precision = "auto"
    """"32-true" or "bf16-mixed"; "auto" for the second on CUDA and the first elsewhere."""
    channels_last: bool | None = None
    """Memory format of convolutions; None for channels last on CUDA."""
    weights: Weights = "float32"
    """What the encoder's weights are saved in; float16 takes half the space."""
    compile: bool = False
    """Whether `torch.compile` compiles encoder and objective, which takes a minute at the start."""
    cuda_graph: bool | None = None
    """Whether steps run as one CUDA graph, in which a number that Python computes stays what it was
    at the capture; None for bundled objectives and augmentations, on one CUDA GPU, without
    `compile`."""
    seed: int = 0
    """Of initial weights, order, augmentation and masking."""

    def __post_init__(self) -> None:
        unbox_scalars(self)
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"the budget is given by {' and '.join(given) or 'nothing'}; set one of "
                f"{', '.join(BUDGETS)}, and the others to None"
            )
        require(getattr(self, given[0]) > 0, given[0], getattr(self, given[0]), "positive")
        for name, options in _CHOICES.items():
            value = getattr(self, name)
            require(value in options, name, value, f"one of {', '.join(options)}")
        clipped = self.clip_norm is None or self.clip_norm > 0
        for name, allowed, text in (
            ("objective", bool(self.objective), "one or more"),
            ("start", not (self.start and self.pretrained), "None if pretrained"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("learning_rate", self.learning_rate > 0, "positive"),
            ("gamma", 0 < self.gamma <= 1, "in (0, 1]"),
            ("warmup", 0 <= self.warmup < 1, "in [0, 1)"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("clip_norm", clipped, "positive, or None"),
            ("seed", self.seed >= 0, "at least 0"),
        ):
            require(allowed, name, getattr(self, name), text)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives."""
        return (self.objective,) if isinstance(self.objective, str) else tuple(self.objective)

    @property
    def keys(self) -> tuple[str, ...]:
        """What a batch must hold."""
        from representation.names import require_objectives

        require_objectives(self.objectives)
        from representation.objectives.combine import OBJECTIVES

        keys = list(self.encoder.keys)
        for name in self.objectives:
            objective = OBJECTIVES[name]
            keys += [f"next_{key}" for key in self.encoder.keys if objective.reads_next]
            keys += objective.keys
        return tuple(dict.fromkeys(keys))

    @property
    def channels(self) -> dict[str, int]:
        """Channels of images that the encoder takes, by key."""
        return {key: shape[0] for key, shape in self.encoder.images.items()}

    def as_json(self) -> dict[str, Any]:
        """The fields, as `json` takes them."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def objective_text(objective: str | Mapping[str, float]) -> str:
    """An objective as the command line takes it."""
    if isinstance(objective, str):
        return objective
    return ",".join(f"{name}={weight:g}" for name, weight in objective.items())


def learning_rate(config: PretrainConfig, epoch: int, fraction: float) -> float:
    """The learning rate of a step; a function of where it stands alone.

    Args:
        config: The configuration.
        epoch: The epoch, from 0.
        fraction: Part of the budget that is used up, in [0, 1].
    """
    if fraction < config.warmup:
        return config.learning_rate * fraction / config.warmup
    if config.schedule == "exponential":
        return config.learning_rate * config.gamma**epoch
    if config.schedule == "cosine":
        along = (fraction - config.warmup) / (1.0 - config.warmup)
        return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(along, 1.0)))
    return config.learning_rate
