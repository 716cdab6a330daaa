"""Makes the paper's study again: figures 7 to 10, and what it left to future work.

    uv run python scripts/reproduce_paper.py                 # a GPU; interrupt and go on at will
    uv run python scripts/reproduce_paper.py --smoke         # the same, small, in minutes on a CPU
    uv run python scripts/reproduce_paper.py --devices cuda:0 cuda:1 --runs-per-device 2

Each run has a folder and is a process of its own; what is finished is not done again, and a run
that fails does not keep the others from going on. Networks start from random weights, as ImageNet
weights need a network; with --pretrained from those, as in the paper.
"""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console

from representation.data.dataset import Dataset, DatasetWriter
from representation.data.sources import DatasetSource
from representation.objectives.classification import Classification
from representation.pretraining.fit import fit_to_split
from representation.pretraining.run_folder import TrainingData, load_objective
from representation.pretraining.training import make_fabric, make_source, pretrain
from representation.probes.space import tsne
from representation.timm_encoder import VisuotactileEncoder
from scripts import paper_figures
from scripts.one_device import available_devices, run_on, share_out
from scripts.paper_runs import BACKBONES, Run, classify, joint_scores, project, shrink, study
from vtenv import provenance
from vtenv.atomic_write import atomic_write
from vtenv.grasps.grasps import POSE_LABELS, SPLITS, GraspConfig, grasp_blocks, num_grasps
from vtenv.modalities import IMAGE_MODALITIES
from vtenv.progress import progress_bar
from vtenv.tasks.insertion.connectors import CONNECTOR_NAMES


@dataclass(frozen=True)
class Options:
    """The study's options."""

    output: Path | None = None
    """Folder for data, runs, figures and the table; by default outputs/paper-study."""
    smoke: bool = False
    """Small networks and images: the whole study on a CPU in minutes. Not results."""
    only: tuple[str, ...] = ()
    """Runs to make; by default all. `--list` names them."""
    list: bool = False
    """Name the runs and stop."""
    devices: tuple[str, ...] = ()
    """Where to train: cpu, cuda:0 and so on; by default the first GPU, or the CPU."""
    runs_per_device: int = 1
    """Runs that share a device."""
    free_grasps: int = 20_000
    """Simulated grasps that the vision transformer may start from."""
    image_size: int | None = None
    """Rows and columns of all images; by default 224, or 32 with --smoke."""
    seed: int = 0
    """Seed of data and training."""
    pretrained: bool = False
    """Start from ImageNet weights, as the paper did; needs a network, or their files."""
    worker: str | None = None
    """The run that this process makes; for the processes that the study starts by itself."""


def main(options: Options) -> int:
    """Make what is missing of the study, and draw it."""
    folder = options.output or Path(f"outputs/paper-study{'-smoke' if options.smoke else ''}")
    runs = study(pretrained=options.pretrained)
    if options.smoke:
        runs = {name: shrink(run) for name, run in runs.items()}
    for name, run in runs.items():
        runs[name] = replace(run, config=replace(run.config, seed=options.seed))
    if options.worker is not None:
        _train(folder, options.worker, runs, options)
        return 0
    if options.list:
        for name, run in runs.items():
            print(f"{name:36s} {run.label}")
        return 0
    if unknown := sorted(set(options.only) - set(runs)):
        print(f"no run is called {unknown[0]!r}; see --list", file=sys.stderr)
        return 2
    chosen = options.only or tuple(runs)
    _write_data(folder, options, free=False)
    if any(runs[name].free_grasps for name in chosen):
        _write_data(folder, options, free=True)
    failed = _train_all(folder, chosen, runs, options)
    _report(folder, runs)
    return 1 if failed else 0


# What is trained on.
def _data_folder(folder: Path, *, free: bool) -> Path:
    return folder / ("free-grasps" if free else "grasps")


