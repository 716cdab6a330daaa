from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from gymnasium import spaces
from safetensors.torch import load_file, save_file

import representation.bundled
from representation import EncoderConfig, VisuotactileEncoder
from representation.backbone import Backbone, PretrainedWeightsError
from representation.bundled import bundled
from representation.encoder_config import ImageRange
from representation.encoder_files import EncoderFileError
from vtenv.modalities import IMAGE_MODALITIES, Modality

GEL = IMAGE_MODALITIES["gel"]
SLIP = Modality(
    "slip", "Slip", "mm", (2,), -3.0, 3.0, size_setting="contact_size", encoded_range=(-1.5, 1.5)
)
TOUCH = {"contact": (2, 32, 32)}
TINY = EncoderConfig(backbone="test_resnet", images={"depth": (1, 32, 32), "contact": (2, 32, 32)})
TINY_VIT = replace(TINY, backbone="test_vit")


def observation(config: EncoderConfig, count: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = {}
    for key, shape in config.images.items():
        low, high = config.ranges[key].encoded_range
        image = torch.rand(count, *shape, generator=generator)
        if key == "contact":
            images[key] = (image < 0.5).to(torch.uint8)
        else:
            images[key] = low + (high - low) * image
    return images


def make(config: EncoderConfig, seed: int = 0) -> VisuotactileEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VisuotactileEncoder(config).eval()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("backbone", "resnet81", "did you mean"),
        ("images", {}, "one or more"),
        ("images", ("depth",), "a mapping"),
        ("images", {"depth": (1, 1, 64)}, "from 2 to 1024"),
        ("images", {"depth": (1, 64.0, 64)}, "from 2 to 1024"),
        ("images", {"depth": (64, 64)}, "(channels, rows, columns)"),
        ("images", {"a.b": (1, 64, 64)}, "without dots"),
        ("images", {"slip": (2, 64, 64)}, "ranges={'slip': ...}"),
        ("ranges", {"slip": SLIP}, "some of depth, contact"),
        ("ranges", {"depth": (0.2, 0.4)}, "Modality"),
        ("ranges", {"depth": {"encoded_range": (0.2, 0.4)}}, "Modality"),
        ("encoded_range", (0.4, 0.2), "low < high"),
        ("encoded_range", 0.4, "low < high"),
        ("encoded_range", (0.4, float("nan")), "low < high"),
        ("shared_backbone", True, "images of different shapes"),
        ("fusion", "sum", "one of concat, cross_attention"),
        ("pooling", "max", "one of average, flatten"),
        ("embedding_dim", 0, "positive integer"),
        ("num_heads", 0, "from 1"),
        ("backbone_options", {"in_chans": 3}, "in_chans"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(field, value, says):
    with pytest.raises(ValueError, match=r"images|ranges|" + field) as error:
        if field == "encoded_range":
            ImageRange(0, 1, value)
        VisuotactileEncoder(EncoderConfig(**{field: value}))
    assert says in str(error.value)


@pytest.mark.parametrize("change", [{"images": TOUCH}, {"pooling": "flatten"}])
def test_cross_attention_needs_two_images_and_tokens(change):
    with pytest.raises(ValueError, match=r"concat|cross_attention"):
        EncoderConfig(fusion="cross_attention", embedding_dim=8, **change)


def test_images_have_one_order_and_senses_are_sets_of_them():
    shapes = {"slip": (2, 32, 32), "gel": (2, 32, 32), "contact": (2, 32, 32), "depth": (1, 8, 9)}
    config = EncoderConfig(images=shapes, ranges={"slip": SLIP})
    assert config.keys == ("depth", "contact", "gel", "slip")
    assert config.senses == {"vision": ("depth",), "touch": ("contact", "gel"), "slip": ("slip",)}
    assert config.only("touch").keys == ("contact", "gel")
    assert config.only("gel").ranges == {"gel": ImageRange.of("gel", GEL)}


def test_a_configuration_comes_from_an_environments_space_and_records():
    space = spaces.Dict(
        {
            "contact": IMAGE_MODALITIES["contact"].space((24, 16)),
            "slip": SLIP.space((32, 48)),
            "proprio": spaces.Box(-1.0, 1.0, (12,)),
        }
    )
    config = EncoderConfig.for_space(space, {**IMAGE_MODALITIES, "slip": SLIP}, pooling="average")
    assert config.images == {"contact": (2, 24, 16), "slip": (2, 32, 48)}
    assert config.ranges["slip"] == ImageRange(-3.0, 3.0, (-1.5, 1.5))


CONFIGS = {
    "resnet": TINY,
    "vit": TINY_VIT,
    "convnext": replace(TINY, backbone="test_convnext"),
    "NHWC": replace(TINY, backbone="swin_tiny_patch4_window7_224", images=TOUCH),
    "paper": replace(TINY, images={"depth": (1, 32, 32), "contact": (1, 32, 32)}),
    "projected": replace(TINY, embedding_dim=24),
    "flatten": replace(TINY, pooling="flatten", embedding_dim=24),
    "flatten, as wide as the tokens": replace(TINY, pooling="flatten"),
    "cross-attention": replace(TINY_VIT, fusion="cross_attention"),
    "cross-attention, projected": replace(TINY, fusion="cross_attention", embedding_dim=24),
    "sizes differ": replace(TINY_VIT, images={"depth": (1, 48, 48), "contact": (2, 32, 32)}),
    "not square": replace(TINY_VIT, images={"depth": (1, 48, 32), "contact": (2, 32, 64)}),
    "not square, convolutions": replace(TINY, images={"depth": (1, 48, 32)}),
    "all images": replace(
        TINY,
        images={"depth": (1, 32, 32), "contact": (2, 32, 32), "gel": (2, 32, 32)},
        embedding_dim=8,
    ),
    "shared": replace(
        TINY, images={"contact": (2, 32, 32), "gel": (2, 32, 32)}, shared_backbone=True
    ),
    "one's own": EncoderConfig(
        "test_vit", images={"contact": (2, 32, 32), "slip": (2, 32, 48)}, ranges={"slip": SLIP}
    ),
    "options": replace(TINY_VIT, backbone_options={"patch_size": 8, "depth": 2}),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_sizes_are_as_announced(config):
    encoder = make(config)
    batch = observation(config)
    embedding, features = encoder(batch), encoder.features(batch)
    assert embedding.shape == (3, encoder.embedding_size)
    assert tuple(features) == tuple(config.senses)
    assert encoder.keys == config.keys
    for sense, value in features.items():
        assert value.shape == (3, encoder.feature_sizes[sense])
    assert torch.isfinite(embedding).all()


def test_the_backbones_own_width_is_the_default():
    encoder = make(TINY)
    width = timm.create_model("test_resnet", num_classes=0).num_features
    assert encoder.feature_sizes == {"vision": width, "touch": width}
    assert encoder.embedding_size == 2 * width


def test_concat_puts_the_features_side_by_side():
    encoder, batch = make(TINY), observation(TINY)
    features = encoder.features(batch)
    side_by_side = torch.cat([features["vision"], features["touch"]], dim=1)
    torch.testing.assert_close(encoder(batch), side_by_side)


def test_average_pooling_of_tokens_is_the_feature_of_a_resnet():
    encoder, batch = make(TINY), observation(TINY)
    image = encoder.preprocess(batch)["depth"]
    pooled = encoder.backbones["depth"].tokens(image).mean(dim=1)
    torch.testing.assert_close(encoder.features(batch)["vision"], pooled)


def test_tokens_are_in_row_major_order():
    backbone = Backbone("test_resnet", (1, 64, 96)).eval()
    image = torch.zeros(1, 1, 64, 96)
    feature_map = backbone.network.forward_features(image)
    rows, columns = feature_map.shape[-2:]
    tokens = backbone.tokens(image)
    for row in range(rows):
        for column in range(columns):
            torch.testing.assert_close(
                tokens[0, row * columns + column], feature_map[0, :, row, column]
            )


@pytest.mark.parametrize("fusion", ["concat", "cross_attention"])
def test_features_of_a_modality_know_nothing_of_the_other(fusion):
    encoder, batch = make(replace(TINY_VIT, fusion=fusion)), observation(TINY)
    other = {**batch, "contact": 1 - batch["contact"]}
    before, after = encoder.features(batch), encoder.features(other)
    assert torch.equal(before["vision"], after["vision"])
    assert not torch.allclose(before["touch"], after["touch"])


def test_cross_attention_mixes_the_modalities():
    """The part of the embedding that vision asked for changes with what is touched."""
    encoder, batch = make(replace(TINY_VIT, fusion="cross_attention")), observation(TINY)
    other = {**batch, "contact": 1 - batch["contact"]}
    width = encoder.feature_sizes["vision"]
    assert not torch.allclose(encoder(batch)[:, :width], encoder(other)[:, :width])
    # And each part still depends on its own modality.
    other = {**batch, "depth": batch["depth"].flip(-1)}
    assert not torch.allclose(encoder(batch)[:, :width], encoder(other)[:, :width])


def test_samples_of_a_batch_do_not_mix():
    for config in (TINY, replace(TINY_VIT, fusion="cross_attention")):
        encoder, batch = make(config), observation(config, count=4)
        single = {key: value[2:3] for key, value in batch.items()}
        torch.testing.assert_close(encoder(batch)[2:3], encoder(single), rtol=1e-4, atol=1e-5)


def test_a_single_modality_needs_no_other():
    for sense, key in (("vision", "depth"), ("touch", "contact")):
        config = TINY.only(sense)
        encoder, batch = make(config), observation(config)
        embedding = encoder({key: batch[key]})
        assert torch.equal(embedding, encoder.features(batch)[sense])


def test_all_parameters_learn():
    """What an embedding does not depend on would be saved, and never trained."""
    for config in (
        TINY,
        replace(TINY, pooling="flatten", embedding_dim=8),
        replace(TINY_VIT, fusion="cross_attention", embedding_dim=8),
    ):
        encoder, batch = make(config).train(), observation(config)
        encoder(batch).square().sum().backward()
        assert [name for name, value in encoder.named_parameters() if value.grad is None] == []


def test_a_wrong_observation_is_named():
    encoder, batch = make(TINY), observation(TINY)
    with pytest.raises(ValueError, match=r"no 'contact'.*this encoder reads; it has 'depth'"):
        encoder({"depth": batch["depth"]})
    large = observation(replace(TINY, images={"depth": (1, 64, 64)}))
    with pytest.raises(ValueError, match=r"depth has shape \(3, 1, 64, 64\).*\(B, 1, 32, 32\)"):
        encoder({**batch, **large})
    with pytest.raises(ValueError, match="contact has shape"):
        encoder({**batch, "contact": batch["contact"][:, :1]})
    with pytest.raises(ValueError, match="floating"):
        encoder({**batch, "depth": batch["depth"].to(torch.uint8)})


def test_images_a_backbone_cannot_take_are_named():
    with pytest.raises(ValueError, match=r"test_vit.*8 x 8.*another size"):
        VisuotactileEncoder(replace(TINY_VIT, images={"depth": (1, 8, 8)}))
    with pytest.raises(ValueError, match=r"test_resnet.*no_such"):
        VisuotactileEncoder(replace(TINY, backbone_options={"no_such": 1}))
    for name, size, says in (
        ("efficientvim_m1", 224, "does not give one feature map or row of tokens"),
        ("crossvit_tiny_240", 240, "does not give one feature map or row of tokens"),
        ("coat_tiny", 64, "."),
        ("halonet26t", 64, "ends in AssertionError"),
    ):
        with pytest.raises(ValueError, match=rf"{name}.*{says}; choose"):
            VisuotactileEncoder(EncoderConfig(name, images={"depth": (1, size, size)}))
    with pytest.raises(ValueError, match="num_heads=5"):
        VisuotactileEncoder(replace(TINY_VIT, fusion="cross_attention", num_heads=5))


# On disk.


SMALL = [name for name in CONFIGS if name != "NHWC"]  # which weighs 110 MB


@pytest.mark.parametrize("name", SMALL)
def test_what_is_saved_is_what_is_loaded(name, tmp_path):
    config = CONFIGS[name]
    encoder = make(config)
    encoder.save_pretrained(tmp_path)
    loaded = VisuotactileEncoder.from_pretrained(tmp_path)
    assert loaded.config == config
    assert not loaded.training
    assert loaded.state_dict().keys() == encoder.state_dict().keys()
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert torch.equal(encoder(observation(config)), loaded(observation(config)))


def test_numpys_scalars_are_numbers_in_a_configuration(tmp_path):
    encoder = make(replace(TINY, embedding_dim=np.int64(8)))
    encoder.save_pretrained(tmp_path)
    assert VisuotactileEncoder.from_pretrained(tmp_path).config == replace(TINY, embedding_dim=8)


def test_an_encoder_of_two_precisions_is_not_written(tmp_path):
    encoder = make(TINY)
    next(encoder.parameters()).data = torch.zeros(1, dtype=torch.float16)
    with pytest.raises(ValueError, match=r"of float16 and float32; .*encoder.float\(\)"):
        encoder.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_an_encoder_keeps_its_precision_on_disk(dtype, tmp_path):
    encoder, batch = make(replace(TINY, embedding_dim=8)).to(dtype), observation(TINY)
    encoder.save_pretrained(tmp_path)
    loaded = VisuotactileEncoder.from_pretrained(tmp_path)
    assert loaded(batch).dtype == dtype
    assert torch.equal(loaded(batch), encoder(batch))


def test_a_tower_is_a_part_of_the_embedding_to_the_bit():
    config = CONFIGS["all images"]
    encoder, batch = make(config), observation(config)
    whole = encoder(batch)
    for name, columns in (("vision", slice(8)), ("touch", slice(8, 24)), ("gel", slice(16, 24))):
        assert torch.equal(encoder.tower(name)(batch), whole[:, columns])
    shared, batch = make(CONFIGS["shared"]), observation(CONFIGS["shared"])
    width = shared.embedding_size // 2
    assert torch.equal(shared.tower("gel")(batch), shared(batch)[:, width:])
    with pytest.raises(ValueError, match=r"sense='smell'.*'contact' or 'gel' or 'touch'"):
        shared.tower("smell")


def test_images_share_a_backbone_where_asked():
    shared, own = (
        make(replace(CONFIGS["shared"], shared_backbone=shared)) for shared in (True, False)
    )
    count, twice = (sum(p.numel() for p in each.parameters()) for each in (shared, own))
    assert twice == 2 * count
    batch = observation(CONFIGS["shared"])
    alike = {"contact": batch["contact"], "gel": 2.0 * batch["contact"]}  # -1 and 1, both
    left, right = shared(alike).chunk(2, dim=1)
    assert torch.equal(left, right)


def test_the_files_are_json_safetensors_and_a_card(tmp_path):
    make(TINY).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
    }
    assert json.loads((tmp_path / "config.json").read_text())["backbone"] == "test_resnet"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    make(TINY_VIT).save_pretrained(tmp_path)
    return tmp_path


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Copies: what `load_file` returns is the file itself, which the test is about to change."""
    weights = load_file(folder / "model.safetensors")
    return {name: value.clone() for name, value in weights.items()}


def edit_weights(folder: Path, change) -> None:
    weights = read_weights(folder)
    change(weights)
    save_file(weights, folder / "model.safetensors")


def edit_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    document = json.loads(path.read_text())
    document.update(changes)
    path.write_text(json.dumps(document))


NORM = "backbones.contact.network.norm.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda weights: weights.pop(NORM), f"missing from the file: {NORM}"),
        (lambda weights: weights.update(head=torch.zeros(2)), "does not have: head"),
        (
            lambda weights: weights.update({NORM: torch.zeros(7)}),
            rf"{NORM} \(\[7\] float32 in the file, \[64\] float32 in the network\)",
        ),
        (lambda weights: weights.update({NORM: weights[NORM].half()}), "float16 in the file"),
        (lambda weights: weights.clear(), "missing from the file: .* more"),
        (lambda weights: weights[NORM].fill_(float("nan")), f"not finite: {NORM};"),
    ],
    ids=["missing", "unexpected", "shape", "type", "empty", "nan"],
)
def test_weights_that_do_not_fit_are_named(saved, change, says):
    edit_weights(saved, change)
    with pytest.raises(EncoderFileError, match=says):
        VisuotactileEncoder.from_pretrained(saved)


@pytest.mark.parametrize("kept", [0, 4, 1000, -1])
def test_truncated_weights_are_named(saved, kept):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(EncoderFileError, match="truncated or not a safetensors file"):
        VisuotactileEncoder.from_pretrained(saved)


def test_pickled_weights_are_not_loaded(saved):
    state = read_weights(saved)
    torch.save(state, saved / "model.safetensors")
    with pytest.raises(EncoderFileError, match="never loaded"):
        VisuotactileEncoder.from_pretrained(saved)
    torch.save(state, saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    with pytest.raises(EncoderFileError, match=r"no model\.safetensors"):
        VisuotactileEncoder.from_pretrained(saved)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "other"}, "not the configuration of a VTInsert encoder"),
        ({"version": 2}, "reads version 1"),
        ({"depth_scale": 2}, "depth_scale"),
        ({"fusion": "sum"}, "one of concat, cross_attention"),
        ({"images": {"depth": [1, 64, 64], "contact": [2, 64, 64]}}, "other shape"),
        ({"images": {"depth": "64"}}, "does not describe an encoder"),
    ],
)
def test_a_foreign_configuration_is_named(saved, changes, says):
    edit_config(saved, **changes)
    with pytest.raises(EncoderFileError, match=says):
        VisuotactileEncoder.from_pretrained(saved)


def test_a_configuration_that_is_not_json_is_named(saved):
    path = saved / "config.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(EncoderFileError, match="is not JSON"):
        VisuotactileEncoder.from_pretrained(saved)
    path.write_text('["vtinsert-encoder"]')
    with pytest.raises(EncoderFileError, match="is not a JSON object"):
        VisuotactileEncoder.from_pretrained(saved)
    path.unlink()
    with pytest.raises(EncoderFileError, match=r"holds no config\.json"):
        VisuotactileEncoder.from_pretrained(saved)


@pytest.mark.parametrize("name", ["~nosuchuser/encoders/x", "x" * 5000])
def test_a_name_that_no_file_can_have_is_named(name):
    with pytest.raises(EncoderFileError, match="is not a bundled encoder"):
        VisuotactileEncoder.from_pretrained(name)


def test_a_name_that_is_nowhere_is_named(monkeypatch):
    with pytest.raises(EncoderFileError, match="'no-such' is not a bundled encoder"):
        VisuotactileEncoder.from_pretrained("no-such")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderFileError, match="cannot get 'user/no-such' from the Hugging Face"):
        VisuotactileEncoder.from_pretrained("user/no-such")


@pytest.mark.parametrize("layout", ["vtenv/assets", "assets"], ids=["wheel", "repository"])
def test_a_bundled_name_needs_no_path(layout, tmp_path, monkeypatch):
    make(TINY).save_pretrained(tmp_path / layout / "encoders" / "small")
    package = tmp_path / "representation" / "bundled.py"
    monkeypatch.setattr(representation.bundled, "__file__", str(package))
    assert bundled("encoders") == ("small",)
    assert VisuotactileEncoder.from_pretrained("small").config == TINY
    with pytest.raises(EncoderFileError, match=r"'large' is not a bundled encoder \(small\)"):
        VisuotactileEncoder.from_pretrained("large")


def cached_snapshot(cache: Path, repository: str) -> Path:
    """Where the Hub's client would have put a download."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    return snapshot


def test_an_encoder_from_the_hub_is_read_from_the_cache(tmp_path):
    make(TINY).save_pretrained(cached_snapshot(tmp_path, "user/small"))
    loaded = VisuotactileEncoder.from_pretrained(
        "user/small", cache_dir=tmp_path, local_files_only=True
    )
    assert loaded.config == TINY


# ImageNet weights.


def cache_weights(cache: Path, name: str) -> dict[str, torch.Tensor]:
    snapshot = cached_snapshot(cache, timm.get_pretrained_cfg(name).hf_hub_id)
    state = timm.create_model(name).state_dict()
    save_file(state, snapshot / "model.safetensors", metadata={"format": "pt"})
    return state


def test_imagenet_weights_are_read_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    imagenet = cache_weights(tmp_path, "test_resnet")
    encoder = VisuotactileEncoder(TINY, pretrained=True)
    for key in TINY.keys:
        state = encoder.backbones[key].network.state_dict()
        shared = [name for name in state if name != "conv1.0.weight"]
        assert all(torch.equal(state[name], imagenet[name]) for name in shared)
    # A gray image answers as the same image in three channels did.
    first = encoder.backbones["depth"].network.state_dict()["conv1.0.weight"]
    torch.testing.assert_close(first, imagenet["conv1.0.weight"].sum(dim=1, keepdim=True))


def test_imagenet_weights_out_of_reach_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PretrainedWeightsError, match=r"hf download timm/test_resnet.*HF_HUB_CACHE"):
        VisuotactileEncoder(TINY, pretrained=True)
    mixer = EncoderConfig(backbone="mixer_s16_224")
    with pytest.raises(PretrainedWeightsError, match="no ImageNet weights of 'mixer_s16_224'"):
        VisuotactileEncoder(mixer, pretrained=True)


def test_importing_the_package_does_not_import_torch():
    code = "import sys, representation; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
