"""The same seeds give the same worlds: recorded hashes of 300 steps of 16 worlds.

A change of the scene, the task or the sensors changes them, says so, and records them anew:
`python tests/test_same_worlds.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest

from vtenv import DomainRandomizationConfig

RECORD = Path(__file__).with_suffix(".json")
WORLDS, STEPS = 16, 300


def digests(randomised: bool) -> dict[str, str]:
    """A hash of everything that is observed, by name."""
    envs = gymnasium.make_vec(
        "VTInsert-v0",
        WORLDS,
        vectorization_mode="vector_entry_point",
        modalities=("depth", "contact", "gel", "proprio", "state"),
        domain_randomization=DomainRandomizationConfig() if randomised else None,
    )
    hashes = defaultdict(hashlib.sha256)
    names = envs.unwrapped.simulation.task.code_names

    def take(values):
        for name, value in values.items():
            array = np.array(names[name], object)[value] if name in names else np.asarray(value)
            text = array.astype("U") if array.dtype == object else array
            hashes[name].update(np.ascontiguousarray(text).tobytes())

    rng = np.random.default_rng(0)
    observation, info = envs.reset(seed=0)
    for step in range(STEPS):
        take(observation)
        take({name: value for name, value in info.items() if not name.startswith("_")})
        actions = rng.uniform(-1, 1, (WORLDS, 5)).astype(np.float32)
        if step % 2:
            actions[:, 0] = 0.5
        observation, reward, terminated, truncated, info = envs.step(actions)
        take({"reward": reward, "terminated": terminated, "truncated": truncated})
    envs.close()
    return {name: value.hexdigest()[:16] for name, value in sorted(hashes.items())}


def machine() -> dict[str, str]:
    """What the last bits depend on besides our code: MuJoCo's version, and the math library."""
    angles = np.linspace(-3, 3, 4096)
    functions = np.stack([np.sin(angles), np.exp(angles), np.arctan2(angles, 0.3), np.tanh(angles)])
    return {
        "mujoco": mujoco.__version__,
        "math": hashlib.sha256(functions.tobytes()).hexdigest()[:16],
    }


@pytest.mark.slow
@pytest.mark.parametrize("randomised", [False, True], ids=["plain", "randomised"])
def test_the_worlds_are_those_that_were_recorded(randomised):
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    if record["machine"] != machine():
        pytest.skip("recorded with another MuJoCo or math library, whose last bits differ")
    assert digests(randomised) == record["randomised" if randomised else "plain"]


if __name__ == "__main__":
    made = {"machine": machine(), "plain": digests(False), "randomised": digests(True)}
    RECORD.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
