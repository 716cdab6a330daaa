"""The policies that come with the package."""

import pytest

from policies.deployable import load_policy
from policies.evaluation.evaluate import evaluate
from policies.evaluation.players import load_player
from representation.bundled import bundled, bundled_folder


@pytest.mark.parametrize("name", bundled("policies"))
def test_a_bundled_policy_is_small_and_for_the_encoder_that_is_here(name):
    folder = bundled_folder("policies") / name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 4 << 20
    assert (folder / "README.md").is_file()
    policy = load_policy(name)  # refuses another encoder than it was trained on
    assert policy.representation.encoder is not None


@pytest.mark.parametrize("name", bundled("policies"))
def test_a_bundled_policy_inserts_in_the_world_it_was_trained_in(name):
    records = evaluate(load_player(name), "training", 24, "training", first=7)
    assert sum(record.success for record in records) >= 17
