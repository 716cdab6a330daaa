"""What a training run is made from, and its learning rate."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch

from representation.augmentations import Augment
from representation.data.sources import Split, require_columns
from representation.encoder_config import EncoderConfig
from representation.objectives.combine import OBJECTIVES
from representation.objectives.pose import pose_statistics
from vtenv.modalities import IMAGE_MODALITIES
from vtenv.tasks.insertion.pose_labels import POSE_LABELS

SCHEDULES = ("constant", "exponential", "cosine")
SELECTIONS = ("lowest_loss", "last")
PRECISIONS = ("auto", "32-true", "bf16-mixed")

_BUDGETS = ("epochs", "max_steps", "max_minutes")


def _require(condition: bool, name: str, given: object, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{name}={given!r} is not allowed; {name} must be {allowed}")


@dataclass(frozen=True)
class PretrainConfig:
    """What decides the result of a training run, data apart. Saved with it.

    Raises:
        ValueError: If a value is not allowed; names it and what is.
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
    the modalities that both have; None for new ones."""
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
    schedule: str = "cosine"
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
    select: str = "lowest_loss"
    """Which epoch's weights are the result: "lowest_loss", in training, as in the paper; or
    "last", for losses that are not alike from epoch to epoch, such as that of a filling queue."""
    precision: str = "auto"
    """"32-true" or "bf16-mixed"; "auto" for the second on CUDA and the first elsewhere."""
    channels_last: bool | None = None
    """Memory format of convolutions; None for channels last on CUDA."""
    compile: bool = False
    """Whether `torch.compile` compiles the encoder, which takes a minute at the start."""
    seed: int = 0
    """Of initial weights, order, augmentation and masking."""

    def __post_init__(self) -> None:
        names = [self.objective] if isinstance(self.objective, str) else list(self.objective)
        known = bool(names) and set(names) <= set(OBJECTIVES)
        allowed = f"one or more of {', '.join(OBJECTIVES)}"
        _require(known, "objective", self.objective, allowed)
        Augment(self.augment, self.augment_options)
        given = [name for name in _BUDGETS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"the budget is given by {' and '.join(given) or 'nothing'}; set one of "
                f"{', '.join(_BUDGETS)}, and the others to None"
            )
        _require(getattr(self, given[0]) > 0, given[0], getattr(self, given[0]), "positive")
        _require(not (self.start and self.pretrained), "start", self.start, "None if pretrained")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "positive")
        _require(0 < self.gamma <= 1, "gamma", self.gamma, "in (0, 1]")
        _require(0 <= self.warmup < 1, "warmup", self.warmup, "in [0, 1)")
        _require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        clipped = self.clip_norm is None or self.clip_norm > 0
        _require(clipped, "clip_norm", self.clip_norm, "positive, or None")
        for name, options in (
            ("schedule", SCHEDULES),
            ("select", SELECTIONS),
            ("precision", PRECISIONS),
        ):
            value = getattr(self, name)
            _require(value in options, name, value, f"one of {', '.join(options)}")
        _require(self.seed >= 0, "seed", self.seed, "at least 0")

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives."""
        return (self.objective,) if isinstance(self.objective, str) else tuple(self.objective)

    @property
    def keys(self) -> tuple[str, ...]:
        """What a batch must hold."""
        keys = list(self.encoder.keys)
        for name in self.objectives:
            objective = OBJECTIVES[name]
            keys += [f"next_{key}" for key in self.encoder.keys if objective.reads_next]
            keys += objective.keys
        return tuple(dict.fromkeys(keys))

    def as_json(self) -> dict[str, Any]:
        """The fields, as `json` takes them."""
        document = asdict(self)
        for name in ("augment", "objective"):  # any sequence or mapping will do
            value = getattr(self, name)
            if not isinstance(value, str):
                document[name] = dict(value) if isinstance(value, Mapping) else list(value)
        plain: dict[str, Any] = json.loads(json.dumps(document))
        return plain

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The configuration that `as_json` described.

        Args:
            document: Its fields.

        Returns:
            The configuration.

        Raises:
            ValueError: If a field is unknown or not allowed.
        """
        known = {field.name for field in fields(cls)}
        if unknown := set(document) - known:
            raise ValueError(f"a configuration of training has no {', '.join(sorted(unknown))}")
        settings = dict(document)
        if "encoder" in settings:
            try:
                settings["encoder"] = EncoderConfig(**settings["encoder"])
            except TypeError as error:
                raise ValueError(f"the encoder's configuration is wrong: {error}") from error
        return cls(**settings)


def fit_to_split(
    config: PretrainConfig,
    split: Split,
    *,
    image_size: int | None = None,
    contact_size: int | None = None,
) -> PretrainConfig:
    """Take from the data what the configuration leaves to it, and check that they fit.

    The images' sizes; and the mean and deviation of each pose label, where poses are regressed
    and these are not given.

    Args:
        config: The configuration.
        split: The data of training.
        image_size: Size that the depth image must have; None for any.
        contact_size: Size that a contact mask must have; None for any.

    Returns:
        The configuration for this data.

    Raises:
        ValueError: If the data lacks a column, or has another size or fewer channels.
    """
    require_columns(split, config.keys)
    encoder = config.encoder
    encoder = with_sizes(config.encoder, image_size=image_size, contact_size=contact_size)
    first = split.read(np.zeros(1, dtype=np.int64), encoder.keys)
    asked = {"image_size": image_size, "contact_size": contact_size}
    images = {}
    for key, (channels, *sides) in encoder.images.items():
        found, *size = first[key].shape[1:]
        name = IMAGE_MODALITIES[key].size_setting if key in IMAGE_MODALITIES else None
        if name is not None and asked.get(name) is not None and size != sides:
            raise ValueError(
                f"{name}={asked[name]}, but {key} in the data set has {size[0]} x {size[1]} "
                f"pixels; leave {name} out, or make a data set of {asked[name]} pixels"
            )
        if found < channels:
            raise ValueError(
                f"the encoder takes {channels} channels of {key}, and the data set has {found}"
            )
        images[key] = (channels, size[0], size[1])
    options = {name: dict(given) for name, given in config.objective_options.items()}
    if "pose" in config.objectives and not {"mean", "std"} & set(options.get("pose", {})):
        poses = split.read(np.arange(len(split)), ["pose"])["pose"]
        if poses.shape[1] != len(POSE_LABELS):
            raise ValueError(
                f"objective 'pose' predicts {', '.join(POSE_LABELS)}, and the data set's poses "
                f"have {poses.shape[1]} numbers; make a data set of experience"
            )
        mean, std = pose_statistics(torch.from_numpy(poses))
        options["pose"] = options.get("pose", {}) | {"mean": mean, "std": std}
    return replace(config, encoder=encoder.with_images(images), objective_options=options)


def with_sizes(encoder: EncoderConfig, **sizes: int | None) -> EncoderConfig:
    """An encoder's configuration for images of other sizes.

    Args:
        encoder: The configuration.
        sizes: Rows and columns by the setting of the environment, such as `image_size`; None
            for what the configuration has.
    """
    images = {}
    for key, (channels, rows, columns) in encoder.images.items():
        record = IMAGE_MODALITIES.get(key)
        size = sizes.get(record.size_setting or "") if record is not None else None
        images[key] = (channels, rows, columns) if size is None else (channels, size, size)
    return encoder.with_images(images)


def learning_rate(config: PretrainConfig, epoch: int, fraction: float) -> float:
    """The learning rate of a step; a function of where it stands alone.

    Args:
        config: The configuration.
        epoch: The epoch, from 0.
        fraction: Part of the budget that is used up, in [0, 1].

    Returns:
        The rate.
    """
    if fraction < config.warmup:
        return config.learning_rate * fraction / config.warmup
    if config.schedule == "exponential":
        return config.learning_rate * config.gamma**epoch
    if config.schedule == "cosine":
        along = (fraction - config.warmup) / (1.0 - config.warmup)
        return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(along, 1.0)))
    return config.learning_rate
