"""What holds for every executor."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from policies.ablation.executors import Job, Jobs


def wait_for(jobs: Jobs, count: int) -> dict[str, str]:
    """The failures of the next jobs that end, by name."""
    ended: dict[str, str] = {}
    while len(ended) < count:
        ended |= jobs.wait(1.0)
    return ended


def log_of(job: Job) -> str:
    return job.log.read_text()


REPORT = "import os; print(os.getpid(), os.environ['OMP_NUM_THREADS'], {})"
MARKS = """\
import pathlib, time
from policies.ablation.executors import interrupt_with_parent
interrupt_with_parent()
mark = pathlib.Path({!r})
try:
    mark.write_text("started")
    while True:
        time.sleep(0.01)
except KeyboardInterrupt:
    mark.write_text("interrupted")
"""


def wait_until(mark: Path, text: str) -> None:
    """Wait until a job has left its mark."""
    while not mark.exists() or mark.read_text() != text:
        time.sleep(0.01)


def job(folder: Path, name: str, code: str) -> Job:
    return Job(name, (sys.executable, "-c", code), folder / name / "log.txt")


def check_executor(jobs: Jobs, folder: Path) -> None:
    """Try jobs of two workers with a thread each; leaves it without jobs."""
    code = "from policies.ablation.executors import interrupt_with_parent as watch; watch()"
    jobs.start(job(folder, "watching", code))
    assert wait_for(jobs, 1) == {"watching": ""}
    reports = [job(folder, f"report-{i}", REPORT.format(i)) for i in range(2)]
    for one in reports:
        jobs.start(one)
    assert jobs.free == 0
    assert wait_for(jobs, 2) == {"report-0": "", "report-1": ""}
    assert jobs.free == 2
    told = [log_of(one).split() for one in reports]
    assert [words[1:] for words in told] == [["1", "0"], ["1", "1"]]
    # Each in a process of its own, and none in this one.
    assert len({os.getpid(), *(int(words[0]) for words in told)}) == 3

    jobs.start(job(folder, "raises", "int('x')"))
    jobs.start(job(folder, "dies", "import os; os._exit(3)"))
    failures = wait_for(jobs, 2)
    assert failures["raises"] and failures["dies"]
    assert "ValueError: invalid literal" in (folder / "raises" / "log.txt").read_text()

    code = "import os; os.system('echo from below; echo error >&2')"
    jobs.start(job(folder, "native", code))
    wait_for(jobs, 1)
    assert set((folder / "native" / "log.txt").read_text().split()) == {"from", "below", "error"}

    mark = folder / "mark"
    jobs.start(job(folder, "marked", MARKS.format(str(mark))))
    wait_until(mark, "started")
    jobs.interrupt()
    assert mark.read_text() == "interrupted"
