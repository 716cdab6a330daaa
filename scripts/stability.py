"""Play at random and against the simulator, and count what must never happen.

    uv run python scripts/stability.py --output docs/results/stability-cpu.json
    uv run python scripts/stability.py --steps 10_000_000 --engine warp --output stability-gpu.json

Every connector gets its share of the steps, and every behaviour its share of the worlds. Counted
are numbers that are not finite, Python's and MuJoCo's warnings, tips that went through the
housing's wall, and memory that grew. Ends with exit code 1 if there was one. How deep plug and
socket overlap is measured, not judged. The same command plays what `--max-minutes` left, and adds
it to the counts.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import tyro
from numpy.typing import NDArray

import vtenv
from vtenv import provenance
from vtenv.arrays import Array, leaves, namespace, to_host
from vtenv.atomic_write import write_text
from vtenv.expert_policy import expert_actions
from vtenv.progress import progress_bar
from vtenv.tasks.insertion.primitives import HOUSING_HALF_SIZE

BEHAVIOURS = {
    "uniform": "independent uniform actions",
    "drift": "slowly changing actions that lean towards the socket",
    "flip": "every action at one of its bounds, drawn anew each step",
    "ram": "straight ahead at full speed, the other actions at bounds drawn every ten steps",
    "wrench": "ten steps of the expert, then forty at bounds drawn every five steps",
}
"""What worlds do, world i the behaviour i modulo their number."""
_MARGIN = 0.002
"""Layer of the housing in which a tip is not counted, [m]: the pin header's is the middle of its
pins, between which an edge of the housing fits."""
_ROOM = 0.0029
"""Room on each side of what is inserted, [m]: clearance, lead-in and 1.5 mm of tilt."""
_GROWTH_MIB = 16.0
"""Growth of memory, of the process and of the device, that is none: what an allocator keeps."""
_OVERLAP_EVERY = 10
"""A world's overlap is measured at every tenth of its control steps, which costs little time."""


@dataclass(frozen=True)
class Options:
    """The options."""

    steps: int = 1_000_000
    """Control steps, over all connectors and worlds."""
    connectors: tuple[str, ...] = vtenv.CONNECTOR_NAMES
    """Connectors to play, one after the other."""
    engine: str = "cpu"
    """The physics engine, cpu or warp."""
    device: str | None = None
    """Device of the Warp engine; by default cuda:0."""
    num_envs: int | None = None
    """Worlds that are stepped together; by default 60 on the CPU, 1,000 on Warp."""
    seed: int = 0
    """Seed of worlds and actions."""
    max_minutes: float | None = None
    """Time to play at most, shared out evenly among the connectors; by default any. Compiling and
    the making of worlds come on top."""
    output: Path = Path("outputs/stability.json")
    """File for the result."""


