"""The paper's grasps, held against geometry worked out by hand."""

from __future__ import annotations

import dataclasses
import itertools
import math

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtenv.grasps.clutter import CLUTTER_GAP, FINGER_REACH, MAX_CLUTTER, place_clutter
from vtenv.grasps.grasps import (
    GRID_STEP_DEG,
    GRID_STEP_MM,
    PAPER_GRASPS,
    SPLITS,
    Columns,
    GraspConfig,
    configurations,
    grasp_blocks,
    num_grasps,
)
from vtenv.grasps.images import (
    CAMERA_TO_TABLE,
    FINGER_HALF_WIDTH,
    INDENTATION,
    TABLE_HALF_EXTENT,
    contact_masks,
    is_grasp,
    overhead_depth,
)
from vtenv.grasps.resting import AXIS_HEIGHT, extents, resting_connectors
from vtenv.sensing.images import CONTACT_THRESHOLD_MM
from vtenv.tasks.insertion import scene
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, CONNECTORS, POST_SIDE

SMALL = GraspConfig(image_size=32, contact_size=64, grasps=48)
PRESS = INDENTATION - CONTACT_THRESHOLD_MM * 1e-3
KINDS = range(len(CONNECTOR_NAMES))


def masks(name: str, *pose: float, size: int = 240) -> np.ndarray:
    """Left and right contact mask of one grasp, (2, size, size)."""
    connector = np.array([CONNECTOR_NAMES.index(name)])
    return contact_masks(connector, np.array([pose], np.float32), size)[0]


def depth_image(name: str, *pose: float, size: int = 225) -> np.ndarray:
    """Depth of one connector on the table, (size, size)."""
    connector = np.array([[CONNECTOR_NAMES.index(name)]])
    poses = np.array([[pose]], np.float32)
    return overhead_depth(connector, poses, size)[0, 0]


def whole(config: GraspConfig, split: str, seed: int = 0, **options: int) -> Columns:
    """A split in one piece."""
    blocks = list(grasp_blocks(config, split, seed, **options))
    return {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}


