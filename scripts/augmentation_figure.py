"""Draws docs/images/augmentations.png: a depth image and a contact mask, and what becomes of them.

Each row is one augmentation, drawn four times.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from representation.augmentations import AUGMENTATIONS, Augment
from vtenv.grasps.images import CAMERA_TO_TABLE, contact_masks, overhead_depth
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES

PATH = Path(__file__).parents[1] / "docs" / "images" / "augmentations.png"
SEED = 249
DRAWS = 4
SIZE = 128
SHOWN = {"depth": ("usb", (0.0, 0.0, 115.0)), "contact": ("pin", (0.0, 0.0, 0.0))}
"""The connector and its pose that show each modality best."""
LABELS = {
    "noise": "noise\n1 mm",
    "crop": "centre crop\n80 to 100%",
    "occlusion": "occlusion\n1 to 3 shapes",
    "rotation": "rotation\nup to 10°",
    "dilation_erosion": "dilation, erosion\nup to 2 pixels",
}
NEAR = 1e3 * CAMERA_TO_TABLE - 19.0
FAR = 1e3 * CAMERA_TO_TABLE + 3.0
COLOURS = np.array([[16, 20, 24], [46, 160, 67], [218, 54, 51], [255, 255, 255]], np.uint8)
"""Of no contact, contact that was added, contact that was lost, and contact."""


def shown(key: str) -> torch.Tensor:
    """The image to augment, as often as it is drawn, (DRAWS, 1, SIZE, SIZE)."""
    name, where = SHOWN[key]
    connector = np.array([CONNECTOR_NAMES.index(name)])
    pose = np.array([where], np.float32)
    if key == "contact":
        image: np.ndarray = contact_masks(connector, pose, SIZE)[:, :1]
    else:
        image = overhead_depth(connector[:, None], pose[:, None], SIZE)
    return torch.from_numpy(image).repeat_interleave(DRAWS, dim=0)


def draw(axes: Axes, key: str, image: torch.Tensor, before: torch.Tensor) -> None:
    """Draw an image, and of a mask what was added and lost."""
    if key == "depth":
        axes.imshow(1e3 * image, cmap="gray_r", vmin=NEAR, vmax=FAR, interpolation="nearest")
    else:
        axes.imshow(COLOURS[2 * before.long() + image.long()], interpolation="nearest")


def main() -> None:
    """Write the figure."""
    batch = {key: shown(key) for key in SHOWN}
    plt.rcParams.update({"font.size": 9, "font.family": "sans-serif", "axes.linewidth": 0.4})
    figure, axes = plt.subplots(
        len(LABELS),
        DRAWS + 1,
        figsize=(7.2, 7.3),
        gridspec_kw={"wspace": 0.04, "hspace": 0.04},
    )
    for row, (name, label) in enumerate(LABELS.items()):
        generator = torch.Generator().manual_seed(SEED)
        key = "depth" if AUGMENTATIONS[name].kind == "distance" else "contact"
        after = Augment([name])(batch, generator)[key][:, 0]
        before = batch[key][0, 0]
        for cell, image in zip(axes[row], (before, *after), strict=True):
            draw(cell, key, image, before)
        axes[row, 0].set_ylabel(label)
    axes[0, 0].set_title("before", fontsize=9)
    axes[0, 1].set_title("after, drawn four times", fontsize=9, loc="left")
    for cell in axes.ravel():
        cell.set(xticks=[], yticks=[])
    marks = [Patch(color=COLOURS[i] / 255, label=text) for i, text in ((1, "added"), (2, "lost"))]
    place = {"loc": "upper right", "bbox_to_anchor": (1.02, -0.02), "ncols": 2, "frameon": False}
    axes[-1, -1].legend(handles=marks, borderaxespad=0.2, handlelength=1.0, **place)
    figure.savefig(PATH, dpi=110, bbox_inches="tight", pad_inches=0.05)
    print(PATH)


if __name__ == "__main__":
    main()
