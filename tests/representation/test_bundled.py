"""The encoders that come with the package."""

import gymnasium
import numpy as np
import pytest
import torch

import vtenv  # noqa: F401 - registers the environment
from representation import EncodeObservation, VisuotactileEncoder
from representation.bundled import bundled_encoders, encoders_folder
from representation.model_card import read_probes
from representation.pretraining.presets import CONTROL_BACKBONES
from representation.probes.tables import cell
from vtenv.tasks.insertion.probe_targets import BOUNDS

MAX_BYTES = 12 * 2**20


def test_there_is_a_resnet_and_a_vit():
    backbones = {
        VisuotactileEncoder.from_pretrained(name).config.backbone for name in bundled_encoders()
    }
    assert backbones == {config.backbone for config in CONTROL_BACKBONES.values()}


@pytest.mark.parametrize("name", bundled_encoders())
def test_a_bundled_encoder_is_small_and_has_a_card(name):
    folder = encoders_folder() / name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MAX_BYTES
    card = (folder / "README.md").read_text()
    for words in (f"# {name}", "vtinsert pretrain", "Commit", "## Probes"):
        assert words in card
    probed = {row.variable: row for row in read_probes(folder)}
    assert all(cell(row, interval=True) in card for row in probed.values())
    assert {row.variable for row in probed.values() if row.bound} == set(BOUNDS)


@pytest.mark.parametrize("name", bundled_encoders())
def test_a_bundled_encoder_tells_the_default_environment_apart(name):
    """Two in-hand pitches, all else equal, are told apart; the same is the same again."""
    env = EncodeObservation(gymnasium.make("VTInsert-v0", connector="usb"), name, runtime="torch")
    embeddings = []
    for pitch in (-8.0, 8.0, 8.0):
        observation, _ = env.reset(seed=3, options={"in_hand_pitch_deg": pitch})
        embeddings.append(observation["embedding"])
    env.close()
    assert all(np.isfinite(e).all() and e.shape == (256,) for e in embeddings)
    np.testing.assert_array_equal(embeddings[1], embeddings[2])
    assert np.abs(embeddings[0] - embeddings[1]).mean() > 0.1


def test_weights_are_finite():
    for name in bundled_encoders():
        state = VisuotactileEncoder.from_pretrained(name).state_dict()
        assert all(torch.isfinite(v).all() for v in state.values() if v.is_floating_point())
