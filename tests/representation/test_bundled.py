"""The encoders that come with the package."""

import gymnasium
import numpy as np
import pytest
import torch

import vtenv  # noqa: F401 - registers the environment
from representation import EncodeObservation, VisuotactileEncoder
from representation.bundled import bundled, bundled_folder
from representation.model_card import read_probes
from representation.pretraining.presets import CONTROL_BACKBONES
from representation.probes.tables import cell
from vtenv.tasks.insertion.probe_targets import BOUNDS

MAX_BYTES = 12 * 2**20
MOST_BYTES = 60 * 2**20

COLUMNS = [0, 1, 2, 127, 128, 129, 254, 255]
EMBEDDINGS = {
    "resnet-dynamics": [
        0.474955,
        -1.611367,
        1.018745,
        1.078782,
        0.395858,
        -1.505625,
        -0.29129,
        1.199714,
    ],
    "resnet-pose": [
        -1.449244,
        0.173185,
        0.268161,
        -2.33597,
        -1.749667,
        0.867642,
        -0.479476,
        0.712728,
    ],
    "vit-dynamics": [
        0.403045,
        -0.580262,
        0.018933,
        1.411024,
        -0.732363,
        -0.579772,
        0.561042,
        1.407876,
    ],
}
"""Numbers at `COLUMNS` of the embedding of a fixed random observation, as of training."""


def test_there_is_a_resnet_and_a_vit():
    backbones = {VisuotactileEncoder.from_pretrained(name).config.backbone for name in EMBEDDINGS}
    assert backbones == {encoder["backbone"] for encoder in CONTROL_BACKBONES.values()}


def test_encoders_are_the_studys_or_held_to_their_embeddings():
    """Of those of the study the digests are known, which `test_bundled_policies.py` holds."""
    others = [name for name in bundled("encoders") if not name.startswith("study-")]
    assert others == [*EMBEDDINGS]


def test_what_is_bundled_is_small():
    kinds = bundled_folder("encoders"), bundled_folder("policies")
    files = [path for folder in kinds for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES


@pytest.mark.parametrize("name", bundled("encoders"))
def test_a_bundled_encoder_is_small_and_has_a_card(name):
    folder = bundled_folder("encoders") / name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MAX_BYTES
    card = (folder / "README.md").read_text()
    made_by = "save_pretrained" if name == "study-untrained" else "vtinsert pretrain"
    for words in (f"# {name}", made_by, "Commit", "## Probes"):
        assert words in card
    probed = {row.variable: row for row in read_probes(folder)}
    assert all(cell(row, interval=True) in card for row in probed.values())
    assert {row.variable for row in probed.values() if row.bound} == set(BOUNDS)


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_a_bundled_encoder_tells_the_default_environment_apart(name):
    """Two in-hand pitches, all else equal, are told apart; the same is the same again."""
    env = EncodeObservation(
        gymnasium.make("VTInsert-v0", connectors=("usb",)), name, runtime="torch"
    )
    embeddings = []
    for pitch in (-8.0, 8.0, 8.0):
        observation, _ = env.reset(seed=3, options={"in_hand_pitch_deg": pitch})
        embeddings.append(observation["embedding"])
    env.close()
    assert all(np.isfinite(e).all() and e.shape == (256,) for e in embeddings)
    np.testing.assert_array_equal(embeddings[1], embeddings[2])
    assert np.abs(embeddings[0] - embeddings[1]).mean() > 0.1


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_a_bundled_encoder_says_what_it_always_said(name):
    """Policies on its embedding are bundled too."""
    generator = torch.Generator().manual_seed(7)
    depth = 0.2 + 0.3 * torch.rand(4, 1, 64, 64, generator=generator)
    depth[:, :, :3] = 0.0
    contact = (torch.rand(4, 2, 64, 64, generator=generator) < 0.3).to(torch.uint8)
    with torch.inference_mode():
        encoder = VisuotactileEncoder.from_pretrained(name)
        embedding = encoder({"depth": depth, "contact": contact})[1]
    assert embedding[COLUMNS].tolist() == pytest.approx(EMBEDDINGS[name], abs=2e-5)
