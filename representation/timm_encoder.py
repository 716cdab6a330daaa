"""The visuotactile encoder: images of the scene and of the fingertips to one embedding."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Self

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from representation.backbone import Backbone
from representation.encoder import image_of
from representation.encoder_config import EncoderConfig, Shape
from representation.encoder_files import (
    CONFIG_FILE,
    FORMAT,
    VERSION,
    WEIGHTS_FILE,
    EncoderFileError,
    locate,
    read_config,
)
from representation.fusion import CrossAttentionFusion
from representation.preprocessing import normalise
from representation.tensor_file import load_weights, write_tensors
from vtenv.validation import require


class VisuotactileEncoder(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="vtinsert",
    tags=["visuotactile", "robotics", "timm"],
    pipeline_tag="feature-extraction",
):
    """A timm backbone for each image, fused into one embedding.

    Observations in, embeddings out: normalising the images is part of the encoder. The embedding
    is what is left when training is over; projection heads and decoders belong to the objectives.

    Args:
        config: What to build; None for the defaults.
        pretrained: Whether the backbones start from timm's ImageNet weights.

    Raises:
        ValueError: If the backbone does not take the shapes or options of the configuration.
        PretrainedWeightsError: If the ImageNet weights cannot be had.

    Source: the paper, figures 4 and 6.
    """

    embedding_size: int
    """Width D of the embedding."""

    def __init__(self, config: EncoderConfig | None = None, *, pretrained: bool = False) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        self.backbones = nn.ModuleDict()
        self.projections = nn.ModuleDict()
        self._widths: dict[str, int] = {}
        attend = config.fusion == "cross_attention"
        num_tokens = {}
        for key, shape in config.images.items():
            if not (self.backbones and config.shared_backbone):
                self.backbones[key] = Backbone(
                    config.backbone, shape, config.backbone_options, pretrained
                )
            backbone = self._backbone(key)
            width = backbone.token_size if attend else backbone.feature_size
            if config.pooling == "flatten":
                width = backbone.num_tokens * backbone.token_size
            self.projections[key] = _projection(width, config.embedding_dim)
            self._widths[key] = config.embedding_dim or width
            num_tokens[key] = backbone.num_tokens
        self.embedding_size = sum(self._widths.values())
        self.fusion: CrossAttentionFusion | None = None
        if attend:
            width, heads = self._widths[config.keys[0]], config.num_heads
            allowed = f"a divisor of the tokens' width, {width}"
            require(width % heads == 0, "num_heads", heads, allowed)
            self.fusion = CrossAttentionFusion(num_tokens, width, heads)

    @property
    def keys(self) -> tuple[str, ...]:
        """Observation keys that the encoder reads."""
        return self.config.keys

    @property
    def image_shapes(self) -> dict[str, Shape]:
        """Channels, rows and columns of each image, by key."""
        return dict(self.config.images)

    @property
    def image_ranges(self) -> dict[str, tuple[float, float]]:
        """Least and greatest value of each image, by key."""
        return {key: (given.low, given.high) for key, given in self.config.ranges.items()}

    @property
    def feature_sizes(self) -> dict[str, int]:
        """Width D_s of each sense's features."""
        return {
            sense: sum(self._widths[key] for key in keys)
            for sense, keys in self.config.senses.items()
        }

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """The fused embeddings, (B, embedding_size), of a batch of observations.

        Args:
            observation: Images by key, (B, C, H, W), in their modality's unit, of any type; others
                than those of `keys` are ignored.

        Raises:
            ValueError: If an image is missing or has another shape than the configuration.
        """
        return self.fuse(self.encode(self.preprocess(observation)))

    def features(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features of each sense, (B, D_s), which know nothing of the others."""
        return self.by_sense(self.encode(self.preprocess(observation)))

    def preprocess(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Images by key in [-1, 1], (B, C, H, W), of the weights' type, from an observation."""
        dtype = next(self.parameters()).dtype
        return {
            key: normalise(self._checked(key, observation), self.config.ranges[key]).to(dtype)
            for key in self.keys
        }

    def encode(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each normalised image by itself, as far as it goes before fusion.

        Returns:
            What `fuse` takes: features (B, D_k), or with cross-attention tokens (B, N_k, width).
        """
        flat = self.config.pooling == "flatten"
        spatial = flat or self.fusion is not None
        encoded = {}
        for key, image in images.items():
            backbone = self._backbone(key)
            value = backbone.tokens(image) if spatial else backbone(image)
            encoded[key] = self.projections[key](value.flatten(1) if flat else value)
        return encoded

    def by_sense(self, encoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features of each sense, (B, D_s), from what `encode` returns."""
        if self.fusion is not None:
            encoded = {key: tokens.mean(dim=1) for key, tokens in encoded.items()}
        return {
            sense: torch.cat([encoded[key] for key in keys], dim=1)
            for sense, keys in self.config.senses.items()
        }

    def fuse(self, encoded: Mapping[str, Tensor]) -> Tensor:
        """Embeddings, (B, embedding_size), from what `encode` returns."""
        parts = encoded if self.fusion is None else self.fusion(encoded)
        return torch.cat([parts[key] for key in self.keys], dim=1)

    def tower(self, name: str) -> Self:
        """What encodes one sense, or one image, as an encoder of its own, with copied weights.

        Its embedding is that part of this encoder's, to the bit.

        Args:
            name: "vision", "touch", or an observation key.

        Raises:
            ValueError: If this encoder has no such sense or image, or fuses its images by
                attention, where no part of the embedding is of one alone.
        """
        if self.fusion is not None:
            raise ValueError(
                f"this encoder has no tower for {name} alone: with "
                f"fusion={self.config.fusion!r} its images attend to each other. Take an encoder "
                'with fusion="concat", or pretrain one for that sense'
            )
        config = self.config.only(name)
        alone = copy.deepcopy(self)
        owners = config.keys[:1] if config.shared_backbone else config.keys
        alone.backbones = nn.ModuleDict({key: alone._backbone(key) for key in owners})
        for key in set(self.keys) - set(config.keys):
            del alone.projections[key], alone._widths[key]
        alone.config = config
        alone.embedding_size = sum(alone._widths.values())
        return alone

    @classmethod
    def from_pretrained(  # type: ignore[override]  # takes no arguments of a constructor
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        device: str | torch.device = "cpu",
    ) -> Self:
        """Load an encoder; nothing is unpickled.

        Args:
            pretrained_model_name_or_path: A bundled encoder's name, which needs no network; a
                folder; or the id of a model on the Hugging Face Hub, "user/model". A folder that
                has the name of a bundled encoder is meant when written as a path, "./name".
            revision: Branch, tag or commit on the Hub.
            token: Token for the Hub.
            cache_dir: Where downloads are kept.
            force_download: Whether to download again what is there already.
            local_files_only: Whether to do without network.
            device: Where the weights go.

        Returns:
            The encoder, in evaluation mode, of the type that its weights were saved in.

        Raises:
            EncoderFileError: If a file is missing, truncated, of another program, or does not
                fit; says which key or shape is wrong.
        """
        download = {
            "revision": revision,
            "token": token,
            "cache_dir": cache_dir,
            "force_download": force_download,
            "local_files_only": local_files_only,
        }
        config_path, weights_path = locate(pretrained_model_name_or_path, download)
        config = read_config(config_path)
        try:
            encoder = cls(config)
        except ValueError as error:
            raise EncoderFileError(
                f"{config_path} does not describe an encoder: {error}"
            ) from error
        load_weights(encoder, weights_path, EncoderFileError)
        return encoder.to(device).eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        kinds = {str(v.dtype)[6:] for v in self.state_dict().values() if v.is_floating_point()}
        if len(kinds) > 1:
            raise ValueError(
                f"the encoder's weights are of {' and '.join(sorted(kinds))}; make them one before "
                "it is saved, such as by encoder.float()"
            )
        document = {"format": FORMAT, "version": VERSION, **asdict(self.config)}
        text = json.dumps(document, indent=2) + "\n"
        (save_directory / CONFIG_FILE).write_text(text, encoding="utf-8")
        write_tensors(save_directory / WEIGHTS_FILE, self.state_dict())

    def _backbone(self, key: str) -> Backbone:
        shared = self.config.shared_backbone
        backbone = next(iter(self.backbones.values())) if shared else self.backbones[key]
        assert isinstance(backbone, Backbone)
        return backbone

    def _checked(self, key: str, observation: Mapping[str, Tensor]) -> Tensor:
        image: Tensor = image_of(observation, key, self.config.images[key])
        low, high = self.config.ranges[key].encoded_range
        if high - low < 1 and not image.is_floating_point():
            raise ValueError(
                f"{key} is {image.dtype}, but must be floating: the encoder tells values from "
                f"{low:g} to {high:g} apart"
            )
        return image


def _projection(width: int, embedding_dim: int | None) -> nn.Module:
    if embedding_dim is None:
        return nn.Identity()
    return nn.Sequential(nn.Linear(width, embedding_dim), nn.LayerNorm(embedding_dim))
