"""What our encoders are built from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from representation.require import require, unbox_scalars

if TYPE_CHECKING:
    from gymnasium import spaces

    from vtenv.modalities import Modality

SENSES: dict[str, tuple[str, ...]] = {
    "vision": ("depth",),
    "touch": ("contact", "gel", "shear", "markers", "rgb"),
}
"""Names for sets of observation keys. An image of one's own is a sense of its own, named by its
key."""


def senses_of(keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Observation keys by the sense that they belong to."""
    of = {key: sense for sense, names in SENSES.items() for key in names}
    found: dict[str, tuple[str, ...]] = {}
    for key in keys:
        sense = of.get(key, key)
        found[sense] = (*found.get(sense, ()), key)
    return found


Shape = tuple[int, int, int]
"""Channels, rows and columns of an image."""

RESERVED_OPTIONS = ("in_chans", "num_classes", "img_size", "pretrained")
"""Arguments of `timm.create_model` that other fields decide."""

FUSIONS = ("concat", "cross_attention")
POOLINGS = ("average", "flatten")


@dataclass(frozen=True)
class ImageRange:
    """What the values of an image mean to an encoder; taken from its `Modality`."""

    low: float
    """Least value; a space that goes below is in another unit."""
    high: float
    """Greatest value, likewise."""
    encoded_range: tuple[float, float]
    """Values that become -1 and 1; those beyond are clipped."""
    missing_at_zero: bool = False
    """Whether 0 stands for no measurement, which becomes 1."""

    def __post_init__(self) -> None:
        from vtenv.validation import as_number

        for name in ("low", "high"):
            number = as_number(getattr(self, name))
            require(number is not None, name, getattr(self, name), "a finite number")
            object.__setattr__(self, name, number)
        given = self.encoded_range
        pair = tuple(map(as_number, given)) if isinstance(given, Iterable) else ()
        valid = len(pair) == 2 and None not in pair and pair[0] < pair[1]  # type: ignore[operator]
        require(valid, "encoded_range", given, "a pair (low, high) with low < high")
        object.__setattr__(self, "encoded_range", pair)

    @classmethod
    def of(cls, key: str, given: object) -> ImageRange:
        """That of a modality's record, or of what is one already.

        Raises:
            ValueError: If it is neither, or the modality is not encoded.
        """
        from vtenv.modalities import Modality

        if isinstance(given, cls):
            return given
        require(isinstance(given, Modality), f"ranges[{key!r}]", given, "a Modality's record")
        assert isinstance(given, Modality)
        if given.encoded_range is None:
            raise ValueError(f"the modality {key!r} has no encoded_range: it is not encoded")
        return cls(given.low, given.high, given.encoded_range, given.missing_at_zero)


