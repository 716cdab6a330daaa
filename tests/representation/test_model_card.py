from __future__ import annotations

import pytest
from huggingface_hub import ModelCard

from representation import EncoderConfig, VisuotactileEncoder
from representation.model_card import read_probes, write_card
from representation.probes.measurements import Measurement

FACTS = {
    "data": "1,920 grasps",
    "objective": "infonce",
    "command": "vtinsert pretrain --objective infonce",
    "commit": "abc1234",
    "metrics": {"socket_y_mm": 0.28125, "note": "a | b"},
}


def test_the_card_holds_the_facts(tmp_path):
    config = EncoderConfig(
        backbone="test_resnet", images={"depth": (1, 32, 32), "contact": (2, 32, 32)}
    )
    VisuotactileEncoder(config).save_pretrained(tmp_path)
    probes = [
        Measurement(
            "tiny", "encoder", "error", 0.25, variable="socket_y_mm", region="near", bound=0.3
        )
    ]
    path = write_card(tmp_path, **FACTS, probes=probes, seed=0)
    assert path == tmp_path / "README.md"
    card = ModelCard.load(path)  # the Hub can read it
    assert card.data.to_dict()["library_name"] == "vtinsert"
    for text in (
        "1,920 grasps",
        "vtinsert pretrain --objective infonce",
        "`abc1234`",
        "| socket_y_mm | 0.2812 |",
        "a \\| b",
        '| backbone | `"test_resnet"` |',
        "| Seed | 0 |",
        "| socket y mm, near | 0.250, at most 0.3 |",
    ):
        assert text in card.content
    assert read_probes(tmp_path) == tuple(probes)


def test_probes_that_are_none_are_refused(tmp_path):
    assert read_probes(tmp_path) == ()
    (tmp_path / "probes.json").write_text('[{"valeu": 1}]')
    with pytest.raises(ValueError, match=r"probes\.json holds no measurements"):
        read_probes(tmp_path)


def test_a_card_stands_beside_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match="save_pretrained"):
        write_card(tmp_path, **FACTS)
