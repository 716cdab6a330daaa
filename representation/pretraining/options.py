"""The options of `vtinsert pretrain` as changes of a training run's configuration."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from representation.encoder_config import EncoderConfig
    from representation.pretraining.config import PretrainConfig

_CONFIG_OPTIONS = {
    "objective",
    "augment",
    "pretrained",
    "start",
    "epochs",
    "max_steps",
    "max_minutes",
    "batch_size",
    "learning_rate",
    "schedule",
    "gamma",
    "warmup",
    "weight_decay",
    "clip_norm",
    "select",
    "precision",
    "compile",
    "seed",
}
_ENCODER_OPTIONS = {"backbone", "fusion", "pooling", "embedding_dim"}
_IMAGE_OPTIONS = {"modalities", "fingers"}
_SIZES = {"image_size", "contact_size"}
OPTIONS = _CONFIG_OPTIONS | _ENCODER_OPTIONS | _IMAGE_OPTIONS | _SIZES | {"from_scratch"}
"""Names of those that change the configuration."""
_BUDGETS = ("epochs", "max_steps", "max_minutes")


def changed(config: PretrainConfig, given: dict[str, Any]) -> PretrainConfig:
    """The configuration with the options that were given.

    Args:
        config: A preset's.
        given: Options by name, of `OPTIONS`; sizes are left to the data.

    Returns:
        The configuration.

    Raises:
        ValueError: If one is not allowed.
    """
    changes = {name: value for name, value in given.items() if name in _CONFIG_OPTIONS}
    encoder = {name: value for name, value in given.items() if name in _ENCODER_OPTIONS}
    if "backbone" in encoder:
        # What was chosen for another network does not fit this one.
        encoder = {"backbone_options": {}, "pooling": "average", "embedding_dim": None} | encoder
    if any(name in given for name in _BUDGETS):
        changes |= {name: given.get(name) for name in _BUDGETS}
    if "from_scratch" in given or "start" in given:
        changes.setdefault("pretrained", False)
    if "objective" in changes:
        changes |= {"objective": _objective(changes["objective"]), "objective_options": {}}
    if "augment" in changes:
        changes |= {"augment": _augment(changes["augment"]), "augment_options": {}}
    encoder_config = dataclasses.replace(_with_images(config.encoder, given), **encoder)
    return dataclasses.replace(config, encoder=encoder_config, **changes)


def _with_images(encoder: EncoderConfig, given: dict[str, Any]) -> EncoderConfig:
    """The configuration with the senses and fingers that were given."""
    from representation.encoder_config import SENSES, EncoderConfig

    images = dict(encoder.images)
    if "modalities" in given:
        images = {**EncoderConfig().images, **images}
        chosen = {key for sense in given["modalities"] for key in SENSES[sense]}
        images = {key: shape for key, shape in images.items() if key in chosen}
    if "fingers" in given and "contact" in images:
        images["contact"] = (given["fingers"], *images["contact"][1:])
    return encoder.with_images(images)


def _objective(text: str) -> str | dict[str, float]:
    """A name; or several with weights, "masked=1,dynamics=0.5"."""
    parts = text.replace("+", ",").split(",")
    if len(parts) == 1 and "=" not in text:
        return text
    weights = {}
    for part in parts:
        name, _, weight = part.partition("=")
        try:
            weights[name.strip()] = float(weight or 1.0)
        except ValueError:
            raise ValueError(
                f"--objective {text}: {weight!r} is no weight; write masked=1,dynamics=0.5"
            ) from None
    return weights


def _augment(text: str) -> str | tuple[str, ...]:
    from representation.augmentations import PRESETS

    return text if text in PRESETS else tuple(name.strip() for name in text.split(","))
