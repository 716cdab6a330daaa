"""What a track has to show to be worth asking, on the audits that are published."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from policies.seeds import SEED_RANGES

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "tracks"


def rates(track):
    """Success of all connectors together, by player and intervention."""
    with (RESULTS / f"{track}.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["connector"] == "all"]
    assert all(int(row["episodes"]) >= 400 for row in rows)
    assert all(row["seeds"] in SEED_RANGES for row in rows)
    return {
        (row["player"], row["intervention"]): int(row["successes"]) / int(row["episodes"])
        for row in rows
    }


@pytest.mark.parametrize("track", ["nominal", "contact", "precision"])
def test_the_expert_inserts_and_chance_does_not(track):
    rate = rates(track)
    assert rate["expert", "as it is"] >= 0.95
    assert rate["random", "as it is"] <= 0.01


@pytest.mark.parametrize("track", ["nominal", "contact"])
def test_a_policy_needs_touch(track):
    rate = rates(track)
    players = {player for player, intervention in rate if intervention == "no touch"}
    assert players
    for player in players:
        assert rate[player, "no touch"] <= rate[player, "as it is"] - 0.5


def test_precision_is_not_found_blindly_and_a_look_is_enough():
    rate = rates("precision")
    assert rate["no-touch search", "as it is"] <= 0.4
    assert rate["expert of the first look", "as it is"] >= 0.95


def test_contact_needs_touch_in_the_loop_and_leaves_room():
    rate = rates("contact")
    policy = "resnet-pose-contact"
    assert rate["no-touch search", "as it is"] <= 0.4
    assert rate[policy, "as it is"] <= 0.9
    assert rate[policy, "touch of the first step"] <= rate[policy, "as it is"] - 0.2
    assert rate["expert of the first look", "as it is"] <= rate["expert", "as it is"] - 0.2
