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
        outlined: Whether to draw it on a black outline.
    """
    if outlined:
        _draw(image, text, at, size, (0, 0, 0), align, stroke=1.0)
    _draw(image, text, at, size, color, align, stroke=_BOLD * bold)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType; install its wheel from PyPI")
    return font


def _draw(
    image: NDArray[np.uint8],
    text: str,
    at: tuple[int, int],
    size: int,
    color: Color,
    align: str,
    stroke: float,
) -> None:
    anchor = "ls" if align == "left" else "rs"
    font = _font(size)
    box = font.getbbox(text, anchor=anchor, stroke_width=stroke)
    left, top = int(np.floor(box[0])) + at[0], int(np.floor(box[1])) + at[1]
    right, bottom = int(np.ceil(box[2])) + at[0] + 1, int(np.ceil(box[3])) + at[1] + 1
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, image.shape[1]), min(bottom, image.shape[0])
    if right <= left or bottom <= top:
        return
    mask = Image.new("L", (right - left, bottom - top))
    place = (at[0] - left, at[1] - top)
    ImageDraw.Draw(mask).text(
        place, text, fill=255, font=font, anchor=anchor, stroke_width=stroke, stroke_fill=255
    )
    cover = np.asarray(mask, np.float32)[..., None] / 255
    under = image[top:bottom, left:right]
    under[:] = np.rint(under + cover * (np.array(color, np.float32) - under)).astype(np.uint8)
