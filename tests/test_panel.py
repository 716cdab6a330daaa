import itertools

import numpy as np
import pytest

from vtenv.rendering import panel
from vtenv.rendering.panel import PANEL_SIZE
from vtenv.tasks.insertion.config import MODALITIES, InsertionConfig
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES, CONNECTORS
from vtenv.tasks.insertion.measures import REWARD_WEIGHTS
from vtenv.tasks.insertion.task import InsertionTask

TASK = InsertionTask(InsertionConfig())


def draw_panel(observation, info):
    return panel.draw_panel(observation, info, tuple(MODALITIES.values()), TASK.panel(info))


BACKGROUND = draw_panel({}, {})[0, 0]
SUBSETS = [s for n in (1, 2, len(MODALITIES)) for s in itertools.combinations(MODALITIES, n)]
NUMBERS_TOP = 290  # the images' part ends above


def observation(image_size=64, contact_size=64):
    generator = np.random.default_rng(0)
    gel = generator.uniform(0.0, 1.5, (2, contact_size, contact_size)).astype(np.float32)
    return {
        "depth": generator.uniform(0.29, 0.44, (1, image_size, image_size)).astype(np.float32),
        "contact": (gel > 0.75).astype(np.uint8),
        "gel": gel,
        "shear": generator.uniform(-1.0, 1.0, (2, 3, 16, 16)).astype(np.float32),
        "markers": generator.uniform(-1.0, 1.0, (2, 2, 9, 7)).astype(np.float32),
        "rgb": generator.integers(0, 256, (2, 3, contact_size, contact_size), np.uint8),
        "proprio": generator.uniform(-3, 3, 12).astype(np.float32),
        "state": generator.uniform(-3, 3, 31).astype(np.float32),
    }


def info(**changes):
    told = {
        "is_success": False,
        "connector": "usb",
        "insertion_depth": 0.006,
        "lateral_error": 0.0004,
        "angular_error": 0.02,
        "contact_force": 12.0,
        "failure": "",
    }
    told |= {f"reward_{name}": 0.1 * weight for name, weight in REWARD_WEIGHTS.items()}
    return told | changes


def count(panel, color):
    return int((panel == np.asarray(color, np.uint8)).all(axis=-1).sum())


@pytest.mark.parametrize("modalities", SUBSETS, ids="+".join)
def test_every_subset_of_modalities_is_drawn(modalities):
    seen = {name: value for name, value in observation().items() if name in modalities}
    drawn = draw_panel(seen, info())
    assert drawn.shape == (PANEL_SIZE[1], PANEL_SIZE[0], 3)
    assert drawn.dtype == np.uint8
    images = drawn[45:NUMBERS_TOP]
    assert (images != BACKGROUND).any(axis=-1).mean() > 0.15
    for margin in (drawn[:, :16], drawn[:, -16:], drawn[:10], drawn[-12:]):
        assert (margin == BACKGROUND).all()


def test_every_subset_looks_different():
    everything = observation()
    panels = {
        s: draw_panel({name: everything[name] for name in s}, info()).tobytes()
        for s in SUBSETS
        if not {"proprio", "state"} <= set(s)  # where there is little room, one of them is shown
    }
    assert len(set(panels.values())) == len(panels)


@pytest.mark.parametrize("image_size", [8, 64, 300, 512])
@pytest.mark.parametrize("contact_size", [8, 100, 512])
def test_images_of_any_size_make_a_panel_of_one_size(image_size, contact_size):
    drawn = draw_panel(observation(image_size, contact_size), info())
    assert drawn.shape == (PANEL_SIZE[1], PANEL_SIZE[0], 3)


def test_same_input_same_panel_and_inputs_stay_as_they_are():
    seen, told = observation(), info()
    before = {name: value.copy() for name, value in seen.items()}
    first, second = draw_panel(seen, told), draw_panel(seen, told)
    np.testing.assert_array_equal(first, second)
    for name, value in seen.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 6, 8), (2, 8, 6)])
@pytest.mark.parametrize(("beside", "least"), [((), 10), (MODALITIES, 5)])
def test_pixels_of_the_mask_are_squares(shape, beside, least):
    seen = {name: value for name, value in observation().items() if name in beside}
    mask = np.zeros(shape, np.uint8)
    mask[0, 2, 3] = 1
    dark = draw_panel({**seen, "contact": np.zeros_like(mask)}, info())
    drawn = draw_panel({**seen, "contact": mask}, info())
    rows, columns = np.nonzero((drawn != dark).any(axis=-1))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert len(rows) == height * width
    assert abs(height - width) <= 1
    assert height > least


def test_near_depth_is_brighter_than_far_and_lost_pixels_are_black():
    depth = np.full((1, 2, 2), 0.43, np.float32)
    depth[0, 0, 0], depth[0, 0, 1] = 0.30, 0.0
    drawn = draw_panel({"depth": depth}, info())[48:274].astype(int).sum(axis=-1)
    near, far = drawn[40, 60], drawn[180, 60]
    assert near > far + 100
    assert drawn[40, 180] == 0


def test_deeper_indentation_is_brighter():
    levels = []
    for indentation in (0.0, 0.4, 0.8, 1.2):
        gel = np.full((2, 8, 8), indentation, np.float32)
        levels.append(int(draw_panel({"gel": gel}, info())[150, 60].astype(int).sum()))
    assert levels == sorted(levels)
    assert levels[-1] > levels[0] + 200


@pytest.mark.parametrize("connector", CONNECTOR_NAMES)
def test_connectors_are_told_apart(connector):
    header = draw_panel({}, info(connector=connector))[:45]
    for other in set(CONNECTOR_NAMES) - {connector}:
        assert (draw_panel({}, info(connector=other))[:45] != header).any()


def test_success_and_failure_are_told_apart():
    headers = [
        draw_panel({}, info(**told))[:45].tobytes()
        for told in ({}, {"is_success": True}, {"failure": "dropped"}, {"failure": "force"})
    ]
    assert len(set(headers)) == 4


def test_insertion_bar_grows_with_depth():
    travel = CONNECTORS["usb"].travel
    base = draw_panel({}, info(insertion_depth=-0.01))
    drawn = []
    for part in (0.0, 0.25, 0.5, 1.0, 1.5):
        image = draw_panel({}, info(insertion_depth=part * travel))
        drawn.append(int((image[330:340, 18:300] != base[330:340, 18:300]).any(axis=-1).sum()))
    assert drawn[0] == 0
    assert drawn[:4] == sorted(set(drawn))
    assert drawn[3] == drawn[4]


def test_each_reward_term_has_its_bar():
    silent = info(**{f"reward_{name}": 0.0 for name in REWARD_WEIGHTS})
    base = draw_panel({}, silent)
    rows = []
    for name in REWARD_WEIGHTS:
        drawn = draw_panel({}, silent | {f"reward_{name}": -2.0})
        changed = np.nonzero((drawn[:, 400:560] != base[:, 400:560]).any(axis=(1, 2)))[0]
        rows.append((int(changed[0]), int(changed[-1])))
    assert rows == sorted(rows)
    assert all(above[1] < below[0] for above, below in itertools.pairwise(rows))


def test_unstable_worlds_and_missing_numbers_are_drawn():
    seen = {name: np.full_like(value, np.nan) for name, value in observation().items()
            if value.dtype == np.float32}  # fmt: skip
    nothing = {name: np.nan for name in ("insertion_depth", "lateral_error", "reward_time")}
    draw_panel(seen, info(**nothing, failure="unstable"))
    draw_panel({}, {})
    draw_panel({}, {"connector": "usb"})
