"""What the benchmark reports: rates with each number of worlds, or the time of an encoding."""

from __future__ import annotations

import gc
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from policies.benchmarks.benchmark_config import BenchmarkConfig
from policies.benchmarks.cases import environment_cases, make_envs, stepping, touch_costs
from policies.benchmarks.timing import Case, Clock, time_cases
from vtenv.progress import progress_bar
from vtenv.provenance import cores
from vtenv.registry import make_task

_COMPILED_WORLDS = 64
"""Few, as compiling does not depend on them."""
_FIRST_STEP = """
import sys, time
import mujoco_warp, torch
from vtenv.registry import make_worlds
task, device, worlds = sys.argv[1], sys.argv[2], int(sys.argv[3])
begun = time.perf_counter()
envs = make_worlds(task, worlds, engine="warp", device=device, observations="torch")
envs.reset(seed=0)
envs.step(torch.zeros((worlds, *envs.single_action_space.shape), device=device))
if device.startswith("cuda"):
    torch.cuda.synchronize(device)
print(time.perf_counter() - begun)
"""


def measure_environment(config: BenchmarkConfig, *, compile_time: bool) -> dict[str, Any]:
    """Measure each number of worlds; one that fails does not lose the others.

    Raises:
        ValueError: If nothing could be measured.
    """
    encoders = _load_encoders(config) if config.encoders else {}
    rows: list[dict[str, Any]] = []
    touch: list[dict[str, Any]] = []
    errors: dict[str, str] = {}
    memory: dict[str, float] = {}
    first = None
    with progress_bar() as progress:
        if compile_time and config.on is not None:
            bar = progress.add_task("Compiling", total=2)
            timed = progress.track(first_steps(config.task, config.on), task_id=bar)
            first = {"worlds": _COMPILED_WORLDS} | dict(timed)
        device = _describe_device(config.on)
        for number in config.sizes:
            bar = progress.add_task(f"{number:,} worlds", total=None)
            try:
                with environment_cases(config, number, encoders) as (cases, kib):
                    progress.update(bar, total=config.repetitions * len(cases))
                    _time(cases, config, partial(progress.advance, bar))
                rows += [row for case in cases for row in case.measurements()]
                touch += touch_costs(cases, config.engine)
                if not math.isnan(kib):
                    memory[str(number)] = kib
            except (ValueError, RuntimeError) as error:
                errors[str(number)] = str(error).splitlines()[0]
            except KeyboardInterrupt:
                if not rows:
                    raise
                progress.console.print("Interrupted: the sizes before are kept.")
                break
            gc.collect()
    if not rows:
        raise ValueError(f"nothing was measured: {next(iter(errors.values()))}")
    return {
        "device": device,
        "settings": _settings(config),
        "first_step": first,
        "measurements": rows,
        "touch": touch,
        "kib_per_world": memory,
        "errors": errors,
    }


def measure_encoders(config: BenchmarkConfig) -> dict[str, Any]:
    """Measure encoders beside the environment's step, on the CPU.

    Raises:
        ValueError: If there is no such encoder, or it cannot be run.
    """
    from policies.benchmarks import encoding

    (worlds,) = config.sizes
    threads = min(config.threads or cores(), worlds)
    encoders = encoding.load_encoders(config.encoders, encoding.backbone_images())
    first = next(encoders)  # a name that there is not is told before the worlds are made
    envs = make_envs(config, worlds, threads)
    timings = []
    try:
        transitions = stepping(envs, config)
        with progress_bar() as progress:
            for name, encoder in chain([first], encoders):
                cases = encoding.encoding_cases(encoder, transitions, threads, config.seed)
                size = next(iter(encoder.image_shapes.values()))[1]
                bar = progress.add_task(f"{name}, {size} px", total=config.repetitions * len(cases))
                _time(cases, config, partial(progress.advance, bar))
                timings += encoding.encoding_rows(name, encoder, cases)
    except RuntimeError as error:
        raise ValueError(f"--encoders {' '.join(config.encoders)}: {error}") from error
    finally:
        envs.close()
    settings = _settings(config) | {"worlds": worlds, "threads": threads}
    return {"settings": settings, "encoders": timings}


def _time(cases: Sequence[Case], config: BenchmarkConfig, advance: Callable[[], object]) -> None:
    clock, count = Clock(config.on or "cpu"), config.repetitions
    time_cases(cases, clock, steps=config.steps, repetitions=count, advance=advance)


def first_steps(
    task: str, device: str, worlds: int = _COMPILED_WORLDS
) -> Iterator[tuple[str, float]]:
    """Time making worlds and their first step with the Warp engine, without importing packages.

    In processes of their own: the first has everything to compile, the second finds it in a cache.

    Yields:
        "compiled_s", then "cached_s", and the time in [s].

    Raises:
        ValueError: If such a process failed; the message is the last line of what it said.
    """
    with tempfile.TemporaryDirectory() as cache:
        places = {"WARP_CACHE_PATH": f"{cache}/warp", "CUDA_CACHE_PATH": f"{cache}/cuda"}
        for name in ("compiled_s", "cached_s"):
            done = subprocess.run(
                [sys.executable, "-c", _FIRST_STEP, task, device, str(worlds)],
                env=os.environ | places,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                *_, said = f"exit code {done.returncode}", *done.stderr.strip().splitlines()
                raise ValueError(f"the device {device} cannot be used: {said}")
            yield name, float(done.stdout.splitlines()[-1])


def _settings(config: BenchmarkConfig) -> dict[str, Any]:
    """What was measured, with the environment's settings beside the benchmark's."""
    settings = asdict(config) | {"worlds": list(config.sizes)}
    return settings | settings.pop("settings")


def _describe_device(device: str | None) -> dict[str, Any] | None:
    """Name and memory of the Warp engine's device; None for the CPU engine."""
    if device is None:
        return None
    if not device.startswith("cuda"):
        return {"device": device, "name": "Warp's CPU device"}
    import torch

    try:
        properties = torch.cuda.get_device_properties(device)
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"--device {device} cannot be used: {error}") from None
    return {
        "device": device,
        "name": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
    }


def _load_encoders(config: BenchmarkConfig) -> dict[str, Any]:
    """Encoders for the environment's images, by the last part of their names."""
    from policies.benchmarks.encoding import load_encoders

    task = make_task(config.task, **config.settings)
    shapes = {
        modality.key: (math.prod(modality.shape), *task.image_size(modality))
        for modality in task.config.modalities
        if modality.is_image
    }
    return {Path(name).name: found for name, found in load_encoders(config.encoders, [shapes])}
