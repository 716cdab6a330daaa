"""Processes that see one device, some side by side."""

from __future__ import annotations

import os
import queue
import subprocess
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    free: queue.SimpleQueue[str] = queue.SimpleQueue()
    for device in [*devices] * per_device:
        free.put(device)

    def on_a_free_one(item: T) -> bool:
        device = free.get()
        try:
            return work(item, device)
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(devices) * per_device) as pool:
        begun = [(item, pool.submit(on_a_free_one, item)) for item in items]
        try:
            return [item for item, done in begun if not done.result()]
        finally:  # a Ctrl-C begins nothing more
            pool.shutdown(wait=False, cancel_futures=True)
