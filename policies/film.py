"""Pictures of episodes for people: the scene beside what the policy senses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from policies.episodes import Policy
from vtenv import scene
from vtenv.connectors import CONNECTORS
from vtenv.env import VTInsertEnv
from vtenv.rendering import make_renderer

Image = NDArray[np.uint8]

MODALITIES = ("depth", "contact", "gel", "proprio")
"""What an environment must sense for the panel to show both senses."""
FPS = 25
"""Frames a second; each shows a control step of 20 ms, so a film runs at half speed."""
HOLD_FIRST, HOLD_LAST = 12, 38
"""Frames for which an episode's first state is shown before it moves, and its last after."""

_STEP_SECONDS = scene.TIMESTEP * scene.SUBSTEPS
_TEXT_SIZE, _WEIGHT = 19, 500
_MARGIN, _PADDING = 14, 9
_TEXT, _GOOD, _BAD = (234, 236, 240), (120, 220, 150), (255, 140, 130)
_BACKGROUND = (23, 25, 29)


class Camera:
    """Draws a world: in third person beside the sensor panel, or the panel alone.

    Args:
        env: The environment whose world is drawn; it must have been reset.

    Attributes:
        missing: Why there is no third-person view; empty if there is one.
    """

    def __init__(self, env: VTInsertEnv) -> None:
        self._simulation = env.simulation
        self._panel: Any = make_renderer("sensors", env.config)
        self._third_person: Any = None
        self.missing = ""
        third_person: Any = make_renderer("rgb_array", env.config)
        try:
            third_person.render(self._simulation, 0)
            self._third_person = third_person
        except DependencyNotInstalled as error:
            self.missing = str(error)

    def shoot(self, caption: str, colour: tuple[int, int, int] = _TEXT) -> Image:
        """Draw the world as it is now.

        Args:
            caption: Text for a corner of the third-person view.
            colour: Its colour, RGB.

        Returns:
            An RGB image with even sides, (H, W, 3).
        """
        picture: Image = self._panel.render(self._simulation, 0)
        if self._third_person is not None:
            third_person = self._third_person.render(self._simulation, 0)
            _write(third_person, caption, colour)
            picture = np.hstack([third_person, picture])
        height, width = picture.shape[:2]
        return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")

    def close(self) -> None:
        """Release what draws; may be called twice."""
        for renderer in (self._panel, self._third_person):
            if renderer is not None:
                renderer.close()


def film_episode(
    env: VTInsertEnv, camera: Camera, policy: Policy, connector: str, seed: int, max_steps: int
) -> Iterator[Image]:
    """Play an episode and show every control step of it, the first and the last for longer.

    Args:
        env: The environment.
        camera: What draws it.
        policy: Who acts.
        connector: The connector to insert.
        seed: Seed of the episode.
        max_steps: Steps after which the episode is over.

    Yields:
        Frames, `num_frames` of them.
    """
    _, info = env.reset(seed=seed, options={"connector": connector})
    frame = camera.shoot(f"{CONNECTORS[connector].label}, seed {seed}")
    for _ in range(HOLD_FIRST):
        yield frame
    ended, steps = False, 0
    while not ended:
        _, _, terminated, _, info = env.step(policy(env.simulation)[0])
        steps += 1
        ended = terminated or steps == max_steps
        caption, colour = f"{CONNECTORS[connector].label}, {steps * _STEP_SECONDS:.2f} s", _TEXT
        if info["is_success"]:
            caption, colour = f"{caption}: inserted", _GOOD
        elif ended:
            caption, colour = f"{caption}: {info['failure'] or 'out of time'}", _BAD
        frame = camera.shoot(caption, colour)
        yield frame
    for _ in range(HOLD_LAST):
        yield frame


def num_frames(steps: int) -> int:
    """Frames of an episode of so many control steps."""
    return HOLD_FIRST + steps + HOLD_LAST


def contact_sheet(rows: list[list[Image]]) -> Image:
    """Pictures of one size in rows and columns, shrunk to half."""
    sheet = np.vstack([np.hstack(row) for row in rows])
    size = (sheet.shape[1] // 2, sheet.shape[0] // 2)
    return np.asarray(cv2.resize(sheet, size, interpolation=cv2.INTER_AREA), np.uint8)


def _write(image: Image, text: str, colour: tuple[int, int, int]) -> None:
    """Write a line of text on a dark plate in the lower left corner."""
    font = cv2.FontFace("sans")
    bottom = image.shape[0] - _MARGIN
    width = cv2.getTextSize((image.shape[1], 0), text, (0, 0), font, _TEXT_SIZE, _WEIGHT)[2]
    top = bottom - _TEXT_SIZE - 2 * _PADDING
    plate = (_MARGIN + width + 2 * _PADDING, bottom)
    cv2.rectangle(image, (_MARGIN, top), plate, _BACKGROUND, cv2.FILLED)
    baseline = (_MARGIN + _PADDING, bottom - _PADDING - 3)
    cv2.putText(image, text, baseline, colour, font, _TEXT_SIZE, _WEIGHT)
