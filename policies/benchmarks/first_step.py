"""How long the Warp engine takes to its first step: compiled, and from its cache."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORLDS = 64
"""Few, as compiling does not depend on them."""

_CODE = """
import sys, time
import mujoco_warp, torch
from policies.worlds import make_worlds
task, device, worlds = sys.argv[1], sys.argv[2], int(sys.argv[3])
begun = time.perf_counter()
envs = make_worlds(task, worlds, engine="warp", device=device, observations="torch")
envs.reset(seed=0)
envs.step(torch.zeros((worlds, *envs.single_action_space.shape), device=device))
if device.startswith("cuda"):
    torch.cuda.synchronize(device)
print(time.perf_counter() - begun)
"""


def first_steps(
    task: str, device: str, advance: Callable[[], object], worlds: int = WORLDS
) -> dict[str, Any]:
    """Seconds from making worlds to the end of their first step, without importing packages.

    In processes of their own: the first has everything to compile, the second finds it in a cache.

    Args:
        task: The task, an id of Gymnasium's registry.
        device: Where.
        advance: Called after each.
        worlds: Worlds that take it.

    Raises:
        ValueError: If such a process failed; the message is the end of what it said.
    """
    seconds = []
    with tempfile.TemporaryDirectory() as cache:
        places = {"WARP_CACHE_PATH": Path(cache, "warp"), "CUDA_CACHE_PATH": Path(cache, "cuda")}
        for _ in ("compiled", "cached"):
            done = subprocess.run(
                [sys.executable, "-c", _CODE, task, device, str(worlds)],
                env=os.environ | {name: str(path) for name, path in places.items()},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                said = done.stderr.strip()[-500:] or f"exit code {done.returncode}"
                raise ValueError(f"the device {device} cannot be used: {said}")
            seconds.append(float(done.stdout.splitlines()[-1]))
            advance()
    return {"worlds": worlds, "compiled_s": seconds[0], "cached_s": seconds[1]}
