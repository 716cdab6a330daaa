"""Where jobs run: processes of this machine, or tasks of a Ray cluster.

A job is a function and its arguments, and has a process of its own: what it leaves in memory, the
threads it sets and the way it dies concern no other. It hands its results over in files.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, Self

from gymnasium.error import DependencyNotInstalled

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


class ExecutorError(RuntimeError):
    """Nothing can run there; the message says why."""


@dataclass(frozen=True)
class Job:
    """Something to do in a process of its own.

    Attributes:
        name: What it is called; no two that run at once have the same.
        function: What to call. It is found by its name, so it stands at the top of a module.
        arguments: What to call it with; they are pickled.
        log: File that everything it prints is appended to; its folder is made.
    """

    name: str
    function: Callable[..., None]
    arguments: tuple[Any, ...]
    log: Path


@dataclass(frozen=True)
class Ended:
    """A job that is over.

    Attributes:
        name: The job's.
        failure: Why it did not return, in words; empty if it did.
    """

    name: str
    failure: str = ""


class Executor(Protocol):
    """Runs jobs, a bounded number at once; a context manager, which ends them all."""

    def __enter__(self) -> Self:
        """Get ready for jobs."""

    def __exit__(self, *_: object) -> None:
        """Kill what still runs."""

    @property
    def free(self) -> int:
        """How many more jobs may be started now."""

    def start(self, job: Job) -> None:
        """Start a job; `free` must not be 0."""

    def wait(self, timeout: float) -> list[Ended]:
        """Wait until a job ends, at most some seconds.

        Args:
            timeout: The most seconds to wait.

        Returns:
            The jobs that have ended since; none after the timeout.
        """

    def interrupt(self) -> None:
        """Send every job what Ctrl-C sends, and wait until all have ended."""


class LocalExecutor:
    """Runs jobs in processes of this machine.

    Args:
        workers: Jobs at once.
        threads: Threads for each.
        devices: CUDA devices, as `visible_devices` names them. A job sees one, as its only one;
            the jobs that run at once are spread evenly over them.
    """

    def __init__(self, workers: int, threads: int, devices: Sequence[str] = ()) -> None:
        self._threads = threads
        # A worker keeps its device; jobs go to whichever worker is free.
        self._devices = [devices[i % len(devices)] if devices else None for i in range(workers)]
        self._idle = list(reversed(range(workers)))
        self._running: dict[str, tuple[SpawnProcess, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process, _worker in self._running.values():
            process.kill()
        for process, _worker in self._running.values():
            process.join()
            process.close()
        self._running.clear()

    @property
    def free(self) -> int:
        """How many more jobs may be started now."""
        return len(self._idle)

    def start(self, job: Job) -> None:
        """Start a job; `free` must not be 0."""
        worker = self._idle.pop()
        process = multiprocessing.get_context("spawn").Process(
            target=_process,
            args=(
                pickle.dumps((job.function, job.arguments)),
                job.log,
                self._threads,
                self._devices[worker],
            ),
            name=job.name,
        )
        process.start()
        self._running[job.name] = (process, worker)

    def wait(self, timeout: float) -> list[Ended]:
        """Wait until a job ends, at most `timeout` seconds; the jobs that have."""
        sentinels = [process.sentinel for process, _ in self._running.values()]
        multiprocessing.connection.wait(sentinels, timeout)
        ended = []
        for name, (process, worker) in list(self._running.items()):
            if process.exitcode is None:
                continue
            ended.append(Ended(name, _describe_exit(process.exitcode)))
            process.close()
            del self._running[name]
            self._idle.append(worker)
        return ended

    def interrupt(self) -> None:
        """Send every job what Ctrl-C sends, and wait until all have ended."""
        for process, _ in self._running.values():
            process.terminate()
        while self._running:
            self.wait(1.0)


class RayExecutor:
    """Runs jobs as tasks of a Ray cluster, or of a Ray that it starts on this machine.

    The cluster is the one that the variable RAY_ADDRESS names, as everywhere in Ray. All its nodes
    have this package installed and see the folders of the jobs under the same path. A Ray that the
    caller has started is used, and left running.

    Args:
        workers: Jobs at once.
        threads: Threads and Ray CPUs for each. GPUs of the cluster are shared evenly, at most one
            a job.

    Raises:
        DependencyNotInstalled: If Ray is not installed; names the extra.
        ExecutorError: On entering, if there is no cluster at RAY_ADDRESS, or none can be started.
    """

    def __init__(self, workers: int, threads: int) -> None:
        # Ray reports its use, and makes a new environment of every `uv run`, unless told before it
        # is imported.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        try:
            import ray
        except ImportError as error:
            raise DependencyNotInstalled(
                f"Ray cannot be imported ({error}); install the extra with `uv sync --extra ray` "
                "or `pip install 'vtinsert[ray]'`"
            ) from error
        self._ray = ray
        self._workers = workers
        self._threads = threads
        self._owned = not ray.is_initialized()
        self._running: dict[Any, str] = {}

    def __enter__(self) -> Self:
        if self._owned:
            options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
            address = os.environ.get("RAY_ADDRESS")
            if not address:
                options |= {"num_cpus": self._workers * self._threads, "include_dashboard": False}
            try:
                self._ray.init(**options)
            except Exception as error:  # Ray raises no narrower one
                self._ray.shutdown()
                where = f"reach Ray at RAY_ADDRESS={address}" if address else "start Ray here"
                raise ExecutorError(f"cannot {where}: {error}") from error
        gpus = self._ray.cluster_resources().get("GPU", 0)
        self._remote = self._ray.remote(
            num_cpus=self._threads,
            num_gpus=min(1.0, gpus / self._workers),
            max_calls=1,  # a process for each job
            max_retries=0,
            runtime_env={"env_vars": _thread_variables(self._threads)},
        )(_ray_task)
        return self

    def __exit__(self, *_: object) -> None:
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        if self._owned:
            self._ray.shutdown()

    @property
    def free(self) -> int:
        """How many more jobs may be started now."""
        return self._workers - len(self._running)

    def start(self, job: Job) -> None:
        """Start a job; `free` must not be 0."""
        payload = pickle.dumps((job.function, job.arguments))
        self._running[self._remote.remote(payload, job.log, os.getcwd())] = job.name

    def wait(self, timeout: float) -> list[Ended]:
        """Wait until a job ends, at most `timeout` seconds; the jobs that have."""
        if not self._running:
            return []
        ready, _ = self._ray.wait(list(self._running), timeout=timeout)
        ended = []
        for reference in ready:
            failure = ""
            try:
                self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error
                failure = f"its Ray task ended with {type(cause).__name__}: {cause}"
            ended.append(Ended(self._running.pop(reference), failure))
        return ended

    def interrupt(self) -> None:
        """Send every job what Ctrl-C sends, and wait until all have ended."""
        for reference in self._running:
            self._ray.cancel(reference)
        while self._running:
            self.wait(1.0)


def visible_devices() -> list[str]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES would name each."""
    import torch

    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(device) for device in range(count)]
    return [name.strip() for name in given.split(",")][:count]


