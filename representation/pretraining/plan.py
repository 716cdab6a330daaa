"""What a run trains, and on what: judged before anything is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from representation.data.dataset import Dataset
from representation.pretraining.config import PretrainConfig
from representation.pretraining.fit import fit_to_split, with_names, with_sizes
from representation.pretraining.live_config import LiveConfig
from representation.pretraining.run_folder import PretrainFolder, TrainingData
from vtenv.collection.experience import column_codes
from vtenv.json_document import from_document
from vtenv.modalities import IMAGE_MODALITIES
from vtenv.registry import make_task


@dataclass(frozen=True)
class PretrainPlan:
    """What is to be trained, and on what: a data set, or what is rendered.

    Attributes:
        config: What to train.
        dataset: What to train on; None where it is rendered.
        live: What to render; None where there is a data set.
        heldout: What to evaluate on beside; None for nothing.
    """

    config: PretrainConfig
    dataset: Dataset | None
    live: LiveConfig | None
    heldout: Dataset | None

    @property
    def data(self) -> TrainingData:
        """What is written down about the data."""
        other = self.heldout is not None and self.heldout is not self.dataset
        heldout = str(self.heldout.folder) if self.heldout is not None and other else ""
        if self.live is not None:
            live = dataclasses.asdict(self.live)
            return TrainingData(self.live.describe(), live=live, heldout=heldout)
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
    from representation.pretraining.initial_encoder import require_buildable

    PretrainFolder(output).require_new()
    sizes = {name: size for name, size in (sizes or {}).items() if size is not None}
    dataset = None if isinstance(data, LiveConfig) else _open(data, "train")
    held = None if heldout is None else _open(heldout, "heldout")
    if held is None and dataset is not None and "heldout" in dataset.splits:
        held = dataset
    live = None
    if dataset is not None:
        config = fit_to_split(config, dataset["train"], **sizes)
    elif isinstance(data, LiveConfig):
        config = dataclasses.replace(config, encoder=with_sizes(config.encoder, **sizes))
        live = dataclasses.replace(data, settings={**data.settings, **_sizes(config)})
        task = make_task(live.task, **live.settings)
        config = with_names(config, task.pose_labels, column_codes(task))
    if held is not None:
        fit_to_split(config, held["heldout"], **_sizes(config))
    require_buildable(config)
    return PretrainPlan(config, dataset, live, held)


def resumed_plan(output: Path, data: Path | None = None) -> PretrainPlan:
    """What a run that goes on trains.

    Args:
        output: Folder of the run.
        data: The data set, where it is now; None for where it was.

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
    if held is None and "heldout" in dataset.splits:
        held = dataset
    return PretrainPlan(config, dataset, None, held)


def _sizes(config: PretrainConfig) -> dict[str, int]:
    """The environment's settings that give images of the encoder's sizes."""
    return {
        IMAGE_MODALITIES[key].size_setting or "": rows
        for key, (_, rows, _) in config.encoder.images.items()
    }


def _open(folder: Path, split: str) -> Dataset:
    dataset = Dataset.open(folder)
    dataset[split]  # refuses what is not there
    return dataset