def play(
    options: Options, connector: str, steps: int, seed: int, seconds: float, advance: Any
) -> dict[str, Any]:
    """Play one connector.

    Args:
        options: The options.
        connector: Its name.
        steps: Control steps of each world.
        seed: Seed of worlds and actions.
        seconds: Time to play at most, from the end of the first step on, which compiles.
        advance: Called with the number of steps that were made.

    Returns:
        What was counted, in JSON's types.
    """
    num_envs = _num_envs(options)
    on_device = options.engine != "cpu"
    envs: Any = gymnasium.make_vec(
        vtenv.ENV_ID,
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        connectors=connector,
        modalities=("depth", "contact", "gel", "proprio", "state"),
        engine=options.engine,
        device=options.device,
        observations="torch" if on_device else "numpy",
    )
    envs.reset(seed=seed)
    simulation = envs.simulation
    failures = simulation.task.failures
    half_width, half_height = (size / 2 + _ROOM for size in simulation.task.connector_sizes[0][:2])
    actions = _actions(simulation, num_envs, np.random.default_rng(seed))
    counts: Counter[str] = Counter(dict.fromkeys(("not_finite", "through_wall", "unstable"), 0))
    ends: Counter[str] = Counter()
    settled = _memory(options)
    data, deepest = None, 0.0
    begun, played = 0.0, 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(steps):
            observation, reward, terminated, truncated, info = envs.step(next(actions))
            if step == 0:
                begun = time.monotonic()
            finite = [_finite(array) for array in leaves((observation, reward, info))]
            counts["not_finite"] += len(finite) - sum(finite)
            geometry = simulation.measures
            counts["through_wall"] += int(
                _through(geometry.depth, geometry.tip, half_width, half_height).sum()
            )
            measured = () if on_device else range(step % _OVERLAP_EVERY, num_envs, _OVERLAP_EVERY)
            for world in measured:
                overlap, data = plug_socket_overlap(simulation.engine, world, data)
                deepest = max(deepest, overlap)
            for success, code in zip(
                to_host(info["is_success"])[to_host(terminated)],
                to_host(info["failure"])[to_host(terminated)],
                strict=True,
            ):
                ends["success" if success else failures[int(code)]] += 1
            ends["time"] += int(to_host(truncated).sum())
            if step == steps // 10:
                settled = _memory(options)
            advance(num_envs)
            played += num_envs
            if time.monotonic() >= begun + seconds:
                break
    grown = {name: value - settled[name] for name, value in _memory(options).items()}
    envs.close()
    counts["unstable"] = ends["unstable"]
    return {
        "steps": played,
        "seconds": round(time.monotonic() - begun, 1),
        "episodes": ends.total(),
        "ends": dict(ends),
        **counts,
        "python_warnings": len(caught),
        "warning_texts": sorted({str(one.message)[:200] for one in caught}),
        **({} if on_device else {"deepest_overlap_mm": round(1e3 * deepest, 3)}),
        **{f"{name}_growth_mib": round(value, 1) for name, value in grown.items()},
    }


def plug_socket_overlap(
    engine: Any, world: int, data: mujoco.MjData | None
) -> tuple[float, mujoco.MjData]:
    """How far plug and socket overlap in a world of the CPU engine.

    Args:
        engine: The engine.
        world: The world's number.
        data: What an earlier call returned, to be filled again, or None.

    Returns:
        The deepest overlap in [m], but for springs, which give; and the world's state.
    """
    model = engine._models[engine.snapshot(world).variant]
    data = engine._batch.get_data(world, data)
    mujoco.mj_forward(model, data)
    bodies = sorted((model.body("plug").id, model.body("socket").id))
    overlap = 0.0
    for contact in data.contact:
        geoms = list(contact.geom)
        springs = any(model.geom(geom).name.startswith("springs") for geom in geoms)
        if sorted(model.geom_bodyid[geoms]) == bodies and not springs:
            overlap = max(overlap, -contact.dist)
    return overlap, data


