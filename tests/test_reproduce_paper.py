"""The paper's study, small."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.paper_figures import wilson
from scripts.paper_runs import occluded, study

ROOT = Path(__file__).parents[1]


def test_a_run_comes_after_the_one_it_starts_from():
    names = list(study())
    for name, run in study().items():
        if run.start is not None:
            assert names.index(run.start) < names.index(name)


def test_only_what_starts_from_nothing_may_start_from_imagenet():
    for run in study(pretrained=True).values():
        assert run.config.pretrained == (run.start is None)
    assert not any(run.config.pretrained for run in study().values())


def test_wilson_intervals_are_the_textbooks():
    # Newcombe 1998, table I: 81 of 263, and 0 of 20.
    np.testing.assert_allclose(wilson(81, 263), (0.2553, 0.3662), atol=1e-4)
    np.testing.assert_allclose(wilson(0, 20), (0.0, 0.1611), atol=1e-4)


def test_every_network_sees_the_same_occluders():
    import torch

    batch = {"depth": torch.full((4, 1, 16, 16), 0.43), "contact": torch.zeros(4, 1, 16, 16)}
    first, second, other = (occluded(batch, number)["depth"] for number in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert (first < 0.43).any()


@pytest.mark.slow
def test_the_study_trains_tests_and_draws_and_does_nothing_twice(tmp_path):
    command = [
        sys.executable,
        str(ROOT / "scripts" / "reproduce_paper.py"),
        *("--smoke", "--devices", "cpu", "--output", str(tmp_path)),
        *("--only", "classify-resnet50-touch", "infonce-vit-base"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert np.sum(results["classify-resnet50-touch"]["confusion"]) == 104
    assert 0.0 <= results["infonce-vit-base"]["recall_10"] <= 1.0
    assert (tmp_path / "figures" / "accuracy.png").is_file()
    assert "| ResNet-50, touch |" in (tmp_path / "table.md").read_text()
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert "is done" not in again.stderr
