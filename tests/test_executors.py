from __future__ import annotations

import subprocess
import sys

import pytest
from executor_checks import MARKS, check_executor, job, log_of, wait_for, wait_until

from policies.ablation.executors import Jobs, local_executor

FOREVER = "import time\nwhile True: time.sleep(0.01)"


def test_local_executor(tmp_path):
    with local_executor(threads=1) as start, Jobs(start, 2) as jobs:
        check_executor(jobs, tmp_path)
        assert jobs.free == 2
        jobs.start(job(tmp_path, "forever", FOREVER))
    # Leaving it ended the job, or this would not return.


def test_local_executor_says_how_a_process_ended(tmp_path):
    with local_executor(threads=1) as start, Jobs(start, 2) as jobs:
        jobs.start(job(tmp_path, "code", "import os; os._exit(3)"))
        jobs.start(job(tmp_path, "killed", "import os; os.kill(os.getpid(), 9)"))
        failures = wait_for(jobs, 2)
    assert failures["code"] == "its process ended with exit code 3"
    assert "SIGKILL" in failures["killed"]
    assert "memory" in failures["killed"]


def test_jobs_are_spread_evenly_over_the_devices(tmp_path):
    code = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'))"
    jobs = [job(tmp_path, f"job-{i}", code) for i in range(5)]
    with local_executor(1, ("2", "GPU-7")) as start, Jobs(start, 3) as running:
        for one in jobs[:3]:
            running.start(one)
        wait_for(running, 3)
        assert [log_of(one).strip() for one in jobs[:3]] == ["2", "GPU-7", "2"]


@pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be told to end there")
def test_jobs_end_with_a_parent_that_was_killed(tmp_path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from policies.ablation.executors import Job, Jobs, local_executor\n"
        "if __name__ == '__main__':\n"
        "    with local_executor(1) as start, Jobs(start, 1) as jobs:\n"
        "        command = (sys.executable, '-c', sys.argv[1])\n"
        "        jobs.start(Job('job', command, Path(sys.argv[2])))\n"
        "        time.sleep(1000)"
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