def turned(connector: int, pose: np.ndarray) -> np.ndarray:
    """Corners of the rectangle around a resting connector, (4, 2), [mm]."""
    half = 1e3 * resting_connectors().half_size[connector]
    corners = half * [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    cos, sin = math.cos(math.radians(pose[2])), math.sin(math.radians(pose[2]))
    return corners @ np.array([[cos, sin], [-sin, cos]]) + pose[:2]


# The world that grasps take over from the environment.


def test_gripper_is_the_environments():
    model = scene.build_spec(scene.SceneConfig(), CONNECTORS["usb"]).compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    back = model.geom("finger_back_left")
    hand = data.body("hand").xpos
    bottom = hand[2] - (data.geom("finger_back_left").xpos[2] - back.size[2])
    assert bottom == pytest.approx(AXIS_HEIGHT)
    assert back.size[0] == pytest.approx(FINGER_HALF_WIDTH)
    reach = data.geom("finger_back_left").xpos[1] + back.size[1]
    assert reach == pytest.approx(FINGER_REACH)
    assert data.cam("overhead").xpos[2] == pytest.approx(CAMERA_TO_TABLE)


# Depth.


@pytest.mark.parametrize("name", CONNECTOR_NAMES)
def test_depth_at_the_centre_is_the_camera_height_less_the_top(name: str):
    # The middle of the body under the middle of an image of odd size.
    connector = CONNECTORS[name]
    forward = (connector.travel + connector.body_size[0]) / 2 - connector.travel
    image = depth_image(name, 1e3 * (connector.body_size[0] / 2 - forward), 0.0, 0.0)
    top = AXIS_HEIGHT + connector.body_size[2] / 2
    if name == "pin":  # its ribs end before the housing's hull does
        top = AXIS_HEIGHT + 1.5 * 0.00254 + 0.00085
    assert image[112, 112] == pytest.approx(CAMERA_TO_TABLE - top, abs=1e-6)
    assert image[0, 0] == pytest.approx(CAMERA_TO_TABLE, abs=1e-6)
    assert image.max() == pytest.approx(CAMERA_TO_TABLE, abs=1e-6)


def test_x_is_up_and_y_to_the_left_in_the_image():
    rows, columns = np.nonzero(depth_image("usb", 8.0, 5.0, 0.0) < CAMERA_TO_TABLE - 1e-3)
    assert rows.mean() < 112 - 15
    assert columns.mean() < 112 - 8
    # Turned counter-clockwise, its thinner tip points to the left.
    rows, columns = np.nonzero(depth_image("usb", 0.0, 0.0, 90.0) < CAMERA_TO_TABLE - 16.5e-3)
    assert columns.mean() > 112 + 10
    assert rows.mean() == pytest.approx(112, abs=0.5)


def test_size_in_the_image():
    image = depth_image("usb", 0.0, 0.0, 0.0, size=512)
    body = CAMERA_TO_TABLE - AXIS_HEIGHT - 0.004
    wide = np.sum(np.abs(image[330] - body) < 1e-6)
    scale = TABLE_HALF_EXTENT * body / CAMERA_TO_TABLE
    assert wide == pytest.approx(512 * 0.016 / (2 * scale), abs=1.0)


# Contact.


def side_of_mask(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Left, right, top and bottom edge of what is in contact, in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], columns[-1] + 1, rows[0], rows[-1] + 1


@pytest.mark.parametrize("name", ["aux", "usb", "stud"])
def test_imprint_of_a_body_along_the_fingers(name: str):
    """Its size within a pixel: the body's length, and its height where it is pressed."""
    connector, pixel = CONNECTORS[name], 0.1
    length, width, height = (1e3 * side for side in connector.body_size)
    travel = 1e3 * connector.travel
    if name != "usb":  # round: the chord at the depth of the press
        press = 1e3 * PRESS
        height = 2 * math.sqrt(2 * press * width / 2 - press**2)
    start, end = -12.0, (length - travel) / 2 - 4.0  # from the gel's edge to the shoulder
    left, right = masks(name, -4.0, 0.0, 0.0)
    middle = 120
    expected = (middle - end / pixel, middle - start / pixel)
    low, high = middle - height / 2 / pixel, middle + height / 2 / pixel
    # The left gel's image has x to the left, the right one's to the right.
    np.testing.assert_allclose(side_of_mask(left), (*expected, low, high), atol=1.0)
    mirrored = (middle + start / pixel, middle + end / pixel)
    np.testing.assert_allclose(side_of_mask(right), (*mirrored, low, high), atol=1.0)


def test_imprint_of_a_pin_header_has_its_pitch():
    left, _ = masks("pin", 0.0, 0.0, 0.0)
    rows = left[:, 200] > 0
    starts = np.flatnonzero(np.diff(rows.astype(int)) == 1)
    assert len(starts) == 4
    np.testing.assert_allclose(np.diff(starts), 25.4, atol=1.0)
    assert rows.sum() == pytest.approx(4 * 17, abs=4)


def test_imprint_of_a_corner():
    """A USB plug at 45 degrees: a right angle pressed in, as wide as twice its depth."""
    left, _ = masks("usb", 0.0, 0.0, -45.0, size=480)
    low, high, top, bottom = side_of_mask(left)
    assert bottom - top == pytest.approx(8.0 / 0.05, abs=1.0)
    assert high - low == pytest.approx(2e3 * PRESS / 0.05, abs=1.0)


def test_posts_alone_are_shared_by_both_pads():
    """The housing is behind the gel: pads meet on the posts' middle, and not inside each other."""
    connector, pose = np.array([1]), np.array([[-17.0, 0.0, 0.0]], np.float32)
    low, high = extents(connector, pose, scene.GEL_SIZE / 2)
    assert high[0] == -low[0] == pytest.approx(POST_SIDE / 2)
    left, right = masks("pin", *pose[0], size=480)
    np.testing.assert_array_equal(left, right[:, ::-1])
    assert left.any(axis=1).sum() == pytest.approx(4 * POST_SIDE / 0.00005, abs=4)


@pytest.mark.parametrize("name", CONNECTOR_NAMES)
@pytest.mark.parametrize("pose", [(3.0, -2.0, 37.0), (-6.1, 0.3, -85.0)])
def test_half_a_turn_swaps_the_fingers(name: str, pose: tuple[float, float, float]):
    x, y, angle = pose
    before, after = masks(name, x, y, angle), masks(name, -x, -y, angle + 180.0)
    assert before.any()
    # Rounding may move a pixel on an edge.
    assert np.mean(after != before[::-1]) < 1e-4
    half_turned = depth_image(name, -x, -y, angle + 180.0)[::-1, ::-1]
    assert np.mean(np.abs(depth_image(name, x, y, angle) - half_turned) > 1e-5) < 1e-3


@pytest.mark.parametrize("name", CONNECTOR_NAMES)
def test_mirrored_grasps(name: str):
    """All connectors are symmetric: the gripper's left of one is the right of its mirror image."""
    (left, right), (other_left, other_right) = masks(name, 3, 2, 30), masks(name, 3, -2, -30)
    assert np.mean(other_right != left[:, ::-1]) < 1e-4
    assert np.mean(other_left != right[:, ::-1]) < 1e-4
    straight = masks(name, 3.0, 0.0, 0.0)
    assert (straight[0] == straight[1][:, ::-1]).all()
    image = depth_image(name, 3.0, 2.0, 30.0)
    mirrored = depth_image(name, 3.0, -2.0, -30.0)[:, ::-1]
    assert np.mean(np.abs(image - mirrored) > 1e-5) < 1e-3


def test_pads_follow_a_connector_sideways():
    """Each finger closes by itself until it touches."""
    np.testing.assert_array_equal(masks("usb", 2.0, 0.0, 10.0), masks("usb", 2.0, 3.0, 10.0))


@settings(max_examples=40)
@given(
    connector=st.sampled_from(KINDS),
    x=st.floats(-15, 15),
    y=st.floats(-12, 12),
    angle=st.floats(-180, 180),
)
def test_first_touch_is_the_outlines(connector, x, y, angle):
    """What the pads meet first, held against points all along the outline."""
    kind, pose = np.array([connector]), np.array([[x, y, angle]], np.float32)
    low, high = (side[0] for side in extents(kind, pose, scene.GEL_SIZE / 2))
    shapes, spacing = resting_connectors(), 1e-4
    part = np.linspace(0, 1, 400)[:, None]
    points = [
        start + part * (end - start)
        for corners in shapes.corners[connector]
        for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True)
    ]
    round_about = np.column_stack([np.cos(math.tau * part), np.sin(math.tau * part)])
    points += [disc[:2] + disc[2] * round_about for disc in shapes.discs[connector]]
    along, across = np.concatenate(points).T
    x_m, y_m, turn = pose[0].astype(np.float64) * [1e-3, 1e-3, math.pi / 180]
    at_x = x_m + along * math.cos(turn) - across * math.sin(turn)
    at_y = y_m + along * math.sin(turn) + across * math.cos(turn)
    # A touch at the very edge of the pad lies between those of slightly smaller and larger pads.
    smaller, larger = (at_y[np.abs(at_x) <= scene.GEL_SIZE / 2 + s] for s in (-spacing, spacing))
    if smaller.size:
        assert low <= smaller.min() + 1e-9
        assert high >= smaller.max() - 1e-9
    if not np.isnan(low):
        assert low >= larger.min() - spacing
        assert high <= larger.max() + spacing


