"""PPO of rsl_rl in two processes, which torchrun starts."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from policies import cli
from policies.learners.ranks import Ranks

SMALL = [
    *["--connectors", "usb", "--clearance-mm", "0.8"],
    *["--num-envs", "10", "--evaluation-episodes", "1", "--filmed", "0", "--num-threads", "1"],
]


def test_the_environment_says_which_process_this_is(monkeypatch):
    assert Ranks.started() == Ranks(0, 1, 0) and Ranks.started().launcher == ()
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert Ranks.started() == Ranks(3, 4, 1)
    assert Ranks.started().launcher == ("torchrun", "--nproc-per-node=4", "--no-python")


def test_others_train_in_one_process(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main(["train", *SMALL, "--output", str(tmp_path / "run")]) == 2
    assert "must be rsl-rl-ppo in each of 2 processes" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_one_policy(tmp_path):
    pytest.importorskip("rsl_rl", reason="needs the extra rsl_rl")
    output = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    train = [*torchrun, "-m", "policies.cli", "train"]
    few = ["num_steps_per_env=4", "num_mini_batches=2", "policy_kwargs.net_arch=[16]"]
    every = ["--evaluate-every", "80", "--checkpoint-every", "80"]
    options = ["--algorithm", "rsl-rl-ppo", *SMALL, *every, "--steps", "160", "--set", *few]
    subprocess.run([*train, *options, "--output", str(output)], check=True)
    result = json.loads((output / "result.json").read_text())
    # 2 processes of 10 worlds, 4 steps a rollout.
    assert [steps for steps, _ in result["curve"]] == [0, 80, 160]
    assert (
        "torchrun --nproc-per-node=2 --no-python vtinsert train --resume"
        in json.loads((output / "config.json").read_text())["resume"]
    )