def _write_data(folder: Path, options: Options, *, free: bool) -> None:
    """The paper's grasps, or many more of them, unless they are there."""
    path = _data_folder(folder, free=free)
    size = options.image_size or (32 if options.smoke else 224)
    grasps = 1920
    if options.smoke:
        grasps = 320
    elif free:
        grasps = options.free_grasps
    config = GraspConfig(image_size=size, contact_size=size, grasps=grasps)
    # Another seed: the held-out grasps of the study are none of these.
    seed = options.seed + (1 if free else 0)
    settings = {"seed": seed, "image_size": size, "grasps": grasps}
    if path.exists():
        there = Dataset.open(path).settings
        if there != settings:
            raise SystemExit(
                f"{path} was made with {there}, and this study asks for {settings}; choose "
                "another --output, or the options it was begun with"
            )
        return
    writer = DatasetWriter(
        path,
        kind="paper",
        settings=settings,
        labels=POSE_LABELS,
        codes={"connector": CONNECTOR_NAMES},
        modalities=IMAGE_MODALITIES,
        made={
            "command": _command(),
            "commit": provenance.commit(),
            "versions": provenance.versions(),
        },
    )
    with writer, progress_bar() as progress:
        bar = progress.add_task("Grasping", total=sum(num_grasps(config, s) for s in SPLITS))
        for split in SPLITS:
            for block in grasp_blocks(config, split, seed):
                writer.append(split, block)
                progress.advance(bar, len(block["connector"]))


# What is trained.
def _train_all(
    folder: Path, names: tuple[str, ...], runs: Mapping[str, Run], options: Options
) -> list[str]:
    """Train every run in a process of its own, on the devices there are; what failed."""
    console = Console(stderr=True)
    finished = {name: threading.Event() for name in runs}
    waiting = [name for name in runs if name in names and not _is_done(folder, name)]
    for name in set(runs) - set(waiting):
        finished[name].set()

    def work(name: str, device: str) -> bool:
        """Make a run once the one it starts from is there; whether it succeeded."""
        try:
            if (start := runs[name].start) is not None:
                finished[start].wait()
                if not _is_done(folder, start):
                    console.print(f"{name} is left out: {start} is not there", style="red")
                    return False
            command = [sys.executable, __file__, *sys.argv[1:], "--worker", name]
            return run_on(device, name, command, folder)
        finally:
            finished[name].set()

    devices = options.devices or available_devices()
    return share_out(waiting, work, devices, options.runs_per_device)


def _is_done(folder: Path, name: str) -> bool:
    return (folder / "runs" / name / "test.json").is_file()


def _train(folder: Path, name: str, runs: Mapping[str, Run], options: Options) -> None:
    """Train a run, from where it stands, and test it."""
    run, path = runs[name], folder / "runs" / name
    data = Dataset.open(_data_folder(folder, free=run.free_grasps))
    config = run.config
    if run.start is not None:
        config = replace(config, start=str(folder / "runs" / run.start / "encoder"))
    config = fit_to_split(config, data["train"])
    fabric = make_fabric(config)
    size = next(iter(config.encoder.images.values()))[1]
    result = pretrain(
        config,
        make_source(config, data["train"], fabric),
        path,
        fabric=fabric,
        resume=path.exists(),
        data=TrainingData(f"the paper's grasps, {len(data['train']):,} of {size} pixels"),
        made=provenance.record() | {"command": _command()},
        checkpoint_every=10,
    )
    test = _test(run, result.encoder, path, Dataset.open(_data_folder(folder, free=False)))
    with atomic_write(path / "test.json") as temporary:
        temporary.write_text(json.dumps(test, indent=2) + "\n")


def _heldout(run: Run, encoder: VisuotactileEncoder, data: Dataset) -> DatasetSource:
    keys = ("depth", "contact", "connector")
    device = next(encoder.parameters()).device
    channels = {key: shape[0] for key, shape in encoder.config.images.items()}
    return DatasetSource(
        data["heldout"], 64, keys, seed=0, device=device, channels=channels, shuffle=False
    )


def _test(run: Run, encoder: VisuotactileEncoder, path: Path, data: Dataset) -> dict[str, Any]:
    """What the study asks of a trained run."""
    encoder.eval()
    objective = load_objective(path, encoder)
    source = _heldout(run, encoder, data)
    if isinstance(objective, Classification):
        counts = classify(encoder, objective, source, occlude=run.occluded)
        return {"label": run.label, "confusion": counts.tolist()}
    vectors, connector = project(encoder, objective, source)
    with atomic_write(path / "projections.npz") as temporary:
        np.savez(temporary, connector=connector, **vectors)
    return {"label": run.label, **joint_scores(vectors, connector, run.config.seed)}


