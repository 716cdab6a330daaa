"""Pictures of episodes for people: the scene beside what the policy senses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from gymnasium.error import DependencyNotInstalled
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from policies.evaluation.episodes import Act
from policies.worlds import FAILURE, decode, simulation_of, variant_key, variant_label
from vtenv.modalities import GEOMETRY
from vtenv.rendering.renderers import PanelRenderer, PictureRenderer
from vtenv.rendering.text import LIGHT, Color, text_width, write_text
from vtenv.rollout import rollout

Image = NDArray[np.uint8]

MODALITIES = GEOMETRY
"""What an environment must sense for the panel to show every sense."""
HOLD_FIRST, HOLD_LAST = 12, 38
"""Frames for which an episode's first state is shown before it moves, and its last after."""

_TEXT_SIZE = 19
_MARGIN, _PADDING = 14, 9
_HEADER = 44
"""Height of the strip that a title stands in."""
TEXT, GOOD, BAD = LIGHT, (120, 220, 150), (255, 140, 130)
"""Colours of what is neither, of a success and of a failure."""
_BACKGROUND = (23, 25, 29)


class Camera:
    """Draws worlds: in third person with the sensor panel, or the panel alone.

    Args:
        envs: The environments whose worlds are drawn; they must have been reset.
        stacked: Whether the panel stands below the third-person view, not beside it.

    Attributes:
        missing: Why there is no third-person view; empty if there is one.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any], *, stacked: bool = False) -> None:
        self._simulation = simulation_of(envs)
        self._join = np.vstack if stacked else np.hstack
        self._panel = PanelRenderer()
        self._third_person: PictureRenderer | None = None
        self.missing = ""
        third_person = PictureRenderer(self._simulation.task)
        try:
            third_person.render(self._simulation, 0)
            self._third_person = third_person
        except DependencyNotInstalled as error:
            self.missing = str(error)

    def shoot(self, caption: str, colour: Color = TEXT, world: int = 0) -> Image:
        """Draw a world as it is now, with a caption in a corner of the third-person view.

        Returns:
            An RGB image, (H, W, 3).
        """
        picture: Image = self._panel.render(self._simulation, world)
        if self._third_person is not None:
            # OpenCV writes into contiguous arrays alone; OpenGL's pictures are flipped views.
            drawn = self._third_person.render(self._simulation, world)
            third_person = np.ascontiguousarray(drawn)
            _caption(third_person, caption, colour)
            picture = np.asarray(self._join([third_person, picture]), np.uint8)
        return picture

    def close(self) -> None:
        """Release what draws; may be called twice."""
        if self._third_person is not None:
            self._third_person.close()


def film_episodes(
    envs: VectorEnv[Any, Any, Any], camera: Camera, act: Act, seeds: Sequence[int]
) -> Iterator[list[Image]]:
    """Play an episode in each world, and show every control step of them at once.

    The first states and the last ones are shown for longer; an episode that ends before the
    others stands still.

    Args:
        envs: On the CPU engine, with `AutoresetMode.NEXT_STEP`.
        camera: Draws them.
        act: Acts.
        seeds: Seeds of the episodes of the first worlds; the others are not shown.

    Yields:
        A picture of each of these worlds; `num_frames` of the longest episode's steps times.
    """
    simulation = simulation_of(envs)
    task = simulation.task
    worlds = range(len(seeds))
    running = np.arange(envs.num_envs) < len(seeds)
    started = np.ones(envs.num_envs, bool)
    labels: list[str] = []
    pictures: list[Image] = []

    def choose(observation: Any, info: Mapping[str, Any]) -> Any:
        if not pictures:
            key = variant_key(task)
            names = decode(info[key], task.code_names[key])
            labels.extend(variant_label(task, name) for name in names)
            pictures.extend(camera.shoot(f"{labels[w]}, seed {seeds[w]}", world=w) for w in worlds)
        return act(observation, simulation, started)

    idle = envs.num_envs - len(seeds)
    for number, step in enumerate(rollout(envs, choose, seed=[*seeds, *[seeds[0]] * idle]), 1):
        if number == 1:
            started = np.zeros(envs.num_envs, bool)
            for _ in range(HOLD_FIRST):
                yield list(pictures)
        ended = step.terminated | step.truncated
        for world in np.flatnonzero(running):
            caption = f"{labels[world]}, {number / envs.metadata['render_fps']:.2f} s"
            colour = TEXT
            if step.next_info["is_success"][world]:
                caption, colour = f"{caption}: success", GOOD
            elif ended[world]:
                failures = decode(step.next_info[FAILURE], task.code_names[FAILURE])
                failure = failures[world] or "not in time"
                caption, colour = f"{caption}: {failure}", BAD
            pictures[world] = camera.shoot(caption, colour, int(world))
        running &= ~ended
        yield list(pictures)
        if not running.any():
            break
    for _ in range(HOLD_LAST):
        yield list(pictures)


def num_frames(steps: int) -> int:
    """Frames of an episode of so many control steps."""
    return HOLD_FIRST + steps + HOLD_LAST


def titled(picture: Image, title: str, colour: Color) -> Image:
    """A picture below a strip with its title."""
    strip = np.full((_HEADER, picture.shape[1], 3), _BACKGROUND, np.uint8)
    baseline = (_MARGIN, _HEADER - _MARGIN - 1)
    write_text(strip, title, baseline, _TEXT_SIZE, colour)
    return np.vstack([strip, picture])


def contact_sheet(rows: list[list[Image]]) -> Image:
    """Pictures of one size in rows and columns, shrunk to half."""
    sheet = np.vstack([np.hstack(row) for row in rows])
    size = (sheet.shape[1] // 2, sheet.shape[0] // 2)
    return np.asarray(cv2.resize(sheet, size, interpolation=cv2.INTER_AREA), np.uint8)


def _caption(image: Image, text: str, colour: Color) -> None:
    """Write a line of text on a dark plate in the lower left corner."""
    bottom = image.shape[0] - _MARGIN
    width = text_width(text, _TEXT_SIZE)
    plate = (_MARGIN + width + 2 * _PADDING, bottom)
    top = bottom - _TEXT_SIZE - 2 * _PADDING
    cv2.rectangle(image, (_MARGIN, top), plate, _BACKGROUND, cv2.FILLED)
    baseline = (_MARGIN + _PADDING, bottom - _PADDING - 3)
    write_text(image, text, baseline, _TEXT_SIZE, colour)
