from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from huggingface_hub import constants

from policies.representations import (
    DEFAULT_ENCODER,
    encoder_digest,
    encoder_representation,
    make_representation,
)
from representation import EncoderConfig, VisuotactileEncoder
from representation.encoder_config import ImageRange
from vtenv.tasks.insertion.env import VTInsertVectorEnv

TINY = {
    "backbone": "test_resnet",
    "images": {"depth": (1, 32, 32), "contact": (2, 32, 32)},
    "embedding_dim": 8,
}


def make_encoder(**changes) -> VisuotactileEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VisuotactileEncoder(EncoderConfig(**{**TINY, **changes})).eval()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Folder of a small encoder."""
    folder = tmp_path_factory.mktemp("tiny")
    make_encoder().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "modalities", "width", "embedding"),
    [
        ("state", ("state",), 31, 0),
        ("proprio", ("proprio",), 12, 0),
        ("tiny", ("depth", "contact", "proprio"), 28, 16),
        ("tiny:vision", ("depth", "proprio"), 20, 8),
        ("tiny:touch", ("contact", "proprio"), 20, 8),
    ],
)
def test_a_flat_observation(tiny, name, modalities, width, embedding):
    representation = make_representation(name.replace("tiny", tiny))
    assert representation.modalities == modalities
    assert representation.embedding_dim == embedding
    assert bool(representation.digest) == bool(embedding) and not representation.pixels
    envs = representation.make(3, num_threads=1, max_episode_steps=2)
    space = envs.single_observation_space
    assert isinstance(space, spaces.Box) and space.shape == (width,)
    assert space == representation.observation_space()
    assert isinstance(envs.unwrapped, VTInsertVectorEnv)
    observed = envs.unwrapped.simulation.task.config.modalities
    assert tuple(modality.key for modality in observed) == modalities
    observation, _ = envs.reset(seed=0)
    assert observation in envs.observation_space
    for _ in range(2):
        observation, *_, info = envs.step(np.zeros((3, 5), np.float32))
        assert observation in envs.observation_space
    assert all(last in space for last in info["final_obs"])
    assert not np.array_equal(info["final_obs"][0], observation[0])
    envs.close()


def test_images_for_a_policy_with_convolutions():
    representation = make_representation("end-to-end")
    assert representation.pixels and representation.embedding_dim == 0
    envs = representation.make(2, num_threads=1, image_size=24, contact_size=16)
    assert envs.single_observation_space == representation.observation_space(
        image_size=24, contact_size=16
    )
    shapes = {key: box.shape for key, box in envs.single_observation_space.items()}
    assert shapes == {"depth": (1, 24, 24), "contact": (2, 16, 16), "proprio": (12,)}
    assert envs.reset(seed=0)[0] in envs.observation_space
    envs.close()


def test_a_part_of_an_encoder_is_that_part_of_its_embedding(tiny):
    both, vision, touch = (make_representation(tiny + part) for part in ("", ":vision", ":touch"))
    envs = VTInsertVectorEnv(3, num_threads=1, image_size=32, contact_size=32)
    raw, _ = envs.reset(seed=0)
    envs.close()
    assert set(raw) == {"depth", "contact", "proprio"}
    found = [representation.perceive(raw) for representation in (both, vision, touch)]
    np.testing.assert_allclose(found[1][:, :8], found[0][:, :8], atol=1e-6)
    np.testing.assert_allclose(found[2][:, :8], found[0][:, 8:16], atol=1e-6)
    for observation in found:
        np.testing.assert_array_equal(observation[:, -12:], raw["proprio"])
    assert len({representation.digest for representation in (both, vision, touch)}) == 3


@pytest.mark.parametrize("name", ["proprio", "tiny", "end-to-end"])
def test_raw_observations_are_perceived_as_in_the_environment(tiny, name):
    representation = make_representation(name.replace("tiny", tiny))
    sizes = {"image_size": 32, "contact_size": 32} if name == "end-to-end" else {}
    envs = representation.make(2, num_threads=1, **sizes)
    raw = VTInsertVectorEnv(2, num_threads=1, image_size=32, contact_size=32)
    expected, found = envs.reset(seed=4)[0], representation.perceive(raw.reset(seed=4)[0])
    if not representation.pixels:
        expected, found = {"": expected}, {"": found}
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=1e-6)
    envs.close()
    raw.close()


@pytest.mark.parametrize("name", ["stat", "", "resnet-pose:smell", ":vision"])
def test_an_unknown_name_is_answered_with_those_there_are(name):
    with pytest.raises(ValueError, match=r"unknown representation.*(proprio|resnet-pose).*:touch"):
        make_representation(name)


def test_a_part_that_an_encoder_does_not_have(tmp_path):
    attentive = make_encoder(fusion="cross_attention")
    attentive.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"no tower for vision alone.*cross_attention.*concat"):
        make_representation(f"{tmp_path}:vision")
    with pytest.raises(ValueError, match="sense must be 'contact' or 'touch'"):
        make_encoder(images={"contact": (2, 32, 32)}).tower("vision")


def test_a_tower_is_a_copy():
    encoder = make_encoder()
    before = copy.deepcopy(encoder.state_dict())
    tower = encoder.tower("touch")
    with torch.no_grad():
        for value in tower.parameters():
            value.zero_()
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder.keys == ("depth", "contact") and encoder.embedding_size == 16


def test_settings_that_do_not_fit_are_refused_before_anything_is_simulated(tiny):
    representation = make_representation(tiny)
    with pytest.raises(ValueError, match=r"image_size=64.*takes 32 x 32.*leave image_size out"):
        representation.make(1, image_size=64)
    with pytest.raises(ValueError, match=r"contact_size=16.*takes 32 x 32"):
        representation.make(1, contact_size=16)
    with pytest.raises(ValueError, match=r"modalities.*asks for.*leave it out"):
        representation.make(1, modalities=("depth",))
    with pytest.raises(ValueError, match="image_size=64 is for a sensor"):
        make_representation("proprio").make(1, image_size=64)
    with pytest.raises(TypeError, match="unexpected keyword argument 'clearance'"):
        representation.make(1, clearance=0.4)


def test_a_policy_sees_every_vector_that_its_task_observes(tiny):
    task, raw = "VTPivot-v0", {"proprio": 12, "goal": 2}
    proprio = make_representation("proprio", task)
    assert proprio.modalities == proprio.vectors == tuple(raw)
    assert proprio.observation_space().shape == (14,)
    encoded = make_representation(f"{tiny}:touch", task)
    assert encoded.modalities == ("contact", *raw) and encoded.vectors == tuple(raw)
    assert encoded.observation_space().shape == (8 + 14,)
    assert set(make_representation("end-to-end", task).modalities) == {"depth", "contact", *raw}
    observation = {key: np.full((3, size), size, np.float32) for key, size in raw.items()}
    assert proprio.perceive(observation).shape == (3, 14)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"images": {"depth": (1, 32, 32), "contact": (1, 32, 32)}},
            "contact has 2 channels, but the encoder takes 1",
        ),
        ({"images": {"depth": (1, 640, 640)}}, "image_size=640 is not allowed"),
    ],
)
def test_an_encoder_that_does_not_fit_the_environment(changes, message):
    with pytest.raises(
        ValueError, match=re.escape("'mine' does not fit the environment: ")
    ) as error:
        encoder_representation("mine", make_encoder(**changes))
    assert message in str(error.value)


def test_random_is_the_same_network_untrained_and_always_the_same():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = make_representation("random")
    assert torch.equal(torch.rand(3), expected), "it draws from everybody's generator"
    second = make_representation("random")
    trained = make_representation(DEFAULT_ENCODER)
    assert first.digest == second.digest != trained.digest
    assert first.encoder.config == trained.encoder.config
    assert not any(p.requires_grad for p in first.encoder.parameters())
    assert not first.encoder.training


def test_imagenet_without_its_weights_says_where_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"'imagenet' needs weights.*resnet18.*hf download"):
        make_representation("imagenet")


def test_the_digest_is_of_weights_and_configuration():
    encoder = make_encoder()
    digest = encoder_digest(encoder)
    assert digest == encoder_digest(copy.deepcopy(encoder).train())
    farther = copy.deepcopy(encoder)
    depth = ImageRange(0.0, 1.0, (0.25, 0.5), missing_at_zero=True)
    farther.config = EncoderConfig(**TINY, ranges={"depth": depth})
    trained = copy.deepcopy(encoder)
    statistic = next(value for name, value in trained.named_buffers() if "running_mean" in name)
    statistic[0] += 1e-6
    assert len({digest, encoder_digest(farther), encoder_digest(trained)}) == 3


def test_other_ways_to_restart_episodes():
    for mode in AutoresetMode:
        envs = make_representation("state").make(1, num_threads=1, autoreset_mode=mode)
        assert envs.metadata["autoreset_mode"] is mode
        envs.close()


@pytest.mark.parametrize("name", ["~nosuchuser/encoder", "~nosuchuser"])
def test_the_home_of_nobody_is_no_encoder(name):
    with pytest.raises(ValueError):
        make_representation(name)
