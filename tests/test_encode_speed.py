import json

import pytest

from policies import cli
from policies.benchmarks import encoding
from representation import EncoderConfig, VisuotactileEncoder
from representation.runtime import CPU_RUNTIMES

TINY = EncoderConfig(backbone="test_resnet", images={"depth": (1, 32, 32), "contact": (2, 32, 32)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoders") / "mine"
    VisuotactileEncoder(TINY).save_pretrained(path)
    return path


def test_every_runtime_and_batch_is_timed_beside_the_environment(folder, tmp_path, capsys):
    path = tmp_path / "report.json"
    tiny = ["--worlds=2", "--threads=1", "--repetitions=2", "--steps=1", f"--json={path}"]
    assert cli.main(["benchmark", *tiny, "--encoders", str(folder)]) == 0
    report = json.loads(path.read_text())
    assert report["settings"]["encoders"] == [str(folder)]
    assert report["hardware"]["cpu"] and report["versions"]["torch"]
    timings = {(t["runtime"], t["batch"]): t for t in report["encoders"]}
    assert timings.keys() == {(r, b) for r in CPU_RUNTIMES for b in encoding.BATCHES}
    for (_, batch), timing in timings.items():
        assert timing["image_size"] == 32 and timing["repetitions"] == 2
        assert 0 < timing["lowest_ms"] <= timing["batch_ms"] <= timing["highest_ms"]
        assert timing["observation_ms"] == pytest.approx(timing["batch_ms"] / batch)
        assert timing["environment_step_ms"] > 0 and timing["over_environment_step"] > 0
    assert "onnxruntime" in capsys.readouterr().out


def test_a_network_of_timm_is_built_for_both_sizes(monkeypatch):
    monkeypatch.setattr(encoding, "BACKBONE_SIZES", (32, 48))
    found = list(encoding.load_encoders(["test_vit"], encoding.backbone_images()))
    assert [name for name, _ in found] == ["test_vit", "test_vit"]
    assert [encoder.image_shapes["depth"][1] for _, encoder in found] == [32, 48]


def test_an_unknown_name_says_what_there_is(capsys):
    assert cli.main(["benchmark", "--worlds=1", "--encoders", "resnet81"]) == 2
    assert "unknown encoder 'resnet81'" in capsys.readouterr().err
