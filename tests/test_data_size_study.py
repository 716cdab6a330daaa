"""The study of data sizes, small."""

import json

import pytest

from representation.probes.measurements import Measurement
from scripts.data_size_figure import data_size_figure, data_size_table, estimate
from scripts.data_size_study import Options, Run, _pretrain, _study, main

BOUNDS = {"connector": 0.99, "hand_z_mm": 0.1, "hand_pitch_deg": 0.5, "socket_y_mm": 0.3}


def result(preset: str, pairs: int, error: float):
    """What is known of a run whose errors are all alike, and worse on all rows."""

    rows = [
        Measurement(
            *("mine", "encoder", "accuracy" if name == "connector" else "error", mean, "fused"),
            variable=name,
            fitted_on="near",
            region=region,
            low=mean - 0.01,
            high=mean + 0.01,
        ).to_dict()
        for region, mean in (("all", 9.0), ("near", error))
        for name in BOUNDS
    ]
    steps = 1000 if pairs else None
    regions = {"near": "near", "all": "all rows"}
    audit = {"measurements": rows, "bounds": BOUNDS, "regions": regions}
    return {"preset": preset, "pairs": pairs, "steps": steps, "audit": audit}


RESULTS = {
    "resnet-pose": result("control-resnet-pose", 0, 0.3),
    "control-resnet-pose-570": result("control-resnet-pose", 570, 0.2),
    "control-resnet-pose-57": result("control-resnet-pose", 57, 0.4),
}


def test_what_takes_longest_comes_first_after_what_is_bundled():
    names = [run.name for run in _study(Options())]
    assert names[:3] == ["resnet-dynamics", "vit-dynamics", "resnet-pose"]
    assert names[3] == "control-resnet-dynamics-5700000"
    assert names[-1] == "control-resnet-pose-57000"
    assert len(names) == 12


def test_a_run_is_a_command_that_its_card_can_show(tmp_path):
    run = Run("control-vit-dynamics", 570_000)
    command = " ".join(_pretrain(run, tmp_path / "run", Options(minutes=2.5, seed=3)))
    assert command.startswith("pretrain --live warp --pairs 570000 --preset control-vit-dynamics")
    assert "--seed 3" in command and command.endswith("--max-minutes 2.5")
    assert "--max-steps 900" in " ".join(_pretrain(run, tmp_path / "run", Options(steps=900)))
    (tmp_path / "run").mkdir()
    assert _pretrain(run, tmp_path / "run", Options())[:2] == ["pretrain", "--resume"]


def test_an_unknown_run_is_said(tmp_path, capsys):
    assert main(Options(output=tmp_path / "study", runs=("control-resnet-pose-5",))) == 2
    assert "'control-resnet-pose-5'" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_the_table_shows_what_decides():
    assert estimate(RESULTS["resnet-pose"], "hand_z_mm").value == 0.3
    lines = data_size_table(RESULTS).splitlines()
    assert lines[2].startswith("| bound |  |  | 99% | 0.1 | 0.5 | 0.3 |")
    assert "bundled `resnet-pose`" in lines[3] and "0.300 (0.290 to 0.310)" in lines[3]
    assert lines[4].startswith("| `control-resnet-pose` | 57 | 1,000 |")
    assert lines[5].startswith("| `control-resnet-pose` | 570 | 1,000 | 20.0%")


def test_the_picture_has_a_line_for_each_preset():
    axes = [ax for ax in data_size_figure(RESULTS).axes if ax.get_visible()]
    assert len(axes) == len(BOUNDS)
    line = next(line for line in axes[1].lines if len(line.get_xdata()) == 2 and line.get_marker())
    assert list(line.get_xdata()) == [57, 570] and list(line.get_ydata()) == [0.4, 0.2]


@pytest.mark.slow
def test_the_study_trains_probes_and_draws_and_does_nothing_twice(tmp_path, capsys):
    run_name = "control-resnet-pose-128"
    small = Options(smoke=True, engine="cpu", devices=("cpu",), output=tmp_path, runs=(run_name,))
    assert main(small) == 0
    assert f"{run_name} is done" in capsys.readouterr().err
    run = json.loads((tmp_path / "results.json").read_text())["runs"][run_name]
    assert (run["steps"], run["rendered"], run["pairs"]) == (2, 128, 128)
    assert estimate(run, "socket_y_mm").value > 0
    assert (tmp_path / "data-size.png").is_file()
    card = (tmp_path / "runs" / run_name / "encoder" / "README.md").read_text()
    assert "vtinsert pretrain --live cpu --pairs 128 --preset control-resnet-pose" in card
    assert main(small) == 0
    assert "is done" not in capsys.readouterr().err