def _thread_variables(threads: int) -> dict[str, str]:
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


def _process(payload: bytes, log: Path, threads: int, device: str | None) -> None:
    """What a process of `LocalExecutor` does."""
    # Ctrl-C reaches every process of a terminal's group. Here the parent passes it on, once, as
    # SIGTERM: a second one would stop a job at once, without a checkpoint.
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Before the job is unpickled: what its module imports reads them once.
    os.environ |= _thread_variables(threads)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    try:
        _task(payload, log)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception:
        sys.exit(1)  # the log says why


def _task(payload: bytes, log: Path) -> None:
    """Unpickle a job and do it."""
    with _logged(log):
        try:
            function, arguments = pickle.loads(payload)
            function(*arguments)
        except Exception:
            traceback.print_exc()
            raise


def _ray_task(payload: bytes, log: Path, folder: str) -> None:
    """What a task of `RayExecutor` does."""
    # Relative paths are meant from where the command was given, if the node has that folder.
    if os.path.isdir(folder):
        os.chdir(folder)
    _task(payload, log)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C would do, whatever a job has made of it."""
    signal.raise_signal(signal.SIGINT)


def _end_with_parent() -> None:
    """Interrupt this process when its parent is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Append all that this process prints to a file, native libraries' output included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        kept = [os.dup(descriptor) for descriptor in (1, 2)]
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)


def _describe_exit(code: int) -> str:
    """Why a process ended, in words; empty if it did what it should."""
    if code == 0:
        return ""
    if code > 0:
        return f"its process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    reason = f"its process was ended by {name}"
    if name == "SIGKILL":
        reason += ", which the system sends where memory runs out"
    return reason
