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


@pytest.mark.parametrize("track", ["nominal", "contact", "precision"])
def test_a_policy_needs_touch(track):
    rate = rates(track)
    players = {player for player, _ in rate if player.startswith("resnet")}
    assert players
    for player in players:
        assert rate[player, "no touch"] <= rate[player, "as it is"] - 0.5


def test_precision_is_not_found_blindly_and_a_look_is_enough():
    rate = rates("precision")
    assert rate["no-touch search", "as it is"] <= 0.4
    assert rate["expert of the first look", "as it is"] >= 0.95
    assert rate["resnet-pose-precision", "as it is"] <= 0.9


def test_the_default_world_is_not_found_blindly():
    assert rates("nominal")["no-touch search", "as it is"] <= 0.4


def test_contact_needs_touch_in_the_loop_and_leaves_room():
    rate = rates("contact")
    policy = "resnet-pose-contact"
    assert rate["no-touch search", "as it is"] <= 0.4
    assert rate["untrained encoder", "as it is"] <= rate[policy, "as it is"] - 0.2
    assert rate[policy, "touch of the first step"] <= rate[policy, "as it is"] - 0.2
    assert rate["expert of the first look", "as it is"] <= rate["expert", "as it is"] - 0.2


def test_a_small_budget_tells_representations_apart():
    with (RESULTS / "budget.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(int(row["episodes"]) >= 400 and row["seeds"] in SEED_RANGES for row in rows)
    best: dict[str, float] = {}
    for row in rows:
        name = row["representation"]
        best[name] = max(best.get(name, 0.0), float(row["success"]))
    assert best["state"] >= 0.95
    assert best["resnet-pose"] >= best["untrained encoder"] + 0.2
