"""Experience in the formats of other libraries, written by those libraries themselves."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from representation.data.dataset import Dataset, DatasetError
from vtenv.atomic_write import atomic_folder
from vtenv.collection.experience import OUTCOMES
from vtenv.lerobot_observation import STATE, TASK_DESCRIPTION, camera_pictures
from vtenv.registry import make_task, make_world
from vtenv.rendering.renderers import RENDER_FPS

FORMATS = ("lerobot", "minari")
_IMAGE = "observation.images."


def export(dataset: Dataset, split: str, format: str, output: Path, name: str) -> int:
    """Write a split of experience in another library's format, whole or not at all.

    Args:
        dataset: The data set.
        split: Which of its splits.
        format: One of `FORMATS`: "lerobot" for a LeRobotDataset, whose root is `output`, or
            "minari" for a data set in the folder `output`, to which the environment variable
            MINARI_DATASETS_PATH is to be set.
        output: The folder; must not exist.
        name: The data set's id in that library, such as "vtinsert/experience-v0".

    Returns:
        Episodes written: those with at least one step.

    Raises:
        DatasetError: If it is not experience with outcomes, or the folder exists.
        DependencyNotInstalled: If the library is not installed; says how to install it.
    """
    missing = [column for column in ("action", *OUTCOMES) if column not in dataset.columns]
    if missing:
        raise DatasetError(
            f"{dataset.folder} has no column {missing[0]!r}: it is not experience, or of an older "
            "version; make it with `vtinsert dataset experience`"
        )
    write = _to_lerobot if format == "lerobot" else _to_minari
    if output.exists():
        raise DatasetError(f"{output} exists; choose another folder, or move it away")
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(output) as folder:
        return write(dataset, split, folder, name)


def env_settings(dataset: Dataset) -> dict[str, Any]:
    """Keyword arguments of the environment that experience was collected in."""
    config = make_task(dataset.settings["task"]).config
    names = [field.name for field in dataclasses.fields(config)]
    return {name: dataset.settings[name] for name in names if name in dataset.settings}


def episodes(dataset: Dataset, split: str) -> Iterator[dict[str, NDArray[Any]]]:
    """Columns of each episode that has a step, (T + 1, ...), in the order they are stored."""
    rows = dataset[split]
    number = rows.read(np.arange(len(rows)), ("episode",))["episode"]
    bounds = [0, *(np.flatnonzero(np.diff(number)) + 1), len(number)]
    for first, end in itertools.pairwise(bounds):
        if end - first > 1:
            yield rows.read(np.arange(first, end))


def _to_lerobot(dataset: Dataset, split: str, root: Path, repo_id: str) -> int:
    try:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset
    except ModuleNotFoundError as error:
        raise DependencyNotInstalled(
            "writing a LeRobotDataset needs LeRobot: pip install 'lerobot[dataset]'"
        ) from error
    root.rmdir()  # LeRobot makes it itself
    task = make_task(dataset.settings["task"], **env_settings(dataset))
    modalities = task.config.modalities
    target: Any = None
    count = 0
    for episode in episodes(dataset, split):
        done = episode["terminated"] | episode["truncated"]
        columns = {
            "action": episode["action"],
            **{f"{_IMAGE}{n}": p for n, p in camera_pictures(episode, modalities).items()},
            **({"observation.state": episode[STATE]} if STATE in episode else {}),
            "next.reward": episode["reward"][:, None],
            "next.done": done[:, None],
            "next.success": episode["success"][:, None],
        }
        if target is None:
            features = {name: _feature(name, values) for name, values in columns.items()}
            target = LeRobotDataset.create(
                repo_id, RENDER_FPS, features, root=root, use_videos=False
            )
        for step in range(len(done) - 1):
            frame = {name: values[step] for name, values in columns.items()}
            target.add_frame(frame | {"task": TASK_DESCRIPTION})
        target.save_episode()
        count += 1
    if target is not None:
        target.finalize()
    return count


def _feature(name: str, values: NDArray[Any]) -> dict[str, Any]:
    """What LeRobot is told of a column, (T, ...)."""
    image = name.startswith(_IMAGE)
    names = ["height", "width", "channels"] if image else None
    dtype = "image" if image else values.dtype.name
    return {"dtype": dtype, "shape": values.shape[1:], "names": names}


def _to_minari(dataset: Dataset, split: str, folder: Path, dataset_id: str) -> int:
    # Minari looks for a relative path inside itself.
    os.environ["MINARI_DATASETS_PATH"] = str(folder.resolve())
    try:
        import minari
        from minari.data_collector import EpisodeBuffer
    except ModuleNotFoundError as error:
        raise DependencyNotInstalled(
            "writing a Minari data set needs Minari: pip install 'minari[hdf5]'"
        ) from error
    env = make_world(dataset.settings["task"], **env_settings(dataset))
    keys = [modality.key for modality in env.config.modalities]

    def buffers() -> Iterator[Any]:
        for number, episode in enumerate(episodes(dataset, split)):
            success = np.roll(episode["success"], 1)  # told with the observation after the step
            yield EpisodeBuffer(
                id=number,
                observations={key: episode[key] for key in keys},
                actions=episode["action"][:-1],
                rewards=list(episode["reward"][:-1]),
                terminations=list(episode["terminated"][:-1]),
                truncations=list(episode["truncated"][:-1]),
                infos={"is_success": success},
            )

    written = minari.create_dataset_from_buffers(
        dataset_id,
        buffers(),
        env=env,
        algorithm_name="behaviour mixture of scripted experts and walks",
        description=TASK_DESCRIPTION,
        requirements=["vtinsert"],
        data_format="hdf5",
        jpeg_encoding=False,
    )
    env.close()
    return int(written.total_episodes)
