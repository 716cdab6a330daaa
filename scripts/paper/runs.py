"""The runs of the paper's study: what is trained, in the order of its value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from representation.encoder_config import EncoderConfig
from representation.pretraining.config import PretrainConfig
from representation.pretraining.presets import preset

GRASP_DEPTH_RANGE = (0.405, 0.435)
"""Depths that our own runs tell apart, in [m]: from above the connectors to the table."""
OCCLUDER_SIZE = 0.8
"""Largest side of an occluder of the study, as a part of the image's: objects are covered from not
at all, a quarter of them, to wholly, a third."""
LOGITS = 1000
"""Width of the paper's joint space of ResNets: the logits of ImageNet's classes."""

BACKBONES = {"resnet50": "ResNet-50", "vit-base": "ViT-B"}
SENSES = {"": "vision + touch", "-vision": "vision", "-touch": "touch"}

LATE_FUSION = {
    "late-fusion": ("occluded-vision", "classify-resnet50-touch"),
    "ours-late-fusion": ("occluded-ours-vision", "ours-resnet50-touch"),
}
"""Two networks of one sense each, whose calibrated logits are added, by the pair's name."""

_OBJECTIVES = "scripts.paper.objectives"
_OCCLUSION: Mapping[str, Mapping[str, float]] = {"occlusion": {"max_size": OCCLUDER_SIZE}}
_MIN_PATCHES = 8
"""Rows of patches that a vision transformer has at least, whatever the image's size."""


@dataclass(frozen=True)
class Run:
    """A training run of the study."""

    name: str
    """Its name, unique in the study."""
    label: str
    """What it is called in tables and figures."""
    config: PretrainConfig
    """What to train."""
    grasps: str = "paper"
    """What it is trained on, a name of `scripts.paper.grasps.SETS`."""

    @property
    def seed(self) -> int:
        """The seed of its training."""
        return self.config.seed

    @property
    def group(self) -> str:
        """Its name without the seed: what is averaged over seeds."""
        return self.name.rsplit("-s", 1)[0]


def study(
    seeds: Sequence[int], *, image_size: int = 224, pretrained: bool = False, small: bool = False
) -> dict[str, Run]:
    """Every run of the study by name, the most valuable first.

    Args:
        seeds: Seeds of training; the data are the same.
        image_size: Rows and columns of the images.
        pretrained: Whether backbones start from ImageNet weights, as the paper's did.
        small: Networks and budgets of the same shape that a CPU makes in seconds: to try the
            study, not for results.
    """
    runs: dict[str, Run] = {}
    first, others = seeds[:1], seeds[1:]
    resnets, transformers = [*_joint("resnet50"), *_future()], _joint("vit-base")
    for group, chosen in (
        (_classification(), seeds),
        (_recipes(), seeds),
        (_occlusion(), seeds),
        (resnets, first),
        (transformers, first),
        (resnets, others),
        (transformers, others),
    ):
        for seed, run in product(chosen, group):
            encoder = _at(run.config.encoder, image_size)
            config = replace(run.config, encoder=encoder, seed=seed, pretrained=pretrained)
            name = f"{run.name}-s{seed}"
            runs[name] = replace(run, name=name, config=_shrunk(config) if small else config)
    return runs


def _classify(backbone: str, suffix: str = "", **changes: Any) -> PretrainConfig:
    return replace(preset(f"paper-classify-{backbone}{suffix}"), **changes)


def _classification() -> list[Run]:
    """The paper's figure 7: from the paper's grasps, by the paper's protocol."""
    return [
        Run(f"classify-{backbone}{suffix}", f"{title}, {senses}", _classify(backbone, suffix))
        for backbone, title in BACKBONES.items()
        for suffix, senses in SENSES.items()
    ]


def _ours(config: PretrainConfig, epochs: int, learning_rate: float) -> PretrainConfig:
    """Our recipe: grasps rendered for the purpose, depths told apart, and a cosine."""
    encoder = config.encoder
    if "depth" in encoder.images:
        depth = replace(encoder.ranges["depth"], encoded_range=GRASP_DEPTH_RANGE)
        encoder = replace(encoder, ranges={**encoder.ranges, "depth": depth})
    return replace(
        config,
        encoder=encoder,
        epochs=epochs,
        learning_rate=learning_rate,
        schedule="cosine",
        warmup=0.05,
        clip_norm=1.0,
        weight_decay=0.05,
        select="last",
    )


def _recipes() -> list[Run]:
    vit = _ours(_classify("vit-base"), epochs=4, learning_rate=1.5e-4)
    runs = [Run("ours-vit-base", "ViT-B, vision + touch, ours", vit, "fresh")]
    for suffix, senses in SENSES.items():
        config = _ours(_classify("resnet50", suffix), epochs=2, learning_rate=3e-4)
        name = f"ours-resnet50{suffix}"
        runs.append(Run(name, f"ResNet-50, {senses}, ours", config, "fresh"))
    return runs


def _occluded(suffix: str = "", touch: Sequence[str] = (), **changes: Any) -> PretrainConfig:
    """A ResNet trained behind occluders, its touch augmented or not."""
    augment = ("occlusion", *touch)
    config = _classify("resnet50", suffix, augment=augment, augment_options=_OCCLUSION)
    return replace(config, **changes)


