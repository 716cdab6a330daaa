"""What holds for every executor."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import Future
from pathlib import Path

from policies.ablation.executors import Executor

PATIENCE_S = 300
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
    """Wait until a process has left its mark."""
    deadline = time.monotonic() + PATIENCE_S
    while not mark.exists() or mark.read_text() != text:
        assert time.monotonic() < deadline, f"{mark} does not say {text!r}"
        time.sleep(0.01)


def start(executor: Executor, log: Path, code: str) -> Future[str]:
    """Run Python."""
    return executor.submit((sys.executable, "-c", code), log)


def check_executor(executor: Executor, folder: Path) -> None:
    """Try an executor of two workers with a thread each; leaves it with nothing that runs."""
    assert executor.workers == 2
    code = "from policies.ablation.executors import interrupt_with_parent as watch; watch()"
    assert start(executor, folder / "watching.txt", code).result() == ""
    logs = [folder / f"report-{i}" / "log.txt" for i in range(2)]
    for done in [start(executor, log, REPORT.format(i)) for i, log in enumerate(logs)]:
        assert done.result() == ""
    told = [log.read_text().split() for log in logs]
    assert [words[1:] for words in told] == [["1", "0"], ["1", "1"]]
    # Each in a process of its own, and none in this one.
    assert len({os.getpid(), *(int(words[0]) for words in told)}) == 3

    raised = start(executor, folder / "raises.txt", "int('x')")
    died = start(executor, folder / "dies.txt", "import os; os._exit(3)")
    assert died.result() == "its process ended with exit code 3" and raised.result()
    assert "ValueError: invalid literal" in (folder / "raises.txt").read_text()

    code = "import os; os.system('echo from below; echo error >&2')"
    start(executor, folder / "native.txt", code).result()
    assert set((folder / "native.txt").read_text().split()) == {"from", "below", "error"}

    mark = folder / "mark"
    marked = start(executor, folder / "marked.txt", MARKS.format(str(mark)))
    wait_until(mark, "started")
    executor.interrupt()
    marked.exception(PATIENCE_S)  # waits for it, however the executor tells of an interruption
    assert mark.read_text() == "interrupted"
