"""A process that trains and measures one run of the study after another."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from representation.data.dataset import Dataset
from representation.objectives.classification import Classification
from representation.pretraining.fit import fit_to_split
from representation.pretraining.run_folder import TrainingData
from representation.pretraining.training import make_fabric, make_source, pretrain
from scripts.paper import measure
from scripts.paper.runs import LATE_FUSION, Run
from scripts.paper.store import Store

_PAUSE_S = 0.5
_CLUTTER = ("clutter-3", "clutter-6")
_FUSED = {group for pair in LATE_FUSION.values() for group in pair}


def needs(run: Run) -> tuple[str, ...]:
    """Sets of grasps that a run is trained and tested on."""
    names = [run.grasps, "paper"]
    if run.group in _FUSED:
        names.append("calibration")
    if _in_clutter(run):
        names += _CLUTTER
    return tuple(dict.fromkeys(names))


def work(folder: Path, runs: Mapping[str, Run], store: Store, end: float) -> int:
    """Make free runs, the first whose grasps are there first, until none is left.

    Args:
        folder: The study's.
        runs: All runs, the most valuable first.
        store: Where results go.
        end: When the process ends, whatever it does, in Unix time; a run that would not be
            finished then is not begun.

    Returns:
        How many failed; their tracebacks are on stderr. Two in a row end the process: its device
        may be lost, and it would fail every run there is.
    """
    if end < float("inf"):
        timer = threading.Timer(end - time.time(), os._exit, (1,))
        timer.daemon = True
        timer.start()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    longest: dict[str, float] = defaultdict(float)
    failed = in_a_row = 0
    while free := [run for run in runs.values() if store.is_free(run.name)]:
        if store.ended or in_a_row == 2:
            break
        ready = [run for run in free if _is_ready(folder, run)]
        fitting = [run for run in ready if time.time() + longest[_kind(run)] < end]
        if ready and not fitting:
            break
        if not fitting:
            time.sleep(_PAUSE_S)
            continue
        run, begun = fitting[0], time.time()
        if not store.take(run.name):
            continue
        try:
            store.put(run.name, _make(folder, run))
            in_a_row = 0
        except Exception:  # whatever it is, the others go on
            failed, in_a_row = failed + 1, in_a_row + 1
            print(f"{run.name} failed", file=sys.stderr)
            traceback.print_exc()
        took = time.time() - begun
        longest[_kind(run)] = max(longest[_kind(run)], took)
        print(f"{run.name}: {took:.1f} s", flush=True)
    return failed


def _kind(run: Run) -> str:
    """Runs of a kind take about as long."""
    config = run.config
    return f"{config.encoder.backbone} {len(config.encoder.images)} {config.epochs}"


def _in_clutter(run: Run) -> bool:
    return run.group.startswith(("clutter", "classify-resnet50"))


def _is_ready(folder: Path, run: Run) -> bool:
    """Whether the grasps are there that a run needs."""
    return all((folder / "grasps" / name).exists() for name in needs(run))


def _make(folder: Path, run: Run) -> dict[str, Any]:
    """Train a run and measure it; its weights are not kept."""
    begun = time.time()
    grasps = {name: Dataset.open(folder / "grasps" / name) for name in needs(run)}
    split = grasps[run.grasps]["train"]
    config = fit_to_split(run.config, split)
    fabric = make_fabric(config)
    path = folder / "runs" / run.name
    shutil.rmtree(path, ignore_errors=True)
    result = pretrain(
        config,
        make_source(config, split, fabric),
        path,
        fabric=fabric,
        data=TrainingData(f"{len(split):,} grasps ({run.grasps})"),
        checkpoint_every=None,
        progress=False,
    )
    shutil.rmtree(path)
    trained = time.time()
    measured = _measure(run, result.encoder, result.objective, grasps)
    if not isinstance(result.objective, Classification):
        measured["losses"] = [float(f"{loss:.4g}") for loss in result.losses]
    return {
        "label": run.label,
        "steps": len(result.losses),
        "epoch": result.epoch,
        "training_loss": result.row["loss"],
        "training_s": round(trained - begun, 1),
        "measuring_s": round(time.time() - trained, 1),
        **measured,
    }


def _measure(
    run: Run, encoder: Any, objective: Any, grasps: Mapping[str, Dataset]
) -> dict[str, Any]:
    if not isinstance(objective, Classification):
        return measure.joint(encoder, objective, grasps["paper"], places=run.seed == 0)
    clutter = {name: grasps[name] for name in _CLUTTER if name in grasps}
    return measure.classification(
        encoder, objective, grasps["paper"], grasps.get("calibration"), clutter
    )