# Which configurations there are.


def test_counts_are_the_papers():
    config = GraspConfig()
    assert [num_grasps(config, split) for split in SPLITS] == [PAPER_GRASPS, 640] == [1920, 640]
    for split, each in zip(SPLITS, (480, 160), strict=True):
        chosen = configurations(config, split, 0)
        assert np.bincount(chosen.connector).tolist() == [each] * 4
        assert chosen.pose.dtype == np.float32
        assert len(np.unique(chosen.configuration)) == len(chosen.configuration)


def test_training_grasps_lie_on_the_grid():
    pose = configurations(GraspConfig(), "train", 0).pose
    assert (pose % [GRID_STEP_MM, GRID_STEP_MM, GRID_STEP_DEG] == 0).all()
    assert np.abs(pose[:, :2]).max() <= 10.0
    assert len(np.unique(pose[:, 2])) == 72


@pytest.mark.parametrize("grasps", [240, PAPER_GRASPS, PAPER_GRASPS + 4])
def test_heldout_grasps_perturb_training_grasps_and_are_none(grasps: int):
    config = GraspConfig(grasps=grasps)
    train, heldout = (configurations(config, split, 1) for split in SPLITS)
    row_of = {cell: row for row, cell in enumerate(train.configuration.tolist())}
    base = [row_of[cell] for cell in heldout.configuration.tolist()]
    assert (train.connector[base] == heldout.connector).all()
    moved = heldout.pose - train.pose[base]
    moved[:, 2] = (moved[:, 2] + 180) % 360 - 180
    assert (np.abs(moved) <= [5.00001, 5.00001, 5.0001]).all()
    assert (np.abs(moved).max(axis=0) > 4.5).all()
    rows = [np.column_stack([c.connector, c.pose]) for c in (train, heldout)]
    assert not {tuple(row) for row in rows[0].tolist()} & {tuple(row) for row in rows[1].tolist()}
    assert (heldout.pose[:, 2] >= -180).all()
    assert (heldout.pose[:, 2] < 180).all()


