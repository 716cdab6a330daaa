"""The policies that come with the package, and the encoders of the study, which theirs are on."""

import re

import pytest

from policies.ablation.published import PUBLISHED, Published
from policies.deployable import load_policy
from policies.evaluation.evaluate import evaluate
from policies.evaluation.players import load_player
from policies.representations import encoder_digest
from representation.bundled import bundled, bundled_folder
from representation.timm_encoder import VisuotactileEncoder

STUDY = "study-"
"""What names of the study's encoders and policies begin with."""


@pytest.fixture(scope="module")
def study() -> Published:
    """The track that the bundled policies of the study are of."""
    return Published(PUBLISHED / "contact")


def test_the_encoders_of_the_study_are_those_that_it_was_made_with(study):
    known = {name: digest for name, digest in study.made["encoders"].items() if ":" not in name}
    found = {
        name: encoder_digest(VisuotactileEncoder.from_pretrained(name))
        for name in bundled("encoders")
        if name.startswith(STUDY)
    }
    assert found == {name: known[name] for name in known if name.startswith(STUDY)}


@pytest.mark.parametrize("name", bundled("policies"))
def test_a_bundled_policy_is_small_and_for_the_encoder_that_is_here(name):
    folder = bundled_folder("policies") / name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 4 << 20
    assert f"# {name}\n" in (folder / "README.md").read_text()
    policy = load_policy(name)  # refuses another encoder than it was trained on
    assert policy.representation.encoder is not None


def test_each_trained_encoder_of_the_study_has_a_policy_whose_card_names_its_row(study):
    encoders, policies = (
        {name for name in bundled(kind) if name.startswith(STUDY)}
        for kind in ("encoders", "policies")
    )
    # What pooling costs is told by policies that were not kept.
    assert policies == encoders - {"study-untrained", "study-pose-average"}
    for name in policies:
        card = (bundled_folder("policies") / name / "README.md").read_text()
        (row,) = re.findall(r"^vtinsert ablate --row contact/(\S+)$", card, re.MULTILINE)
        representation, *method = study.variants[row]
        assert name in study.config.encoders[representation]
        assert method == ["ppo", "warm"]


@pytest.mark.parametrize("name", [name for name in bundled("policies") if STUDY not in name])
def test_a_bundled_policy_inserts_in_the_world_it_was_trained_in(name):
    records = evaluate(load_player(name), "training", 24, "training", first=7)
    assert sum(record.success for record in records) >= 17
