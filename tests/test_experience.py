import copy
import itertools
import math

import numpy as np
import pytest

from representation.objectives import pose
from vtenv.collection.experience import OUTCOMES, Experience, heldout_episodes, record
from vtenv.tasks.insertion.behaviours import BehaviourMixture, InsertionBehaviours
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES
from vtenv.tasks.insertion.expert import expert_action
from vtenv.tasks.insertion.measures import MAX_SOCKET_FORCE
from vtenv.tasks.insertion.pose_labels import POSE_LABELS
from vtenv.tasks.insertion.regions import jammed, near_contact

SIZES = {"image_size": 16, "contact_size": 16}


@pytest.fixture(scope="module")
def stream():
    """An experience of many worlds, and what its behaviours were."""
    experience = Experience(32, **SIZES)
    yield experience
    experience.close()


@pytest.fixture(scope="module")
def played(stream):
    return record(stream.rows(0), 150)


def only(name):
    return BehaviourMixture(**dict.fromkeys(BehaviourMixture().names, 0.0) | {name: 1.0})


def test_a_step_yields_a_row_of_every_world(stream):
    row = next(stream.rows(3))
    expected = {
        "depth": (np.float32, (1, 16, 16)),
        "contact": (np.uint8, (2, 16, 16)),
        "proprio": (np.float32, (12,)),
        "action": (np.float32, (5,)),
        "reward": (np.float32, ()),
        "terminated": (np.bool_, ()),
        "truncated": (np.bool_, ()),
        "success": (np.bool_, ()),
        "connector": (np.int64, ()),
        "episode": (np.int64, ()),
        "pose": (np.float32, (8,)),
        "insertion_depth_mm": (np.float32, ()),
        "lateral_mm": (np.float32, ()),
        "contact_force_n": (np.float32, ()),
        "region": (np.int64, ()),
    }
    assert {name: (v.dtype, v.shape[1:]) for name, v in row.items()} == expected
    assert {len(values) for values in row.values()} == {32}
    assert np.abs(row["action"]).max() <= 1
    assert row["episode"].tolist() == list(range(32))