def test_more_grasps_than_the_grid_are_drawn_from_its_range():
    config = GraspConfig(grasps=4000, heldout=400)
    train, heldout = (configurations(config, split, 0) for split in SPLITS)
    assert np.bincount(train.connector).tolist() == [1000] * 4
    assert len(np.unique(train.pose, axis=0)) == 4000
    assert is_grasp(train.connector, train.pose).all()
    for kind in KINDS:
        paper = configurations(GraspConfig(), "train", 0)
        widest = np.abs(paper.pose[paper.connector == kind, :2]).max(axis=0) + GRID_STEP_MM
        for some in (train, heldout):
            assert (np.abs(some.pose[some.connector == kind, :2]) <= widest).all()


def test_what_is_no_grasp():
    usb, aux = CONNECTOR_NAMES.index("usb"), CONNECTOR_NAMES.index("aux")
    poses = np.array(
        [
            [0, 0, 0],
            [40, 0, 0],  # out of reach
            [0, 17, 0],  # under the left finger
            [0, 0, 90],  # tip and back between the open fingers
            [0, 5, 90],  # its end under a finger
            [28.3, 0, 0],  # beside the gel, between the fingers' frames
        ],
        np.float32,
    )
    expected = [True, False, False, True, False, False]
    for connector in (usb, aux):
        assert is_grasp(np.full(len(poses), connector), poses).tolist() == expected


@pytest.mark.parametrize("size", [64, 100, 224])
def test_no_mask_is_empty(size: int):
    config = GraspConfig(image_size=8, contact_size=size)
    for split in SPLITS:
        for block in grasp_blocks(config, split, 0):
            assert block["contact"].any(axis=(2, 3)).all()


@pytest.mark.parametrize("split", SPLITS)
def test_every_connector_is_seen_whole(split: str):
    config = GraspConfig(image_size=64, contact_size=8, grasps=PAPER_GRASPS + 80, heldout=600)
    for block in grasp_blocks(config, split, 0):
        seen = block["depth"] < CAMERA_TO_TABLE - 1e-3
        assert seen.any(axis=(1, 2, 3)).all()
        assert not seen[..., [0, -1], :].any()
        assert not seen[..., :, [0, -1]].any()
        assert (block["depth"] > 0.25).all()
        assert (block["depth"] < 0.45).all()


# What is made of them.


def test_columns():
    config = dataclasses.replace(SMALL, contact_size=40)
    grasps = whole(config, "train")
    shapes = {name: (column.shape, column.dtype) for name, column in grasps.items()}
    assert shapes == {
        "depth": ((48, 1, 32, 32), np.float32),
        "contact": ((48, 2, 40, 40), np.uint8),
        "connector": ((48,), np.int64),
        "pose": ((48, 3), np.float32),
        "configuration": ((48,), np.int64),
    }
    assert set(np.unique(grasps["contact"])) == {0, 1}
    assert grasps["connector"].tolist() == [*KINDS] * 12


@pytest.mark.parametrize("split", SPLITS)
def test_neither_blocks_nor_threads_change_anything(split: str):
    config = dataclasses.replace(SMALL, clutter=2)
    ways = [(48, 1), (1, 2), (7, 1), (13, 3)]
    first, *others = (whole(config, split, block=b, num_threads=n) for b, n in ways)
    for other, name in itertools.product(others, first):
        np.testing.assert_array_equal(first[name], other[name])


