from __future__ import annotations

import copy
import os
import pickle
import sys
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from gymnasium.error import DependencyNotInstalled
from torch import nn

from representation import EncoderConfig, VisuotactileEncoder
from representation.runtime import EncoderRuntimeError, FrozenEncoder, padded_rows

TINY = EncoderConfig(
    backbone="test_resnet", images={"depth": (1, 32, 32), "contact": (2, 32, 32)}, embedding_dim=24
)
CONFIGS = {
    "resnet": TINY,
    "vit": replace(TINY, backbone="test_vit"),
    "flatten": replace(TINY, pooling="flatten"),
    "cross-attention": replace(TINY, backbone="test_vit", fusion="cross_attention"),
    "touch, one finger": replace(TINY, images={"contact": (1, 32, 32)}),
    "vision, not square": replace(TINY, images={"depth": (1, 32, 48)}),
    "indentation": replace(TINY, images={"gel": (2, 32, 32)}),
}


def make(config: EncoderConfig = TINY) -> VisuotactileEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VisuotactileEncoder(config)


def images(config: EncoderConfig = TINY, count: int = 5) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(count)
    batch = {}
    for key, shape in config.images.items():
        if key == "contact":
            batch[key] = generator.integers(0, 2, (count, *shape), np.uint8)
            continue
        low, high = config.ranges[key].encoded_range
        batch[key] = generator.uniform(0.8 * low, 1.1 * high, (count, *shape)).astype(np.float32)
        if key == "depth":
            batch[key][:, :, :4] = 0.0
            batch[key][:, :, 5] = np.nan
            batch[key][:, :, 6] = np.inf
    return batch


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
        ({"runtime": "tensorrt"}, "one of onnxruntime, torch, cuda-graph"),
        ({"num_threads": 0}, "at least 1"),
        ({"precision": "float16"}, "one of float32, bfloat16"),
        ({"runtime": "onnxruntime", "device": "cuda"}, "is for cpu"),
        ({"runtime": "cuda-graph", "device": "cpu"}, "is for cuda"),
        ({"runtime": "onnxruntime", "precision": "bfloat16"}, 'pass runtime="torch"'),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_allowed(arguments, says):
    with pytest.raises(ValueError, match=says):
        FrozenEncoder(make(), **arguments)
    with pytest.raises(
        ValueError, match="Linear is not an encoder: it has no keys, image_shapes, embedding_size"
    ):
        FrozenEncoder(nn.Linear(1, 1))


class OwnEncoder(nn.Module):
    """Ten lines that are an encoder."""

    keys = ("contact",)
    image_shapes: ClassVar = {"contact": (2, 32, 32)}
    embedding_size = 6

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Flatten(2))

    def forward(self, observation):
        return self.layers(observation["contact"].float()).mean(dim=-1)


