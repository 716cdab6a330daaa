"""Fitting a configuration to data: sizes of images, labels and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from representation.data.sources import Split, require_columns
from representation.encoder_config import EncoderConfig
from representation.objectives.pose import pose_statistics
from representation.pretraining.config import PretrainConfig
from vtenv.modalities import IMAGE_MODALITIES


def fit_to_split(
    config: PretrainConfig,
    split: Split,
    *,
    image_size: int | None = None,
    contact_size: int | None = None,
) -> PretrainConfig:
    """Take from the data what the configuration leaves to it, and check that they fit.

    The images' sizes; names, means and deviations of pose labels, and the number of classes, for
    objectives that predict these.

    Args:
        config: The configuration.
        split: The data of training.
        image_size: Size that the depth image must have; None for any.
        contact_size: Size that a contact mask must have; None for any.

    Returns:
        The configuration for this data.

    Raises:
        ValueError: If the data lacks a column, or has another size, other labels, more classes or
            fewer channels.
    """
    require_columns(split, config.keys)
    config = with_names(config, split.labels, split.codes)
    encoder = with_sizes(config.encoder, image_size=image_size, contact_size=contact_size)
    first = split.read(np.zeros(1, dtype=np.int64), encoder.keys)
    asked = {"image_size": image_size, "contact_size": contact_size}
    images = {}
    for key, (channels, *sides) in encoder.images.items():
        found, *size = first[key].shape[1:]
        name = IMAGE_MODALITIES[key].size_setting if key in IMAGE_MODALITIES else None
        if name is not None and asked.get(name) is not None and size != sides:
            raise ValueError(
                f"{name}={asked[name]}, but {key} in the data set has {size[0]} x {size[1]} "
                f"pixels; leave {name} out, or make a data set of {asked[name]} pixels"
            )
        if found < channels:
            raise ValueError(
                f"the encoder takes {channels} channels of {key}, and the data set has {found}"
            )
        images[key] = (channels, size[0], size[1])
    options = dict(config.objective_options)
    if "pose" in config.objectives and not {"mean", "std"} & options["pose"].keys():
        poses = split.read(np.arange(len(split)), ["pose"])["pose"]
        mean, std = pose_statistics(torch.from_numpy(poses))
        options["pose"] = {**options["pose"], "mean": mean, "std": std}
    return replace(config, encoder=encoder.with_images(images), objective_options=options)


def with_names(
    config: PretrainConfig, labels: Sequence[str], codes: Mapping[str, Sequence[str]]
) -> PretrainConfig:
    """A configuration whose objectives predict these labels and classes.

    Args:
        config: The configuration.
        labels: Names of the columns of `pose`.
        codes: Names that the whole numbers of a column stand for, by column.

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


def with_sizes(encoder: EncoderConfig, **sizes: int | None) -> EncoderConfig:
    """An encoder's configuration for images of other sizes.

    Args:
        encoder: The configuration.
        sizes: Rows and columns by the setting of the environment, such as `image_size`; None
            for what the configuration has.
    """
    images = {}
    for key, (channels, rows, columns) in encoder.images.items():
        record = IMAGE_MODALITIES.get(key)
        size = sizes.get(record.size_setting or "") if record is not None else None
        images[key] = (channels, rows, columns) if size is None else (channels, size, size)
    return encoder.with_images(images)