def test_labels_are_the_simulations(stream):
    rows = stream.rows(4)
    simulation = stream._envs.simulation
    for _ in range(3):
        for _ in range(20):
            next(rows)
        state, geom = copy.deepcopy((simulation.state, simulation.measures))
        row = next(rows)  # of the state that the step before led to
        assert np.array_equal(row["connector"], state.connector)
        labels = dict(zip(POSE_LABELS, row["pose"].T, strict=True))
        expected = {
            "hand_x_mm": geom.in_hand[:, 0] * 1e3,
            "hand_z_mm": geom.in_hand[:, 1] * 1e3,
            "hand_pitch_deg": np.degrees(geom.in_hand[:, 2]),
        }
        to_socket = state.socket_pos_w - state.hand_pos_w
        in_hand = np.einsum("nij,ni->nj", state.hand_mat_w, to_socket) * 1e3
        axis = np.einsum("nij,ni->nj", state.hand_mat_w, state.socket_mat_w[:, :, 0])
        expected |= dict(zip(("socket_x_mm", "socket_y_mm", "socket_z_mm"), in_hand.T, strict=True))
        expected["socket_yaw_deg"] = np.degrees(np.arctan2(axis[:, 1], axis[:, 0]))
        expected["socket_pitch_deg"] = np.degrees(np.arctan2(-axis[:, 2], axis[:, 0]))
        for name, values in expected.items():
            np.testing.assert_allclose(labels[name], values, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(row["insertion_depth_mm"], geom.depth * 1e3, atol=1e-4)
        np.testing.assert_allclose(row["lateral_mm"], geom.lateral * 1e3, atol=1e-4)
        np.testing.assert_allclose(row["contact_force_n"], state.socket_force, atol=1e-4)


def test_experience_with_touch_of_forces_tells_force_and_slip():
    experience = Experience(4, modalities=("shear",), taxel_size=8)
    rows = record(experience.rows(0), 12)
    experience.close()
    sums = rows["shear"].sum(axis=(-1, -2))
    np.testing.assert_allclose(rows["pad_normal_n"], sums[:, :, 0].mean(axis=1), rtol=0.02)
    across = np.hypot(sums[:, :, 1], sums[:, :, 2]).mean(axis=1)
    more = rows["pad_tangential_n"] - across  # than taxels carry, some of which slip
    assert more.min() > -0.1 and (more < 0.1).mean() > 0.9
    first = np.append(True, np.diff(rows["episode"]) != 0)
    np.testing.assert_allclose(rows["slip_mm"][first], 0.0, atol=1e-4)
    assert (rows["slip_mm"][~first] > 0).all() and rows["slip_mm"].max() < 12


def test_labels_have_the_names_that_objectives_know():
    assert POSE_LABELS == pose.POSE_LABELS


def test_episodes_are_whole_and_in_order(played):
    episode, action = played["episode"], played["action"]
    assert len(episode) == 32 * 150
    changes = np.flatnonzero(np.diff(episode))
    assert len(np.unique(episode)) == len(changes) + 1
    assert not action[changes].any()
    assert not action[-1].any()
    inner = np.setdiff1d(np.arange(len(episode) - 1), changes)
    assert np.abs(action[inner]).max(axis=-1).min() > 0
    # Within an episode the same plug moves a little at a time; another episode is elsewhere.
    assert (played["connector"][inner] == played["connector"][inner + 1]).all()
    jumps = np.abs(np.diff(played["pose"][:, 3], axis=0))
    assert jumps[inner].max() < 10
    assert jumps[changes].mean() > 3 * jumps[inner].mean()
    lengths = np.diff([0, *(changes + 1), len(episode)])
    assert lengths.max() <= 101


def test_an_episode_ends_with_the_outcome_of_its_last_action(played):
    episode = played["episode"]
    last = np.append(np.diff(episode) != 0, True)
    before_last = np.append(last[1:], False) & ~last
    ended = played["terminated"] | played["truncated"]
    assert np.array_equal(ended, before_last)
    assert not (played["terminated"] & played["truncated"]).any()
    for name in OUTCOMES:
        assert not played[name][last].any()
    success = played["success"]
    assert success.any() and (success <= played["terminated"]).all()
    assert played["reward"][success].min() > 4
    # A step that only passes costs its time, and what the plug's way changes the potentials.
    assert np.abs(played["reward"][~ended]).max() < 3


def test_an_action_moves_the_target_of_the_next_row(played):
    inner = np.flatnonzero(np.diff(played["episode"]) == 0)
    proprio, action = played["proprio"], played["action"]
    target = proprio[:, :5] + proprio[:, 5:10]
    # Where neither the leash nor the workspace holds it back.
    close = np.abs(proprio[inner, 5:10]).max(axis=-1) < 0.02
    free = close & (np.abs(proprio[inner, :5] - [2, 0, 0, 0, 0]) < [3, 3, 1.5, 0.4, 0.4]).all(-1)
    moved = target[inner + 1] - target[inner]
    scale = np.array([0.4, 0.3, 0.2, 0.06, 0.06])
    some = inner[free]
    assert len(some) > 5
    np.testing.assert_allclose(moved[free], (action * scale)[some], atol=1e-4)


def test_about_half_is_near_contact_and_some_is_jammed(played):
    depth, lateral = played["insertion_depth_mm"], played["lateral_mm"]
    near = near_contact(depth, lateral)
    stuck = jammed(depth, lateral, played["contact_force_n"])
    assert 0.4 < near.mean() < 0.7
    assert stuck.mean() > 0.03
    assert (near & (lateral < 0.5)).mean() > 0.02
    assert (near & (lateral > 2)).mean() > 0.1
    assert set(played["connector"]) == set(range(len(CONNECTOR_NAMES)))


def test_the_region_is_the_last_that_a_state_is_in(stream, played):
    assert stream.codes["region"] == ("elsewhere", "near", "jammed")
    where = [played[name] for name in ("insertion_depth_mm", "lateral_mm")]
    assert np.array_equal(played["region"] >= 1, near_contact(*where))
    assert np.array_equal(played["region"] == 2, jammed(*where, played["contact_force_n"]))


def test_near_contact_and_jammed():
    depth = np.array([-5.1, -5.0, 0.0, 0.5, 0.6, 3.0, 3.1, 0.0])
    lateral = np.array([0, 0, 5.0, 0, 0, 0, 0, 5.1])
    assert near_contact(depth, lateral).tolist() == [False, *[True] * 5, False, False]
    force = np.full(8, 1.1)
    assert jammed(depth, lateral, force).tolist() == [False, True, True, True, *[False] * 4]
    assert not jammed(depth, lateral, force - 0.1).any()


def test_the_same_seed_gives_the_same_rows_at_any_number_of_threads(stream):
    first = record(stream.rows((7, 1)), 12)
    again = record(stream.rows((7, 1)), 12)
    other = record(stream.rows((7, 2)), 12)
    single = Experience(32, num_threads=1, **SIZES)
    alone = record(single.rows((7, 1)), 12)
    single.close()
    for name, values in first.items():
        assert np.array_equal(values, again[name]), name
        assert np.array_equal(values, alone[name]), name
    assert not np.array_equal(first["depth"], other["depth"])


@pytest.mark.parametrize(
    ("name", "deepest", "farthest"),
    [("expert", 3.0, 1.4), ("hover", -1.0, 6.0), ("biased", -1.0, 5.0)],
)
def test_behaviours_do_what_they_are_for(name, deepest, farthest):
    experience = Experience(16, mixture=only(name), **SIZES)
    rows = record(experience.rows(0), 60)
    experience.close()
    # Every world reaches the mouth; what happens there differs.
    deepest_of = rows["insertion_depth_mm"].reshape(16, 60).max(axis=1)
    assert (deepest_of > deepest).mean() > 0.9
    near = near_contact(rows["insertion_depth_mm"], rows["lateral_mm"])
    inside = rows["insertion_depth_mm"] > 1
    if name == "expert":
        assert rows["lateral_mm"][inside].max() < farthest
        assert rows["contact_force_n"].max() < MAX_SOCKET_FORCE
    else:
        assert near.mean() > 0.4
        assert (rows["lateral_mm"][near] > 1.5).mean() > 0.2
        assert (rows["contact_force_n"] > 1).mean() > 0.05


def test_a_walk_is_smooth_and_noise_is_not():
    actions = {}
    for name in ("walk", "noisy"):
        experience = Experience(16, mixture=only(name), **SIZES)
        actions[name] = record(experience.rows(0), 20)["action"].reshape(16, 20, 5)[:, :-1]
        experience.close()
    change = {name: np.abs(np.diff(a, axis=1)).mean() for name, a in actions.items()}
    assert change["walk"] < 0.3 * change["noisy"]


def test_rows_of_failed_physics_are_left_out():
    def row(step):
        episode = np.array([0, -1 if step == 2 else 1])
        nothing = dict.fromkeys(OUTCOMES, np.zeros(2, bool))
        return {
            "episode": episode,
            "action": np.ones((2, 5)),
            "pose": np.full((2, 1), step),
            **nothing,
        }

    rows = record(map(row, itertools.count()), 4)
    assert rows["episode"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert rows["pose"][:, 0].tolist() == [0, 1, 2, 3, 0, 1, 3]
    assert rows["action"].any(axis=-1).tolist() == [True] * 3 + [False, True, False, False]
    # What was broken off ends there.
    assert np.flatnonzero(rows["truncated"]).tolist() == [2, 4]


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.1, 0.5])
def test_episodes_are_held_out_whole(fraction):
    episode = np.repeat(np.arange(50), np.arange(1, 51))
    mask = heldout_episodes(episode, fraction, np.random.default_rng(0))
    held = {e: set(mask[episode == e]) for e in range(50)}
    assert all(len(flags) == 1 for flags in held.values())
    count = sum(flags == {True} for flags in held.values())
    assert count == (max(1, math.floor(fraction * 50)) if fraction else 0)