# What came out.
def _report(folder: Path, runs: Mapping[str, Run]) -> None:
    """Draw the figures and write the table, as far as runs are done."""
    tests = {
        name: json.loads((folder / "runs" / name / "test.json").read_text())
        for name in runs
        if _is_done(folder, name)
    }
    confusions = {n: np.array(t["confusion"]) for n, t in tests.items() if "confusion" in t}
    figures: dict[str, Any] = {}
    if groups := _accuracy_groups(confusions):
        figures["accuracy"] = paper_figures.accuracy_figure(groups)
    if (best := "classify-resnet50") in confusions:
        figures["confusion"] = paper_figures.confusion_figure(
            confusions[best], "ResNet-50, vision + touch"
        )
    joint = [[f"infonce-{b}{suffix}" for suffix in ("", "-augmented")] for b in BACKBONES]
    if all(name in tests for row in joint for name in row):
        places = {name: _places(folder / "runs" / name) for row in joint for name in row}
        figures["tsne"] = paper_figures.tsne_figure(
            [[(runs[name].label, *places[name]) for name in row] for row in joint]
        )
        data = Dataset.open(_data_folder(folder, free=False))["heldout"]
        contact = data.read(np.arange(len(data)), ["contact"])["contact"][:, :1]
        both, connector = places["infonce-resnet50"]
        figures["imprints"] = paper_figures.imprint_figure(
            both[len(connector) :], connector, contact
        )
    (folder / "figures").mkdir(exist_ok=True)
    for name, figure in figures.items():
        path = folder / "figures" / f"{name}.png"
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=140)
        print(path)
    text = _tables(tests)
    with atomic_write(folder / "table.md") as temporary:
        temporary.write_text(text)
    with atomic_write(folder / "results.json") as temporary:
        document = {"hardware": provenance.hardware(), "commit": provenance.commit(), "runs": tests}
        temporary.write_text(json.dumps(document, indent=2) + "\n")
    print(text)


def _accuracy_groups(confusions: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Bars of figure 7, by network, as far as there are any."""
    names = {
        "ResNet-50": "classify-resnet50{}",
        "ViT-B/16": "classify-vit-base{}",
        "ViT-B/16 from\nsimulated grasps": "classify-vit-base{}-grasps",
        "ResNet-50 with\nocclusions": "classify-resnet50{}-occlusion",
    }
    senses = {"vision": "-vision", "touch": "-touch", "vision + touch": ""}
    groups = {
        title: {
            sense: confusions[name]
            for sense, suffix in senses.items()
            if (name := pattern.format(suffix)) in confusions
        }
        for title, pattern in names.items()
    }
    if (free := "grasps-vit-base") in confusions:
        groups["ViT-B/16 on\nsimulated grasps"] = {"vision + touch": confusions[free]}
    return {title: bars for title, bars in groups.items() if bars}


def _places(path: Path) -> tuple[Any, Any]:
    """t-SNE of vision and touch together, (2N, 2), and connectors, (N,)."""
    stored = np.load(path / "projections.npz")
    both = np.concatenate([stored["vision"], stored["touch"]])
    return tsne(both, seed=0), stored["connector"]


def _tables(tests: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["| classifier | accuracy | 95% interval | of |", "|---|---|---|---|"]
    for test in tests.values():
        if "confusion" not in test:
            continue
        counts = np.array(test["confusion"])
        right, total = int(np.trace(counts)), int(counts.sum())
        low, high = paper_figures.wilson(right, total)
        label = test["label"]
        lines.append(f"| {label} | {right / total:.1%} | {low:.1%} to {high:.1%} | {total} |")
    lines += [
        "",
        "| joint space | recall at 1, 5, 10 | silhouette | NMI |",
        "|---|---|---|---|",
    ]
    for test in tests.values():
        if "nmi" not in test:
            continue
        recalls = ", ".join(f"{test[f'recall_{rank}']:.1%}" for rank in (1, 5, 10))
        scores = f"{test['silhouette']:.3f} | {test['nmi']:.3f}"
        lines.append(f"| {test['label']} | {recalls} | {scores} |")
    return "\n".join(lines) + "\n"


def _command() -> str:
    return shlex.join(["python", "-m", "scripts.reproduce_paper", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
