"""The encoder before the first step of training."""

from __future__ import annotations

import torch

from representation.encoder import VisuotactileEncoder
from representation.objectives.combine import build_objective
from representation.pretraining.config import PretrainConfig


def first_encoder(config: PretrainConfig) -> VisuotactileEncoder:
    """The encoder before the first step.

    Args:
        config: The configuration.

    Returns:
        The encoder; its random weights are drawn from torch's own generator.

    Raises:
        PretrainedWeightsError: If ImageNet weights are asked for and cannot be had.
        EncoderFileError: If the encoder to start from cannot be loaded.
        ValueError: If that has no such backbones.
    """
    encoder = VisuotactileEncoder(config.encoder, pretrained=config.pretrained)
    if config.start is not None:
        start_from(encoder, VisuotactileEncoder.from_pretrained(config.start))
    return encoder


def require_buildable(config: PretrainConfig) -> None:
    """Check that encoder and objective can be built, and that there is what they start from.

    Args:
        config: The configuration.

    Raises:
        ValueError: If they cannot, or not together; says why.
    """
    with torch.device("meta"):
        encoder = VisuotactileEncoder(config.encoder)
        build_objective(config.objective, encoder, config.objective_options)
    if config.start is not None:
        start_from(encoder, VisuotactileEncoder.from_pretrained(config.start))


def start_from(encoder: VisuotactileEncoder, other: VisuotactileEncoder) -> None:
    """Take the backbones of another encoder, for the modalities that both have.

    Args:
        encoder: The encoder to change.
        other: The encoder to start from; its fusion and projections stay behind.

    Raises:
        ValueError: If they share no modality, or a backbone has other weights.
    """
    shared = [name for name in encoder.config.modalities if name in other.config.modalities]
    if not shared:
        raise ValueError(
            f"the encoder to start from perceives with {', '.join(other.config.modalities)}, and "
            f"this one with {', '.join(encoder.config.modalities)}"
        )
    for modality in shared:
        own, theirs = (e.backbones[modality].state_dict() for e in (encoder, other))
        wrong = [n for n in own | theirs if n not in own or n not in theirs]
        wrong += [n for n in own if n in theirs and own[n].shape != theirs[n].shape]
        if wrong:
            raise ValueError(
                f"the {modality} backbone cannot start from that encoder's: {wrong[0]} differs; "
                "it must be the same network for the same images"
            )
        encoder.backbones[modality].load_state_dict(theirs)
