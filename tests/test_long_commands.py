"""Long commands in processes of their own: two at once, a full disk, impatience."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from policies import cli

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-c", "import sys; from policies.cli import main; sys.exit(main())"]
TRAIN = [
    *["train", "--connectors", "usb", "--num-envs", "16", "--num-threads", "1"],
    *["--evaluation-episodes", "2", "--filmed", "0", "--set", "n_steps=4", "batch_size=32"],
]
NEVER_ENDS = ["--steps", "1000000", "--evaluate-every", "1000000", "--checkpoint-every", "320"]
PRETRAIN = [
    *["pretrain", "--objective", "infonce", "--backbone", "test_convnext", "--batch-size", "8"],
    *["--accelerator", "cpu", "--max-steps", "1000000"],
]


@pytest.fixture(scope="module")
def grasps(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data") / "grasps")
    small = ["--image-size", "32", "--contact-size", "32", "--grasps", "16", "--threads", "1"]
    assert cli.main(["dataset", "paper", *small, "--output", folder]) == 0
    return folder


@pytest.fixture
def start():
    """Starts commands; those that still run are ended."""
    running = []

    def begin(*arguments: object) -> subprocess.Popen[str]:
        words = [*PROGRAM, *map(str, arguments)]
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], there: Callable[[], object]) -> None:
    deadline = time.monotonic() + 600
    while not there():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How a command ended, and the last that it said."""
    error = process.communicate(timeout=600)[1]
    assert "Traceback" not in error
    return process.returncode, error.strip().splitlines()[-1]


def last(run: Path) -> str:
    """The last whole checkpoint."""
    return max((path.name for path in run.glob("checkpoints/0*")), default="")


def command(name: str, grasps: str) -> list[str]:
    return [*TRAIN, *NEVER_ENDS] if name == "train" else [*PRETRAIN, "--data", grasps]


def test_of_two_in_one_new_folder_one_runs(start, tmp_path):
    run = tmp_path / "run"
    both = [start(*TRAIN, *NEVER_ENDS, "--seed", seed, "--output", run) for seed in (0, 1)]
    deadline = time.monotonic() + 600
    while all(process.poll() is None for process in both):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    refused, runs = sorted(both, key=lambda process: process.poll() is None)
    code, said = ended(refused)
    assert (code == 2 and "another process is writing" in said) or "is there already" in said
    wait_for(runs, (run / "checkpoints").exists)
    runs.send_signal(signal.SIGTERM)
    assert ended(runs)[0] == 130
    assert json.loads((run / "config.json").read_text())["seed"] == both.index(runs)


@pytest.mark.parametrize(("name", "left"), [("train", 20_000), ("pretrain", 0)])
@pytest.mark.parametrize("volume", ["20m"], indirect=True)
def test_a_disk_that_fills_up_is_named_and_the_run_goes_on(name, left, grasps, start, volume):
    """With some room left, a table fits and a checkpoint does not."""
    run, filler = volume / "run", volume / "filler"
    process = start(*command(name, grasps), "--output", run)
    wait_for(process, (run / "config.json").exists)
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            file.truncate(max(file.tell() - left, 0))
    code, said = ended(process)
    assert code == 2 and "No space left on device" in said
    assert f"vtinsert {name} --resume --output {run}" in said
    filler.unlink()
    again = start(name, "--resume", "--output", run)
    wait_for(again, lambda: last(run))
    again.send_signal(signal.SIGTERM)
    assert ended(again)[0] == 130


@pytest.mark.parametrize("name", ["train", "pretrain"])
def test_an_impatient_interruption_leaves_what_was_there(name, grasps, start, tmp_path):
    """The second Ctrl-C comes while a checkpoint is written."""
    run = tmp_path / "run"
    large = (
        ["--set", "policy_kwargs.net_arch=[3000, 3000]"]
        if name == "train"
        else ["--embedding-dim", "2000"]
    )
    process = start(*command(name, grasps), *large, "--output", run)
    wait_for(process, lambda: last(run))
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    wait_for(process, lambda: list(run.glob("checkpoints/.*")))
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130
    kept = last(run)
    again = start(name, "--resume", "--output", run)
    wait_for(again, lambda: last(run) > kept)
    again.send_signal(signal.SIGTERM)
    assert ended(again)[0] == 130
