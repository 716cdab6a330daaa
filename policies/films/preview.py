"""A picture of a data set: some rows of each connector, what was seen and what was felt."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from representation.data.dataset import Dataset, Split
from vtenv.modalities import IMAGE_MODALITIES
from vtenv.rendering.text import write_text

Image = NDArray[np.uint8]

_SAMPLES = 3
"""Rows shown of each connector."""
_TILE, _GAP, _CAPTION = 128, 6, 24
_BACKGROUND = (23, 25, 29)
_TEXT_SIZE = 14


def preview(dataset: Dataset) -> Image:
    """Draw training rows of each connector: every channel of every image, as its modality draws it.

    Of experience, there is a row of each of the task's regions, where there are such rows; of
    grasps, rows are taken evenly.

    Returns:
        An image, (H, W, 3), uint8, RGB; the same for the same data.
    """
    rows = dataset["train"]
    connector = rows.read(np.arange(len(rows)), ("connector",))["connector"]
    lines = []
    for number, name in enumerate(dataset.codes["connector"]):
        shown = rows.read(_choose(rows, np.flatnonzero(connector == number)))
        samples = [
            _sample(shown, row, f"{name}: {_what(dataset, shown, row)}")
            for row in range(len(shown["connector"]))
        ]
        if samples:
            blank = np.full_like(samples[0], _BACKGROUND)
            lines.append(np.hstack(samples + [blank] * (_SAMPLES - len(samples))))
    return np.vstack(lines)


def _choose(split: Split, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows to show, of those of one connector."""
    if "region" not in split.columns:
        return rows[np.linspace(0, len(rows) - 1, min(_SAMPLES, len(rows))).astype(int)]
    regions = split.read(rows, ("region",))["region"]
    groups = [np.flatnonzero(regions == code) for code in np.unique(regions)[:_SAMPLES]]
    return rows[[group[len(group) // 2] for group in groups]]


def _what(dataset: Dataset, shown: dict[str, NDArray[Any]], row: int) -> str:
    """What is said about a row."""
    if "region" in shown:
        return dataset.codes["region"][shown["region"][row]]
    x, y, angle = shown["pose"][row]
    return f"at {x:+.0f}, {y:+.0f} mm, {angle:.0f} deg"


def _sample(shown: dict[str, NDArray[Any]], row: int, caption: str) -> Image:
    """A row's images side by side, below a line that says what it is."""
    tiles = [
        _framed(record.draw(channel))
        for key, record in IMAGE_MODALITIES.items()
        if key in shown and record.draw is not None
        for channel in shown[key][row]
    ]
    tiles_beside = np.hstack(tiles)
    strip = np.full((_CAPTION, tiles_beside.shape[1], 3), _BACKGROUND, np.uint8)
    write_text(strip, caption, (_GAP, _CAPTION - 5), _TEXT_SIZE)
    return np.vstack([strip, tiles_beside])


def _framed(tile: Image) -> Image:
    how = cv2.INTER_AREA if tile.shape[0] > _TILE else cv2.INTER_NEAREST
    scaled = cv2.resize(tile, (_TILE, _TILE), interpolation=how)
    edges = (_GAP // 2,) * 4
    framed = cv2.copyMakeBorder(scaled, *edges, cv2.BORDER_CONSTANT, value=_BACKGROUND)
    return np.asarray(framed, np.uint8)
