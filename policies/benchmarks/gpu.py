"""The benchmark of the Warp engine: every number of worlds, as a report and as a table."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import warp as wp
from rich.console import Console
from rich.table import Table

from policies.benchmarks.device_clock import SENSING, STEPPING
from policies.benchmarks.first_step import WORLDS, FirstStepError, first_step
from policies.benchmarks.gpu_speed import REST, TORCH, SizeSpeed, measure_size
from policies.commands import CommandError
from representation.encoder_config import EncoderConfig
from representation.timm_encoder import VisuotactileEncoder
from vtenv.progress import progress_bar


def measure(
    sizes: Sequence[int],
    *,
    device: str,
    settings: Mapping[str, int],
    encoders: Sequence[str],
    steps: int,
    repetitions: int,
    seed: int,
    compile_time: bool,
) -> dict[str, Any]:
    """Measure each number of worlds; one that fails does not lose the others.

    Args:
        sizes: Numbers of worlds.
        device: A CUDA device, or "cpu".
        settings: The environment's `image_size` and `contact_size`.
        encoders: Bundled encoders, folders, ids on the Hugging Face Hub; or timm's networks, of
            which an encoder is built, untrained.
        steps: Most steps of a repetition.
        repetitions: Repetitions.
        seed: Seed of worlds and actions.
        compile_time: Whether to measure how long the first step takes: a minute or two.

    Returns:
        What was measured, for a report.

    Raises:
        CommandError: If an encoder or the device cannot be used, or every size failed.
    """
    loaded = _load_encoders(encoders, **settings)
    options: dict[str, Any] = {"steps": steps, "repetitions": repetitions, "seed": seed}
    found: list[dict[str, Any]] = []
    try:
        described = describe_device(device)
        first = _first_step(device) if compile_time else None
        if torch.device(device).type == "cuda":
            # What a size leaves behind would be taken for the next one's.
            wp.set_mempool_release_threshold(device, 0)
    except (FirstStepError, RuntimeError, AssertionError) as error:
        raise CommandError(f"--device {device} cannot be used: {error}") from None
    with progress_bar() as progress:
        for worlds in sizes:
            task = progress.add_task(f"{worlds:,} worlds", total=4)
            try:
                size = _measure_size(
                    SizeSpeed(worlds),
                    device=device,
                    settings=settings,
                    encoders=loaded,
                    advance=partial(progress.advance, task),
                    **options,
                )
            except KeyboardInterrupt:
                if not found:
                    raise
                progress.console.print("Interrupted: the sizes before are kept.")
                break
            found.append(size)
    if not any(size["rates"] for size in found):
        raise CommandError(f"nothing was measured: {found[0]['error']}")
    return {
        "device": described,
        "settings": {"worlds": list(sizes), "encoders": list(encoders), **settings, **options},
        "first_step": first,
        "sizes": sorted(found, key=lambda size: size["worlds"]),
    }


def _load_encoders(
    names: Sequence[str], image_size: int, contact_size: int
) -> dict[str, VisuotactileEncoder]:
    """Encoders for the environment's images, by the last part of their names."""
    encoders = {}
    try:
        for name in names:
            if timm.is_model(name):
                sizes = {"depth": image_size, "contact": contact_size}
                shapes = EncoderConfig().images
                images = {key: (shapes[key][0], size, size) for key, size in sizes.items()}
                config = EncoderConfig(name, images=images)
                encoders[name] = VisuotactileEncoder(config)
            else:
                encoders[Path(name).name] = VisuotactileEncoder.from_pretrained(name)
    except (ValueError, RuntimeError) as error:
        raise CommandError(f"--encoders {' '.join(names)}: {error}") from None
    return encoders


def _first_step(device: str) -> dict[str, Any]:
    """How long it takes, in processes of their own, with nothing compiled and with everything."""
    with tempfile.TemporaryDirectory() as cache, progress_bar() as progress:
        task = progress.add_task("Compiling", total=2)
        times = []
        for _ in ("compiled", "cached"):
            times.append(first_step(device, Path(cache)))
            progress.advance(task)
    return {"worlds": WORLDS, "compiled_s": times[0], "cached_s": times[1]}


def _measure_size(result: SizeSpeed, **options: Any) -> dict[str, Any]:
    try:
        measure_size(result, **options)
    except (ValueError, RuntimeError) as error:
        result.error = str(error).splitlines()[0]
    gc.collect()
    return result.summary()


def describe_device(device: str) -> dict[str, Any]:
    """Name and memory of a device."""
    if torch.device(device).type != "cuda":
        return {"device": device, "name": "Warp's CPU device"}
    properties = torch.cuda.get_device_properties(device)
    memory_gib = round(properties.total_memory / 2**30, 1)
    driver = ".".join(map(str, wp.get_cuda_driver_version() or ()))
    return {
        "device": device,
        "name": properties.name,
        "memory_gib": memory_gib,
        "cuda_driver": driver,
        "cuda": torch.version.cuda,
    }


def print_report(console: Console, report: Mapping[str, Any]) -> None:
    """The report as a table: a row for what runs, a column for each number of worlds."""
    sizes = report["sizes"]
    device, settings = report["device"]["name"], report["settings"]
    table = Table(
        title=f"Control steps a second: {device}, four connectors mixed",
        caption=f"{settings['image_size']} px depth, two masks of {settings['contact_size']} px; "
        f"medians over {settings['repetitions']} repetitions, random actions",
    )
    table.add_column("worlds")
    for size in sizes:
        table.add_column(f"{size['worlds']:,}", justify="right")
    for name in dict.fromkeys(name for size in sizes for name in size["rates"]):
        rates = [size["rates"].get(name) for size in sizes]
        cells = ["-" if rate is None else f"{rate['steps_per_second']:,.0f}" for rate in rates]
        table.add_row(name, *cells, style="bold" if name == TORCH else None)
    table.add_section()
    for part in (STEPPING, SENSING, REST):
        cells = [f"{size['shares'][part]:.1%}" if size["shares"] else "-" for size in sizes]
        table.add_row(f"share of a step: {part}", *cells)
    table.add_row("resets a step", *(f"{size['resets_per_step']:.1f}" for size in sizes))
    cells = ["-" if (kib := size["kib_per_world"]) is None else f"{kib:,.0f}" for size in sizes]
    table.add_row("device memory a world, KiB", *cells)
    console.print(table)
    if (first := report["first_step"]) is not None:
        console.print(
            f"Made and stepped once, {first['worlds']} worlds: {first['compiled_s']:.1f} s to "
            f"compile, {first['cached_s']:.1f} s from the cache."
        )
    for size in sizes:
        if size["error"] is not None:
            console.print(f"[yellow]{size['worlds']:,} worlds: {size['error']}", soft_wrap=True)
