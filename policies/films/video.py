"""Video files that play everywhere: H.264 in MP4."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtenv.atomic_write import atomic_write


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], fps: int) -> int:
    """Write frames as they come; the file appears whole or not at all.

    Args:
        path: The file, `.mp4`.
        frames: RGB images of one size, (H, W, 3); H and W even.
        fps: Frames a second.

    Returns:
        The number of frames.

    Raises:
        ValueError: If there is no frame, or one has an odd side or another size.
        OSError: If the file cannot be written.
    """
    count = 0
    writer: Any = None
    with atomic_write(path) as temporary:
        try:
            for frame in frames:
                height, width = frame.shape[:2]
                if writer is None:
                    if height % 2 or width % 2:
                        raise ValueError(f"a frame of {width} x {height} has an odd side")
                    size = (width, height)
                    writer = _writer(temporary, size, fps)
                if (width, height) != size:
                    raise ValueError(f"a frame of {width} x {height} among those of {size}")
                writer.send(np.ascontiguousarray(frame))
                count += 1
        finally:
            if writer is not None:
                writer.close()
        if not count:
            raise ValueError(f"no frames for {path}")
    return count


def _writer(path: Path, size: tuple[int, int], fps: int) -> Any:
    import imageio_ffmpeg  # type: ignore[import-untyped] # a run without films does without

    writer = imageio_ffmpeg.write_frames(
        str(path),
        size,
        fps=fps,
        codec="libx264",
        pix_fmt_in="rgb24",
        pix_fmt_out="yuv420p",
        macro_block_size=2,
        quality=None,
        # The index at the front, so that a browser plays it while it loads.
        output_params=["-crf", "18", "-preset", "fast", "-movflags", "+faststart"],
    )
    writer.send(None)
    return writer