def main(options: Options) -> int:
    """Play all connectors, and write what was counted.

    Returns:
        1 if there was anything that must not be, otherwise 0.
    """
    worlds, number = _num_envs(options), len(options.connectors)
    each = max(1, options.steps // (number * worlds))
    results = _played_before(options)
    document = _write(options, results)
    budget = 60 * (options.max_minutes or math.inf)
    with progress_bar() as progress:
        done = sum(found["steps"] for found in results.values())
        task = progress.add_task("", total=each * worlds * number, completed=done)
        for connector in options.connectors:
            progress.update(task, description=f"Playing {connector}")
            before = results.get(connector, {})
            done = before.get("steps", 0)
            if done >= each * worlds:
                continue
            found = play(
                options,
                connector,
                each - done // worlds,
                options.seed + done,
                budget / number,
                lambda count: progress.advance(task, count),
            )
            results[connector] = _added(before, found)
            document = _write(options, results)
    trouble = document["trouble"]
    print(f"{document['steps']:,} steps: {trouble or 'nothing that must not be'}")
    print(f"Counts: {options.output}")
    return int(bool(trouble))


def _played_before(options: Options) -> dict[str, Any]:
    """What an earlier run of the same command counted, by connector.

    Raises:
        ValueError: If the file is of another run.
    """
    if not options.output.exists():
        return {}
    there = json.loads(options.output.read_text(encoding="utf-8"))
    own = {**_same(options), "commit": provenance.commit()}
    if others := [name for name, value in own.items() if there.get(name) != value]:
        raise ValueError(
            f"{options.output} has another {others[0]}; choose another file, or delete it"
        )
    played: dict[str, Any] = there["connectors"]
    return played


def _added(before: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of two runs together; of growth and overlap, the larger."""
    added = dict(found)
    for name, value in before.items():
        if isinstance(value, Mapping):
            added[name] = dict(Counter(value) + Counter(found[name]))
        elif isinstance(value, list):
            added[name] = sorted({*value, *found[name]})
        elif name.endswith(("_growth_mib", "_overlap_mm")):
            added[name] = max(value, found[name])
        else:
            added[name] = value + found[name]
    return added


def _same(options: Options) -> dict[str, Any]:
    """What two runs have in common whose counts can be added."""
    return {"engine": options.engine, "worlds": _num_envs(options), "seed": options.seed}


def _write(options: Options, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Write what was counted; the document."""
    trouble = {
        f"{connector}: {name}": value
        for connector, found in results.items()
        for name, value in found.items()
        if _is_trouble(name, value)
    }
    document = {
        "command": shlex.join(["python", "scripts/stability.py", *sys.argv[1:]]),
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "versions": provenance.versions(),
        **_same(options),
        "behaviours": BEHAVIOURS,
        "steps": sum(found["steps"] for found in results.values()),
        "trouble": trouble,
        "connectors": results,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.output, json.dumps(document, indent=1) + "\n")
    return document


def _is_trouble(name: str, value: Any) -> bool:
    if name.endswith("_growth_mib"):
        return bool(value > _GROWTH_MIB)
    return bool(value) and name in ("not_finite", "through_wall", "unstable", "python_warnings")


def _num_envs(options: Options) -> int:
    return options.num_envs or (60 if options.engine == "cpu" else 1_000)


def _actions(
    simulation: Any, num_envs: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Actions of all worlds, (N, 5), without end."""
    behaviour = np.arange(num_envs) % len(BEHAVIOURS)
    of = {name: behaviour == index for index, name in enumerate(BEHAVIOURS)}
    shape = (num_envs, *simulation.task.action_space.shape)
    drift = np.zeros(shape)
    held = {"ram": np.zeros(shape), "wrench": np.zeros(shape)}
    step = 0
    while True:
        actions = rng.uniform(-1.0, 1.0, shape)
        drift = 0.9 * drift + 0.4 * rng.normal(size=shape)
        drift[:, 0] += 0.05
        for name, every in (("ram", 10), ("wrench", 5)):
            if step % every == 0:
                held[name] = rng.choice((-1.0, 1.0), shape)
        held["ram"][:, 0] = 1.0
        actions[of["drift"]] = np.clip(drift, -1.0, 1.0)[of["drift"]]
        actions[of["flip"]] = rng.choice((-1.0, 1.0), shape)[of["flip"]]
        actions[of["ram"]] = held["ram"][of["ram"]]
        reaching = step % 50 < 10
        wrench = to_host(expert_actions(simulation)) if reaching else held["wrench"]
        actions[of["wrench"]] = wrench[of["wrench"]]
        yield actions
        step += 1


def _finite(array: Any) -> bool:
    """Whether all numbers are; of what is no numbers, yes."""
    if not hasattr(array, "dtype") or "float" not in str(array.dtype):
        return True
    return bool(namespace(array).isfinite(array).all())


def _through(depth: Array, tip: Array, half_width: float, half_height: float) -> Array:
    """Flags of tips in the housing's material, farther in than its margin, (N,)."""
    length, width, height = HOUSING_HALF_SIZE
    y, z = abs(tip[:, 0]), abs(tip[:, 1])
    inside = (depth > _MARGIN) & (depth < 2 * length - _MARGIN)
    inside = inside & (y < width - _MARGIN) & (z < height - _MARGIN)
    return inside & ((y > half_width) | (z > half_height))


def _memory(options: Options) -> Mapping[str, float]:
    """What is resident, and taken of the device, in MiB."""
    found = {}
    statistics = Path("/proc/self/statm")
    if statistics.exists():
        pages = int(statistics.read_text().split()[1])
        found["memory"] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    if options.engine != "cpu" and (options.device or "cuda").startswith("cuda"):
        import torch

        free, total = torch.cuda.mem_get_info(options.device or "cuda:0")
        found["device_memory"] = (total - free) / 2**20
    return found


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