def test_seeds_differ():
    poses = [configurations(SMALL, "heldout", seed).pose for seed in (0, 1)]
    assert (poses[0] != poses[1]).any(axis=1).mean() > 0.9
    first, second = (configurations(GraspConfig(), "train", s).configuration for s in (0, 1))
    assert set(first.tolist()) != set(second.tolist())


# Clutter.


def test_clutter_is_seen_but_not_felt():
    config = dataclasses.replace(SMALL, image_size=96)
    alone = whole(config, "train")
    among = whole(dataclasses.replace(config, clutter=4), "train")
    for name in ("contact", "connector", "pose", "configuration"):
        np.testing.assert_array_equal(alone[name], among[name])
    changed = alone["depth"] != among["depth"]
    assert changed.any(axis=(1, 2, 3)).all()
    own = alone["depth"] < CAMERA_TO_TABLE - 1e-3
    assert not (changed & own).any()
    assert (among["depth"][changed] < alone["depth"][changed]).all()


@pytest.mark.parametrize("number", [1, MAX_CLUTTER])
def test_clutter_keeps_its_distance(number: int):
    chosen = configurations(GraspConfig(grasps=40), "train", 0)
    generators = [np.random.default_rng([5, row]) for row in range(40)]
    laid, poses = place_clutter(chosen.connector, chosen.pose, number, generators)
    assert laid.shape == (40, number)
    assert set(laid.ravel().tolist()) == set(KINDS)
    assert (np.abs(poses[..., :2]) <= 1e3 * TABLE_HALF_EXTENT).all()
    half = 1e3 * np.array([FINGER_HALF_WIDTH, FINGER_REACH])
    gripper = half * [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    for row in range(40):
        own = turned(chosen.connector[row], chosen.pose[row])
        others = [turned(k, p) for k, p in zip(laid[row], poses[row], strict=True)]
        pairs = [*itertools.combinations([own, *others], 2), *((gripper, o) for o in others)]
        for one, other in pairs:
            assert polygon_distance(one, other) >= 1e3 * CLUTTER_GAP * 0.999


def polygon_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Distance of two convex polygons along the best of their sides' normals, [mm]."""
    best = -math.inf
    for a, b in ((one, other), (other, one)):
        edges = np.roll(a, -1, axis=0) - a
        normals = np.column_stack([edges[:, 1], -edges[:, 0]])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        gap = (b @ normals.T).min(axis=0) - (a @ normals.T).max(axis=0)
        best = max(best, gap.max())
    return best


def test_room_that_is_not_there_is_said():
    chosen = configurations(GraspConfig(grasps=4), "train", 0).take(slice(0, 1))
    generators = [np.random.default_rng(0)]
    with pytest.raises(RuntimeError, match="no room for 60 connectors"):
        place_clutter(chosen.connector, chosen.pose, 60, generators)


# Bad input.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 7}, r"image_size=7.*8 to 512"),
        ({"image_size": 64.0}, r"image_size=64\.0.*whole number"),
        ({"contact_size": 513}, r"contact_size=513.*8 to 512"),
        ({"contact_size": True}, r"contact_size=True.*8 to 512"),
        ({"clutter": -1}, r"clutter=-1.*0 to 6"),
        ({"clutter": 7}, r"clutter=7.*0 to 6"),
        ({"grasps": 0}, r"grasps=0.*from 4 up"),
        ({"grasps": 1921}, r"grasps=1921.*4 connectors can share"),
        ({"heldout": 641}, r"heldout=641.*4 connectors can share"),
        ({"grasps": 40, "heldout": 44}, r"heldout=44.*grasps=40"),
    ],
)
def test_bad_settings(settings: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        GraspConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, r"split='test'.*train, heldout"),
        ({"seed": -1}, r"seed=-1.*from 0"),
        ({"block": 0}, r"block=0.*at least 1"),
        ({"num_threads": 0}, r"num_threads=0.*at least 1"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        grasp_blocks(SMALL, **{"split": "train", "seed": 0, **arguments})  # type: ignore[arg-type]
