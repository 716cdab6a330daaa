from __future__ import annotations

import copy
import os
import pickle
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from representation import EncoderConfig, VisuotactileEncoder
from representation.runtime import EncoderRuntimeError, FrozenEncoder

TINY = EncoderConfig(backbone="test_resnet", image_size=32, contact_size=32, embedding_dim=24)
CONFIGS = {
    "resnet": TINY,
    "vit": replace(TINY, backbone="test_vit"),
    "flatten": replace(TINY, pooling="flatten"),
    "cross-attention": replace(TINY, backbone="test_vit", fusion="cross_attention"),
    "touch, one finger": replace(TINY, modalities=("touch",), num_fingers=1),
    "vision": replace(TINY, modalities=("vision",)),
}


def make(config: EncoderConfig = TINY) -> VisuotactileEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VisuotactileEncoder(config)


def images(config: EncoderConfig = TINY, count: int = 5) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(count)
    depth = generator.uniform(0.2, 0.5, (count, 1, 32, 32)).astype(np.float32)
    depth[:, :, :4] = 0.0
    depth[:, :, 5] = np.nan
    depth[:, :, 6] = np.inf
    shape = (count, config.num_fingers, 32, 32)
    return {"depth": depth, "contact": generator.integers(0, 2, shape, np.uint8)}


def eager(encoder: VisuotactileEncoder, batch: dict[str, np.ndarray]) -> np.ndarray:
    encoder = copy.deepcopy(encoder).eval()
    with torch.inference_mode():
        return encoder({key: torch.from_numpy(value) for key, value in batch.items()}).numpy()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_onnxruntime_gives_what_pytorch_gives(config):
    encoder, batch = make(config), images(config)
    expected = eager(encoder, batch)
    assert np.isfinite(expected).all()
    found = FrozenEncoder(encoder)(batch)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(FrozenEncoder(encoder, runtime="torch")(batch), expected, atol=1e-5)


def test_a_row_is_the_same_in_any_batch_on_any_number_of_threads():
    encoder, batch = make(), images(count=7)
    frozen = FrozenEncoder(encoder)
    expected = eager(encoder, batch)
    for frozen.num_threads, count in product((1, 2, 3, None), (0, 1, 2, 7)):
        rows = frozen({key: value[:count] for key, value in batch.items()})
        assert rows.shape == (count, encoder.embedding_size)
        np.testing.assert_allclose(rows, expected[:count], atol=1e-5)


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_pytorchs_threads_are_left_alone(runtime):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        FrozenEncoder(make(), runtime=runtime, num_threads=1)(images())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_tensors_in_tensors_out_that_a_policy_may_learn_from():
    batch = {key: torch.from_numpy(value) for key, value in images().items()}
    for runtime in ("onnxruntime", "torch"):
        embedding = FrozenEncoder(make(), runtime=runtime)(batch)
        assert not embedding.is_inference() and not embedding.requires_grad
        policy = nn.Linear(embedding.shape[1], 1)
        policy(embedding).sum().backward()
        assert policy.weight.grad is not None


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_training_the_given_encoder_changes_nothing(runtime):
    encoder, batch = make(), images()
    frozen = FrozenEncoder(encoder, runtime=runtime)
    assert encoder.training and all(p.requires_grad for p in encoder.parameters())
    state = copy.deepcopy(frozen.module.state_dict())
    before = frozen(batch)
    for module in (encoder, frozen.module):  # a copy runs, and even that one does not train
        module.train()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(1.0)
    np.testing.assert_array_equal(frozen(batch), before)
    for name, value in frozen.module.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_copy_and_a_pickle_encode_alike():
    frozen, batch = FrozenEncoder(make(), num_threads=2), images()
    expected = frozen(batch)
    for other in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        np.testing.assert_array_equal(other(batch), expected)


def test_an_encoder_from_a_folder(tmp_path):
    encoder = make()
    encoder.save_pretrained(tmp_path / "mine")
    for source in (tmp_path / "mine", str(tmp_path / "mine")):
        np.testing.assert_allclose(
            FrozenEncoder(source)(images()), eager(encoder, images()), atol=1e-4
        )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"runtime": "tensorrt"}, "one of onnxruntime, torch"),
        ({"num_threads": 0}, "at least 1"),
        ({"runtime": "onnxruntime", "device": "cuda"}, "is for a CPU"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_allowed(arguments, says):
    with pytest.raises(ValueError, match=says):
        FrozenEncoder(make(), **arguments)
    with pytest.raises(ValueError, match="give a VisuotactileEncoder"):
        FrozenEncoder(nn.Linear(1, 1))


def test_images_of_another_size_are_refused():
    batch = images()
    with pytest.raises(ValueError, match=r"depth has shape \(5, 1, 16, 32\)"):
        FrozenEncoder(make())({**batch, "depth": batch["depth"][:, :, :16]})


def test_a_network_that_cannot_be_exported_says_what_to_do(monkeypatch):
    class Unexportable(nn.Module):
        def forward(self, value):
            return value.flatten(1) * torch.linalg.svdvals(value.flatten(1)[:, :2]).sum()

    encoder = make(replace(TINY, modalities=("vision",), embedding_dim=None))
    monkeypatch.setitem(encoder.projections._modules, "vision", Unexportable())
    with pytest.raises(EncoderRuntimeError, match='pass runtime="torch"'):
        FrozenEncoder(encoder)(images())


def test_onnxruntime_is_told_to_report_nothing():
    FrozenEncoder(make())(images())
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
