"""Tracks by name, and the seeds of worlds by purpose."""

from __future__ import annotations

import itertools
import json

import gymnasium
import numpy as np
import pytest
from worlds import settings_of

from policies.seeds import SEED_RANGES, seeds_from
from vtenv.tasks.insertion.config import InsertionConfig
from vtenv.tasks.insertion.tracks import TRACKS


@pytest.mark.parametrize("name", TRACKS)
def test_a_track_is_a_world_that_survives_json(name):
    track = TRACKS[name]
    config = settings_of(track=name)
    assert config == settings_of(**track.settings)
    assert config == settings_of(**json.loads(json.dumps(dict(track.settings))))
    assert track.question.endswith("?")


def test_the_nominal_track_is_the_default_world():
    assert settings_of(track="nominal") == InsertionConfig()


def test_settings_that_are_given_win():
    config = settings_of(track="contact", action_delay=3, clearance_mm=0.3)
    assert (config.action_delay, config.clearance_mm) == (3, 0.3)
    assert config.observation_delay == 1
    # None is as good as leaving a setting out.
    assert settings_of(track="contact", action_delay=None).action_delay == 1
    assert settings_of(track="precision", clearance_mm=None).clearance_mm == 0.1


def test_a_track_leaves_out_sensors_that_nobody_looks_through():
    config = settings_of(track="shift", modalities=("state",))
    assert config.sensor_faults is not None and config.depth_dropout == 0.0


def test_a_track_that_there_is_not():
    with pytest.raises(ValueError, match=r"track='hard'.*nominal, loose, precision, contact"):
        settings_of(track="hard")


def test_an_environment_is_made_by_its_tracks_name():
    env = gymnasium.make("VTInsert-v0", track="budget", modalities=("state",))
    assert env.unwrapped.config.clearance_mm is None
    spec = gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())
    again = gymnasium.make(spec)
    np.testing.assert_array_equal(*(e.reset(seed=3)[0]["state"] for e in (env, again)))
    env.close()
    again.close()


def test_no_seed_has_two_purposes():
    ends = sorted((seeds.start, seeds.stop) for seeds in SEED_RANGES.values())
    assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(ends))
    for purpose, seeds in SEED_RANGES.items():
        assert seeds_from(purpose) == seeds
        assert list(seeds_from(purpose, len(seeds) - 1)) == [seeds[-1]]


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        (("exam",), "seeds='exam'.*training, development, checkpoint, test"),
        (("test", -1), "first=-1"),
        (("test", 1_000_000), "test has 1,000,000"),
        (("test", 999_999, 2), "first=999999 and 2 seeds"),
    ],
)
def test_seeds_that_leave_their_range(asked, wrong):
    with pytest.raises(ValueError, match=wrong):
        seeds_from(*asked)
