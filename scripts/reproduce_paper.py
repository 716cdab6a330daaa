"""Makes the paper's study again: figures 7 to 10, occlusion, and what it left to future work.

    python -m scripts.reproduce_paper --devices cuda:0 cuda:1 --runs-per-device 10
    python -m scripts.reproduce_paper --smoke         # the same, small, in two minutes on a CPU
    python -m scripts.reproduce_paper --list

Results are in one file, which is rewritten as runs end; what is in it is not done again. Networks
start from random weights, as ImageNet weights need a network; with --pretrained from those, as in
the paper.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from representation.data.dataset import Dataset
from scripts.one_device import available_devices, run_on
from scripts.paper.conditions import covered
from scripts.paper.grasps import SETS, write_grasps
from scripts.paper.measure import digits, heldout
from scripts.paper.runs import Run, study
from scripts.paper.store import Store
from scripts.paper.worker import needs, work
from vtenv import provenance
from vtenv.atomic_write import write_text

_LOOK_EVERY_S = 5.0


@dataclass(frozen=True)
class Options:
    """The study's options."""

    output: Path | None = None
    """Folder for grasps, logs and results; by default outputs/paper-study."""
    results: Path | None = None
    """The file of all results; by default results.json in `output`."""
    smoke: bool = False
    """Small networks and images: the whole study on a CPU in minutes. Not results."""
    only: tuple[str, ...] = ()
    """Runs to make, by name or by their name's beginning; by default all."""
    list: bool = False
    """Name the runs and stop."""
    seeds: int = 5
    """Seeds of training of every run; 1 with --smoke."""
    devices: tuple[str, ...] = ()
    """Where to train: cpu, cuda:0 and so on; by default the first GPU, or the CPU."""
    runs_per_device: int = 1
    """Runs that share a device."""
    minutes: float | None = None
    """Time for it all; what is not finished then is left for another time. None for any."""
    image_size: int | None = None
    """Rows and columns of all images; by default 224, as in the paper, or 32 with --smoke."""
    pretrained: bool = False
    """Start from ImageNet weights, as the paper did; needs a network, or their files."""
    worker: float | None = None
    """When to stop, in Unix time; for the processes that the study starts by itself."""


def main(options: Options) -> int:
    """Make what is missing of the study."""
    folder = options.output or Path(f"outputs/paper-study{'-smoke' if options.smoke else ''}")
    runs = study(
        range(1 if options.smoke else options.seeds),
        image_size=_size(options),
        pretrained=options.pretrained,
        small=options.smoke,
    )
    if options.only:
        runs = {n: run for n, run in runs.items() if n.startswith(options.only)}
    if not runs:
        print(f"no run is called {options.only[0]!r}; see --list", file=sys.stderr)
        return 2
    if options.list:
        for run in runs.values():
            print(f"{run.name:36s} {run.label}")
        return 0
    store = Store(folder)
    if options.worker is not None:
        return work(folder, runs, store, options.worker)
    return _lead(folder, runs, store, options)


def _size(options: Options) -> int:
    return options.image_size or (32 if options.smoke else 224)


def _lead(folder: Path, runs: Mapping[str, Run], store: Store, options: Options) -> int:
    """Render grasps while workers train on those there are, several on each device."""
    begun = time.time()
    end = begun + 60 * options.minutes if options.minutes else math.inf
    path = options.results or folder / "results.json"
    store.begin()
    if path.exists():
        for name, result in json.loads(path.read_text())["runs"].items():
            store.put(name, result)
    command = [sys.executable, "-m", "scripts.reproduce_paper", *sys.argv[1:]]
    places = options.runs_per_device if len(store.get(runs)) < len(runs) else 0
    workers = [
        (device, f"worker-{device.replace(':', '')}-{place}")
        for place in range(places)
        for device in options.devices or available_devices()
    ]
    with ThreadPoolExecutor(len(workers) + 1) as pool:
        waiting: set[Future[Any]] = {
            pool.submit(run_on, device, name, [*command, "--worker", str(end)], folder)
            for device, name in workers
        }
        waiting.add(pool.submit(_render, folder, runs, store, options))
        results: dict[str, Any] = {}
        grasps: dict[str, Any] = {}
        while waiting:
            done, waiting = wait(waiting, _LOOK_EVERY_S, FIRST_COMPLETED)
            new = store.get(name for name in runs if name not in results)
            results |= new
            if new:
                grasps = grasps or _heldout(folder)
                _write(path, results, grasps, options, time.time() - begun)
                print(
                    f"{time.time() - begun:.0f} s: {len(results)} of {len(runs)} runs", flush=True
                )
            for future in done:
                future.result()
    print(f"{len(results)} of {len(runs)} runs are in {path}", flush=True)
    return 0 if len(results) == len(runs) else 1


def _render(folder: Path, runs: Mapping[str, Run], store: Store, options: Options) -> None:
    """Render the grasps that the runs need, the first ones first."""
    needed = {name for run in runs.values() for name in needs(run)}
    try:
        for name in SETS:
            if name in needed:
                begun = time.time()
                write_grasps(folder / "grasps", name, size=_size(options), small=options.smoke)
                print(f"grasps {name!r}: {time.time() - begun:.0f} s", flush=True)
    except BaseException:
        store.end()  # nobody is to wait for grasps that will not come
        raise


def _heldout(folder: Path) -> dict[str, Any]:
    """The held-out grasps that predictions are of, in their order."""
    batch = heldout(Dataset.open(folder / "grasps" / "paper")["heldout"])
    return {
        "connector": digits(batch["connector"].numpy()),
        "covered": [round(part, 4) for part in covered(batch).tolist()],
    }


def _write(
    path: Path,
    results: Mapping[str, Any],
    grasps: Mapping[str, Any],
    options: Options,
    seconds: float,
) -> None:
    document = {
        "command": shlex.join(["python", "-m", "scripts.reproduce_paper", *sys.argv[1:]]),
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "versions": provenance.versions(),
        "image_size": _size(options),
        "seconds": round(seconds),
        "heldout": grasps,
        "runs": results,
    }
    write_text(path, json.dumps(document))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