class PatchModel(nn.Module):
    """A vision model as Hugging Face's are called: pixels in, an output with fields back."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=12, image_size=16)
        self.patches = nn.Conv2d(3, 12, 8, stride=8)

    def forward(self, pixel_values):
        tokens = self.patches(pixel_values).flatten(2).transpose(1, 2)
        return SimpleNamespace(last_hidden_state=tokens, pooler_output=tokens[:, 0])


class FoundationEncoder(nn.Module):
    """Such a model as an encoder of depth."""

    keys = ("depth",)
    image_shapes: ClassVar = {"depth": (1, 32, 32)}

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.embedding_size = model.config.hidden_size

    def forward(self, observation):
        side = self.model.config.image_size
        pixels = nn.functional.interpolate(observation["depth"].expand(-1, 3, -1, -1), side)
        return self.model(pixel_values=pixels).last_hidden_state.mean(dim=1)


OWN = {"own": OwnEncoder, "foundation": lambda: FoundationEncoder(PatchModel())}


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch", None])
@pytest.mark.parametrize("make_own", OWN.values(), ids=OWN)
def test_a_network_of_ones_own_is_an_encoder(make_own, runtime):
    encoder, batch = make_own(), images()
    frozen = FrozenEncoder(encoder, runtime=runtime)
    assert (frozen.keys, frozen.embedding_size) == (encoder.keys, encoder.embedding_size)
    assert encoder.training and all(p.requires_grad for p in encoder.parameters())
    np.testing.assert_allclose(frozen(batch), eager(encoder, batch), atol=1e-5)


def test_what_has_the_four_members_is_an_encoder_and_so_is_a_frozen_one():
    class Mean:
        keys = ("contact",)
        image_shapes: ClassVar = {"contact": (2, 32, 32)}
        embedding_size = 2

        def __call__(self, observation):
            return observation["contact"].float().mean(dim=(2, 3))

    batch = images()
    expected = batch["contact"].mean(axis=(2, 3))
    for frozen in (FrozenEncoder(Mean()), FrozenEncoder(FrozenEncoder(Mean()))):
        np.testing.assert_allclose(frozen(batch), expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"is for a torch\.nn\.Module on cpu, and this is a Mean"):
        FrozenEncoder(Mean(), runtime="onnxruntime")(batch)
    for name, value in (("keys", "contact"), ("image_shapes", {}), ("embedding_size", 2.0)):
        wrong = type("Wrong", (Mean,), {name: value})
        with pytest.raises(ValueError, match=f"Wrong is not an encoder: .*{name}="):
            FrozenEncoder(wrong())


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_what_is_only_a_type_is_converted(runtime):
    frozen, batch = FrozenEncoder(make(), runtime=runtime), images()
    expected = frozen(batch)
    other = {"depth": batch["depth"].astype(np.float64), "contact": batch["contact"] == 1}
    np.testing.assert_array_equal(frozen(other), expected)
    tensors = {key: torch.from_numpy(value) for key, value in other.items()}
    np.testing.assert_array_equal(frozen(tensors), expected)
    floating = {**batch, "contact": batch["contact"].astype(np.float32)}
    np.testing.assert_allclose(frozen(floating), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("runtime", "precision", "off"),
    [("onnxruntime", "float32", 1e-4), ("torch", "float32", 1e-4), ("torch", "bfloat16", 0.1)],
)
def test_weights_of_half_precision_run(runtime, precision, off):
    encoder, batch = make().half(), images()
    found = FrozenEncoder(encoder, runtime=runtime, precision=precision)(batch)
    assert found.dtype == np.float32
    assert next(encoder.parameters()).dtype == torch.float16
    np.testing.assert_allclose(found, eager(encoder.float(), batch), atol=off)


@pytest.mark.parametrize("name", ["resnet-dynamics", "resnet-pose", "vit-dynamics"])
def test_half_precision_changes_little(name):
    batch = images(VisuotactileEncoder.from_pretrained(name).config, count=32)
    single, half = (
        FrozenEncoder(name, precision=precision)(batch) for precision in ("float32", "bfloat16")
    )
    off = np.sqrt(np.square(half - single).mean() / np.square(single).mean())
    assert 0 < off < 0.02


def test_a_network_on_a_cpu_may_be_asked_for_a_graph_on_a_gpu_alone():
    frozen = FrozenEncoder(make(), runtime="cuda-graph")
    with pytest.raises(ValueError, match='images on cpu; leave runtime out, or pass device="cuda"'):
        frozen(images())


@pytest.mark.parametrize(
    ("count", "rows"), [(1, 16), (17, 24), (25, 32), (256, 256), (257, 384), (4096, 4096)]
)
def test_a_graph_is_for_few_sizes_that_hold_the_batch(count, rows):
    assert padded_rows(count) == rows


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_graph_gives_what_pytorch_gives(precision):
    encoder = make()
    graph = FrozenEncoder(encoder, device="cuda", precision=precision)
    for count in (5, 5, 16, 300, 5, 0):
        batch = images(count=count)
        np.testing.assert_allclose(
            graph(batch), eager(encoder, batch), atol=2e-3 if precision == "float32" else 0.1
        )


def test_images_of_another_size_are_refused():
    batch = images()
    with pytest.raises(ValueError, match=r"depth has shape \(5, 1, 16, 32\)"):
        FrozenEncoder(make())({**batch, "depth": batch["depth"][:, :, :16]})


def test_a_network_that_cannot_be_exported_says_what_to_do(monkeypatch):
    class Unexportable(nn.Module):
        def forward(self, value):
            return value.flatten(1) * torch.linalg.svdvals(value.flatten(1)[:, :2]).sum()

    encoder = make(replace(TINY, images={"depth": (1, 32, 32)}, embedding_dim=None))
    monkeypatch.setitem(encoder.projections._modules, "depth", Unexportable())
    with pytest.raises(EncoderRuntimeError, match='pass runtime="torch"'):
        FrozenEncoder(encoder)(images())


def test_onnxruntime_is_told_to_report_nothing():
    FrozenEncoder(make())(images())
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_pytorch_encodes_where_onnxruntime_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not there
    with pytest.warns(UserWarning, match=r"ONNX Runtime is not installed.*vtinsert\[onnx\]"):
        frozen = FrozenEncoder(make())
    np.testing.assert_allclose(frozen(images()), eager(make(), images()), atol=1e-6)
    FrozenEncoder(make(), runtime="torch")
    with pytest.raises(DependencyNotInstalled, match="needs ONNX Runtime: pip install"):
        FrozenEncoder(make(), runtime="onnxruntime")
