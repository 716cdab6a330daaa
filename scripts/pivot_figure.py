"""Draws docs/images/pivot.png: the expert of `VTPivot-v0` with each connector, and what it felt."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import gymnasium
import numpy as np

import vtenv
from vtenv.vector_env import TaskVectorEnv

PATH = Path(__file__).parents[1] / "docs" / "images" / "pivot.png"
SEED = 3
MOMENTS = (0.0, 0.3, 0.55, 0.8, 1.0)
"""Parts of the episode at which pictures are taken."""
SIZE = (256, 192)
"""Width and height of a picture, in pixels."""
MASKS = (slice(44, 232), slice(285, 627))
"""The part of the sensor panel that has the contact masks: its text stays legible."""


def episode(connector: str, picture: str) -> Iterator[TaskVectorEnv]:
    """The expert's episode, step by step."""
    envs = gymnasium.make_vec(
        "VTPivot-v0",
        1,
        vectorization_mode="vector_entry_point",
        connectors=(connector,),
        modalities=("depth", "contact"),
        autoreset_mode="Disabled",
        render_mode="rgb_array",
        picture=picture,
    )
    assert isinstance(envs, TaskVectorEnv)
    envs.reset(seed=SEED)
    ended = False
    while not ended:
        yield envs
        _, _, terminated, truncated, _ = envs.step(envs.simulation.expert_action())
        ended = bool(terminated[0] or truncated[0])
    yield envs
    envs.close()


def shown(envs: TaskVectorEnv) -> np.ndarray:
    """What the one world looks like now, uint8, RGB."""
    (picture,) = envs.render() or ()
    return np.asarray(picture)


def pictures(connector: str) -> np.ndarray:
    """The moments of an episode side by side, and the contact masks at its end, uint8, RGB."""
    steps = sum(1 for _ in episode(connector, "sensors")) - 1
    wanted = {round(part * steps) for part in MOMENTS}
    views = [
        cv2.resize(shown(envs), SIZE, interpolation=cv2.INTER_AREA)
        for step, envs in enumerate(episode(connector, "scene"))
        if step in wanted
    ]
    *_, last = (shown(envs) for envs in episode(connector, "sensors"))
    masks = last[MASKS]
    scale = SIZE[1] / len(masks)
    views.append(cv2.resize(masks, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return np.hstack(views)


def main() -> None:
    """Write the figure."""
    figure = np.vstack([pictures(name) for name in vtenv.CONNECTOR_NAMES])
    cv2.imwrite(str(PATH), figure[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(PATH)


if __name__ == "__main__":
    main()
