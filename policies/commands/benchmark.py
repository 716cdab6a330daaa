"""`vtinsert benchmark`: steps a second, and where the time goes."""

from __future__ import annotations

import datetime
import importlib
import json
import shlex
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from policies.benchmarks import speed
from policies.commands import CommandError
from vtenv import provenance
from vtenv.atomic_write import atomic_write
from vtenv.progress import progress_bar
from vtenv.tasks.insertion.config import VTInsertConfig

_WARM_UP_STEPS = 5
"""Steps before the first repetition, to start threads and touch memory."""
_IDLE_LOAD = 0.5
"""Load average above which somebody else is using the machine."""
_WORLDS = {"cpu": (16,), "warp": (64, 256, 1024, 4096, 16384)}
"""Worlds that are stepped together, unless given."""
_DPI = 140


def benchmark(
    *,
    engine: Literal["cpu", "warp"] = "cpu",
    device: str | None = None,
    worlds: tuple[int, ...] = (),
    threads: int | None = None,
    steps: int = 100,
    repetitions: int = 5,
    actions: speed.Actions = "random",
    image_size: int = 64,
    contact_size: int = 64,
    seed: int = 0,
    encoders: tuple[str, ...] = (),
    compile_time: bool = True,
    json_path: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    figure: Path | None = None,
) -> int:
    """Measure steps a second: physics, each sensor, the whole environment.

    Four connectors mixed, resets as they come. With the CPU engine all on the same control steps,
    on one thread and on all; with the Warp engine on a GPU, with each number of worlds. A step is
    one control step of one world: 20 ms, 10 physics substeps.

    Args:
        engine: The physics engine.
        device: Device of the Warp engine; by default cuda:0.
        worlds: Worlds that are stepped together: one number with the CPU engine, by default 16;
            several with the Warp engine, by default 64 to 16,384.
        threads: Threads to compare with one; by default one a core.
        steps: Control steps of each world in a repetition; with the Warp engine, at most.
        repetitions: Repetitions; the table shows medians.
        actions: Random ones, or those of the scripted expert, whose episodes are shorter and
            have more contact.
        image_size: Rows and columns of the overhead depth image.
        contact_size: Rows and columns of each finger's image.
        seed: Seed of worlds and actions.
        encoders: Measure these instead, beside the environment's step: bundled encoders, folders,
            or names of timm's networks such as resnet18. With the Warp engine, measure the
            environment with each of them too.
        compile_time: Whether to time how long the Warp engine compiles: a minute or two.
        json_path: File for everything that was measured, as JSON.
        figure: File for a picture of what was measured with the Warp engine.
    """
    sizes = worlds or _WORLDS[engine]
    for name, value in (
        ("worlds", min(sizes)),
        ("threads", threads),
        ("steps", steps),
        ("repetitions", repetitions),
    ):
        if value is not None and value < 1:
            raise CommandError(f"--{name} {value} is not allowed; it must be at least 1")
    for path in (json_path, figure):
        if path is not None and not path.parent.is_dir():
            raise CommandError(f"cannot write {path}: there is no folder {path.parent}")
    for name, given, home in (
        ("threads", threads is not None, "cpu"),
        ("actions", actions != "random", "cpu"),
        ("device", device is not None, "warp"),
        ("figure", figure is not None, "warp"),
        ("worlds with several numbers", len(sizes) > 1, "warp"),
    ):
        if given and home != engine:
            raise CommandError(f"--{name} is for --engine {home}; leave it out")
    settings = {"image_size": image_size, "contact_size": contact_size}
    try:
        VTInsertConfig.from_settings(**settings)  # type: ignore[arg-type]
    except ValueError as error:
        raise CommandError(str(error)) from None

    found, load = provenance.hardware(), provenance.load()
    if engine == "warp":
        gpu_benchmark = _gpu_benchmark()
        report = _origin(found, load) | gpu_benchmark.measure(
            sizes,
            device=device or "cuda:0",
            settings=settings,
            encoders=encoders,
            steps=steps,
            repetitions=repetitions,
            seed=seed,
            compile_time=compile_time,
        )
        gpu_benchmark.print_report(Console(highlight=False), report)
        _drawn(report, figure)
        return _written(report, json_path)
    (count,) = sizes
    most = min(threads or int(found["cores"]), count)
    if encoders:
        report = _origin(found, load) | _measure_encoders(
            encoders, worlds=count, threads=most, repetitions=repetitions, seed=seed
        )
        _print_encoders(report)
        return _written(report, json_path)
    counts = sorted({1, most})
    subjects = {number: speed.Subject(settings, count, number) for number in counts}
    chosen, calls = subjects[1].record(seed, steps, actions)
    measured: dict[int, list[speed.Seconds]] = {number: [] for number in counts}
    single: list[tuple[float, float]] = []
    for subject in subjects.values():
        subject.measure(seed, chosen[:_WARM_UP_STEPS], calls[: 2 * _WARM_UP_STEPS])
    # The parts and the numbers of threads take turns, so that ratios compare neighbours in time.
    with progress_bar() as progress:
        for _ in progress.track(range(repetitions), description="Measuring"):
            for number, subject in subjects.items():
                measured[number].append(subject.measure(seed, chosen, calls))
            single.append(speed.measure_single(settings, seed, steps, actions))
    for subject in subjects.values():
        subject.close()

    control_steps = sum(len(call.worlds) for call in calls if call.method == "step")
    report = _origin(found, load) | {
        "settings": {
            "worlds": count,
            "steps": steps,
            "repetitions": repetitions,
            "actions": actions,
            "seed": seed,
            "control_steps": control_steps,
            **settings,
        },
        **_summary(measured, single, control_steps),
    }
    _print(report)
    return _written(report, json_path)


