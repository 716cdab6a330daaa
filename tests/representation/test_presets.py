from __future__ import annotations

import pytest
import torch

from representation.encoder_config import EncoderConfig
from representation.pretraining.config import PretrainConfig
from representation.pretraining.initial_encoder import require_buildable
from representation.pretraining.presets import (
    CONTROL_BACKBONES,
    CONTROL_OBJECTIVES,
    PRESETS,
    preset,
)
from vtenv.json_document import from_document

DISTINCT = [
    *(
        f"paper-{name}"
        for name in ("classify-resnet50", "infonce-vit-base", "classify-vit-base-touch")
    ),
    *(
        f"control-{backbone}-{name}"
        for backbone in ("resnet", "vit")
        for name in CONTROL_OBJECTIVES
    ),
]
"""The rest differ from one of these in nothing that is built."""


@pytest.mark.parametrize("name", DISTINCT)
def test_every_preset_can_be_built(name):
    require_buildable(preset(name))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_comes_back_from_json(name):
    assert from_document(PretrainConfig, preset(name).as_json()) == preset(name)


def test_the_papers_settings_are_the_papers():
    paper = {name: preset(name) for name in PRESETS if name.startswith("paper")}
    assert len(paper) == 14
    for name, config in paper.items():
        assert (config.batch_size, config.epochs, config.schedule) == (64, 50, "exponential")
        assert config.learning_rate == (1e-4 if "resnet50" in name else 1e-5)
        assert config.select == "lowest_loss"
        assert config.pretrained
        assert set(config.encoder.images.values()) == {(1, 224, 224)}
        assert config.encoder.fusion == "concat"
        assert config.augment == (
            "occlusion" if "occlusion" in name else "contrastive" if "augmented" in name else "none"
        )
    assert paper["paper-classify-vit-base-touch"].encoder.keys == ("contact",)
    assert paper["paper-classify-resnet50-vision-occlusion"].encoder.keys == ("depth",)


def test_control_has_every_objective_on_both_backbones():
    for backbone, encoder in CONTROL_BACKBONES.items():
        for name in CONTROL_OBJECTIVES:
            config = preset(f"control-{backbone}-{name}")
            assert config.encoder == EncoderConfig(**encoder)
            names = name.split("+")
            assert config.objectives == tuple(names)
            assert names == [name] or set(config.objective.values()) == {1.0}
            assert config.encoder.images["contact"] == (2, 64, 64)


def test_nothing_is_drawn_to_check_a_preset():
    before = torch.random.get_rng_state()
    require_buildable(preset("paper-classify-vit-base"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_unknown_preset_is_answered_with_the_three_nearest():
    with pytest.raises(ValueError, match=r"did you mean .*paper-classify-resnet50") as refused:
        preset("paper-clasify-resnet50")
    assert sum(name in str(refused.value).split("?")[0].split(", ") for name in PRESETS) <= 3
    assert "docs/pretraining.md" in str(refused.value)
    with pytest.raises(ValueError, match="did you mean"):
        preset("zzz")
