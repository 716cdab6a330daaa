"""The sensor panel: what a policy saw and how the task stands, drawn without OpenGL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vtenv.modalities import Modality
from vtenv.rendering.text import LIGHT, Color, text_width, write_text
from vtenv.sensing.pictures import ScalarPicture

PANEL_SIZE = (640, 480)
"""Width and height of the panel, in pixels."""

Image = NDArray[np.uint8]

_BACKGROUND: Color = (23, 25, 29)
_TRACK: Color = (44, 48, 55)
_LINE: Color = (74, 80, 90)
_MUTED: Color = (152, 159, 170)
_BLUE: Color = (92, 168, 250)
_GREEN: Color = (72, 187, 120)
_RED: Color = (240, 96, 88)
_AMBER: Color = (240, 178, 66)

_MARGIN, _GAP = 18, 8
_IMAGES_TOP, _IMAGES_BOTTOM = 48, 274
_RULE, _NUMBERS_TOP = 283, 292
_TITLE, _ROW = 19, 17
_COLUMN_GAP, _ROW_GAP = 26, 10
_SCALE_WIDTH = 40
"""Room for a colour scale and its labels, in pixels."""
_BESIDE = _SCALE_WIDTH + _COLUMN_GAP
"""What a figure takes beside its images, in pixels."""
_DEPTH_SHRUNK = (1.0, 0.8, 0.6)
"""Parts of its full side that depth may shrink to, where there are many images of touch."""
_MIN_BOX = (70, 35)
"""Least width and height that numbers are drawn in, in pixels."""

_VECTOR_SCALES = (1, 2, 5, 10, 20, 50)
"""What a full bar of a vector may stand for."""
_LARGEST_TERM = 5.0
"""Reward whose bar is full."""

_BAR_WIDTH = 282
"""Width of the bars of the task's numbers, in pixels."""


