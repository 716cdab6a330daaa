from __future__ import annotations

import subprocess
import sys

import pytest
from executor_checks import MARKS, check_executor, start, wait_until

from policies.ablation.executors import local_executor

FOREVER = "import time\nwhile True: time.sleep(0.01)"


def test_local_executor(tmp_path):
    with local_executor(2, threads=1) as executor:
        check_executor(executor, tmp_path)


def test_what_still_runs_is_killed(tmp_path):
    with local_executor(1, threads=1) as executor:
        forever = start(executor, tmp_path / "log.txt", f"print('up', flush=True)\n{FOREVER}")
        wait_until(tmp_path / "log.txt", "up\n")
    # Leaving it ended the process, or this would not return.
    assert "SIGKILL" in forever.result() and "memory" in forever.result()


def test_processes_are_spread_evenly_over_the_devices(tmp_path):
    code = "import os, time; print(os.environ.get('CUDA_VISIBLE_DEVICES')); time.sleep(1)"
    logs = [tmp_path / f"{i}.txt" for i in range(3)]
    with local_executor(3, 1, ("2", "GPU-7")) as executor:
        for done in [start(executor, log, code) for log in logs]:
            assert done.result() == ""
    assert sorted(log.read_text().strip() for log in logs) == ["2", "2", "GPU-7"]


@pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be told to end there")
def test_processes_end_with_a_parent_that_was_killed(tmp_path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from policies.ablation.executors import local_executor\n"
        "with local_executor(1, 1) as executor:\n"
        "    executor.submit((sys.executable, '-c', sys.argv[1]), Path(sys.argv[2]))\n"
        "    time.sleep(1000)"
    )
    mark = tmp_path / "mark"
    command = [sys.executable, "-c", code, MARKS.format(str(mark)), str(tmp_path / "log.txt")]
    with subprocess.Popen(command) as parent:
        wait_until(mark, "started")
        parent.kill()
    wait_until(mark, "interrupted")


def test_ray_that_is_missing_is_named_with_its_extra():
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from policies.ablation.executors import ray_executor\n"
        "ray_executor(1, 1).__enter__()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "DependencyNotInstalled" in result.stderr
    assert "uv sync --extra ray" in result.stderr