def _occlusion() -> list[Run]:
    """Joint training as in the paper, and mended."""
    augmented = (
        "rotation",
        "dilation_erosion",
        f"{_OBJECTIVES}:BLANK_VISION",
        f"{_OBJECTIVES}:BLANK_TOUCH",
    )
    separate, balanced = f"{_OBJECTIVES}:SeparateLosses", f"{_OBJECTIVES}:BalancedGradients"
    runs = [
        Run("occluded-vision", "vision", _occluded("-vision")),
        Run("occluded-joint", "one loss", _occluded()),
        Run("occluded-separate", "a loss for each sense", _occluded(objective=separate)),
        Run("occluded-augmented", "touch augmented, senses dropped", _occluded(touch=augmented)),
        Run(
            "occluded-separate-augmented",
            "both",
            _occluded(touch=augmented, objective=separate),
        ),
        Run("occluded-balanced", "gradients balanced", _occluded(objective=balanced)),
    ]
    for name, label, config in (
        ("vision", "vision, ours", _occluded("-vision")),
        ("joint", "one loss, ours", _occluded()),
        ("separate", "a loss for each sense, ours", _occluded(objective=separate)),
    ):
        ours = _ours(config, epochs=2, learning_rate=3e-4)
        runs.append(Run(f"occluded-ours-{name}", label, ours, "fresh"))
    return runs


def _joint(backbone: str) -> list[Run]:
    """InfoNCE without a head, as wide as in the paper, and with our heads."""
    bare, head = {
        "resnet50": ("logits", {"layers": 1, "projection_dim": LOGITS}),
        "vit-base": ("tokens", {"layers": 0}),
    }[backbone]
    runs = []
    for suffix, augmented in (("", ""), ("-augmented", ", augmented")):
        title, config = BACKBONES[backbone], preset(f"paper-infonce-{backbone}{suffix}")
        pooling = "flatten" if bare == "tokens" else "average"
        wide = replace(
            config,
            encoder=replace(config.encoder, pooling=pooling),
            objective_options={"infonce": head},
        )
        for kind, each in ((bare, wide), ("heads", config)):
            name = f"joint-{backbone}-{kind}{suffix}"
            runs.append(Run(name, f"{title}, {kind}{augmented}", each))
    return runs


def _future() -> list[Run]:
    """What the paper left to future work."""
    # Of 1,920 grasps, shuffled each epoch: a longer queue would hold more often the query's own,
    # and call it a negative; this one does for a seventh of the queries.
    queue = {"queue_size": 1024, "momentum": 0.99}
    moco = replace(preset("paper-infonce-resnet50"), objective="moco", select="last")
    attention: dict[str, Any] = {
        "encoder": replace(_classify("resnet50").encoder, fusion="cross_attention")
    }
    robust: dict[str, Any] = {"augment": ("noise", "crop", "rotation", "dilation_erosion")}
    runs = [
        Run("moco", "MoCo", replace(moco, objective_options={"moco": queue})),
        Run(
            "attention",
            "ResNet-50, vision + touch, cross-attention",
            _classify("resnet50", **attention),
        ),
        Run(
            "attention-occluded",
            "ResNet-50, vision + touch, cross-attention, occluded",
            _occluded(**attention),
        ),
        Run("robust", "ResNet-50, vision + touch, augmented", _classify("resnet50", **robust)),
        Run(
            "clutter-vision",
            "ResNet-50, vision, beside 6",
            _classify("resnet50", "-vision"),
            "clutter-6",
        ),
        Run("clutter", "ResNet-50, vision + touch, beside 6", _classify("resnet50"), "clutter-6"),
    ]
    for name, shuffle in (("moco-groups", False), ("moco-shuffled", True)):
        options = {"moco": {**queue, "groups": 2, "shuffle": shuffle}}
        label = f"MoCo, two groups{', shuffled' if shuffle else ''}"
        runs.append(Run(name, label, replace(moco, objective_options=options)))
    return runs


def _at(encoder: EncoderConfig, size: int) -> EncoderConfig:
    """An encoder for images of a size, its patches small enough for it."""
    options = dict(encoder.backbone_options)
    if encoder.backbone.startswith("vit") and size < 16 * _MIN_PATCHES:
        options["patch_size"] = size // _MIN_PATCHES
    images = {key: (channels, size, size) for key, (channels, *_) in encoder.images.items()}
    return replace(encoder.with_images(images), backbone_options=options)


def _shrunk(config: PretrainConfig) -> PretrainConfig:
    """A configuration of the same shape, for a CPU."""
    small: dict[str, tuple[str, dict[str, object]]] = {
        "resnet50": ("resnet18", {"layers": [1, 1, 1, 1], "channels": [8, 16, 32, 64]}),
        "vit_base_patch16_224": (
            "vit_tiny_patch16_224",
            {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3},
        ),
    }
    backbone, options = small[config.encoder.backbone]
    encoder = replace(config.encoder, backbone=backbone, backbone_options=options)
    rate = max(config.learning_rate, 5e-4)
    return replace(config, encoder=encoder, epochs=2, batch_size=32, learning_rate=rate)
