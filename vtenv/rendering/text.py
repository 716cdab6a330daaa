"""Text on pictures, with a font that Pillow brings: the same on every machine."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]

LIGHT: Color = (234, 236, 240)
"""Text on the dark background of panels and films."""
_BOLD = 0.35
"""How far the glyphs of bold text are widened to each side, in pixels."""


def text_width(text: str, size: int, *, bold: bool = False) -> int:
    """Width of a line of text, in pixels."""
    return round(_font(size).getlength(text) + 2 * _BOLD * bold)


def write_text(
    image: NDArray[np.uint8],
    text: str,
    at: tuple[int, int],
    size: int,
    color: Color = LIGHT,
    *,
    bold: bool = False,
    align: str = "left",
    outlined: bool = False,
) -> None:
    """Write a line of text into a picture; what lies beyond its edges is cut off.

    Args:
        image: RGB, (H, W, 3), uint8; changed in place.
        text: The line.
        at: The left, or right, end of its baseline, column and row.
        size: Of the font, in pixels.
        color: RGB.
        bold: Whether to widen its strokes.
        align: "left" or "right".
        outlined: Whether to draw it on a black outline; it is not bold then.
    """
    left, baseline = at
    top = max(baseline - 2 * size, 0)
    strip = Image.fromarray(image[top : baseline + size])
    ImageDraw.Draw(strip).text(
        (left, baseline - top),
        text,
        fill=color,
        font=_font(size),
        anchor="ls" if align == "left" else "rs",
        stroke_width=1.0 if outlined else _BOLD * bold,
        stroke_fill=(0, 0, 0) if outlined else color,
    )
    image[top : baseline + size] = np.asarray(strip)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType; install its wheel from PyPI")
    return font