class _Box(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class PanelBar:
    """A number of a task.

    Attributes:
        label: What it is.
        text: It, with its unit.
        part: The filled part of its bar, 0 to 1; clipped.
        mark: A part of the bar that is marked.
        is_goal: Whether it shows how far along the task is.
    """

    label: str
    text: str
    part: float
    mark: float | None = None
    is_goal: bool = False


@dataclass(frozen=True)
class PanelText:
    """What the panel says of a world's task.

    Attributes:
        title: What stands at the top.
        success: What stands beside it after success.
        bars: The task's numbers, at most four.
    """

    title: str
    success: str
    bars: tuple[PanelBar, ...]


@dataclass(frozen=True, eq=False)
class _Figure:
    """A title over images side by side, and a colour scale beside them.

    Attributes:
        title: What the images show.
        images: Of any size, uint8, RGB.
        captions: A word on each image.
        scale: What the colours mean, or None.
    """

    title: str
    images: Sequence[Image]
    captions: Sequence[str]
    scale: ScalarPicture | None = None


def draw_panel(
    observation: Mapping[str, Any],
    info: Mapping[str, Any],
    modalities: Sequence[Modality],
    text: PanelText,
) -> Image:
    """Draw what the policy saw, and the task's numbers below it.

    Args:
        observation: One world's observation. Images may be of any size.
        info: The same world's info.
        modalities: Its modalities; what is absent is left out, and the others take its room.
        text: What the task says of it.

    Returns:
        An image, (480, 640, 3), uint8, RGB; the same for the same input.
    """
    width, height = PANEL_SIZE
    image = np.empty((height, width, 3), np.uint8)
    image[:] = _BACKGROUND
    _draw_header(image, info, text)
    shown = [modality for modality in modalities if modality.key in observation]
    vectors = {m.key: np.asarray(observation[m.key], np.float64) for m in shown if not m.is_image}
    cells, box = _layout(_figures(observation, shown), bool(vectors))
    for figure, x, y, tile in cells:
        _draw_figure(image, figure, x, y, tile)
    if vectors and box.right - box.left >= _MIN_BOX[0] and box.bottom - box.top >= _MIN_BOX[1]:
        _draw_vectors(image, vectors, box)
    image[_RULE, _MARGIN : width - _MARGIN] = _TRACK
    _draw_task(image, info, text, _MARGIN, _NUMBERS_TOP)
    _draw_reward(image, info, _MARGIN + 316, width - _MARGIN, _NUMBERS_TOP)
    return image


# --- header -----------------------------------------------------------------------------------
def _draw_header(image: Image, info: Mapping[str, Any], words: PanelText) -> None:
    write_text(image, words.title, (_MARGIN, 31), 18, bold=True)
    failure = str(info.get("failure", ""))
    if info.get("is_success", False):
        text, color = words.success, _GREEN
    elif failure:
        text, color = f"failed: {failure}", _RED
    else:
        text, color = "in progress", _MUTED
    right = PANEL_SIZE[0] - _MARGIN
    write_text(image, text, (right, 30), 14, color, bold=True, align="right")
    left = right - text_width(text, 14, bold=True) - 12
    cv2.circle(image, (left, 25), 5, color, -1, cv2.LINE_AA)


# --- images -----------------------------------------------------------------------------------
def _figures(observation: Mapping[str, Any], modalities: Sequence[Modality]) -> list[_Figure]:
    figures = []
    for modality in modalities:
        if modality.draw is None:
            continue
        channels = np.asarray(observation[modality.key])
        captions = ("left", "right") if len(channels) == 2 else [""] * len(channels)
        unit = "" if modality.unit == "1" else f", {modality.unit}"
        scale = modality.draw if isinstance(modality.draw, ScalarPicture) else None
        images = [modality.draw(channel) for channel in channels]
        figures.append(_Figure(f"{modality.label}{unit}", images, captions, scale))
    return figures


def _layout(
    figures: Sequence[_Figure], with_vectors: bool
) -> tuple[list[tuple[_Figure, int, int, int]], _Box]:
    """Where figures go, as large as fits, and the box that is left.

    Depth stands on the left; touch beside it, in rows where there is more than one image of it.

    Returns:
        Each figure with its left, top and the side of its images; and the box.
    """
    box = _Box(_MARGIN, _IMAGES_TOP, PANEL_SIZE[0] - _MARGIN, _IMAGES_BOTTOM)
    height = box.bottom - box.top
    touch = [figure for figure in figures if len(figure.images) == 2]
    others = [figure for figure in figures if figure not in touch]
    side, rows, tile = height - _TITLE, 1, 0
    many = len(touch) > (1 if others else 2)
    if many:
        sides = [int(part * side) for part in (_DEPTH_SHRUNK if others else (1.0,))]
        tile, side, rows = max(
            (_touch_tile(len(touch), rows, len(others) * (side + _BESIDE), box), side, rows)
            for side in sides
            for rows in range(1, len(touch) + 1)
        )
    cells = []
    below = box._replace(top=box.top + _TITLE + side + _ROW_GAP)
    for figure in others:
        cells.append((figure, box.left, box.top, side))
        box = box._replace(left=box.left + side + _BESIDE)
    below = below._replace(right=box.left - _COLUMN_GAP)
    if not touch:
        return cells, box
    if many:
        columns = -(-len(touch) // rows)
        for index, figure in enumerate(touch):
            left = box.left + index // rows * (2 * tile + _GAP + _BESIDE)
            cells.append((figure, left, box.top + index % rows * (tile + _TITLE + _ROW_GAP), tile))
        beside = box._replace(left=box.left + columns * (2 * tile + _GAP + _BESIDE))
        return cells, max(beside, below, key=lambda b: (b.right - b.left) * (b.bottom - b.top))

    scales = sum(_SCALE_WIDTH for figure in touch if figure.scale is not None)
    fixed = scales + len(touch) * (_GAP + _COLUMN_GAP)
    room = box.right - box.left + _COLUMN_GAP - fixed
    tile = min(height - _TITLE, room // (2 * len(touch)))
    beside = box._replace(left=box.left + fixed + 2 * len(touch) * tile)
    if beside.right - beside.left < _MIN_BOX[0] and with_vectors:
        tile = min(tile, height - _TITLE - _ROW_GAP - _MIN_BOX[1])
    left = box.left
    for figure in touch:
        cells.append((figure, left, box.top, tile))
        left += 2 * tile + _GAP + _COLUMN_GAP + (_SCALE_WIDTH if figure.scale else 0)
    if beside.right - beside.left >= _MIN_BOX[0]:
        return cells, beside
    return cells, box._replace(top=box.top + _TITLE + tile + _ROW_GAP)


def _touch_tile(count: int, rows: int, taken: int, box: _Box) -> int:
    """Side of the images of so many figures in rows, where depth has taken so much width."""
    columns = -(-count // rows)
    height = (box.bottom - box.top - (rows - 1) * _ROW_GAP) // rows - _TITLE
    width = (box.right + _COLUMN_GAP - box.left - taken) // columns - _GAP - _BESIDE
    return min(height, width // 2)


def _draw_figure(image: Image, figure: _Figure, x: int, y: int, tile: int) -> None:
    write_text(image, figure.title, (x, y + 11), 13, _MUTED)
    top = y + _TITLE
    for pixels, caption in zip(figure.images, figure.captions, strict=True):
        # Every sensor pixel is seen as a square.
        rows, columns = (round(tile * n / max(pixels.shape[:2])) for n in pixels.shape[:2])
        image[top : top + rows, x : x + columns] = cv2.resize(
            pixels, (columns, rows), interpolation=cv2.INTER_NEAREST
        )
        cv2.rectangle(image, (x - 1, top - 1), (x + columns, top + rows), _LINE, 1)
        write_text(image, caption, (x + 6, top + rows - 7), 12, outlined=True)
        x += tile + _GAP
    if figure.scale is not None:
        first, last = figure.scale.limits
        ramp = np.linspace(last, first, tile)[:, None]
        image[top : top + tile, x : x + 7] = replace(figure.scale, missing=None)(ramp)
        write_text(image, f"{last:.3g}", (x + 11, top + 9), 11, _MUTED)
        write_text(image, f"{first:.3g}", (x + 11, top + tile), 11, _MUTED)


def _draw_vectors(image: Image, vectors: Mapping[str, NDArray[np.float64]], box: _Box) -> None:
    """Bars of the numbers among what the policy sees, each vector in its own scale."""
    height = box.bottom - box.top
    shown = list(vectors.items())[: max(1, height // (_MIN_BOX[1] + _ROW_GAP))]
    room = (height - _ROW_GAP * (len(shown) - 1)) // len(shown)
    for index, (name, values) in enumerate(shown):
        y = box.top + index * (room + _ROW_GAP)
        values = np.nan_to_num(values)
        largest = float(np.abs(values).max())
        limit = next((size for size in _VECTOR_SCALES if largest <= size), _VECTOR_SCALES[-1])
        write_text(image, name.capitalize(), (box.left, y + 11), 13, _MUTED)
        write_text(image, f"\u00b1{limit}", (box.right, y + 11), 11, _MUTED, align="right")
        top, bottom = y + _TITLE, y + room
        middle, reach = (top + bottom) // 2, (bottom - top) // 2
        space = 2 if (box.right - box.left) / len(values) > 6 else 1
        edges = np.linspace(box.left, box.right + space, len(values) + 1).round().astype(int)
        for left, right, value in zip(edges[:-1], edges[1:] - space, values, strict=True):
            image[top:bottom, left:right] = _TRACK
            low, high = sorted((middle, middle - round(value / limit * reach)))
            image[low : high + 1, left:right] = _BLUE if value >= 0 else _AMBER


# --- numbers ----------------------------------------------------------------------------------
def _draw_task(image: Image, info: Mapping[str, Any], words: PanelText, x: int, y: int) -> None:
    """The task's numbers, each with a bar."""
    write_text(image, "Task", (x, y + 11), 13, _MUTED)
    y += _TITLE + 4
    right = x + _BAR_WIDTH
    for bar in words.bars:
        color = _AMBER
        if bar.is_goal:
            color = _GREEN if info.get("is_success", False) else _BLUE
        write_text(image, bar.label, (x, y + 12), 13)
        write_text(image, bar.text, (right, y + 12), 13, bold=True, align="right")
        image[y + 20 : y + 25, x:right] = _TRACK
        end = x + round(_part(bar.part, 1.0) * _BAR_WIDTH)
        image[y + 20 : y + 25, x:end] = color
        if bar.mark is not None:
            mark = x + round(bar.mark * _BAR_WIDTH)
            image[y + 17 : y + 28, mark : mark + 2] = LIGHT
        y += 38


def _draw_reward(image: Image, info: Mapping[str, Any], x: int, right: int, y: int) -> None:
    """The reward's terms of the last step, and their sum; bars grow as the square root."""
    terms = {
        name.removeprefix("reward_"): float(value)
        for name, value in info.items()
        if name.startswith("reward_")
    }
    if not terms:
        return
    write_text(image, "Reward of this step", (x, y + 11), 13, _MUTED)
    y += _TITLE + 2
    middle, reach = x + 156, 72
    for name, value in terms.items():
        write_text(image, name, (x, y + 12), 13)
        image[y + 5 : y + 11, middle - reach : middle + reach + 1] = _TRACK
        length = round(reach * math.sqrt(_part(abs(value), _LARGEST_TERM)))
        if value > 0:
            image[y + 5 : y + 11, middle : middle + length + 1] = _GREEN
        elif value < 0:
            image[y + 5 : y + 11, middle - length : middle + 1] = _RED
        image[y + 3 : y + 13, middle] = _MUTED
        text = _signed(value)
        color = _MUTED if text == "0" else LIGHT
        write_text(image, text, (right, y + 12), 13, color, align="right")
        y += _ROW
    write_text(image, "sum", (x, y + 14), 13, bold=True)
    write_text(image, _signed(sum(terms.values())), (right, y + 14), 13, bold=True, align="right")


def _part(value: float, full: float) -> float:
    """The filled part of a bar, 0 to 1; 0 for what is not a number."""
    return 0.0 if math.isnan(value) else min(max(value / full, 0.0), 1.0)


def _signed(value: float) -> str:
    return "0" if abs(value) < 0.0005 else f"{value:+.3f}"
