"""What holds for every executor."""

from __future__ import annotations

import os
import time
from pathlib import Path

from policies.ablation.executors import Executor, Job


def wait_for(executor: Executor, count: int) -> dict[str, str]:
    """The failures of the next jobs that end, by name."""
    ended: dict[str, str] = {}
    while len(ended) < count:
        ended |= {one.name: one.failure for one in executor.wait(1.0)}
    return ended


def log_of(job: Job) -> str:
    return job.log.read_text()


REPORT = "import os; print(os.getpid(), os.environ['OMP_NUM_THREADS'], {})"


MARKS = """\
import pathlib, time
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


def job(folder: Path, name: str, function, *arguments) -> Job:
    # Functions of the standard library can be found by name from any process.
    return Job(name, function, arguments, folder / name / "log.txt")


def check_executor(executor: Executor, folder: Path) -> None:
    """Try an executor of two workers with a thread each; leaves it without jobs."""
    reports = [job(folder, f"report-{i}", exec, REPORT.format(i)) for i in range(2)]
    for one in reports:
        executor.start(one)
    assert executor.free == 0
    assert wait_for(executor, 2) == {"report-0": "", "report-1": ""}
    assert executor.free == 2
    told = [log_of(one).split() for one in reports]
    assert [words[1:] for words in told] == [["1", "0"], ["1", "1"]]
    # Each in a process of its own, and none in this one.
    assert len({os.getpid(), *(int(words[0]) for words in told)}) == 3

    executor.start(job(folder, "raises", int, "x"))
    executor.start(job(folder, "dies", os._exit, 3))
    failures = wait_for(executor, 2)
    assert failures["raises"] and failures["dies"]
    assert "ValueError: invalid literal" in (folder / "raises" / "log.txt").read_text()

    executor.start(job(folder, "native", os.system, "echo from below; echo error >&2"))
    wait_for(executor, 1)
    assert set((folder / "native" / "log.txt").read_text().split()) == {"from", "below", "error"}

    mark = folder / "mark"
    executor.start(job(folder, "marked", exec, MARKS.format(str(mark))))
    wait_until(mark, "started")
    executor.interrupt()
    assert mark.read_text() == "interrupted"