def _origin(found: dict[str, Any], load: float | None) -> dict[str, Any]:
    """What a report was made with."""
    return {
        "command": shlex.join(["vtinsert", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": provenance.commit(),
        "hardware": found,
        "load_before": load,
        "versions": provenance.versions(),
    }


def _gpu_benchmark() -> ModuleType:
    """The benchmark of the Warp engine, which takes seconds to import."""
    try:
        return importlib.import_module("policies.benchmarks.gpu")
    except ModuleNotFoundError as error:
        raise CommandError(
            f"--engine warp needs {error.name}; install the extra with `uv sync --extra warp` or "
            '`pip install "vtinsert[warp]"`'
        ) from None


def _drawn(report: dict[str, Any], figure: Path | None) -> None:
    """The picture of a device's speed, if it is asked for."""
    from policies.benchmarks.speed_figure import speed_figure

    if figure is None:
        return
    try:
        with atomic_write(figure) as temporary:
            speed_figure(report).savefig(temporary, dpi=_DPI)
    except OSError as error:
        raise CommandError(f"cannot write {figure}: {error.strerror}") from None
    print(f"Picture: {figure}")


def _written(report: dict[str, Any], json_path: Path | None) -> int:
    if json_path is not None:
        try:
            with atomic_write(json_path) as temporary:
                temporary.write_text(json.dumps(report, indent=2) + "\n")
        except OSError as error:
            raise CommandError(f"cannot write {json_path}: {error.strerror}") from None
        print(f"Written to {json_path}")
    return 0


def _measure_encoders(
    names: Sequence[str], *, worlds: int, threads: int, repetitions: int, seed: int
) -> dict[str, Any]:
    # PyTorch takes seconds to import, and the simulator's benchmark does without it.
    from representation.benchmarks import encode_speed

    stepper = encode_speed.Stepper(worlds, threads, seed)
    timings = []
    try:
        with progress_bar() as progress:
            for name, encoder in encode_speed.candidates(names):
                size = next(iter(encoder.image_shapes.values()))[1]
                task = progress.add_task(f"{name}, {size} px", total=repetitions)
                timings += encode_speed.measure(
                    name,
                    encoder,
                    stepper,
                    threads=threads,
                    repetitions=repetitions,
                    seed=seed,
                    advance=partial(progress.advance, task),
                )
    except (ValueError, RuntimeError) as error:
        raise CommandError(f"--encoders {' '.join(names)}: {error}") from None
    finally:
        stepper.close()
    settings = {
        "worlds": worlds,
        "threads": threads,
        "repetitions": repetitions,
        "seed": seed,
        "encoders": list(names),
    }
    return {"settings": settings, "encoders": [timing.summary() for timing in timings]}


def _summary(
    measured: dict[int, list[speed.Seconds]],
    single: list[tuple[float, float]],
    control_steps: int,
) -> dict[str, Any]:
    """Rates and ratios: medians over repetitions of numbers from within one repetition."""
    counts = sorted(measured)
    fewest, most = counts[0], counts[-1]
    parts = list(measured[fewest][0].parts())
    rates = [
        {"part": part, "threads": count}
        | _spread([control_steps / seconds.parts()[part] for seconds in measured[count]])
        for part in parts
        for count in counts
    ]
    rates.append({"part": speed.SINGLE, "threads": 1} | _spread([1 / step for step, _ in single]))
    return {
        "rates": rates,
        "environment_over_physics": {
            str(count): statistics.median(s.physics / s.environment for s in measured[count])
            for count in counts
        },
        "thread_speed_up": {
            part: statistics.median(
                one.parts()[part] / all_.parts()[part]
                for one, all_ in zip(measured[fewest], measured[most], strict=True)
            )
            for part in parts
        },
        "time_shares": {
            str(count): {
                part: statistics.median(s.shares()[part] for s in measured[count])
                for part in measured[count][0].shares()
            }
            for count in counts
        },
        "reset_in_steps": statistics.median(reset / step for step, reset in single),
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "steps_per_second": statistics.median(values),
        "lowest": min(values),
        "highest": max(values),
    }


def _print(report: dict[str, Any]) -> None:
    hardware, settings = report["hardware"], report["settings"]
    counts = [int(count) for count in report["time_shares"]]
    rates = {(rate["part"], rate["threads"]): rate for rate in report["rates"]}

    table = Table(
        title=f"Control steps a second: {settings['worlds']} worlds, four connectors mixed",
        caption=f"{hardware['cpu']}, {hardware['cores']} cores; "
        f"MuJoCo {report['versions']['mujoco']}; medians over {settings['repetitions']} "
        f"repetitions of {settings['control_steps']} steps, {settings['actions']} actions",
    )
    table.add_column("what runs")
    for count in counts:
        table.add_column(_threads(count), justify="right")
    if len(counts) > 1:
        table.add_column("speed-up", justify="right")
    table.add_column(f"share of time\n{' / '.join(map(str, counts))}", justify="right")
    for part in (*report["thread_speed_up"], speed.RESETS, speed.SINGLE):
        shares = [shares.get(part) for shares in report["time_shares"].values()]
        row = [_number(rates.get((part, count))) for count in counts]
        if len(counts) > 1:
            speed_up = report["thread_speed_up"].get(part)
            row.append("" if speed_up is None else f"{speed_up:.2f}")
        row.append(" / ".join(f"{share:.0%}" for share in shares if share is not None))
        table.add_row(part, *row, style="bold" if part == speed.ENVIRONMENT else None)

    console = Console(highlight=False)
    console.print(table)
    ratios = ", ".join(
        f"{ratio:.0%} on {_threads(int(count))}"
        for count, ratio in report["environment_over_physics"].items()
    )
    console.print(f"The whole environment runs at this part of the rate of its physics: {ratios}.")
    _warn_if_busy(console, report["load_before"])
    console.print(
        f"A reset of one world by itself costs {report['reset_in_steps']:.1f} control steps."
    )


def _print_encoders(report: dict[str, Any]) -> None:
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


def _number(rate: dict[str, Any] | None) -> str:
    return "" if rate is None else f"{rate['steps_per_second']:,.0f}"
