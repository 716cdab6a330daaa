"""What a result was made on: the machine, the software and the commit.

Imports none of what it reports on, so that `vtinsert doctor` answers where that is broken.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

DISTRIBUTION = "vtinsert"
"""This project's distribution."""
COMMIT_VARIABLE = "VTINSERT_COMMIT"
"""Environment variable that names the commit of a copy whose history is not there, or another's."""


def record() -> dict[str, Any]:
    """What to write down beside a result: command, commit, versions and hardware."""
    return {
        "command": shlex.join([DISTRIBUTION, *sys.argv[1:]]),
        "commit": commit() or "not of a checkout",
        "versions": versions(),
        "hardware": hardware(),
    }


def requirements(extra: str = "") -> list[Requirement]:
    """What `vtinsert` needs always, or for one of its extras alone.

    Where it is not installed but run from a checkout, extras are not known.
    """
    try:
        found = map(Requirement, importlib.metadata.requires(DISTRIBUTION) or [])
    except importlib.metadata.PackageNotFoundError:
        found = map(Requirement, _checkout_requirements())

    def needed(one: Requirement, extra: str) -> bool:
        return one.marker is None or one.marker.evaluate({"extra": extra})

    return [one for one in found if needed(one, extra) and not (extra and needed(one, ""))]


def _checkout_requirements() -> list[str]:
    path = Path(__file__).parents[1] / "pyproject.toml"
    project = tomllib.loads(path.read_text())["project"] if path.is_file() else {}
    return project["dependencies"] if project.get("name") == DISTRIBUTION else []


def satisfied(needed: Requirement) -> bool:
    """Whether a version that will do is installed."""
    installed = version(needed.name)
    return installed is not None and needed.specifier.contains(installed, prereleases=True)


def version(distribution: str) -> str | None:
    """Version of an installed distribution, without importing it; None where it is missing."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Versions of Python, of this project and of what it always needs, by name."""
    names = (DISTRIBUTION, *(needed.name for needed in requirements()))
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def hardware() -> dict[str, str | int]:
    """The processor, the cores for this process, the memory, NVIDIA's GPUs and the system."""
    found: dict[str, str | int] = {
        "cpu": _processor(),
        "cores": cores(),
        "memory_gib": _memory_gib(),
    }
    if gpus := _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines():
        found["gpus"] = ", ".join(f"{count} {name}" for name, count in Counter(gpus).items())
    return found | {"platform": platform.platform()}


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> float | None:
    """Processes that wanted a core over the last minute, on average; None where untold."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def commit() -> str | None:
    """The commit of the checkout this runs from, marked if changed.

    What `COMMIT_VARIABLE` says, where it is set; None of a copy without history.
    """
    if told := os.environ.get(COMMIT_VARIABLE):
        return told
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    described = _output("git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12")
    return described or None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    name = _output("sysctl", "-n", "machdep.cpu.brand_string") if sys.platform == "darwin" else ""
    return name or platform.processor() or platform.machine()


def _memory_gib() -> int:
    """Physical memory; 0 where it cannot be told."""
    if not hasattr(os, "sysconf"):
        return 0
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _output(*command: str) -> str:
    """What a program prints; nothing if it is missing or fails."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
