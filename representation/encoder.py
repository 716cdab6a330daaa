"""The visuotactile encoder: a depth image and contact masks to one embedding."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from representation.backbone import RESERVED_OPTIONS, Backbone, require_backbone
from representation.encoder_files import read_encoder, write_encoder
from representation.fusion import CrossAttentionFusion
from representation.preprocessing import normalise_contact, normalise_depth

MODALITIES = ("vision", "touch")
"""The closed set of an encoder's modalities, in the order of their parts of an embedding."""

OBSERVATION_KEYS = {"vision": "depth", "touch": "contact"}
"""Key of an observation of `VTInsert-v0` that each modality reads."""

FUSIONS = ("concat", "cross_attention")
POOLINGS = ("average", "flatten")


def _require(condition: bool, name: str, given: object, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{name}={given!r} is not allowed; {name} must be {allowed}")


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


@dataclass(frozen=True)
class EncoderConfig:
    """What an encoder is built from, preprocessing included. Saved with its weights.

    Raises:
        ValueError: If a value is not allowed; names it and what is.
    """

    backbone: str = "resnet18"
    """Any network that timm knows; one of its own for each modality."""
    modalities: tuple[str, ...] = MODALITIES
    """What the encoder perceives with: "vision", "touch" or both."""
    fusion: str = "concat"
    """How modalities become one embedding. "concat", as in the paper: their features side by
    side. "cross_attention": their spatial tokens attend to each other first."""
    pooling: str = "average"
    """How a backbone's tokens become its feature. "average": as timm does it for the backbone
    (the class token of most vision transformers). "flatten": all tokens side by side, projected
    to `embedding_dim`, which keeps where something is."""
    embedding_dim: int | None = None
    """Width of each modality's part of the embedding, which a linear layer and a layer norm
    project its backbone's features (tokens, with cross-attention) to; None for the backbone's own
    width and no projection, as in the paper."""
    image_size: int = 64
    """Rows and columns of the depth image."""
    contact_size: int = 64
    """Rows and columns of a finger's contact mask."""
    num_fingers: int = 2
    """Contact masks, one channel each: 1 (the paper) or 2."""
    depth_range_m: tuple[float, float] = (0.25, 0.45)
    """Depths mapped to -1 and 1; beyond, and where there is no return, they are clipped. The
    default spans `VTInsert-v0`, from the palm to the table."""
    num_heads: int = 4
    """Heads of the cross-attention."""
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `timm.create_model`, such as `{"patch_size": 8, "depth": 6}`."""

    def __post_init__(self) -> None:
        _require(isinstance(self.backbone, str), "backbone", self.backbone, "a string")
        require_backbone(self.backbone)
        given = self.modalities
        names = () if isinstance(given, str) else tuple(given)
        valid = bool(names) and set(names) <= set(MODALITIES) and len(set(names)) == len(names)
        _require(valid, "modalities", given, f"one or more of {', '.join(MODALITIES)}, each once")
        object.__setattr__(self, "modalities", tuple(m for m in MODALITIES if m in names))
        _require(self.fusion in FUSIONS, "fusion", self.fusion, f"one of {', '.join(FUSIONS)}")
        _require(self.pooling in POOLINGS, "pooling", self.pooling, f"one of {', '.join(POOLINGS)}")
        _require(
            self.embedding_dim is None or _is_int(self.embedding_dim, 1, 1 << 16),
            "embedding_dim",
            self.embedding_dim,
            "a positive integer, or None for the backbone's own width",
        )
        _require(
            self.pooling == "average" or self.embedding_dim is not None,
            "embedding_dim",
            self.embedding_dim,
            'a positive integer with pooling="flatten"',
        )
        for name in ("image_size", "contact_size"):
            size = getattr(self, name)
            _require(_is_int(size, 8, 1024), name, size, "an integer from 8 to 1024")
        _require(_is_int(self.num_fingers, 1, 2), "num_fingers", self.num_fingers, "1 or 2")
        _require(_is_int(self.num_heads, 1, 64), "num_heads", self.num_heads, "from 1 to 64")
        try:
            near, far = map(float, self.depth_range_m)
        except (TypeError, ValueError):
            near = far = 0.0
        _require(
            0.0 <= near < far < float("inf"),
            "depth_range_m",
            self.depth_range_m,
            "a pair (near, far) in metres with 0 <= near < far",
        )
        object.__setattr__(self, "depth_range_m", (near, far))
        _require(
            self.fusion == "concat" or len(self.modalities) > 1,
            "fusion",
            self.fusion,
            '"concat" for a single modality: there is nothing to attend to',
        )
        _require(
            self.fusion == "concat" or self.pooling == "average",
            "pooling",
            self.pooling,
            '"average" with fusion="cross_attention", whose attended tokens are averaged',
        )
        _require(
            isinstance(self.backbone_options, Mapping)
            and not set(self.backbone_options) & set(RESERVED_OPTIONS),
            "backbone_options",
            self.backbone_options,
            f"a mapping without {', '.join(RESERVED_OPTIONS)}, which other fields decide",
        )
        object.__setattr__(self, "backbone_options", dict(self.backbone_options))

    def channels(self, modality: str) -> int:
        """Channels of a modality's images."""
        return {"vision": 1, "touch": self.num_fingers}[modality]

    def size(self, modality: str) -> int:
        """Rows and columns of a modality's images."""
        return {"vision": self.image_size, "touch": self.contact_size}[modality]


class VisuotactileEncoder(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="vtinsert",
    tags=["visuotactile", "robotics", "timm"],
    pipeline_tag="feature-extraction",
):
    """One timm backbone for each modality, fused into one embedding.

    Observations in, embeddings out: normalising depth and masks is part of the encoder. The
    embedding is what is left when training is over; projection heads and decoders belong to the
    objectives.

    Args:
        config: What to build; None for the defaults.
        pretrained: Whether the backbones start from timm's ImageNet weights.

    Raises:
        ValueError: If the backbone does not take the sizes or options of the configuration.
        PretrainedWeightsError: If the ImageNet weights cannot be had.

    Source: the paper, figures 4 and 6.
    """

    embedding_size: int
    """Width D of the embedding."""
    feature_sizes: dict[str, int]
    """Width D_m of each modality's features."""

    def __init__(self, config: EncoderConfig | None = None, *, pretrained: bool = False) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        self.backbones = nn.ModuleDict()
        self.projections = nn.ModuleDict()
        self.feature_sizes = {}
        attend = config.fusion == "cross_attention"
        num_tokens = {}
        for modality in config.modalities:
            backbone = Backbone(
                config.backbone,
                config.channels(modality),
                config.size(modality),
                config.backbone_options,
                pretrained,
            )
            width = backbone.token_size if attend else backbone.feature_size
            if config.pooling == "flatten":
                width = backbone.num_tokens * backbone.token_size
            self.backbones[modality] = backbone
            self.projections[modality] = _projection(width, config.embedding_dim)
            self.feature_sizes[modality] = config.embedding_dim or width
            num_tokens[modality] = backbone.num_tokens
        self.embedding_size = sum(self.feature_sizes.values())
        self.fusion: CrossAttentionFusion | None = None
        if attend:
            width = self.feature_sizes[config.modalities[0]]
            _require(
                width % config.num_heads == 0,
                "num_heads",
                config.num_heads,
                f"a divisor of the tokens' width, {width}",
            )
            self.fusion = CrossAttentionFusion(num_tokens, width, config.num_heads)

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """The fused embedding of a batch of observations.

        Args:
            observation: `depth` (B, 1, H, W), floating, [m], 0 for no return; `contact`
                (B, F, H, W) in {0, 1}; only those of the encoder's modalities. Others are
                ignored.

        Returns:
            Embeddings, (B, embedding_size).

        Raises:
            ValueError: If an observation is missing or has another shape than the configuration.
        """
        return self.fuse(self.encode(self.preprocess(observation)))

    def features(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Features of each modality, which know nothing of the other.

        Args:
            observation: As for `forward`.

        Returns:
            Features by modality, (B, D_m).
        """
        encoded = self.encode(self.preprocess(observation))
        if self.fusion is None:
            return encoded
        return {modality: tokens.mean(dim=1) for modality, tokens in encoded.items()}

    def tokens(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Spatial tokens of each modality's backbone, which know nothing of the other.

        Args:
            observation: As for `forward`.

        Returns:
            Tokens by modality, (B, N_m, token width).
        """
        return {
            modality: self._backbone(modality).tokens(image)
            for modality, image in self.preprocess(observation).items()
        }

    def preprocess(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Normalised images, as the backbones take them.

        Args:
            observation: As for `forward`.

        Returns:
            Images by modality in [-1, 1], (B, C, S, S).
        """
        images = {}
        for modality in self.config.modalities:
            image = self._checked(modality, observation)
            if modality == "vision":
                images[modality] = normalise_depth(image, self.config.depth_range_m)
            else:
                images[modality] = normalise_contact(image)
        return images

    def encode(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each modality by itself, as far as it goes before fusion.

        Args:
            images: Normalised images by modality.

        Returns:
            What `fuse` takes: features (B, D_m), or with cross-attention tokens (B, N_m, width).
        """
        encoded = {}
        for modality, image in images.items():
            backbone = self._backbone(modality)
            if self.fusion is not None:
                value = backbone.tokens(image)
            elif self.config.pooling == "flatten":
                value = backbone.tokens(image).flatten(1)
            else:
                value = backbone(image)
            encoded[modality] = self.projections[modality](value)
        return encoded

    def fuse(self, encoded: Mapping[str, Tensor]) -> Tensor:
        """One embedding from what `encode` returns.

        Args:
            encoded: Features or tokens by modality.

        Returns:
            Embeddings, (B, embedding_size).
        """
        parts = encoded if self.fusion is None else self.fusion(encoded)
        return torch.cat([parts[modality] for modality in self.config.modalities], dim=1)

    def tower(self, modality: str) -> Self:
        """What encodes one modality, as an encoder of its own.

        Its embedding is that modality's part of this encoder's, to the bit.

        Args:
            modality: "vision" or "touch".

        Returns:
            A new encoder with copies of the weights.

        Raises:
            ValueError: If this encoder has no such modality, or fuses modalities by attention,
                where no part of the embedding is of one alone.
        """
        config = self.config
        allowed = " or ".join(map(repr, config.modalities))
        _require(modality in config.modalities, "modality", modality, allowed)
        if self.fusion is not None:
            raise ValueError(
                f"this encoder has no tower for {modality} alone: with fusion={config.fusion!r} "
                'its modalities attend to each other. Take an encoder with fusion="concat", or '
                f"pretrain one with modalities={(modality,)}"
            )
        alone = copy.deepcopy(self)
        for other in set(config.modalities) - {modality}:
            del alone.backbones[other], alone.projections[other], alone.feature_sizes[other]
        alone.config = replace(config, modalities=(modality,))
        alone.embedding_size = alone.feature_sizes[modality]
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
            The encoder, in evaluation mode.

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
        encoder = read_encoder(
            pretrained_model_name_or_path, lambda fields: cls(EncoderConfig(**fields)), download
        )
        return encoder.to(device).eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        write_encoder(self, self.config, save_directory)

    def _backbone(self, modality: str) -> Backbone:
        backbone = self.backbones[modality]
        assert isinstance(backbone, Backbone)
        return backbone

    def _checked(self, modality: str, observation: Mapping[str, Tensor]) -> Tensor:
        key, config = OBSERVATION_KEYS[modality], self.config
        if key not in observation:
            raise ValueError(
                f"the observation has no {key!r}, which modality {modality!r} reads; "
                f"it has {', '.join(map(repr, observation)) or 'nothing'}"
            )
        image = observation[key]
        expected = (config.channels(modality), config.size(modality), config.size(modality))
        if image.ndim != 4 or tuple(image.shape[1:]) != expected:
            raise ValueError(
                f"{key} has shape {tuple(image.shape)}, but this encoder takes (B, "
                f"{', '.join(map(str, expected))}): ask the environment or the data set for "
                f"these sizes, or train an encoder for {tuple(image.shape[-2:])} pixels"
            )
        if modality == "vision" and not image.is_floating_point():
            raise ValueError(f"depth is {image.dtype}, but must be floating: metres")
        return image


def _projection(width: int, embedding_dim: int | None) -> nn.Module:
    if embedding_dim is None:
        return nn.Identity()
    return nn.Sequential(nn.Linear(width, embedding_dim), nn.LayerNorm(embedding_dim))
