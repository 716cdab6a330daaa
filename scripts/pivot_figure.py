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
SIZE = (288, 216)
"""Width and height of a picture, in pixels."""


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


def pictures(connector: str) -> np.ndarray:
    """The moments of an episode side by side, and the sensor panel at its end, uint8, RGB."""
    steps = sum(1 for _ in episode(connector, "sensors")) - 1
    wanted = {round(part * steps) for part in MOMENTS}
    views = [
        envs.render()[0] for step, envs in enumerate(episode(connector, "scene")) if step in wanted
    ]
    views += [
        envs.render()[0] for step, envs in enumerate(episode(connector, "sensors")) if step == steps
    ]
    return np.hstack([cv2.resize(view, SIZE, interpolation=cv2.INTER_AREA) for view in views])


def main() -> None:
    """Write the figure."""
    figure = np.vstack([pictures(name) for name in vtenv.CONNECTOR_NAMES])
    cv2.imwrite(str(PATH), figure[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(PATH)


if __name__ == "__main__":
    main()
