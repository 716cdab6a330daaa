"""Processes that see one device, some side by side."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console

T = TypeVar("T")


def available_devices() -> tuple[str, ...]:
    """The first GPU, or the CPU where there is none."""
    return ("cuda:0",) if torch.cuda.is_available() else ("cpu",)


def run_on(device: str, name: str, command: Sequence[str], folder: Path) -> bool:
    """Run a command that sees one device.

    Args:
        device: "cpu", or "cuda:0" and so on, counted among those that this process sees.
        name: What it is called, in `logs/NAME.log` too.
        command: The command.
        folder: Where the logs are.

    Returns:
        Whether it succeeded.
    """
    kind, _, number = device.partition(":")
    there = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    visible = there.split(",") if there else [str(k) for k in range(torch.cuda.device_count())]
    chosen = visible[int(number or 0)] if kind == "cuda" else ""
    console = Console(stderr=True)
    log = folder / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    console.print(f"{name} on {device} ...")
    with log.open("w") as file:
        variables = {**os.environ, "CUDA_VISIBLE_DEVICES": chosen}
        done = subprocess.run(command, stdout=file, stderr=file, env=variables, check=False)
    if done.returncode:
        console.print(f"{name} failed; see {log}", style="red")
    else:
        console.print(f"{name} is done")
    return not done.returncode


def share_out(
    items: Iterable[T], work: Callable[[T, str], bool], devices: Sequence[str], per_device: int
) -> list[T]:
    """Work on items in order, some side by side on each device.

    Args:
        items: What to work on.
        work: Takes an item and a device; says whether it succeeded.
        devices: The devices, which take turns.
        per_device: Items that share a device.

    Returns:
        What failed.
    """
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    failed: list[T] = []

    def loop(device: str) -> None:
        while True:
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            if not work(item, device):
                failed.append(item)

    workers = [
        threading.Thread(target=loop, args=(device,), daemon=True)
        for _ in range(per_device)
        for device in devices
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return failed
