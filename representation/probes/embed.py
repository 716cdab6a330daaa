"""Embeds the rows of a split: the embedding, and each modality's part of it alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from representation.encoder_config import SENSES, ImageRange
from representation.preprocessing import normalise
from representation.probes.split import SplitLike
from representation.timm_encoder import VisuotactileEncoder

BOTH = "both"
"""The part of an embedding that is all of it, beside "vision" and "touch"."""
PARTS = (*SENSES, BOTH)

Embedder = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""A batch of observations to vectors by part, (B, D_part). Where "both" is not among them, it is
the others side by side."""
Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much."""

_PIXELS = 16


def encoder_embedder(encoder: VisuotactileEncoder) -> Embedder:
    """The parts of an encoder's embedding, from one pass.

    With cross-attention, "both" is what comes after it, and the parts are the features before it,
    which know nothing of each other.

    Args:
        encoder: The encoder.

    Returns:
        Its embedder.
    """

    def embed(observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        encoded = encoder.encode(encoder.preprocess(observation))
        parts = encoder.by_sense(encoded)
        return parts if encoder.fusion is None else parts | {BOTH: encoder.fuse(encoded)}

    return embed


def pixel_embedder(
    senses: Mapping[str, Sequence[str]], ranges: Mapping[str, ImageRange]
) -> Embedder:
    """Raw pixels: each image averaged down to 16 x 16.

    Args:
        senses: Observation keys of each sense.
        ranges: How each image is normalised, by key.

    Returns:
        The embedder.
    """

    def embed(observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            sense: torch.cat([pooled(observation[key], ranges[key]) for key in keys], dim=1)
            for sense, keys in senses.items()
        }

    def pooled(image: Tensor, by: ImageRange) -> Tensor:
        rows, columns = (min(_PIXELS, side) for side in image.shape[-2:])
        return adaptive_avg_pool2d(normalise(image, by), (rows, columns)).flatten(1)

    return embed


@dataclass(frozen=True)
class Embedded:
    """Vectors of some rows.

    Attributes:
        parts: By part, (N, D_part), float32; "both" only where there are two modalities.
        columns: Where each part lies in "both"; empty if it does not lie there.
    """

    parts: dict[str, Tensor]
    columns: dict[str, slice]

    @classmethod
    def empty(cls, first: Mapping[str, Tensor], length: int, device: torch.device) -> Embedded:
        """Room for `length` rows like those of a first batch."""
        widths = {name: value.shape[1] for name, value in first.items()}
        if len(widths) == 1 or BOTH in widths:
            parts = {n: torch.empty(length, width, device=device) for n, width in widths.items()}
            return cls(parts, {})
        ends = list(accumulate(widths.values()))
        both = torch.empty(length, ends[-1], device=device)
        columns = {
            name: slice(end - widths[name], end) for name, end in zip(widths, ends, strict=True)
        }
        # The parts are views: they take no memory of their own.
        return cls({name: both[:, of] for name, of in columns.items()} | {BOTH: both}, columns)


def embed_rows(
    embedders: Mapping[str, Embedder],
    split: SplitLike,
    rows: NDArray[np.int64],
    *,
    keys: Sequence[str],
    device: torch.device,
    batch_size: int = 64,
    progress: Progress | None = None,
    stage: str = "Embedding",
) -> dict[str, Embedded]:
    """Embed some rows, reading them once.

    Args:
        embedders: What embeds, by name; networks are in evaluation mode already.
        split: Where the rows are.
        rows: Their numbers, (N,).
        keys: Observations that the embedders read, such as "depth".
        device: Where the networks are.
        batch_size: Rows at once.
        progress: Told how far it is.
        stage: What it is told.

    Returns:
        The vectors by embedder, on the device, or on the CPU where the device lacks float64.
    """
    home = torch.device("cpu") if device.type == "mps" else device
    embedded: dict[str, Embedded] = {}
    with torch.no_grad():
        for first in range(0, len(rows), batch_size):
            batch = split.read(rows[first : first + batch_size], keys)
            observation = {key: torch.as_tensor(batch[key]).to(device) for key in keys}
            for name, embedder in embedders.items():
                with torch.inference_mode():
                    vectors = embedder(observation)
                # Filled in place: a list of batches would hold everything twice at the end.
                if name not in embedded:
                    embedded[name] = Embedded.empty(vectors, len(rows), home)
                for part, value in vectors.items():
                    embedded[name].parts[part][first : first + len(value)] = value
            if progress is not None:
                progress(stage, min(first + batch_size, len(rows)), len(rows))
    return embedded