@dataclass(frozen=True)
class EncoderConfig:
    """What an encoder is built from, preprocessing included. Saved with its weights."""

    backbone: str = "resnet18"
    """Any network that timm knows."""
    images: Mapping[str, Shape] = field(
        default_factory=lambda: {"depth": (1, 64, 64), "contact": (2, 64, 64)}
    )
    """Channels, rows and columns of each image that the encoder reads, by observation key; fingers
    and components together are channels. Their parts of an embedding stand in the order of
    `IMAGE_MODALITIES`, images of one's own last."""
    ranges: Mapping[str, ImageRange] = field(default_factory=dict)
    """How each image is normalised: the `Modality` of its key, or what it says as an
    `ImageRange`. Those of `IMAGE_MODALITIES` are known; an image of one's own needs its own."""
    shared_backbone: bool = False
    """Whether one backbone encodes every image, in place of one each; images must then have one
    shape."""
    fusion: str = "concat"
    """How images become one embedding. "concat", as in the paper: their features side by
    side. "cross_attention": their spatial tokens attend to each other first."""
    pooling: str = "average"
    """How a backbone's tokens become its feature. "average": as timm does it for the backbone
    (the class token of most vision transformers). "flatten": all tokens side by side, which
    keeps where something is; usually projected to `embedding_dim`, as they are many."""
    embedding_dim: int | None = None
    """Width of each image's part of the embedding, which a linear layer and a layer norm
    project its backbone's features (tokens, with cross-attention) to; None for the backbone's own
    width and no projection, as in the paper."""
    num_heads: int = 4
    """Heads of the cross-attention."""
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `timm.create_model`, such as `{"patch_size": 8, "depth": 6}`."""

    def __post_init__(self) -> None:
        unbox_scalars(self)
        object.__setattr__(self, "images", _checked_images(self.images))
        object.__setattr__(self, "ranges", _checked_ranges(self.ranges, self.images))
        dim, heads, concat = self.embedding_dim, self.num_heads, self.fusion == "concat"
        options = self.backbone_options
        for name, allowed, text in (
            ("backbone", isinstance(self.backbone, str), "a string"),
            ("fusion", self.fusion in FUSIONS, f"one of {', '.join(FUSIONS)}"),
            ("pooling", self.pooling in POOLINGS, f"one of {', '.join(POOLINGS)}"),
            ("shared_backbone", self.shared_backbone in (False, True), "True or False"),
            (
                "embedding_dim",
                dim is None or _is_int(dim, 1, 1 << 16),
                "a positive integer, or None for the backbone's own width",
            ),
            ("num_heads", _is_int(heads, 1, 64), "from 1 to 64"),
            (
                "fusion",
                concat or len(self.images) > 1,
                '"concat" for a single image: there is nothing to attend to',
            ),
            (
                "pooling",
                concat or self.pooling == "average",
                '"average" with fusion="cross_attention", whose attended tokens are averaged',
            ),
            (
                "shared_backbone",
                not self.shared_backbone or len(set(self.images.values())) == 1,
                f"False for images of different shapes, {dict(self.images)}",
            ),
            (
                "backbone_options",
                isinstance(options, Mapping) and not set(options) & set(RESERVED_OPTIONS),
                f"a mapping without {', '.join(RESERVED_OPTIONS)}, which other fields decide",
            ),
        ):
            require(allowed, name, getattr(self, name), text)
        object.__setattr__(self, "backbone_options", dict(options))

    @classmethod
    def for_space(
        cls,
        space: spaces.Dict,
        modalities: Mapping[str, Modality] | None = None,
        **settings: Any,
    ) -> Self:
        """A configuration for the images of an environment.

        Args:
            space: Observation space of one world.
            modalities: Records of its modalities by key, or None for `IMAGE_MODALITIES`; those that
                are not in the space, are no images, or have no `encoded_range` are left out.
            settings: Other fields.

        Raises:
            ValueError: If the space has none of the images.
        """
        from vtenv.modalities import IMAGE_MODALITIES

        chosen = {
            key: record
            for key, record in (modalities or IMAGE_MODALITIES).items()
            if key in space.spaces and record.is_image and record.encoded_range is not None
        }
        shapes = {key: space[key].shape or () for key in chosen}
        images = {key: (math.prod(s[:-2]), *s[-2:]) for key, s in shapes.items()}
        return cls(images=images, ranges=chosen, **settings)  # type: ignore[arg-type]

    @property
    def keys(self) -> tuple[str, ...]:
        """Observation keys that the encoder reads, in the order of their parts of an embedding."""
        return tuple(self.images)

    @property
    def senses(self) -> dict[str, tuple[str, ...]]:
        """The encoder's senses, and the observation keys of each."""
        return senses_of(self.keys)

    def with_images(self, images: Mapping[str, Shape]) -> Self:
        """The same for other images; ranges of those that stay are kept."""
        kept = {key: value for key, value in self.ranges.items() if key in images}
        return replace(self, images=images, ranges=kept)

    def only(self, name: str) -> Self:
        """The same for one of `senses`, or one of `keys`, alone.

        Raises:
            ValueError: If there is no such sense or image.
        """
        allowed = {**{key: (key,) for key in self.images}, **self.senses}
        require(name in allowed, "sense", name, " or ".join(map(repr, allowed)))
        return self.with_images({key: self.images[key] for key in allowed[name]})


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _checked_images(given: object) -> dict[str, Shape]:
    """Shapes by key, those of `IMAGE_MODALITIES` first."""
    from vtenv.modalities import IMAGE_MODALITIES

    images = {}
    if isinstance(given, Mapping):
        for key in (*(key for key in IMAGE_MODALITIES if key in given), *given):
            images[key] = tuple(given[key]) if isinstance(given[key], Iterable) else ()
    valid = images and all(
        isinstance(key, str)
        and key != ""
        and "." not in key
        and len(shape) == 3
        and _is_int(shape[0], 1, 1024)
        and all(_is_int(side, 2, 1024) for side in shape[1:])
        for key, shape in images.items()
    )
    require(
        bool(valid),
        "images",
        given,
        "a mapping of one or more observation keys, without dots, to (channels, rows, columns): at "
        "least one channel, and rows and columns from 2 to 1024",
    )
    return images


def _checked_ranges(given: object, images: Mapping[str, Shape]) -> dict[str, ImageRange]:
    """The range of each image."""
    from vtenv.modalities import IMAGE_MODALITIES

    known = dict.fromkeys((*images, *IMAGE_MODALITIES))
    require(
        isinstance(given, Mapping) and set(given) <= set(known),
        "ranges",
        given,
        f"a mapping of some of {', '.join(known)} to the records of their modalities",
    )
    records = {**IMAGE_MODALITIES, **given}  # type: ignore[dict-item]  # refused above
    for key in images:
        if key not in records:
            raise ValueError(
                f"images has {key!r}, of which nothing is known; give ranges={{{key!r}: ...}}, "
                "the Modality of that key, which says what values it has"
            )
    return {key: ImageRange.of(key, records[key]) for key in images}
