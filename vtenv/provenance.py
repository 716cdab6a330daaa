"""What a result was made on: the machine, the software and the commit.

Imports none of what it reports on, so that `vtinsert doctor` answers where that is broken.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import packaging.requirements
from packaging.version import Version

DISTRIBUTION = "vtinsert"
"""This project's distribution."""


@dataclass(frozen=True)
class Requirement:
    """A distribution that this one needs.

    Attributes:
        name: The distribution.
        minimum: The oldest version that will do; empty for any.
        extra: The extra that asks for it; empty if it is always needed.
    """

    name: str
    minimum: str
    extra: str

    @property
    def installed(self) -> str | None:
        """The version installed, found without importing it; None if there is none."""
        return version(self.name)

    @property
    def satisfied(self) -> bool:
        """Whether a version that will do is installed."""
        installed = self.installed
        return installed is not None and Version(installed) >= Version(self.minimum or "0")


def record() -> dict[str, Any]:
    """What to write down beside a result: command, commit, versions and hardware."""
    return {
        "command": shlex.join([DISTRIBUTION, *sys.argv[1:]]),
        "commit": commit() or "not of a checkout",
        "versions": versions(),
        "hardware": hardware(),
    }


def requirements() -> list[Requirement]:
    """What the installed `vtinsert` requires; nothing where it is not installed."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    found = []
    for parsed in map(packaging.requirements.Requirement, lines):
        minimum = next((s.version for s in parsed.specifier if s.operator == ">="), "")
        extra = re.search(r'extra == "([\w-]+)"', str(parsed.marker))
        found.append(Requirement(parsed.name, minimum, extra[1] if extra else ""))
    return found


def version(distribution: str) -> str | None:
    """Version of an installed distribution, without importing it; None where it is missing."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Versions of Python, of this project and of what it always needs, by name."""
    needed = [requirement.name for requirement in requirements() if not requirement.extra]
    return {"python": platform.python_version()} | {
        name: version(name) for name in (DISTRIBUTION, *needed)
    }


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
    """The commit of the checkout this runs from, marked if changed; None outside of one."""
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
