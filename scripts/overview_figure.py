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


def frames(connector: str) -> np.ndarray:
    """The third-person view beside the sensor panel, (H, W, 3), uint8, RGB."""
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
        pictures.append(env.render())
        env.close()
    return np.hstack(pictures)


def _is_half_way(measures: Geometry) -> bool:
    return bool(measures.depth[0] >= DEPTH * measures.travel[0])


def main() -> None:
    """Write the figure."""
    every = [frames(name) for name in vtenv.CONNECTOR_NAMES]
    figure = np.vstack([np.hstack(every[:2]), np.hstack(every[2:])])
    figure = cv2.resize(figure, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(PATH), figure[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(PATH)


if __name__ == "__main__":
    main()
