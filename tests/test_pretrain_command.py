from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from policies import cli
from representation.data.dataset import DatasetWriter
from representation.objectives.pose import POSE_LABELS

SMALL = [
    "--backbone",
    "test_convnext",
    "--epochs",
    "2",
    "--batch-size",
    "8",
    "--accelerator",
    "cpu",
]


def write(folder, kind, columns, labels, seed=0):
    rng = np.random.default_rng(seed)
    with DatasetWriter(folder, kind=kind, settings={"seed": seed}, labels=labels) as writer:
        for split, rows in (("train", 24), ("heldout", 12)):
            images = {
                "depth": rng.uniform(0.25, 0.45, (rows, 1, 32, 32)).astype(np.float32),
                "contact": rng.integers(0, 2, (rows, 2, 32, 32), dtype=np.uint8),
                "connector": np.arange(rows) % 4,
            }
            writer.append(split, images | columns(rng, rows))
    return str(folder)


@pytest.fixture(scope="module")
def grasps(tmp_path_factory):
    """A data set without actions and episodes."""

    def columns(rng, rows):
        return {"pose": rng.normal(size=(rows, 3)).astype(np.float32)}

    return write(tmp_path_factory.mktemp("data") / "paper", "paper", columns, ("x", "y", "angle"))


@pytest.fixture(scope="module")
def experience(tmp_path_factory):
    """A data set of episodes."""

    def columns(rng, rows):
        return {
            "pose": rng.normal(size=(rows, len(POSE_LABELS))).astype(np.float32),
            "action": rng.uniform(-1, 1, (rows, 5)).astype(np.float32),
            "episode": np.arange(rows) // 6,
        }

    folder = tmp_path_factory.mktemp("data") / "experience"
    return write(folder, "experience", columns, POSE_LABELS)


def test_a_preset_trains_and_its_run_can_be_taken_up(grasps, experience, tmp_path, capsys):
    output = tmp_path / "run"
    arguments = ["pretrain", "--data", grasps, "--preset", "paper-classify-resnet50"]
    arguments += ["--from-scratch", "--output", str(output), "--seed", "3", "--lr", "0.01", *SMALL]
    arguments += ["--weight-decay", "0"]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "of 2 selected" in shown
    assert "held-out accuracy" in shown
    document = json.loads((output / "config.json").read_text())
    config = document["config"]
    assert document["data"] == grasps
    assert len(document["data_sha256"]) == 64
    assert document["versions"]["torch"]
    assert document["hardware"]["cores"] >= 1
    assert (config["epochs"], config["seed"], config["learning_rate"]) == (2, 3, 0.01)
    assert config["weight_decay"] == 0  # not what was left out
    assert config["encoder"]["images"] == {"depth": [1, 32, 32], "contact": [1, 32, 32]}
    assert config["pretrained"] is False
    assert (output / "encoder" / "README.md").is_file()

    assert cli.main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    resume = ["pretrain", "--resume", "--output", str(output)]
    assert cli.main(resume) == 0
    assert "of 2 selected" in capsys.readouterr().out
    assert cli.main([*resume, "--lr", "1"]) == 2
    assert "leave out --learning-rate" in capsys.readouterr().err
    assert cli.main([*resume, "--data", experience]) == 2
    assert "is not the data set" in capsys.readouterr().err


def test_several_objectives_train_on_experience(experience, tmp_path):
    output = tmp_path / "run"
    arguments = ["--data", experience, "--objective", "pose=1,dynamics=0.5", "--augment", "noise"]
    arguments += ["--max-steps", "2", "--batch-size", "8", "--backbone", "test_convnext"]
    arguments += ["--accelerator", "cpu", "--output", str(output)]
    assert cli.main(["pretrain", *arguments]) == 0
    config = json.loads((output / "config.json").read_text())["config"]
    assert config["objective"] == {"pose": 1.0, "dynamics": 0.5}
    assert config["augment"] == ["noise"]
    assert (config["epochs"], config["max_steps"]) == (None, 2)
    assert len(config["objective_options"]["pose"]["mean"]) == len(POSE_LABELS)


LIVE = "--live cpu --worlds 2 --image-size 32 --contact-size 32"
TINY = ["--max-steps", "2", "--batch-size", "8", "--backbone", "test_convnext"]


def test_what_is_rendered_is_trained_on(experience, tmp_path, capsys):
    output = tmp_path / "run"
    arguments = [*LIVE.split(), "--pairs", "256", "--objective", "pose=1,dynamics=0.5", *TINY]
    arguments += ["--accelerator", "cpu", "--heldout", experience, "--output", str(output)]
    arguments += ["--task", "VTPivot-v0", "--lead-in-mm", "0.5"]
    assert cli.main(["pretrain", *arguments]) == 0
    shown = capsys.readouterr()
    assert "Rendered 256 moments; " in shown.out and "held-out loss" in shown.out
    document = json.loads((output / "config.json").read_text())
    assert document["live"]["pairs"] == 256
    assert document["live"]["task"] == "VTPivot-v0"
    settings = {"lead_in_mm": 0.5, "image_size": 32, "contact_size": 32}
    assert document["live"]["settings"] == settings
    assert document["heldout"] == experience
    # The labels' spread is that of what was rendered, in the ranges of the task.
    std = document["config"]["objective_options"]["pose"]["std"]
    assert 2.0 < std[POSE_LABELS.index("hand_pitch_deg")] < 12.0
    card = (output / "encoder" / "README.md").read_text()
    assert "rendered for training, 256 pairs: cpu, 2 worlds" in card

    assert cli.main(["pretrain", "--resume", "--output", str(output)]) == 0
    assert "Rendered 256 moments" in capsys.readouterr().out
    resume = ["pretrain", "--resume", "--output", str(output)]
    assert cli.main([*resume, "--pairs", "300", "--live", "cpu"]) == 2
    assert "leave out --live, --pairs" in capsys.readouterr().err
    assert cli.main([*resume, "--data", experience]) == 2
    assert "leave out --data" in capsys.readouterr().err


