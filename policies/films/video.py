"""Video files that play everywhere: H.264 in MP4."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import imageio.v2
import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from vtenv.atomic_write import atomic_write

FPS = 25
"""Frames a second; each shows a control step of 20 ms, so a film runs at half speed."""


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]]) -> int:
    """Write frames as they come; the file appears whole or not at all.

    Args:
        path: The file, `.mp4`.
        frames: RGB images of one size, (H, W, 3); H and W even.

    Returns:
        The number of frames.

    Raises:
        ValueError: If there is no frame, or one has another size.
        OSError: If the file cannot be written.
        DependencyNotInstalled: Without imageio-ffmpeg.
    """
    count = 0
    with atomic_write(path) as temporary:
        try:
            writer = imageio.v2.get_writer(
                temporary,
                format="FFMPEG",  # or another writer takes the file where that is missing
                fps=FPS,
                codec="libx264",
                pixelformat="yuv420p",
                quality=None,
                macro_block_size=2,
                # The index at the front, so that a browser plays it while it loads.
                output_params=["-crf", "18", "-preset", "fast", "-movflags", "+faststart"],
            )
        except ImportError as error:
            raise DependencyNotInstalled(
                "a video needs imageio-ffmpeg; install vtinsert[video], or make no video with "
                "--filmed 0"
            ) from error
        with contextlib.closing(writer):  # a context of its own leaves it open after an error
            for frame in frames:
                writer.append_data(frame)
                count += 1
        if not count:
            raise ValueError(f"no frames for {path}")
    return count
