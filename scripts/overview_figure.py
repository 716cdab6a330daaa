"""Draws docs/images/overview.png: each connector on its way in, beside what its sensors see."""

from pathlib import Path

import cv2
import gymnasium
import numpy as np

import vtenv
from vtenv.tasks.insertion.measures import Geometry

PATH = Path(__file__).parents[1] / "docs" / "images" / "overview.png"
SEED = 4
DEPTH = 0.45
"""Part of the travel at which the picture is taken."""
SCENE, SCENE_TOP = (500, 375), 70
"""Width and height of the third-person view, and where it is cut off at the top, in pixels."""
IMAGES = (slice(0, 283), slice(0, 520))
"""The part of the sensor panel that has the title and the images: its text stays legible."""


def row(connector: str) -> np.ndarray:
    """The third-person view beside what the sensors see, (H, W, 3), uint8, RGB."""
    pictures = []
    for picture in ("scene", "sensors"):
        env = gymnasium.make(
            "VTInsert-v0",
            connectors=(connector,),
            modalities=("depth", "contact", "gel"),
            render_mode="rgb_array",
            picture=picture,
        )
        env.reset(seed=SEED)
        simulation = env.unwrapped.simulation  # type: ignore[attr-defined]
        while not _is_half_way(simulation.evaluation.measures):
            env.step(simulation.expert_action()[0].astype(np.float32))
        pictures.append(np.asarray(env.render()))
        env.close()
    scene, panel = pictures
    panel = panel[IMAGES]
    scene = cv2.resize(scene, SCENE, interpolation=cv2.INTER_AREA)
    return np.hstack([scene[SCENE_TOP : SCENE_TOP + len(panel)], panel])


def _is_half_way(measures: Geometry) -> bool:
    return bool(measures.depth[0] >= DEPTH * measures.travel[0])


def main() -> None:
    """Write the figure."""
    figure = np.vstack([row(name) for name in vtenv.CONNECTOR_NAMES])
    cv2.imwrite(str(PATH), figure[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(PATH)


if __name__ == "__main__":
    main()
