"""The paper's grasps: paired overhead depth images and contact masks of connectors on a table.

A connector lies alone and level before the gripper, which comes down over it and closes along its
y axis. A *configuration* is where the connector lies relative to the gripper: x and y of its
middle, and the angle of its tip about the vertical, from the gripper's +x, counter-clockwise as
seen from above. It is a *grasp* if the connector fits between the open fingers and both gels take
an imprint of it.

The overhead image is centred on the gripper, +x up and +y to the left, and its camera is as high as
the environment's. The gripper itself is not in it: the image is taken before the grasp. The gels'
images are the environment's. See `vtenv.grasps.resting` for how connectors rest,
`vtenv.grasps.images` for how pads press.

Source: Bronars and Sunil, section C, "Dataset"; figure 3.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vtenv.grasps.clutter import MAX_CLUTTER, place_clutter
from vtenv.grasps.images import contact_masks, is_grasp, overhead_depth
from vtenv.provenance import cores
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES
from vtenv.validation import as_integer, checked_count, require

SPLITS = ("train", "heldout")
"""The closed set of splits."""
POSE_LABELS = ("grasp_x_mm", "grasp_y_mm", "grasp_angle_deg")
"""Names of a configuration's numbers."""

PAPER_GRASPS = 1920
"""Training grasps of the paper: 480 of each connector, and the most that come from the grid."""
GRID_STEP_MM = 5.0
"""Translational resolution of the grid, in [mm]."""
GRID_STEP_DEG = 5.0
"""Rotational resolution of the grid, in [degrees]; all the way round."""

_ANGLES = int(360 / GRID_STEP_DEG)
_REACH_MM = 25.0
"""Translations of the grid at most, in [mm]; farther out, nothing is grasped."""
_PART = 8
"""Grasps made at a time by one thread: few enough for their images to stay in its cache."""
_TRIALS = 4096
"""Configurations drawn at a time."""

Columns = dict[str, NDArray[Any]]
"""Arrays of equal length by name."""


@dataclass(frozen=True)
class GraspConfig:
    """What is grasped, how often, and how it is seen.

    Raises:
        ValueError: If a value is out of its range; names the value and the range.
    """

    image_size: int = 224
    """Rows and columns of the overhead depth image, 8 to 512."""
    contact_size: int = 224
    """Rows and columns of each finger's contact mask, 8 to 512. From 64 up, none is empty."""
    clutter: int = 0
    """Objects in view beside the grasped one, 0 to 6. The masks are the grasped one's alone."""
    grasps: int = PAPER_GRASPS
    """Training grasps, as many of each connector; a multiple of 4.

    Up to the paper's number they are taken evenly from its grid. More than that are drawn
    uniformly from the range that the grid spans.
    """
    heldout: int | None = None
    """Held-out grasps; a multiple of 4. None for the paper's share, a third of `grasps`."""

    def __post_init__(self) -> None:
        for name in ("image_size", "contact_size"):
            given = getattr(self, name)
            pixels = "a whole number of pixels from 8 to 512"
            require(_within(given, 8, 512), name, given, pixels)
        objects = f"a whole number of objects from 0 to {MAX_CLUTTER}"
        require(_within(self.clutter, 0, MAX_CLUTTER), "clutter", self.clutter, objects)
        kinds = len(CONNECTOR_NAMES)
        each = f"a whole number of grasps that {kinds} connectors can share, from {kinds} up"
        valid = _within(self.grasps, kinds) and self.grasps % kinds == 0
        require(valid, "grasps", self.grasps, each)
        if self.heldout is not None:
            valid = _within(self.heldout, kinds, self.grasps) and self.heldout % kinds == 0
            require(valid, "heldout", self.heldout, f"{each} to grasps={self.grasps}, or None")


def _within(value: object, low: int, high: float = math.inf) -> bool:
    """Whether a value is a whole number within bounds."""
    number = as_integer(value)
    return number is not None and low <= number <= high


class Configurations(NamedTuple):
    """Where connectors lie relative to the gripper, one a row.

    Attributes:
        connector: Index in `CONNECTOR_NAMES`, (N,), int64.
        pose: x [mm], y [mm] and angle [degrees, -180 to 180], (N, 3), float32.
        configuration: Which cell of the grid it is or perturbs, (N,), int64; beyond the grid,
            which training grasp.
    """

    connector: NDArray[np.int64]
    pose: NDArray[np.float32]
    configuration: NDArray[np.int64]

    def take(self, rows: slice | NDArray[np.int64]) -> Configurations:
        """Some of the rows."""
        return Configurations(self.connector[rows], self.pose[rows], self.configuration[rows])


