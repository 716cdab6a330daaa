"""Fitting a configuration to data: sizes of images, labels and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from representation.encoder_config import EncoderConfig
from representation.pretraining.config import PretrainConfig
from vtenv.modalities import IMAGE_MODALITIES

if TYPE_CHECKING:
    from representation.data.sources import Split

Size = int | tuple[int, int] | None
"""Side of a square image, or its rows and columns; None for any."""


def fit_to_split(config: PretrainConfig, split: Split, **sizes: Size) -> PretrainConfig:
    """Take from the data what the configuration leaves to it, and check that they fit.

    The images' sizes; names, means and deviations of pose labels, and the number of classes, for
    objectives that predict these.

    Args:
        config: The configuration.
        split: The data of training.
        sizes: `image_size` and `contact_size` that images must have; any if left out.

    Raises:
        ValueError: If the data lacks a column, or has another size, other labels, more classes or
            fewer channels.
    """
    import torch  # here, with what imports it: the rest needs none

    from representation.data.sources import require_columns
    from representation.objectives.pose import pose_statistics
    from representation.preprocessing import flat_channels

    require_columns(split, config.keys)
    config = with_names(config, split.labels, split.codes)
    first = split.read(np.zeros(1, dtype=np.int64), config.encoder.keys)
    images = {}
    for key, (channels, *_) in config.encoder.images.items():
        found, rows, columns = flat_channels(first[key]).shape[1:]
        name = size_setting(key)
        size = sizes.get(name)
        if size is not None and (rows, columns) != _pair(size):
            raise ValueError(
                f"{name}={size}, but {key} in the data set has {rows} x {columns} "
                f"pixels; leave {name} out, or make a data set of {size} pixels"
            )
        if found < channels:
            raise ValueError(
                f"the encoder takes {channels} channels of {key}, and the data set has {found}"
            )
        images[key] = (channels, rows, columns)
    options = dict(config.objective_options)
    if "pose" in config.objectives and not {"mean", "std"} & options["pose"].keys():
        poses = split.read(np.arange(len(split)), ["pose"])["pose"]
        mean, std = pose_statistics(torch.from_numpy(poses))
        options["pose"] = {**options["pose"], "mean": mean, "std": std}
    encoder = config.encoder.with_images(images)
    return replace(config, encoder=encoder, objective_options=options)


def with_names(
    config: PretrainConfig, labels: Sequence[str], codes: Mapping[str, Sequence[str]]
) -> PretrainConfig:
    """A configuration whose objectives predict a data set's labels and classes; see `Split`.

    Raises:
        ValueError: If it has other labels, or fewer classes.
    """
    options = {name: dict(given) for name, given in config.objective_options.items()}
    if "pose" in config.objectives:
        predicted = options.setdefault("pose", {}).setdefault("labels", list(labels))
        if list(predicted) != list(labels):
            raise ValueError(
                f"objective 'pose' predicts {', '.join(predicted)}, and the data set's poses are "
                f"{', '.join(labels)}; take a data set of the same task"
            )
    classes = len(codes.get("connector", ()))
    if "classification" in config.objectives and classes:
        given = options.setdefault("classification", {}).setdefault("num_classes", classes)
        if given < classes:
            raise ValueError(
                f"objective 'classification' has num_classes={given}, and the data set has "
                f"{classes}: {', '.join(codes['connector'])}"
            )
    return replace(config, objective_options=options)


def with_sizes(encoder: EncoderConfig, **sizes: Size) -> EncoderConfig:
    """An encoder's configuration for images of other sizes, by the environment's settings."""
    images = {}
    for key, (channels, rows, columns) in encoder.images.items():
        size = sizes.get(size_setting(key))
        images[key] = (channels, *(_pair(size) if size else (rows, columns)))
    return encoder.with_images(images)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def size_setting(key: str) -> str:
    """The environment's setting that gives an image's size; "" for an image of one's own."""
    record = IMAGE_MODALITIES.get(key)
    return (record.size_setting if record else None) or ""
