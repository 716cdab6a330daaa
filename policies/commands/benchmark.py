"""`vtinsert benchmark`: steps a second, and where the time goes."""

from __future__ import annotations

import datetime
import gc
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from policies.benchmarks.cases import Setup

_IDLE_LOAD = 0.5
"""Load average above which somebody else is using the machine."""
_WORLDS = {"cpu": (16,), "warp": (64, 256, 1024, 4096, 16384)}
"""Worlds that are stepped together, unless given."""
_DPI = 140


def benchmark(
    *,
    task: str = "VTInsert-v0",
    engine: Literal["cpu", "warp"] = "cpu",
    device: str | None = None,
    worlds: tuple[int, ...] = (),
    threads: int | None = None,
    steps: int = 100,
    repetitions: int = 5,
    actions: Literal["random", "expert"] = "random",
    seed: int = 0,
    encoders: tuple[str, ...] = (),
    compile_time: bool = True,
    json_path: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    figure: Path | None = None,
    settings: tyro.conf.Suppress[dict[str, Any] | None] = None,
) -> int:
    """Measure steps a second: physics, each sensor, the whole environment.

    Variants of the task mixed, resets as they come. With the CPU engine on one thread and on all;
    with the Warp engine on a GPU, with each number of worlds. A step is one control step of one
    world: 20 ms, 10 physics substeps.

    Args:
        task: What to run: an id of Gymnasium's registry. Its environment's settings are options
            too, such as --image-size 128; --help beside --task lists them.
        engine: The physics engine.
        device: Device of the Warp engine; by default cuda:0.
        worlds: Numbers of worlds that are stepped together; by default 16 with the CPU engine, 64
            to 16,384 with the Warp engine.
        threads: Threads of the CPU engine to compare with one; by default one a core.
        steps: Most control steps of each world in a repetition, which ends after a second.
        repetitions: Repetitions; the table shows medians.
        actions: Random ones, or those of the scripted expert, whose episodes are shorter and
            have more contact.
        seed: Seed of worlds and actions.
        encoders: Bundled encoders, folders, or names of timm's networks such as resnet18. With the
            CPU engine, measure these instead, beside the environment's step; with the Warp engine,
            the environment with each of them too.
        compile_time: Whether to time how long the Warp engine compiles: a minute or two.
        json_path: File for everything that was measured, as JSON.
        figure: File for a picture of it.
        settings: Settings of the task's environment.
    """
    sizes = worlds or _WORLDS[engine]
    for name, value in (
        ("worlds", min(sizes)),
        ("threads", threads),
        ("steps", steps),
        ("repetitions", repetitions),
    ):
        if value is not None and value < 1:
            raise ValueError(f"--{name} {value} is not allowed; it must be at least 1")
    for path in (json_path, figure):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"cannot write {path}: there is no folder {path.parent}")
    for name, given, home in (
        ("threads", threads is not None, "cpu"),
        ("device", device is not None, "warp"),
    ):
        if given and home != engine:
            raise ValueError(f"--{name} is for --engine {home}; leave it out")
    alone = bool(encoders) and engine == "cpu"
    if alone and len(sizes) > 1:
        raise ValueError("--encoders with --engine cpu takes one number of --worlds")

    from rich.console import Console

    from policies.worlds import make_task
    from vtenv import provenance
    from vtenv.atomic_write import atomic_write

    make_task(task, settings or {})
    report: dict[str, Any] = {
        "command": shlex.join(["vtinsert", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "load_before": provenance.load(),
        "versions": provenance.versions(),
    }
    console = Console(highlight=False)
    most = threads or provenance.cores()
    if alone:
        report |= _measure_encoders(
            encoders,
            worlds=sizes[0],
            threads=min(most, sizes[0]),
            repetitions=repetitions,
            seed=seed,
        )
        _print_encoders(report)
    else:
        from policies.benchmarks.cases import Setup
        from policies.benchmarks.rendering import print_table, speed_figure

        on = None if engine == "cpu" else device or "cuda:0"
        setup = Setup(task, settings or {}, engine, on, actions, seed)
        report |= _measure(
            setup,
            sizes,
            most,
            encoders,
            steps=steps,
            repetitions=repetitions,
            compile_time=compile_time and engine == "warp",
        )
        print_table(console, report)
        _warn_if_busy(console, report["load_before"])
        if figure is not None:
            with atomic_write(figure) as temporary:
                speed_figure(report).savefig(temporary, dpi=_DPI)
            print(f"Picture: {figure}")
    if json_path is not None:
        with atomic_write(json_path) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")
        print(f"Written to {json_path}")
    return 0


def _measure(
    setup: Setup,
    sizes: Sequence[int],
    most: int,
    encoders: Sequence[str],
    *,
    steps: int,
    repetitions: int,
    compile_time: bool,
) -> dict[str, Any]:
    """Measure each number of worlds; one that fails does not lose the others."""
    from policies.benchmarks.cases import environment_cases
    from policies.benchmarks.first_step import first_steps
    from policies.benchmarks.timing import time_cases
    from vtenv.progress import progress_bar

    loaded = _load_encoders(encoders, setup) if encoders else {}
    rows: list[dict[str, Any]] = []
    errors: dict[str, str] = {}
    memory: dict[str, float] = {}
    first = None
    with progress_bar() as progress:
        if compile_time:
            task = progress.add_task("Compiling", total=2)
            first = first_steps(setup.task, setup.device or "cpu", _advance(progress, task))
        described = _describe_device(setup.device)
        for number in sizes:
            threads = sorted({1, min(most, number)}) if setup.engine == "cpu" else [None]
            task = progress.add_task(f"{number:,} worlds", total=None)
            keep = partial(memory.__setitem__, str(number))
            try:
                with environment_cases(setup, number, threads, loaded, keep) as cases:
                    progress.update(task, total=repetitions * len(cases))
                    time_cases(
                        cases,
                        setup.clock,
                        steps=steps,
                        repetitions=repetitions,
                        advance=_advance(progress, task),
                    )
                rows += [row for case in cases for row in case.measurements()]
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
        "device": described,
        "settings": {
            "task": setup.task,
            "worlds": list(sizes),
            "encoders": list(encoders),
            "steps": steps,
            "repetitions": repetitions,
            "actions": setup.actions,
            "seed": setup.seed,
            **setup.settings,
        },
        "first_step": first,
        "measurements": rows,
        "kib_per_world": memory,
        "errors": errors,
    }


def _advance(progress: Any, task: Any) -> Callable[[], object]:
    return lambda: progress.advance(task)


def _describe_device(device: str | None) -> dict[str, Any] | None:
    """Name and memory of the Warp engine's device; None for the CPU engine."""
    if device is None:
        return None
    import torch

    if not device.startswith("cuda"):
        return {"device": device, "name": "Warp's CPU device"}
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


def _load_encoders(names: Sequence[str], setup: Setup) -> Mapping[str, Any]:
    """Encoders for the environment's images, by the last part of their names."""
    import timm

    from policies.worlds import make_task
    from representation.encoder_config import EncoderConfig
    from representation.timm_encoder import VisuotactileEncoder

    task = make_task(setup.task, setup.settings)
    shapes = {
        modality.key: (modality.shape[0], *task.image_size(modality))
        for modality in task.config.modalities
        if modality.is_image
    }
    return {
        Path(name).name: VisuotactileEncoder(EncoderConfig(name, images=shapes))
        if timm.is_model(name)
        else VisuotactileEncoder.from_pretrained(name)
        for name in names
    }


def _measure_encoders(
    names: Sequence[str], *, worlds: int, threads: int, repetitions: int, seed: int
) -> dict[str, Any]:
    # PyTorch takes seconds to import, and the simulator's benchmark does without it.
    from representation.benchmarks import encode_speed
    from vtenv.progress import progress_bar

    steps = encode_speed.environment_steps(worlds, threads, seed)
    timings = []
    try:
        with progress_bar() as progress:
            for name, encoder in encode_speed.candidates(names):
                size = next(iter(encoder.image_shapes.values()))[1]
                task = progress.add_task(f"{name}, {size} px", total=repetitions)
                timings += encode_speed.measure(
                    name,
                    encoder,
                    steps,
                    threads=threads,
                    repetitions=repetitions,
                    seed=seed,
                    advance=partial(progress.advance, task),
                )
    except RuntimeError as error:
        raise ValueError(f"--encoders {' '.join(names)}: {error}") from error
    finally:
        steps.close()
    settings = {
        "worlds": worlds,
        "threads": threads,
        "repetitions": repetitions,
        "seed": seed,
        "encoders": list(names),
    }
    return {"settings": settings, "encoders": timings}


def _print_encoders(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    hardware, settings = report["hardware"], report["settings"]
    console = Console(highlight=False)
    groups = groupby(report["encoders"], lambda timing: (timing["encoder"], timing["image_size"]))
    for (name, size), group in groups:
        timings = list(group)
        table = Table(
            title=f"{Path(name).name}, {size} px, {timings[0]['mib']:.1f} MiB: encoding on "
            f"{_threads(settings['threads'])}, and a step of {settings['worlds']} worlds after it"
        )
        table.add_column("runtime")
        for column in ("batch", "ms a batch", "ms each", "ms a step", "batch / step"):
            table.add_column(column, justify="right")
        for timing in timings:
            table.add_row(
                timing["runtime"],
                str(timing["batch"]),
                f"{timing['batch_ms']:.2f}",
                f"{timing['observation_ms']:.2f}",
                f"{timing['environment_step_ms']:.2f}",
                f"{timing['over_environment_step']:.2f}",
                style="bold" if timing["batch"] == settings["worlds"] else None,
            )
        console.print(table)
    console.print(
        f"{hardware['cpu']}, {hardware['cores']} cores; medians over at most "
        f"{settings['repetitions']} repetitions."
    )
    _warn_if_busy(console, report["load_before"])


def _warn_if_busy(console: Console, load: float | None) -> None:
    if load is not None and load > _IDLE_LOAD:
        console.print(
            f"[yellow]The machine was busy before this (load {load:.1f}): "
            "rates are too low, above all on several threads."
        )


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