def test_a_mixture_is_checked():
    assert BehaviourMixture().probabilities.sum() == pytest.approx(1)
    assert only("walk").probabilities.tolist() == [0, 0, 0, 0, 1]
    with pytest.raises(ValueError, match="noisy must be a number of 0 or more"):
        BehaviourMixture(noisy=-1)
    with pytest.raises(ValueError, match="at least one behaviour"):
        BehaviourMixture(0, 0, 0, 0, 0)


def test_behaviours_are_drawn_as_often_as_asked():
    mixture = BehaviourMixture(expert=1, biased=0, noisy=2, hover=0, walk=1)
    behaviours = InsertionBehaviours(4000, mixture, np.random.default_rng(0), expert_action)
    behaviours.start(np.ones(4000, bool))
    counts = np.bincount(behaviours.kind, minlength=len(BehaviourMixture().names)) / 4000
    np.testing.assert_allclose(counts, [0.25, 0, 0.5, 0, 0.25], atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("observations", ["numpy", "torch"])
def test_the_warp_engine_gives_the_same_experience(observations):
    pytest.importorskip("mujoco_warp")
    rows = {}
    for engine in ("cpu", "warp"):
        place = {"device": "cpu", "observations": observations} if engine == "warp" else {}
        experience = Experience(4, engine=engine, depth_noise_mm=0.0, **SIZES, **place)
        rows[engine] = record(experience.rows(0), 12)
        experience.close()
    assert rows["cpu"].keys() == rows["warp"].keys()
    for name, values in rows["cpu"].items():
        other = rows["warp"][name]
        assert (other.dtype, other.shape) == (values.dtype, values.shape)
        if name in ("connector", "episode"):
            assert np.array_equal(other, values)
    for name, tolerance in (("pose", 0.2), ("action", 0.1), ("insertion_depth_mm", 0.1)):
        np.testing.assert_allclose(rows["warp"][name], rows["cpu"][name], atol=tolerance)
