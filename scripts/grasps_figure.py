"""Draws docs/images/grasps.png: grasps of each connector as the overhead camera and the gels see.

As figures 2 and 3 of the paper.
"""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray

from vtenv.grasps.grasps import Columns, GraspConfig, grasp_blocks
from vtenv.grasps.images import CAMERA_TO_TABLE, INDENTATION, TABLE_HALF_EXTENT
from vtenv.grasps.resting import extents
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, CONNECTORS
from vtenv.tasks.insertion.scene import GEL_SIZE

PATH = Path(__file__).parents[1] / "docs" / "images" / "grasps.png"
SEED = 0
ANGLES = (0.0, -40.0, 115.0)
"""Of the grasps shown, in [degrees]."""
DEPTH_MM = (1e3 * CAMERA_TO_TABLE - 18.5, 1e3 * CAMERA_TO_TABLE + 3.0)
"""Of white and of black; the table is dark grey."""
BLUE = "#1f6feb"
MASK = ListedColormap(["#101418", "#ffffff"])


def choose(config: GraspConfig, connector: int, angle: float) -> Columns:
    """The training grasp off the middle that is nearest to an angle."""
    (every,) = grasp_blocks(config, "train", SEED, block=config.grasps)
    turned = np.abs((every["pose"][:, 2] - angle + 180) % 360 - 180)
    cost = turned + 5.0 * (np.abs(every["pose"][:, :2]).sum(axis=1) != 5.0)
    cost[every["connector"] != connector] = np.inf
    return {name: column[[np.argmin(cost)]] for name, column in every.items()}


def draw_depth(axes: Axes, grasp: Columns) -> None:
    """The depth image, and the closed gripper on it as an I."""
    reach = 1e3 * TABLE_HALF_EXTENT
    axes.imshow(
        1e3 * grasp["depth"][0, 0],
        cmap="gray_r",
        vmin=DEPTH_MM[0],
        vmax=DEPTH_MM[1],
        extent=(-reach, reach, -reach, reach),
    )
    low, high = (1e3 * side[0] for side in extents(grasp["connector"], grasp["pose"], GEL_SIZE / 2))
    half = 1e3 * GEL_SIZE / 2
    # In the image the gripper's y runs to the left.
    left, right = -high + 1e3 * INDENTATION, -low - 1e3 * INDENTATION
    style: dict[str, Any] = {"color": BLUE, "linewidth": 2.2, "solid_capstyle": "butt"}
    for pad in (left, right):
        axes.plot([pad, pad], [-half, half], **style)
    axes.plot([left, right], [0, 0], **style)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))


def draw_mask(axes: Axes, mask: NDArray[np.uint8]) -> None:
    """A gel's contact mask."""
    axes.imshow(mask, cmap=MASK, vmin=0, vmax=1, interpolation="nearest")


def main() -> None:
    """Write the figure."""
    plain, cluttered = GraspConfig(), GraspConfig(clutter=4)
    rows = [
        (f"{name}\n{CONNECTORS[name].label}", [choose(plain, i, angle) for angle in ANGLES])
        for i, name in enumerate(CONNECTOR_NAMES)
    ]
    mixed = [choose(cluttered, i, angle) for i, angle in zip((2, 0, 1), ANGLES, strict=True)]
    rows.append(("clutter\nfour objects more", mixed))

    plt.rcParams.update({"font.size": 9, "font.family": "sans-serif", "axes.linewidth": 0.4})
    figure = plt.figure(figsize=(9.4, 10.2))
    # A depth image, two masks beside it, and a gap, three times.
    grid = figure.add_gridspec(
        2 * len(rows), 3 * len(ANGLES), width_ratios=[2, 1, 0.15] * len(ANGLES), wspace=0.03,
        hspace=0.05,
    )  # fmt: skip
    for row, (label, grasps) in enumerate(rows):
        for column, grasp in enumerate(grasps):
            depth = figure.add_subplot(grid[2 * row : 2 * row + 2, 3 * column])
            draw_depth(depth, grasp)
            if column == 0:
                depth.set_ylabel(label)
            if row == 0:
                depth.set_title("overhead depth", fontsize=9, pad=4)
            for finger, side in enumerate(("left gel", "right gel")):
                mask = figure.add_subplot(grid[2 * row + finger, 3 * column + 1])
                draw_mask(mask, grasp["contact"][0, finger])
                if row == 0:
                    mask.text(0.05, 0.93, side, color="w", va="top", transform=mask.transAxes)
    for cell in figure.axes:
        cell.set(xticks=[], yticks=[])
    figure.savefig(PATH, dpi=110, bbox_inches="tight", pad_inches=0.05)
    print(PATH)


if __name__ == "__main__":
    main()
