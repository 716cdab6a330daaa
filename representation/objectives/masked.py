"""What is behind the mask? All images, drawn from what is left of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import unfold

from representation.encoder_config import SENSES
from representation.objectives.objective import Batch, Objective, ObjectiveOutput, require_positive
from representation.timm_encoder import VisuotactileEncoder
from vtenv.validation import require

_HEADS = 4


def patchify(images: Tensor, side: int) -> Tensor:
    """Cut images into G = `side` by G patches, G a divisor of their sides.

    Args:
        images: Images, (B, C, H, W).
        side: Patches along a side.

    Returns:
        Pixels of each patch, (B, G * G, C * H/G * W/G); patches in row-major order, the pixels of
        a patch by channel, row, column.
    """
    size = images.shape[-2] // side, images.shape[-1] // side
    return unfold(images, size, stride=size).transpose(1, 2)


def draw_mask(
    shape: tuple[int, int], ratio: float, device: torch.device, generator: Generator | None
) -> Tensor:
    """Choose patches to hide, the same number in each sample.

    Args:
        shape: Samples and patches of each, (B, P).
        ratio: Part of the patches to hide; at least one is hidden and one is left.
        device: Where the mask goes.
        generator: Draws them; None for torch's own.

    Returns:
        True where hidden, (B, P), bool.
    """
    patches = shape[1]
    hidden = min(max(round(ratio * patches), 1), patches - 1)
    noise = torch.rand(shape, generator=generator, device=generator.device if generator else device)
    return noise.to(device).argsort(dim=1).argsort(dim=1) < hidden


def masked_error(predicted: Tensor, patches: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the pixels of the hidden patches.

    Args:
        predicted: Pixels, (B, P, D).
        patches: Pixels as they are, (B, P, D).
        mask: True where hidden, (B, P), bool; at least one is.
    """
    errors = (predicted - patches).square().mean(dim=2)
    return (errors * mask).sum() / mask.sum()


class MaskedReconstruction(Objective):
    """Reconstruct the hidden patches of all images from one embedding of the others.

    Patches of the normalised images are painted over with a learned value, so any backbone will
    do, convolutions too. The decoder, a small transformer, is told the embedding and each patch's
    place and draws the patches: whatever it knows of the images has passed through the embedding.

    Args:
        encoder: For its sizes.
        mask_ratio: Part of the patches of each image that is hidden, in (0, 1).
        patches_per_side: Patches along a side of an image; must divide the encoder's sizes.
        decoder_dim: Width of the decoder; a multiple of its four heads.
        decoder_depth: Its transformer blocks.
        touch_weight: Weight of the error of touch beside that of vision.

    Raises:
        ValueError: If a setting is not allowed.

    Source: He et al. 2022 (MAE), section 3, loss on hidden patches only; painting over
    instead of leaving out as in Xie et al. 2022 (SimMIM), section 3.2; vision and touch from one
    representation as in Sferrazza et al. 2023 (M3L).
    """

    def __init__(
        self,
        encoder: VisuotactileEncoder,
        *,
        mask_ratio: float = 0.75,
        patches_per_side: int = 8,
        decoder_dim: int = 128,
        decoder_depth: int = 2,
        touch_weight: float = 1.0,
    ) -> None:
        super().__init__()
        require_positive(
            patches_per_side=patches_per_side,
            decoder_dim=decoder_dim,
            decoder_depth=decoder_depth,
            touch_weight=touch_weight,
        )
        require(0.0 < mask_ratio < 1.0, "mask_ratio", mask_ratio, "in (0, 1)")
        allowed = f"a multiple of {_HEADS}"
        require(decoder_dim % _HEADS == 0, "decoder_dim", decoder_dim, allowed)
        self.shapes = encoder.image_shapes
        for key, (_, *sides) in self.shapes.items():
            require(
                patches_per_side >= 2 and not any(side % patches_per_side for side in sides),
                "patches_per_side",
                patches_per_side,
                f"at least 2 and divide the {' x '.join(map(str, sides))} pixels of {key}",
            )
        self.mask_ratio = mask_ratio
        self.side = patches_per_side
        self.weights = {key: touch_weight if key in SENSES["touch"] else 1.0 for key in self.shapes}
        patches = self.side**2
        self.paint = nn.ParameterDict(
            {key: torch.zeros(channels, 1, 1) for key, (channels, _, _) in self.shapes.items()}
        )
        self.project = nn.Linear(encoder.embedding_size, decoder_dim)
        places = torch.empty(1, len(self.shapes) * patches, decoder_dim)
        self.places = nn.Parameter(nn.init.trunc_normal_(places, std=0.02))
        block = nn.TransformerEncoderLayer(
            decoder_dim,
            _HEADS,
            4 * decoder_dim,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.decoder = nn.TransformerEncoder(
            block, decoder_depth, norm=nn.LayerNorm(decoder_dim), enable_nested_tensor=False
        )
        self.draw = nn.ModuleDict(
            {
                key: nn.Linear(decoder_dim, math.prod(shape) // patches)
                for key, shape in self.shapes.items()
            }
        )

    def forward(
        self, encoder: VisuotactileEncoder, batch: Batch, generator: Generator | None = None
    ) -> ObjectiveOutput:
        """The loss; metrics `error_KEY`, mean squares in [-1, 1]."""
        images = encoder.preprocess(batch)
        masks = {
            name: draw_mask((len(image), self.side**2), self.mask_ratio, image.device, generator)
            for name, image in images.items()
        }
        predicted = self.reconstruct(encoder, images, masks)
        errors = {
            name: masked_error(predicted[name], patchify(image, self.side), masks[name])
            for name, image in images.items()
        }
        total = sum(self.weights[name] for name in errors)
        loss = torch.stack([self.weights[name] * errors[name] for name in errors]).sum() / total
        metrics = {f"error_{name}": error.detach() for name, error in errors.items()}
        return ObjectiveOutput(loss, metrics)

    def reconstruct(
        self,
        encoder: VisuotactileEncoder,
        images: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Draw all patches, as `patchify` orders them, from what the masks leave of images.

        Args:
            encoder: The encoder.
            images: Normalised images by key, (B, C, H, W).
            masks: True where hidden by key, (B, P), bool.
        """
        painted = {name: self._paint_over(name, images[name], masks[name]) for name in images}
        embedding = encoder.fuse(encoder.encode(painted))
        drawn = self.decoder(self.places + self.project(embedding)[:, None])
        parts = drawn.chunk(len(self.shapes), dim=1)
        return {name: self.draw[name](part) for name, part in zip(self.shapes, parts, strict=True)}

    def _paint_over(self, key: str, image: Tensor, mask: Tensor) -> Tensor:
        rows, columns = (side // self.side for side in image.shape[-2:])
        hidden = mask.reshape(-1, 1, self.side, self.side)
        hidden = hidden.repeat_interleave(rows, dim=2).repeat_interleave(columns, dim=3)
        return torch.where(hidden, self.paint[key].to(image.dtype), image)
