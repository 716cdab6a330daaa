from __future__ import annotations

import os
import subprocess
import sys

from executor_checks import check_executor, job, log_of, wait_for

from policies.executors import LocalExecutor

FOREVER = "import time\nwhile True: time.sleep(0.01)"


def test_local_executor(tmp_path):
    with LocalExecutor(workers=2, threads=1) as executor:
        check_executor(executor, tmp_path)
        assert executor.free == 2
        executor.start(job(tmp_path, "forever", exec, FOREVER))
    # Leaving it ended the job, or this would not return.


def test_local_executor_says_how_a_process_ended(tmp_path):
    with LocalExecutor(workers=2, threads=1) as executor:
        executor.start(job(tmp_path, "code", os._exit, 3))
        executor.start(job(tmp_path, "killed", exec, "import os; os.kill(os.getpid(), 9)"))
        failures = wait_for(executor, 2)
    assert failures["code"] == "its process ended with exit code 3"
    assert "SIGKILL" in failures["killed"]
    assert "memory" in failures["killed"]


def test_jobs_are_spread_evenly_over_the_devices(tmp_path):
    code = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'))"
    jobs = [job(tmp_path, f"job-{i}", exec, code) for i in range(5)]
    with LocalExecutor(workers=3, threads=1, devices=("2", "GPU-7")) as executor:
        for one in jobs[:3]:
            executor.start(one)
        wait_for(executor, 3)
        assert [log_of(one).strip() for one in jobs[:3]] == ["2", "GPU-7", "2"]


def test_ray_that_is_missing_is_named_with_its_extra():
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from policies.executors import RayExecutor\n"
        "RayExecutor(1, 1)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "DependencyNotInstalled" in result.stderr
    assert "uv sync --extra ray" in result.stderr