def test_a_run_that_is_ended_goes_on(grasps, tmp_path):
    output = tmp_path / "a run"
    arguments = ["pretrain", "--data", grasps, "--objective", "classification", *SMALL]
    arguments += ["--epochs", "1000000", "--output", str(output)]
    code = "import sys; from policies.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 600
    while not (output / "metrics.csv").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    _, error = process.communicate(timeout=600)
    assert process.returncode == 130
    assert f"Go on with: vtinsert pretrain --resume --output '{output}'" in error
    document = json.loads((output / "config.json").read_text())
    document["config"] |= {"epochs": None, "max_steps": 1}
    (output / "config.json").write_text(json.dumps(document))
    assert cli.main(["pretrain", "--resume", "--output", str(output)]) == 0
    assert (output / "result.json").is_file()


def test_a_full_disk_is_named_and_the_run_goes_on(grasps, tmp_path, monkeypatch, capsys):
    output = tmp_path / "run"
    arguments = ["--data", grasps, "--objective", "classification", "--output", str(output), *SMALL]
    write_bytes = Path.write_bytes

    def full(path, data):
        if path.name == "state.pt":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write_bytes(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert cli.main(["pretrain", *arguments]) == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error and "--resume" in error
    assert cli.main(["pretrain", "--resume", "--output", str(output)]) == 0


def test_any_images_of_the_data_enter_the_encoder(tmp_path):
    def gel(rng, rows):
        return {"gel": rng.uniform(0.0, 2.0, (rows, 2, 32, 32)).astype(np.float32)}

    write(tmp_path / "data", "experience", gel, labels=())
    output = tmp_path / "run"
    options = ["--objective", "infonce", "--modalities", "depth", "gel", "--output", str(output)]
    assert cli.main(["pretrain", "--data", str(tmp_path / "data"), *SMALL, *options]) == 0
    config = json.loads((output / "encoder" / "config.json").read_text())
    assert config["images"] == {"depth": [1, 32, 32], "gel": [2, 32, 32]}


def test_help_shows_the_presets_own_defaults(capsys):
    with pytest.raises(SystemExit):
        cli.main(["pretrain", "--preset", "control-vit-moco", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "(default: moco)" in shown and "(default: 512)" in shown
    assert "{None}" not in shown and "default: None" not in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "--data is needed"),
        ("--data no/such/folder --objective infonce", "no/such/folder"),
        ("--objective infonce --pairs 500", "or --live"),
        ("--data GRASPS --objective infonce --live cpu", "leave out one"),
        ("--data GRASPS --objective infonce --clearance-mm 1", "leave out one"),
        ("LIVE --objective infonce --clearance-mm 9", "0.03 to 2"),
        ("LIVE --objective infonce --task VTInsrt-v0", "Did you mean: `VTInsert`"),
        ("LIVE --objective infonce --pairs 5", "at least 128"),
        ("LIVE --objective infonce --live-device cuda:0", "for engine='warp'"),
        ("LIVE --objective pose --heldout GRASPS", "poses are x, y, angle"),
        ("LIVE --objective infonce --batch-size 0", "at least 1"),
        ("--live cpu --image-size 64 --objective infonce --heldout GRASPS", "64"),
        ("--data GRASPS", "--preset or --objective"),
        ("--data GRASPS --preset control-resnet-mocko", "control-resnet-moco, "),
        ("--data GRASPS --preset control-resnet-dynamics", "no action"),
        ("--data GRASPS --objective nonsense", "soft_contrastive"),
        ("--data GRASPS --objective masked=much", "'much' is no weight"),
        ("--data GRASPS --objective masked --augment blur", "dilation_erosion"),
        ("--data GRASPS --objective infonce --backbone resnet5", "resnet50"),
        ("--data GRASPS --objective infonce --image-size 224", "32 x 32"),
        ("--data GRASPS --objective infonce --modalities touch", "has 'touch' alone"),
        ("--data GRASPS --objective infonce --batch-size 99", "24 rows"),
        ("--data GRASPS --objective infonce --epochs 2 --max-steps 3", "one"),
        ("--data GRASPS --objective infonce --pretrained --from-scratch", "only one"),
        ("--data GRASPS --objective infonce --start no/such/encoder", "no/such"),
        ("--resume", "not the folder of a run"),
    ],
)
def test_what_is_not_allowed_is_said_before_anything_is_written(
    arguments, expected, grasps, tmp_path, capsys
):
    given = arguments.replace("LIVE", LIVE).replace("GRASPS", grasps).split()
    given += ["--output", str(tmp_path / "run"), "--accelerator", "cpu"]
    assert cli.main(["pretrain", *given]) == 2
    error = capsys.readouterr().err
    assert error.startswith("vtinsert pretrain: ")
    assert expected in error
    assert not (tmp_path / "run").exists()


def test_missing_imagenet_weights_are_said_before_anything_is_written(
    grasps, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    arguments = ["--data", grasps, "--objective", "infonce", "--pretrained", "--backbone"]
    arguments += ["resnet18", "--output", str(tmp_path / "run"), "--accelerator", "cpu"]
    assert cli.main(["pretrain", *arguments, "--batch-size", "8"]) == 2
    assert "--from-scratch" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
