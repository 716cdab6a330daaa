"""Embeds the rows of a split: the embedding, and each sense's part of it alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from representation.data.sources import Rows
from representation.encoder import Encoder
from representation.encoder_config import EncoderConfig
from representation.preprocessing import Normalisation, flat_channels, normalise
from representation.probes.measurements import FUSED
from representation.runtime import FrozenEncoder
from representation.timm_encoder import VisuotactileEncoder

Embedder = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""A batch of observations to vectors by part, (B, D_part): each sense's, where there are several,
and "fused"."""
Embedded = dict[str, NDArray[np.float32]]
"""Vectors of rows by part, (N, D_part)."""
Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much."""

_PIXELS = 16


def encoder_embedder(encoder: Encoder, device: torch.device) -> Embedder:
    """What embeds with a copy of an encoder, in evaluation mode, on a device.

    Of a `VisuotactileEncoder` each sense's part too, from the same pass. With cross-attention,
    "fused" is what comes after it, and the parts are the features before it, which know nothing of
    each other.
    """
    if not isinstance(encoder, VisuotactileEncoder):
        frozen = FrozenEncoder(encoder, device=device, runtime="torch")
        return lambda observation: {FUSED: frozen(observation)}
    # Channels last takes half the time of small convolutions.
    own = copy.deepcopy(encoder).to(device=device).to(memory_format=torch.channels_last).eval()

    def embed(observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        encoded = own.encode(own.preprocess(observation))
        return _with_fused(own.by_sense(encoded), own.fuse(encoded))

    return embed


def pixel_embedder(
    senses: Mapping[str, Sequence[str]], ranges: Mapping[str, Normalisation]
) -> Embedder:
    """Raw pixels: each image averaged down to 16 x 16.

    Args:
        senses: Observation keys of each sense.
        ranges: How each image is normalised, by key; others stay as they are.
    """

    def embed(observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        parts = {
            sense: torch.cat([pooled(key, observation[key]) for key in keys], dim=1)
            for sense, keys in senses.items()
        }
        return _with_fused(parts, torch.cat(list(parts.values()), dim=1))

    def pooled(key: str, image: Tensor) -> Tensor:
        image = flat_channels(image)
        rows, columns = (min(_PIXELS, side) for side in image.shape[-2:])
        image = normalise(image, ranges[key]) if key in ranges else image.float()
        return adaptive_avg_pool2d(image, (rows, columns)).flatten(1)

    return embed


def untrained(config: EncoderConfig, seed: int) -> VisuotactileEncoder:
    """An encoder before training, in evaluation mode; torch's own generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VisuotactileEncoder(config).eval()


def embed_rows(
    embedders: Mapping[str, Embedder],
    split: Rows,
    rows: NDArray[np.int64],
    *,
    keys: Sequence[str],
    device: torch.device,
    batch_size: int = 64,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Embedded]:
    """Vectors of some rows by embedder, reading the rows once.

    Args:
        embedders: What embeds, by name; networks are in evaluation mode already.
        split: Where the rows are.
        rows: Their numbers, (N,).
        keys: Observations that the embedders read, such as "depth".
        device: Where the networks are.
        batch_size: Rows at once.
        progress: Told how many rows are done, and of how many.
    """
    embedded: dict[str, Embedded] = {name: {} for name in embedders}
    for first in range(0, len(rows), batch_size):
        batch = split.read(rows[first : first + batch_size], keys)
        observation = {key: torch.as_tensor(batch[key]).to(device) for key in keys}
        for name, embedder in embedders.items():
            with torch.inference_mode():
                parts = embedder(observation)
            for part, value in parts.items():
                # Filled in place: a list of batches would hold everything twice at the end.
                shape = (len(rows), value.shape[1])
                whole = embedded[name].setdefault(part, np.empty(shape, np.float32))
                whole[first : first + len(value)] = value.float().cpu().numpy()
        progress(min(first + batch_size, len(rows)), len(rows))
    return embedded


def _with_fused(parts: dict[str, Tensor], fused: Tensor) -> dict[str, Tensor]:
    """The parts of several senses and all of them; of a single sense, that alone."""
    return parts | {FUSED: fused} if len(parts) > 1 else {FUSED: fused}
