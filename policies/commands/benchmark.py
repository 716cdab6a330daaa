"""`vtinsert benchmark`: steps a second, and where the time goes."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from policies.benchmarks.benchmark_config import BenchmarkConfig
from policies.choices import default
from policies.representation_names import check_encoder_or_network


def benchmark(
    config: BenchmarkConfig = BenchmarkConfig(),  # noqa: B008 (it is frozen)
    *,
    compile_time: bool = True,
    json_path: Annotated[Path | None, tyro.conf.arg(name="json"), default("none")] = None,
    figure: Annotated[Path | None, default("none")] = None,
    settings: tyro.conf.Suppress[dict[str, Any] | None] = None,
) -> int:
    """Measure steps a second: physics, each sensor, the whole environment.

    Variants of the task mixed, resets as they come. With the CPU engine on one thread and on all;
    with the Warp engine on a GPU, with each number of worlds. A step is one control step of one
    world: 20 ms, 20 physics substeps.

    Args:
        config: What to measure.
        compile_time: Whether to time how long the Warp engine compiles: most of a minute.
        json_path: File for everything that was measured, as JSON.
        figure: File for a picture of it.
        settings: Settings of the task's environment.
    """
    for path in (json_path, figure):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"cannot write {path}: there is no folder {path.parent}")
    for name in config.encoders:
        check_encoder_or_network(name)
    from vtenv.registry import make_task

    chosen = {"modalities": config.modalities} if config.modalities else {}
    config = replace(config, settings={**(settings or {}), **chosen})
    make_task(config.task, **config.settings)
    # Slow to import.
    from policies.benchmarks import measure, rendering
    from vtenv import provenance
    from vtenv.atomic_write import atomic_write, write_text

    report: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **provenance.record(),
        "load_before": provenance.load(),
    }
    if config.encodes_alone:
        report |= measure.measure_encoders(config)
        rendering.print_encoders(report)
    else:
        report |= measure.measure_environment(config, compile_time=compile_time)
        rendering.print_table(report)
        if figure is not None:
            with atomic_write(figure) as temporary:
                rendering.speed_figure(report).savefig(temporary, dpi=140)
            print(f"Picture: {figure}")
    if json_path is not None:
        write_text(json_path, json.dumps(report, indent=2) + "\n")
        print(f"Written to {json_path}")
    return 0
