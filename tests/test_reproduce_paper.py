"""The paper's study, small."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from representation import EncoderConfig, VisuotactileEncoder
from representation.objectives.combine import OBJECTIVES
from scripts.paper import report
from scripts.paper.conditions import CONDITIONS, covered, drawn
from scripts.paper.grasps import SETS
from scripts.paper.objectives import BalancedGradients, SeparateLosses, blank
from scripts.paper.results import Results, calibrated, fused, over_seeds
from scripts.paper.runs import LATE_FUSION, study
from scripts.paper.store import Store
from scripts.paper.worker import needs
from scripts.reproduce_paper import Options, main

ROOT = Path(__file__).parents[1]
SIZE = 32


@pytest.fixture
def encoder() -> VisuotactileEncoder:
    torch.manual_seed(0)
    images = {"depth": (1, SIZE, SIZE), "contact": (1, SIZE, SIZE)}
    return VisuotactileEncoder(EncoderConfig(backbone="test_vit", images=images))


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """A square on a table, four times."""
    depth = torch.full((4, 1, SIZE, SIZE), 0.43)
    depth[..., 10:20, 10:20] = 0.41
    contact = torch.zeros(4, 1, SIZE, SIZE, dtype=torch.uint8)
    contact[..., 8:24, 8:24] = 1
    return {"depth": depth, "contact": contact, "connector": torch.arange(4)}


def test_every_run_can_be_made_and_has_its_grasps():
    runs = study(range(5), image_size=64)
    assert len({run.group for run in runs.values()}) * 5 == len(runs)
    for run in runs.values():
        assert set(needs(run)) <= set(SETS)
        assert set(run.config.objectives) <= {*OBJECTIVES} or ":" in run.config.objective
        assert all(shape == (1, 64, 64) for shape in run.config.encoder.images.values())
    assert {f"{name}-s0" for pair in LATE_FUSION.values() for name in pair} <= set(runs)


def test_a_seed_is_of_training_alone():
    runs = study((0, 3), image_size=64)
    assert runs["moco-s3"].config.seed == 3
    assert needs(runs["moco-s3"]) == needs(runs["moco-s0"])


def test_imagenet_is_asked_for_by_all_or_none():
    assert all(run.config.pretrained for run in study((0,), pretrained=True).values())
    assert not any(run.config.pretrained for run in study((0,)).values())


def test_at_the_papers_size_the_transformer_is_the_papers():
    assert study((0,))["classify-vit-base-s0"].config.encoder.backbone_options == {}


def test_every_network_sees_the_same_conditions(batch):
    for name, condition in CONDITIONS.items():
        first, second = drawn(name, batch), drawn(name, batch)
        assert len(first["depth"]) == 4 * condition.draws
        assert all(torch.equal(first[key], second[key]) for key in batch)
    assert all(torch.equal(drawn("clean", batch)[key], batch[key]) for key in batch)


def test_what_is_covered_is_a_part_of_the_object(batch):
    parts = covered(batch)
    seen = drawn("occluded", batch)["depth"][:, 0, 10:20, 10:20]
    np.testing.assert_allclose(parts, (seen != 0.41).float().mean(dim=(1, 2)), atol=1e-6)
    assert 0 <= parts.min() < parts.max() <= 1


def test_a_blank_image_is_blank_as_often_as_asked():
    images = torch.ones(4000, 1, 2, 2)
    kept = blank(images, torch.Generator().manual_seed(0), chance=0.25)[:, 0, 0, 0]
    assert set(kept.tolist()) == {0.0, 1.0}
    assert kept.mean() == pytest.approx(0.75, abs=0.03)


def test_separate_losses_add_up(encoder, batch):
    objective = SeparateLosses(encoder, weight=0.5)
    encoder.eval()
    features = encoder.features(batch)
    expected = cross_entropy(objective.logits(encoder, batch), batch["connector"])
    for sense, head in objective.alone.items():
        expected = expected + 0.5 * cross_entropy(head(features[sense]), batch["connector"])
    torch.testing.assert_close(objective(encoder, batch).loss, expected)


def test_only_the_sense_that_is_ahead_gets_smaller_gradients(encoder, batch):
    objective = BalancedGradients(encoder, strength=0.5)
    encoder.eval()
    with torch.no_grad():  # touch makes the class probable; vision says next to nothing
        touch = encoder.encode(encoder.preprocess(batch))["contact"].mean(dim=0)
        weights = objective.classifier.weight
        weights[:, : len(touch)] *= 1e-3
        weights[:, len(touch) :] = 0.0
        weights[0, len(touch) :] = 2 * touch / touch.square().sum()
    same = {**batch, "connector": torch.zeros(4, dtype=torch.int64)}

    def gradients(strength: float) -> dict[str, torch.Tensor]:
        objective.strength = strength
        encoder.zero_grad()
        objective(encoder, same).loss.backward()
        return {
            key: torch.cat([p.grad.flatten() for p in backbone.parameters() if p.grad is not None])
            for key, backbone in encoder.backbones.items()
        }

    plain, balanced = gradients(0.0), gradients(0.5)
    torch.testing.assert_close(balanced["depth"], plain["depth"])
    ratio = balanced["contact"].norm() / plain["contact"].norm()
    assert 0.0 < ratio < 0.7


def test_a_run_is_taken_once_and_given_back_at_the_next_start(tmp_path):
    store = Store(tmp_path)
    store.begin()
    assert store.is_free("a")
    assert store.take("a")
    assert not store.take("a")
    assert not store.is_free("a")
    store.begin()
    assert store.take("a")
    store.put("a", {"label": "A"})
    store.begin()
    assert not store.is_free("a")
    assert store.get(["a", "b"]) == {"a": {"label": "A"}}


def touch_accuracy(run, results) -> float:
    pairs = zip(run["predictions"]["clean"], results["heldout"]["connector"], strict=True)
    return sum(predicted == true for predicted, true in pairs) / 104


@pytest.mark.slow
def test_the_study_trains_and_tests_and_does_nothing_twice(tmp_path, monkeypatch):
    chosen = ("classify-resnet50-touch", "joint-vit-base-tokens-augmented")
    given = ["--smoke", "--devices", "cpu", "--output", str(tmp_path), "--only", *chosen]
    monkeypatch.setattr(sys, "argv", ["reproduce_paper", *given])  # of its workers, too
    monkeypatch.chdir(ROOT)
    study = Options(smoke=True, devices=("cpu",), output=tmp_path, only=chosen)
    assert main(study) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    runs = results["runs"]
    touch = runs["classify-resnet50-touch-s0"]
    assert len(touch["predictions"]["clean"]) == len(results["heldout"]["connector"]) == 104
    assert len(touch["predictions"]["occluded"]) == len(results["heldout"]["covered"]) == 832
    assert 0.0 <= runs["joint-vit-base-tokens-augmented-s0"]["recall_10"] <= 1.0
    for name in ("images", "results"):
        (tmp_path / "docs" / name).mkdir(parents=True)
    options = report.Options(tmp_path / "results.json", output=tmp_path / "docs")
    assert report.main(options) == 0
    assert (tmp_path / "docs" / "images" / "paper-accuracy.png").is_file()
    published = Results.read(tmp_path / "docs" / "results" / "paper-study.json")
    assert "logits" not in published.runs["classify-resnet50-touch-s0"]
    assert published.accuracy("classify-resnet50-touch").value == pytest.approx(
        touch_accuracy(touch, results)
    )
    log = tmp_path / "logs" / "worker-cpu-0.log"
    log.unlink()
    assert main(study) == 0
    assert not log.exists()
    assert not list((tmp_path / "taken").iterdir())


def test_an_interval_over_seeds_is_students():
    values = [0.90, 0.92, 0.94, 0.96, 0.98]
    value, half = over_seeds(values)
    assert value == pytest.approx(0.94)
    # Student's quantile at 97.5% with four degrees of freedom is 2.776 in every table.
    assert half == pytest.approx(2.776 * np.std(values, ddof=1) / np.sqrt(5), abs=1e-4)
    assert over_seeds([0.5]) == (0.5, None)


def test_calibration_takes_back_false_confidence():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4000, 4))
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    classes = np.array([rng.choice(4, p=row) for row in chances])
    assert calibrated(5 * scores, classes) == pytest.approx(5, rel=0.15)


def test_late_fusion_trusts_the_network_that_knows():
    sure = [[800, 0, 0, 0], [0, 800, 0, 0]] * 20
    wrong = [[0, 0, 800, 0], [800, 0, 0, 0]] * 20
    classes = np.tile([0, 1], 20)
    networks = [{"clean": rows, "calibration": rows} for rows in (sure, wrong)]
    for order in (networks, networks[::-1]):
        assert fused(order, lambda count: classes[:count]) == {"clean": "01" * 20}


def test_accuracy_is_taken_apart_by_what_is_covered():
    run = {"predictions": {"clean": "01", "occluded": "010111"}}
    held = {"connector": "01", "covered": [0.0, 0.1, 0.3, 0.6, 0.8, 1.0]}
    results = Results({"heldout": held, "runs": {"a-s0": run, "a-s1": run}})
    assert results.accuracy("a").value == 1.0
    assert results.accuracy("a", "occluded").value == pytest.approx(5 / 6)
    values = [each.value for each in results.by_covered("a")]
    assert values == [1.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    np.testing.assert_array_equal(results.confusion("a")[:2, :2], [[2, 0], [0, 2]])
