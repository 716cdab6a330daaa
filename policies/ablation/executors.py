"""Where jobs run: processes of this machine, or tasks of a Ray cluster.

A job is a command with a process of its own: its memory, its threads and the way it ends concern no
other. Both executors start it with the same function, and it hands its results over in files.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from gymnasium.error import DependencyNotInstalled

_THREAD_VARIABLES = [f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")]
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Job:
    """A command to run."""

    name: str
    """What it is called; no two that run at once have the same."""
    command: tuple[str, ...]
    """The program and its arguments. It is interrupted by SIGINT, as Ctrl-C would, and when its
    standard input ends, which it watches with `interrupt_with_parent`."""
    log: Path
    """File that everything it prints is appended to; its folder is made."""


class Process(Protocol):
    """A job that was started."""

    def failure(self) -> str | None:
        """None while it runs; then why it did not succeed, in words, empty if it did."""

    def interrupt(self) -> None:
        """Send it what Ctrl-C sends."""

    def kill(self) -> None:
        """End it at once."""


Start = Callable[[Job, int], Process]
"""Starts a job as one of the workers, which are counted from 0."""


class Jobs:
    """As many jobs at once as workers; a context manager, which kills those that still run."""

    def __init__(self, start: Start, workers: int) -> None:
        self._start = start
        self._workers = workers
        self._running: dict[int, tuple[str, Process]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _name, process in self._running.values():
            process.kill()
        self._wait_for_all()

    @property
    def free(self) -> int:
        """How many more jobs may be started now."""
        return self._workers - len(self._running)

    def start(self, job: Job) -> None:
        """Start a job; `free` must not be 0."""
        worker = next(i for i in range(self._workers) if i not in self._running)
        self._running[worker] = (job.name, self._start(job, worker))

    def wait(self, timeout: float) -> dict[str, str]:
        """Wait for a job to end, at most `timeout` seconds.

        Returns:
            Why jobs that ended since did not succeed, by name; empty for those that did.
        """
        until = time.monotonic() + timeout
        ended: dict[str, str] = {}
        while self._running and not ended:
            for worker, (name, process) in list(self._running.items()):
                if (failure := process.failure()) is not None:
                    ended[name] = failure
                    del self._running[worker]
            if time.monotonic() >= until:
                break
            time.sleep(0 if ended else _POLL_SECONDS)
        return ended

    def interrupt(self) -> None:
        """Send every job what Ctrl-C sends, and wait until all have ended."""
        for _name, process in self._running.values():
            process.interrupt()
        self._wait_for_all()

    def _wait_for_all(self) -> None:
        while self._running:
            self.wait(1.0)


@contextlib.contextmanager
def local_executor(threads: int, devices: Sequence[str] = ()) -> Iterator[Start]:
    """Runs jobs in processes of this machine, of so many threads each.

    A job sees one of the devices, which `visible_devices` names, as its only one: workers are
    spread evenly over them, and each keeps its own.
    """

    def start(job: Job, worker: int) -> LocalProcess:
        device = devices[worker % len(devices)] if devices else None
        return LocalProcess(job.command, job.log, threads, device)

    yield start


class LocalProcess(subprocess.Popen[bytes]):
    """A process of this machine, which sees one CUDA device, or those that this process does."""

    def __init__(
        self, command: Sequence[str], log: Path, threads: int, device: str | None = None
    ) -> None:
        # As `multiprocessing` does: the child imports what this process would, wherever it stands.
        path = os.pathsep.join(filter(None, sys.path))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
        environment |= dict.fromkeys(_THREAD_VARIABLES, str(threads))
        if device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = device
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            super().__init__(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                # Ctrl-C reaches every process of a terminal's group. Here the parent passes it on,
                # once: a second one would stop a job at once, without a checkpoint.
                process_group=0,
            )

    def failure(self) -> str | None:
        """As `Process.failure`."""
        code = self.poll()
        if code is None:
            return None
        assert self.stdin is not None
        self.stdin.close()
        if code >= 0:
            return f"its process ended with exit code {code}" if code else ""
        known = {number.value: number.name for number in signal.Signals}
        name = known.get(-code, f"signal {-code}")
        memory = ", which the system sends where memory runs out" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{memory}"

    def interrupt(self) -> None:
        """As `Process.interrupt`."""
        self.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)


@contextlib.contextmanager
def ray_executor(workers: int, threads: int) -> Iterator[Start]:
    """Runs jobs as tasks of a Ray cluster, or of a Ray that it starts on this machine.

    The cluster is the one that the variable RAY_ADDRESS names, as everywhere in Ray. All its nodes
    have this package installed and see the folders of the jobs under the same path. A Ray that the
    caller has started is used, and left running. Workers share the cluster's GPUs evenly, at most
    one a job; each has as many Ray CPUs as threads.

    Raises:
        DependencyNotInstalled: If Ray is not installed; names the extra.
        ValueError: If there is no cluster at RAY_ADDRESS, or none can be started.
    """
    # Ray reports its use, and makes a new environment of every `uv run`, unless told before it is
    # imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError as error:
        raise DependencyNotInstalled(
            f"Ray cannot be imported ({error}); install the extra with `uv sync --extra ray` or "
            "`pip install 'vtinsert[ray]'`"
        ) from error
    owned = not ray.is_initialized()
    if owned:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        address = os.environ.get("RAY_ADDRESS")
        if not address:
            options |= {"num_cpus": workers * threads, "include_dashboard": False}
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises no narrower one
            ray.shutdown()
            where = f"reach Ray at RAY_ADDRESS={address}" if address else "start Ray here"
            raise ValueError(f"cannot {where}: {error}") from error
    gpus = min(1.0, ray.cluster_resources().get("GPU", 0) / workers)
    remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(_ray_task)

    def start(job: Job, worker: int) -> RayProcess:
        return RayProcess(ray, remote.remote(job.command, job.log, threads, os.getcwd()))

    try:
        yield start
    finally:
        if owned:
            ray.shutdown()


@dataclass(frozen=True)
class RayProcess:
    """A task of Ray that runs a process: the module, and the reference to what it returns."""

    ray: Any
    task: Any

    def failure(self) -> str | None:
        """As `Process.failure`."""
        ready, _ = self.ray.wait([self.task], timeout=0)
        if not ready:
            return None
        try:
            return str(self.ray.get(self.task))
        except self.ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            return f"its Ray task ended with {type(cause).__name__}: {cause}"

    def interrupt(self) -> None:
        """As `Process.interrupt`."""
        self.ray.cancel(self.task)

    def kill(self) -> None:
        """As `Process.kill`; the process of the task ends with it."""
        self.ray.cancel(self.task, force=True)


def visible_devices() -> list[str]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES would name each."""
    import torch

    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(device) for device in range(count)]
    return [name.strip() for name in given.split(",")][:count]


def interrupt_with_parent() -> None:
    """Interrupt this process, as Ctrl-C would, once the one that started it is gone.

    SIGINT is let through again: a shell's background jobs ignore it, Ray's workers block it, and a
    child inherits either.
    """

    def watch() -> None:
        # Ends with the parent, however that went. `sys.stdin` itself would be locked at exit.
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=watch, daemon=True).start()


def _ray_task(command: Sequence[str], log: Path, threads: int, folder: str) -> str:
    """What a task of `ray_executor` does; why its process did not succeed."""
    # Relative paths are meant from where the command was given, if the node has that folder.
    if os.path.isdir(folder):
        os.chdir(folder)
    process = LocalProcess(command, log, threads)
    interrupted = False
    while (failure := process.failure()) is None:
        try:
            time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            process.interrupt()
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return failure
