"""Where the cells of a grid run: in processes of this machine, or on the nodes of a Ray cluster.

Either executor runs a command with `_start`, in a process of its own: its memory, its threads and
the way it ends concern no other. It hands its results over in files.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymnasium.error import DependencyNotInstalled

_RETRIES = 3
"""How often Ray runs a command again whose node, or whose worker there, was lost."""
_THREAD_VARIABLES = [f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")]


@dataclass(frozen=True)
class Executor:
    """What runs commands. A command is interrupted when its standard input ends.

    Attributes:
        workers: How many may run at once.
        submit: Starts a command, and appends all it prints to a file, whose folder is made. The
            result says why it did not succeed, in words, and is empty if it did.
        interrupt: Interrupts all that run, as Ctrl-C would.
    """

    workers: int
    submit: Callable[[Sequence[str], Path], Future[str]]
    interrupt: Callable[[], None]


@contextlib.contextmanager
def local_executor(workers: int, threads: int, devices: Sequence[str] = ()) -> Iterator[Executor]:
    """Runs commands in processes of this machine, of so many threads each.

    A process sees one of the devices, which `visible_devices` names, as its only one: workers are
    spread evenly over them. What still runs in the end is killed.
    """
    free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for worker in range(workers):
        free.put(devices[worker % len(devices)] if devices else None)
    running: set[subprocess.Popen[bytes]] = set()
    interrupted = threading.Event()

    def run(command: Sequence[str], log: Path) -> str:
        device = free.get()
        try:
            with _start(command, log, threads, device) as process:
                running.add(process)
                if interrupted.is_set():
                    _interrupt(process)
                process.wait()
                running.discard(process)
                return _failure(process.returncode)
        finally:
            free.put(device)

    def interrupt() -> None:
        interrupted.set()
        for process in list(running):
            _interrupt(process)

    with ThreadPoolExecutor(workers) as pool:
        try:
            yield Executor(workers, lambda *command: pool.submit(run, *command), interrupt)
        finally:
            for process in list(running):
                process.kill()


@contextlib.contextmanager
def ray_executor(workers: int, threads: int) -> Iterator[Executor]:
    """Runs commands as tasks of a Ray cluster, or of a Ray that it starts on this machine.

    The cluster is the one that the variable RAY_ADDRESS names, as everywhere in Ray. All its nodes
    have this package installed and see the folders of the runs under the same path. A Ray that the
    caller has started is used, and left running. Workers share the cluster's GPUs evenly, at most
    one a task; each has as many Ray CPUs as threads. A command whose node is lost is run again on
    another, up to three times.

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
    remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=_RETRIES)(_ray_task)
    tasks: list[Any] = []

    def submit(command: Sequence[str], log: Path) -> Future[str]:
        tasks.append(remote.remote(command, log, threads, os.getcwd()))
        future: Future[str] = tasks[-1].future()
        return future

    def interrupt() -> None:
        for task in tasks:
            ray.cancel(task)

    try:
        yield Executor(workers, submit, interrupt)
    finally:
        for task in tasks:
            ray.cancel(task, force=True)
        if owned:
            ray.shutdown()


def visible_devices() -> list[str]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES would name each."""
    import torch

    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(device) for device in range(count)]
    return [name.strip() for name in given.split(",")][:count]


def interrupt_with_parent() -> None:
    """Interrupt this process, as Ctrl-C would, once its standard input ends.

    That is when the process that started it says so, or is gone. SIGINT is let through again: a
    shell's background jobs ignore it, Ray's workers block it, and a child inherits either.
    """

    def watch() -> None:
        # `sys.stdin` itself would be locked at exit.
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=watch, daemon=True).start()


def _start(
    command: Sequence[str], log: Path, threads: int, device: str | None = None
) -> subprocess.Popen[bytes]:
    """Start a process, which sees one CUDA device, or those that this process does."""
    # As `multiprocessing` does: the child imports what this process would, wherever it stands.
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    environment |= dict.fromkeys(_THREAD_VARIABLES, str(threads))
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C reaches every process of a terminal's group. Here it is passed on, once: a
            # second one would stop a command at once, without a checkpoint.
            process_group=0,
        )


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def _failure(code: int) -> str:
    """Why a process did not succeed, in words; empty if it did."""
    if code >= 0:
        return f"its process ended with exit code {code}" if code else ""
    known = {number.value: number.name for number in signal.Signals}
    name = known.get(-code, f"signal {-code}")
    memory = ", which the system sends where memory runs out" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{memory}"


def _ray_task(command: Sequence[str], log: Path, threads: int, folder: str) -> str:
    """What a task of `ray_executor` does; why its process did not succeed."""
    # Relative paths are meant from where the command was given, if the node has that folder.
    if os.path.isdir(folder):
        os.chdir(folder)
    # Ray cancels by SIGINT, which is ignored where Ray was started as a shell's background job.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = _start(command, log, threads)
    try:
        while process.poll() is None:
            # In a wait without end, Ray could not raise what cancels a task.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
    except KeyboardInterrupt:
        _interrupt(process)
        process.wait()
        raise
    return _failure(process.returncode)
