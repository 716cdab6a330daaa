from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time

import pytest

from policies import cli

SMALL = [
    *["--connectors", "usb", "--clearance-mm", "0.8", "--num-envs", "16"],
    *["--evaluation-episodes", "2", "--filmed", "0", "--num-threads", "1"],
    *["--set", "n_steps=4", "batch_size=32", "--set", "policy_kwargs.net_arch=[32]"],
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train") / "run"
    assert cli.main(["train", *SMALL, "--steps", "64", "--output", str(folder)]) == 0
    return folder


def refused(capsys, *arguments):
    """The message that a command ends with."""
    assert cli.main(["train", *arguments]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("vtinsert train: ")
    return said


def test_a_policy_is_trained_and_written_down(run):
    document = json.loads((run / "config.json").read_text())
    assert document["representation"] == "state" and document["algorithm"] == "ppo"
    assert document["settings"] == {"connectors": ["usb"], "clearance_mm": 0.8}
    assert document["hyperparameters"]["policy_kwargs"]["net_arch"] == [32]
    assert document["hyperparameters"]["gamma"] == 0.99  # the preset's
    assert document["resume"] == f"vtinsert train --resume --output {run}"
    assert {"command", "commit", "versions", "hardware"} <= set(document)
    assert 0 <= json.loads((run / "result.json").read_text())["success"] <= 1


def test_its_result_is_told_again_when_it_is_resumed(run, capsys):
    assert cli.main(["train", "--resume", "--output", str(run)]) == 0
    assert f"Policy: {run / 'best'}" in capsys.readouterr().out


def test_a_run_that_has_ended_takes_more_steps(run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    assert cli.main(["train", "--resume", "--steps", "128", "--output", str(folder)]) == 0
    assert "after 128 steps" in capsys.readouterr().out
    assert json.loads((folder / "config.json").read_text())["steps"] == 128
    assert not (folder / "videos").exists()  # --filmed 0 is remembered


def test_an_evaluation_says_where_its_policy_was_trained(run, tmp_path, capsys):
    few = ["--connectors", "usb", "--episodes", "1", "--filmed", "0", "--num-threads", "1"]
    assert cli.main(["evaluate", str(run), *few, "--output", str(tmp_path / "evaluation")]) == 0
    assert '"clearance_mm": 0.8}; --conditions training plays that' in capsys.readouterr().out


def test_a_run_is_not_written_over(run, capsys):
    said = refused(capsys, *SMALL, "--output", str(run))
    assert f"{run} is there already; resume it, or choose another folder" in said


def test_resuming_takes_no_other_options(run, capsys):
    said = refused(capsys, "--resume", "--output", str(run), "--seed", "1", "--set", "gamma=1")
    assert "leave out --seed, --set" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--representation", "sonar"], "unknown representation 'sonar'; choose from state, "),
        (
            ["--representation", "resnet-pase"],
            "unknown representation 'resnet-pase'; did you mean resnet-pose",
        ),
        (["--set", "momentum=1"], "hyperparameters='momentum' is not allowed"),
        (["--set", "momentum"], "--set momentum is not allowed; write --set learning_rate=1e-4"),
        (["--set", "learning_rate=fast"], "learning_rate='fast' is not allowed; it must be a"),
        (["--clearance-mm", "9"], "clearance_mm=9 is not allowed"),
        (["--start", "nowhere"], "nowhere is not the folder of a run (training of a policy)"),
        (
            ["--resume"],
            "is not the folder of a run (training of a policy): it holds no config.json",
        ),
    ],
)
def test_what_is_wrong_is_said(arguments, message, tmp_path, capsys):
    said = refused(capsys, *arguments, "--output", str(tmp_path / "run"))
    assert message in said
    assert not (tmp_path / "run").exists()


def test_a_disk_that_takes_no_more_is_said(tmp_path, capsys):
    folder = tmp_path / "run"

    def break_it():
        while not (folder / "config.json").exists():
            time.sleep(0.002)
        while not (folder / "evaluations.csv").is_dir():
            # Nothing can be written in the place of a folder.
            (folder / "evaluations.csv").unlink(missing_ok=True)
            with contextlib.suppress(FileExistsError):
                (folder / "evaluations.csv").mkdir()

    breaker = threading.Thread(target=break_it, daemon=True)
    breaker.start()
    longer = ["--steps", "640", "--checkpoint-every", "64", "--output", str(folder)]
    said = refused(capsys, *SMALL, *longer)
    breaker.join()
    assert f"cannot write to {folder}: " in said
    assert f"Make room there, and go on with: vtinsert train --resume --output {folder}" in said
