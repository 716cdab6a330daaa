"""How long the Warp engine takes to its first step: compiled, and from its cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

WORLDS = 64
"""Few, as compiling does not depend on them."""


class FirstStepError(RuntimeError):
    """The process that was to take the first step failed."""


def first_step(device: str, cache: Path, worlds: int = WORLDS) -> float:
    """Seconds from making the environment to the end of its first step, in a process of its own.

    Args:
        device: Where.
        cache: Folder of compiled kernels; empty, they are compiled first.
        worlds: Worlds that take it.

    Returns:
        Seconds, without importing packages.

    Raises:
        FirstStepError: If that process failed; the message is the end of what it said.
    """
    places = {"WARP_CACHE_PATH": cache / "warp", "CUDA_CACHE_PATH": cache / "cuda"}
    done = subprocess.run(
        [sys.executable, "-m", "policies.benchmarks.first_step", device, str(worlds)],
        env=os.environ | {name: str(path) for name, path in places.items()},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FirstStepError(done.stderr.strip()[-500:] or f"exit code {done.returncode}")
    seconds: float = json.loads(done.stdout.splitlines()[-1])
    return seconds


def main(device: str, worlds: int) -> None:
    """Take it, and print the seconds as the last line."""
    import mujoco_warp  # noqa: F401
    import numpy as np
    import torch

    from vtenv.vector_env import VTInsertVectorEnv

    begun = time.perf_counter()
    envs = VTInsertVectorEnv(worlds, engine="warp", device=device, observations="torch")
    envs.reset(seed=0)
    envs.step(np.zeros((worlds, 5), np.float32))
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    print(json.dumps(time.perf_counter() - begun))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
