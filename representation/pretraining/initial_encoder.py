"""The encoder that training starts with: drawn at random, ImageNet's, or another encoder's."""

from __future__ import annotations

import torch

from representation.augmentations import Augment
from representation.objectives.combine import build_objective
from representation.pretraining.config import PretrainConfig
from representation.tensor_file import require_fit
from representation.timm_encoder import VisuotactileEncoder


def initial_encoder(config: PretrainConfig) -> VisuotactileEncoder:
    """The encoder before the first step; random weights are drawn from torch's own generator.

    Raises:
        PretrainedWeightsError: If ImageNet weights are asked for and cannot be had.
        EncoderFileError: If the encoder to start from cannot be loaded.
        ValueError: If that has no such backbones.
    """
    encoder = VisuotactileEncoder(config.encoder, pretrained=config.pretrained)
    if config.start is not None:
        _copy_backbones(VisuotactileEncoder.from_pretrained(config.start), encoder)
    return encoder


def require_buildable(config: PretrainConfig) -> None:
    """Check that encoder and objective can be built, and that there is what they start from.

    Raises:
        ValueError: If they cannot, or not together; says why.
    """
    Augment(config.augment, config.augment_options)
    with torch.device("meta"):
        encoder = VisuotactileEncoder(config.encoder)
        build_objective(config.objective, encoder, config.objective_options)
    if config.start is not None:
        _copy_backbones(VisuotactileEncoder.from_pretrained(config.start), encoder)


def _copy_backbones(source: VisuotactileEncoder, encoder: VisuotactileEncoder) -> None:
    """Take another encoder's backbones, for images that both have; its fusion stays behind."""
    shared = [key for key in encoder.backbones if key in source.backbones]
    if not shared:
        raise ValueError(
            f"the encoder to start from has backbones of {', '.join(source.backbones)}, and this "
            f"one of {', '.join(encoder.backbones)}"
        )
    for key in shared:
        weights = source.backbones[key].state_dict()
        try:
            require_fit(encoder.backbones[key], weights)
        except ValueError as error:
            raise ValueError(
                f"the {key} backbone cannot start from that encoder's, which does not fit: "
                f"{error}. It must be the same network for the same images"
            ) from None
        encoder.backbones[key].load_state_dict(weights)
