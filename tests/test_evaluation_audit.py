"""The audit of what touch is for: its interventions, its players, and what it counts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from policies import cli
from policies.evaluation.audit import (
    INTERVENTIONS,
    FrozenTouch,
    play_audit,
    table,
    without_a_finger,
    without_lag,
    without_touch,
)
from policies.evaluation.players import Player
from vtenv.modalities import IMAGE_MODALITIES

WORLDS = 3
STARTED = np.array([True, False, False])


def observation(value):
    image = np.full((WORLDS, 2, 4, 4), value, np.uint8)
    return {
        "depth": np.full((WORLDS, 1, 4, 4), 0.4, np.float32),
        "contact": image,
        "proprio": np.full((WORLDS, 12), float(value), np.float32),
    }


def test_touch_and_lag_are_taken_away():
    given = observation(1)
    assert not without_touch(given, STARTED)["contact"].any()
    finger = without_a_finger(given, STARTED)["contact"]
    assert not finger[:, 0].any() and finger[:, 1].all()
    lag = without_lag(given, STARTED)["proprio"]
    assert not lag[:, 5:10].any() and lag[:, :5].all() and lag[:, 10:].all()
    for told in (without_touch(given, STARTED), without_lag(given, STARTED)):
        np.testing.assert_array_equal(told["depth"], given["depth"])
    assert given["contact"].all() and given["proprio"].all()


def test_touch_stays_as_it_was_at_the_start():
    frozen = FrozenTouch()
    frozen(observation(1), np.ones(WORLDS, bool))
    told = frozen(observation(5), STARTED)["contact"]
    np.testing.assert_array_equal(told[:, 0, 0, 0], [5, 1, 1])
    assert frozen(observation(9), ~STARTED & STARTED)["contact"][0].max() == 5


@pytest.mark.parametrize("key", [k for k, m in IMAGE_MODALITIES.items() if m.camera != "overhead"])
def test_every_image_of_touch_is_taken_away(key):
    size = IMAGE_MODALITIES[key].shape
    given = {key: np.ones((WORLDS, *size, 4, 4), np.float32)}
    assert not without_touch(given, STARTED)[key].any()
    finger = without_a_finger(given, STARTED)[key]
    assert not finger[:, 0].any() and finger[:, 1].all()
    frozen = FrozenTouch()
    frozen(given, np.ones(WORLDS, bool))
    told = frozen({key: 5 * given[key]}, STARTED)[key]
    assert told[0].min() == 5 and told[1:].max() == 1


@pytest.fixture(scope="module")
def seen():
    """What a policy was told of touch in each step, by intervention."""
    return []


def test_everybody_plays_the_same_episodes(seen):
    def act(observed, simulation, started):
        seen.append((started.copy(), observed["contact"].copy()))
        return simulation.expert_action()

    player = Player("watcher", act, modalities=("contact", "proprio"))
    rows = play_audit({"connectors": ("usb",)}, [player], 4, num_threads=1, num_envs=2)
    names = [(row.player, row.intervention) for row in rows if row.connector == "all"]
    assert names == [
        ("expert", "as it is"),
        ("expert of the first look", "as it is"),
        ("no-touch search", "as it is"),
        ("random", "as it is"),
        *[("watcher", name) for name in INTERVENTIONS],
    ]
    assert all(row.episodes == 4 and row.low <= row.rate <= row.high for row in rows)
    by_name = {(row.player, row.intervention): row for row in rows}
    assert by_name["expert", "as it is"].successes == 4
    assert by_name["random", "as it is"].successes == 0
    # It looks at nothing, so that nothing that is taken away makes a difference.
    assert {by_name["watcher", name].successes for name in INTERVENTIONS} == {4}
    assert any(not touch.any() for _, touch in seen) and any(touch.any() for _, touch in seen)
    assert table(rows).count("\n") == len(rows) + 1


def test_the_command_writes_what_it_found(tmp_path, capsys):
    output = tmp_path / "audit"
    arguments = ["audit", "--track", "contact", "--connectors", "usb", "--episodes", "2"]
    assert cli.main([*arguments, "--threads", "1", "--output", str(output)]) == 0
    assert {path.name for path in output.iterdir()} == {"audit.csv", "audit.md", "audit.json"}
    made = json.loads((output / "audit.json").read_text())
    assert made["world"] == {"track": "contact", "connectors": ["usb"]}
    assert made["seeds"] == "development"
    assert "| expert | as it is | usb |" in capsys.readouterr().out
    assert cli.main(["audit", "--track", "contract"]) == 2
    assert "contract" in capsys.readouterr().err