def num_grasps(config: GraspConfig, split: str) -> int:
    """How many grasps a split has.

    Raises:
        ValueError: If there is no such split; lists those there are.
    """
    require(split in SPLITS, "split", split, f"one of {', '.join(SPLITS)}")
    if split == "train":
        return config.grasps
    if config.heldout is not None:
        return config.heldout
    kinds = len(CONNECTOR_NAMES)
    return max(1, config.grasps // 3 // kinds) * kinds


def grasp_blocks(
    config: GraspConfig,
    split: str,
    seed: int,
    block: int = 64,
    num_threads: int | None = None,
) -> Iterator[Columns]:
    """Make the grasps of a split, some at a time.

    Connectors take turns. A grasp depends on the configuration, the split, the seed and its own
    number alone, not on the size of the blocks or the number of threads. Take both splits from
    one seed: held-out grasps are perturbed training grasps, and are none of them.

    Args:
        config: What to make.
        split: "train" or "heldout".
        seed: Of everything random, from 0.
        block: Grasps in a block; the last has what is left.
        num_threads: Threads; None for one a core.

    Yields:
        `depth`, (n, 1, S, S), float32, [m], planar; `contact`, (n, 2, C, C), uint8, 1 where the
        left and right gel are indented; and `connector`, `pose` and `configuration` as in
        `Configurations`.

    Raises:
        ValueError: If an argument is not allowed.
    """
    count = num_grasps(config, split)
    require(_within(seed, 0), "seed", seed, "a whole number from 0")
    block = checked_count("block", block)
    threads = cores() if num_threads is None else checked_count("num_threads", num_threads)

    def make(every: Configurations, rows: range) -> Columns:
        chosen = every.take(slice(rows.start, rows.stop))
        connector, pose = chosen.connector[:, None], chosen.pose[:, None]
        if config.clutter:
            generators = [_generator(seed, "clutter", SPLITS.index(split), row) for row in rows]
            laid, laid_pose = place_clutter(
                chosen.connector, chosen.pose, config.clutter, generators
            )
            connector = np.concatenate([connector, laid], axis=1)
            pose = np.concatenate([pose, laid_pose], axis=1)
        return {
            "depth": overhead_depth(connector, pose, config.image_size),
            "contact": contact_masks(chosen.connector, chosen.pose, config.contact_size),
            **chosen._asdict(),
        }

    def blocks() -> Iterator[Columns]:
        every = configurations(config, split, seed)
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, count, block):
                stop = min(start + block, count)
                parts = [range(i, min(i + _PART, stop)) for i in range(start, stop, _PART)]
                made = list(pool.map(functools.partial(make, every), parts))
                yield {name: np.concatenate([part[name] for part in made]) for name in made[0]}

    return blocks()


def _generator(seed: int, what: str, *which: int) -> np.random.Generator:
    """An independent stream of random numbers for each purpose."""
    purposes = {"grid": 0, "free": 1, "heldout": 2, "clutter": 4}
    return np.random.default_rng([seed, purposes[what], *which])


def configurations(config: GraspConfig, split: str, seed: int) -> Configurations:
    """Where the connectors of a split's grasps lie; see `grasp_blocks`.

    The grid's translations are taken ring by ring from the gripper's centre, all at one distance
    at once, each with every rotation, until there are at least the paper's 480 grasps; of these an
    even part is taken, whose first is drawn. Where the plug is wide, as the USB's, fewer rotations
    fit between the fingers, and the rings reach 10 mm, else 5 mm along x and y.

    A held-out grasp is an even part of the training grasps, moved by up to 5 mm along x and y and
    turned by up to 5 degrees, drawn anew until it is a grasp and not a training grasp.
    """
    num_grasps(config, split)
    train = _free(config, seed) if config.grasps > PAPER_GRASPS else _on_grid(config, seed)
    return train if split == "train" else _perturbed(config, train, seed)


