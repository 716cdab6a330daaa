"""What an encoder is: anything with four members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor, nn

from representation.preprocessing import flat_channels
from vtenv.import_string import import_string


class Encoder(Protocol):
    """Images of an observation in, one embedding out.

    A network of one's own is an encoder once it has these members; nothing has to be inherited.
    `representation.runtime.FrozenEncoder` runs a copy of it, and calls the copy's `eval`,
    `requires_grad_` and `to` where it has them.

    Optional:
        image_ranges: Mapping of keys to (low, high). Where an encoder has it, an observation space
            whose bounds lie outside is refused: its images are in another unit.
    """

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the observation that it reads."""

    @property
    def image_shapes(self) -> Mapping[str, tuple[int, int, int]]:
        """Channels, rows and columns of each of its images, by key."""

    @property
    def embedding_size(self) -> int:
        """Width D of the embedding."""

    def __call__(self, observation: Mapping[str, Tensor], /) -> Tensor:
        """Encode a batch.

        Args:
            observation: Images by key, (B, C, H, W), as the environment observes them, on the
                encoder's device: floating ones float32, flags uint8.

        Returns:
            Embeddings, (B, D), floating.
        """


def require_encoder(value: object) -> TypeGuard[Encoder]:
    """Check that something is an encoder.

    Raises:
        ValueError: If it lacks a member, or has one of another kind; says which.
    """
    members = ("keys", "image_shapes", "embedding_size")
    missing = [name for name in members if not hasattr(value, name)]
    name = type(value).__name__
    if missing or not callable(value):
        raise ValueError(
            f"{name} is not an encoder: it has no {', '.join(missing) or '__call__'}. Give the "
            "name or the folder of an encoder, a VisuotactileEncoder, or a network with keys, "
            "image_shapes, embedding_size and __call__ (see representation.encoder.Encoder)"
        )
    keys, shapes, size = (getattr(value, member) for member in members)
    if not (
        isinstance(keys, tuple)
        and keys
        and isinstance(shapes, Mapping)
        and set(keys) == set(shapes)
        and all(isinstance(shape, tuple) and len(shape) == 3 for shape in shapes.values())
        and isinstance(size, int)
    ):
        raise ValueError(
            f"{name} is not an encoder: keys={keys!r}, image_shapes={shapes!r}, "
            f"embedding_size={size!r}; keys must be a tuple of strings, image_shapes map each of "
            "them to (channels, rows, columns), and embedding_size be an integer"
        )
    return True


def import_encoder(name: str) -> Encoder:
    """Anybody's frozen encoder by `MODULE:NAME`: one that is made, or the class of one.

    A class is made without arguments, with the same random weights each time.

    Raises:
        ValueError: If there is none; says why.
    """
    found = import_string(name, "encoder")
    # Building a network draws weights: that must not change what comes after it.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder: Any = found() if isinstance(found, type) else found
    require_encoder(encoder)
    if isinstance(encoder, nn.Module):
        encoder.eval().requires_grad_(False)
    return encoder


def image_of(observation: Mapping[str, Any], key: str, shape: tuple[int, int, int]) -> Any:
    """A batch of images, of the shape that an encoder takes, axes of channels made one.

    Raises:
        ValueError: If it is missing, or of another shape.
    """
    if key not in observation:
        raise ValueError(
            f"the observation has no {key!r}, which this encoder reads; "
            f"it has {', '.join(map(repr, observation)) or 'nothing'}"
        )
    image = flat_channels(observation[key])
    if image.ndim != 4 or tuple(image.shape[1:]) != tuple(shape):
        raise ValueError(
            f"{key} has shape {tuple(image.shape)}, but this encoder takes (B, "
            f"{', '.join(map(str, shape))}): ask the environment or the data set for this shape, "
            f"or train an encoder for {tuple(image.shape[1:])}"
        )
    return image
