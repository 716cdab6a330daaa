"""What a run trains, and on what: judged before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from representation.data.dataset import Dataset
from representation.encoder_config import EncoderConfig
from representation.pretraining.config import PretrainConfig
from representation.pretraining.fit import fit_to_split, size_setting, with_names, with_sizes
from representation.pretraining.live_config import LiveConfig
from representation.pretraining.run_folder import PretrainFolder, TrainingData
from vtenv.collection.experience import column_codes
from vtenv.json_document import from_document
from vtenv.modalities import IMAGE_MODALITIES
from vtenv.registry import make_task
from vtenv.tasks import Task


@dataclass(frozen=True)
class PretrainPlan:
    """What is to be trained, and on what: a data set, or what is rendered."""

    config: PretrainConfig
    """What to train."""
    dataset: Dataset | None
    """What to train on; None where it is rendered."""
    live: LiveConfig | None
    """What to render; None where there is a data set."""
    heldout: Dataset | None
    """What to evaluate on beside; None for nothing."""

    @property
    def data(self) -> TrainingData:
        """What is written down about the data."""
        other = self.heldout is not None and self.heldout is not self.dataset
        heldout = str(self.heldout.folder) if self.heldout is not None and other else ""
        if self.live is not None:
            return TrainingData(self.live.describe(), live=asdict(self.live), heldout=heldout)
        assert self.dataset is not None
        return TrainingData(str(self.dataset.folder), self.dataset.fingerprint, heldout=heldout)


def new_plan(
    output: Path,
    config: PretrainConfig,
    data: Path | LiveConfig,
    *,
    heldout: Path | None = None,
    sizes: Mapping[str, int | None] | None = None,
) -> PretrainPlan:
    """What a run that begins trains.

    Args:
        output: Folder for the result.
        config: What to train.
        data: Folder of the data set, or what to render.
        heldout: Folder of another data set to evaluate on; None for none.
        sizes: `image_size` and `contact_size` that images must have, or get; None for any.

    Raises:
        ValueError: If there is something in the folder, or the configuration cannot be built or
            does not fit the data.
    """
    PretrainFolder(output).require_new()
    sizes = sizes or {}
    held = None if heldout is None else _open(heldout, "heldout")
    dataset, live = None, None
    if isinstance(data, LiveConfig):
        config = replace(config, encoder=with_sizes(config.encoder, **sizes))
        live = replace(data, settings={**_observed(config), **data.settings, **_sizes(config)})
        task = make_task(live.task, **live.settings)
        config = replace(config, encoder=_as_sensed(config.encoder, task))
        config = with_names(config, task.pose_labels, column_codes(task))
    else:
        dataset = _open(data, "train")
        config = fit_to_split(config, dataset["train"], **sizes)
        held = held or _with_heldout(dataset)
    if held is not None:
        fit_to_split(config, held["heldout"], **_sizes(config))
    from representation.pretraining.initial_encoder import require_buildable  # imports torch

    require_buildable(config)
    return PretrainPlan(config, dataset, live, held)


def resumed_plan(output: Path, data: Path | None = None) -> PretrainPlan:
    """What a run that goes on trains, with its data set where it is now; None for where it was.

    Raises:
        ValueError: If there is no such run, or the data have changed.
    """
    config, was, _ = PretrainFolder(output).read()
    held = _open(Path(was.heldout), "heldout") if was.heldout else None
    if was.live is not None:
        if data is not None:
            raise ValueError(f"{output} was begun with --live; leave out --data")
        return PretrainPlan(config, None, from_document(LiveConfig, was.live), held)
    dataset = _open(data or Path(was.data), "train")
    if dataset.fingerprint != was.data_sha256:
        raise ValueError(
            f"{dataset.folder} is not the data set that {output} was begun with, or was changed; "
            "give the right one with --data, or begin again in another folder"
        )
    return PretrainPlan(config, dataset, None, held or _with_heldout(dataset))


def _sizes(config: PretrainConfig) -> dict[str, int | tuple[int, int]]:
    """The environment's settings that give images of the encoder's sizes."""
    sizes = {}
    for key, (_, rows, columns) in config.encoder.images.items():
        if key not in IMAGE_MODALITIES or not IMAGE_MODALITIES[key].is_sized_by_sensor:
            sizes[size_setting(key)] = rows if rows == columns else (rows, columns)
    return sizes


def _as_sensed(encoder: EncoderConfig, task: Task) -> EncoderConfig:
    """The encoder's configuration for images whose size is a sensor's own."""
    images = dict(encoder.images)
    for record in task.config.modalities:
        if record.key in images and record.is_sized_by_sensor:
            images[record.key] = (images[record.key][0], *task.image_size(record))
    return encoder.with_images(images)


def _observed(config: PretrainConfig) -> dict[str, tuple[str, ...]]:
    """What to observe, where the encoder reads more than is observed by default."""
    default = ("depth", "contact", "proprio")
    more = [key for key in config.encoder.keys if key not in default]
    return {"modalities": (*default, *more)} if more else {}


def _open(folder: Path, split: str) -> Dataset:
    dataset = Dataset.open(folder)
    dataset[split]  # refuses what is not there
    return dataset


def _with_heldout(dataset: Dataset) -> Dataset | None:
    return dataset if "heldout" in dataset.splits else None