@functools.cache
def _grid(connector: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The grid's grasps of a connector and the numbers of their cells; at least 480."""
    steps = int(_REACH_MM / GRID_STEP_MM)
    x, y = np.meshgrid(*[np.arange(-steps, steps + 1)] * 2, indexing="ij")
    rings = x**2 + y**2
    angles = np.arange(_ANGLES) * GRID_STEP_DEG - 180.0
    wanted = PAPER_GRASPS // len(CONNECTOR_NAMES)
    poses, cells = np.empty((0, 3), np.float32), np.empty(0, np.int64)
    for ring in np.unique(rings):
        place = np.flatnonzero(rings == ring)
        new = np.empty((len(place), _ANGLES, 3), np.float32)
        new[..., 0] = x.flat[place][:, None] * GRID_STEP_MM
        new[..., 1] = y.flat[place][:, None] * GRID_STEP_MM
        new[..., 2] = angles
        cell = (connector * rings.size + place[:, None]) * _ANGLES + np.arange(_ANGLES)
        flat = new.reshape(-1, 3)
        valid = is_grasp(np.full(len(flat), connector), flat)
        poses = np.concatenate([poses, flat[valid]])
        cells = np.concatenate([cells, cell.ravel()[valid]])
        if len(poses) >= wanted:
            poses.flags.writeable = cells.flags.writeable = False
            return poses, cells
    raise RuntimeError(
        f"the grid has {len(poses)} grasps of {CONNECTOR_NAMES[connector]!r}, not {wanted}; "
        "it must fit between the fingers"
    )


def _reach() -> NDArray[np.float32]:
    """Largest x and y of each connector's grasps, perturbed ones too, (4, 2), [mm]."""
    farthest = [np.abs(_grid(c)[0][:, :2]).max(axis=0) for c in range(len(CONNECTOR_NAMES))]
    return np.array(farthest) + np.float32(GRID_STEP_MM)


def _even(count: int, wanted: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """`wanted` of `count` indices, evenly spaced, the first one drawn."""
    return ((np.arange(wanted) + generator.random()) * count / wanted).astype(np.int64)


def _interleaved(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Rows of equally long arrays in turn."""
    return np.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])


def _on_grid(config: GraspConfig, seed: int) -> Configurations:
    kinds = range(len(CONNECTOR_NAMES))
    each = config.grasps // len(kinds)
    poses, cells = [], []
    for connector in kinds:
        pose, cell = _grid(connector)
        chosen = _even(len(pose), each, _generator(seed, "grid", connector))
        poses.append(pose[chosen])
        cells.append(cell[chosen])
    return Configurations(_turns(each), _interleaved(poses), _interleaved(cells))


def _turns(each: int) -> NDArray[np.int64]:
    return np.tile(np.arange(len(CONNECTOR_NAMES)), each)


def _free(config: GraspConfig, seed: int) -> Configurations:
    """Configurations drawn from the range of the grid's grasps and of those that perturb them."""
    each = config.grasps // len(CONNECTOR_NAMES)
    poses = []
    for connector in range(len(CONNECTOR_NAMES)):
        generator = _generator(seed, "free", connector)
        reach = _reach()[connector]
        found = [np.empty((0, 3), np.float32)]
        while sum(map(len, found)) < each:
            trial = generator.uniform(-1.0, 1.0, (_TRIALS, 3)) * [*reach, 180.0]
            pose = _canonical(trial)
            found.append(pose[is_grasp(np.full(_TRIALS, connector), pose)])
        poses.append(np.concatenate(found)[:each])
    return Configurations(_turns(each), _interleaved(poses), np.arange(config.grasps))


def _perturbed(config: GraspConfig, train: Configurations, seed: int) -> Configurations:
    generator = _generator(seed, "heldout")
    kinds = len(CONNECTOR_NAMES)
    heldout = num_grasps(config, "heldout")
    turn = _even(len(train.connector) // kinds, heldout // kinds, generator)
    rows = (turn[:, None] * kinds + np.arange(kinds)).ravel()
    base = train.take(rows)
    pose = np.empty_like(base.pose)
    taken = _keys(train.connector, train.pose)
    reach, left = _reach(), np.arange(heldout)
    while left.size:
        moved = generator.uniform(-1.0, 1.0, (left.size, 3))
        moved *= [GRID_STEP_MM, GRID_STEP_MM, GRID_STEP_DEG]
        pose[left] = _canonical(base.pose[left] + moved)
        connector = base.connector[left]
        valid = is_grasp(connector, pose[left]) & ~np.isin(_keys(connector, pose[left]), taken)
        valid &= (np.abs(pose[left, :2]) <= reach[connector]).all(axis=1)
        left = left[~valid]
    return base._replace(pose=pose)


def _canonical(pose: NDArray[np.float64]) -> NDArray[np.float32]:
    """Single precision, with angles from -180 up to but not 180, and no negative zero."""
    single = pose.astype(np.float32)
    angle = single[:, 2]
    single[:, 2] = np.where(angle >= 180, angle - 360, np.where(angle < -180, angle + 360, angle))
    single[single[:, 2] == 180.0, 2] = -180.0
    return single + np.float32(0.0)


def _keys(connector: NDArray[np.int64], pose: NDArray[np.float32]) -> NDArray[np.void]:
    """One comparable value for each configuration."""
    table = np.column_stack([connector.astype(np.float32), pose])
    return np.ascontiguousarray(table).view(np.dtype((np.void, table.itemsize * 4))).ravel()
