"""Ten and a hundred times more pairs of images: what does that do to what encoders know?

    uv run python scripts/data_size_study.py                 # a GPU; interrupt and go on at will
    uv run python scripts/data_size_study.py --devices cuda:0 cuda:1 --runs-per-device 3
    uv run python scripts/data_size_study.py --runs control-resnet-pose-57000 --minutes 1
    uv run python scripts/data_size_study.py --smoke         # small, in minutes on a CPU

Every run renders its pairs on its own device, trains on them for the same time, and is probed on
the same episodes, which none was trained on. It is `vtinsert pretrain --live`, then `vtinsert
probe`, in processes of their own: the card of each encoder has the command that makes it again.
What is finished is not done again, and a run that fails does not keep the others from going on.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from representation.probes import measurements as ms
from scripts.data_size_figure import data_size_figure, data_size_table
from scripts.one_device import available_devices, run_on, share_out
from vtenv import provenance
from vtenv.atomic_write import atomic_write, write_text

PRESETS = ("control-resnet-dynamics", "control-vit-dynamics", "control-resnet-pose")
"""What the bundled encoders are trained by."""
BUNDLED = {
    "control-resnet-dynamics": "resnet-dynamics",
    "control-vit-dynamics": "vit-dynamics",
    "control-resnet-pose": "resnet-pose",
}
"""The bundled encoder of each."""

_PROBE_SEED = 1000
"""Added to the study's seed for the episodes of the probes."""


@dataclass(frozen=True)
class Options:
    """The study's options."""

    output: Path | None = None
    """Folder of the study; by default outputs/data-size-study."""
    presets: tuple[str, ...] = PRESETS
    """What to train, by preset."""
    pairs: tuple[int, ...] = (57_000, 570_000, 5_700_000)
    """Pairs of images to train on; 5,700,000 take 51 GiB of the device."""
    runs: tuple[str, ...] = ()
    """Runs to make; by default all. `--list` names them."""
    list: bool = False
    """Name the runs and stop."""
    minutes: float = 3.0
    """Time that each run trains, without rendering."""
    steps: int | None = None
    """Steps that each run trains, in place of a time: runs that share a device are alike then."""
    data: Path | None = None
    """Data set to probe on, with the splits train and heldout; by default one is rendered."""
    frames: int = 131_072
    """Rows of that data set."""
    devices: tuple[str, ...] = ()
    """Where to train: cpu, cuda:0 and so on; by default the first GPU, or the CPU."""
    runs_per_device: int = 1
    """Runs that share a device."""
    engine: str = "warp"
    """The physics engine, warp or cpu."""
    seed: int = 0
    """Seed of data and training."""
    smoke: bool = False
    """Small networks, few pairs, few steps: in minutes on a CPU. Not results."""


@dataclass(frozen=True)
class Run:
    """One encoder of the study.

    Attributes:
        preset: What trains it; empty for a bundled one, which is probed alone.
        pairs: Pairs of images that it is trained on; 0 for a bundled one.
        encoder: Name of the bundled one; empty for the others.
    """

    preset: str
    pairs: int = 0
    encoder: str = ""

    @property
    def name(self) -> str:
        """Its name in the study."""
        return self.encoder or f"{self.preset}-{self.pairs}"


def main(options: Options) -> int:
    """Make what is missing of the study, and draw it."""
    folder = options.output or Path(f"outputs/data-size-study{'-smoke' if options.smoke else ''}")
    runs = list(_study(options))
    if options.list:
        print("\n".join(run.name for run in runs))
        return 0
    known = {run.name for run in runs}
    if unknown := sorted(set(options.runs) - known):
        print(f"no run is called {unknown[0]!r}; see --list", file=sys.stderr)
        return 2
    chosen = [run for run in runs if not options.runs or run.name in options.runs]
    devices = options.devices or available_devices()
    data = options.data or folder / "probe-data"
    if not data.exists() and not _render_probe_data(folder, data, devices[0], options):
        return 1
    failed = share_out(
        chosen,
        lambda run, device: _make(folder, data, run, device, options),
        devices,
        options.runs_per_device,
    )
    _report(folder, runs, options)
    return 1 if failed else 0


def _study(options: Options) -> Iterator[Run]:
    """Every run; the bundled encoders first, then those that take longest and most memory."""
    for preset in options.presets:
        if preset in BUNDLED:
            yield Run(preset, encoder=BUNDLED[preset])
    for pairs in sorted((256, 128) if options.smoke else options.pairs, reverse=True):
        for preset in options.presets:
            yield Run(preset, pairs)


# What is done for a run: commands of `vtinsert`.
def _pretrain(run: Run, path: Path, options: Options) -> list[str]:
    if path.exists():
        return ["pretrain", "--resume", "--output", str(path)]
    command = ["pretrain", "--live", options.engine, "--pairs", str(run.pairs)]
    command += ["--preset", run.preset, "--seed", str(options.seed), "--output", str(path)]
    if options.smoke:
        small = ["--backbone", "test_convnext", "--batch-size", "8", "--max-steps", "2"]
        return [*command, *small]
    if options.steps is not None:
        return [*command, "--max-steps", str(options.steps)]
    return [*command, "--max-minutes", f"{options.minutes:g}"]


def _probe(run: Run, path: Path, data: Path, device: str, options: Options) -> list[str]:
    encoder = run.encoder or str(path.parents[1] / "runs" / run.name)
    command = ["probe", encoder, "--data", str(data), "--output", str(path)]
    command += ["--seed", str(options.seed), "--no-baselines"]
    if options.smoke:
        command += ["--rows", "400"]
    return [*command, "--device", "cpu" if device == "cpu" else "cuda:0"]


def _render_probe_data(folder: Path, data: Path, device: str, options: Options) -> bool:
    """Episodes for the probes; what the engine compiles for them is there for all runs."""
    command = ["dataset", "experience", "--output", str(data), "--engine", options.engine]
    command += ["--frames", str(1024 if options.smoke else options.frames)]
    command += ["--worlds", str(8 if options.smoke else 512), "--heldout", "0.4"]
    command += ["--seed", str(options.seed + _PROBE_SEED)]
    if options.engine == "warp":
        command += ["--device", "cpu" if device == "cpu" else "cuda:0"]
    return _vtinsert(folder, "probe-data", command, device)


def _make(folder: Path, data: Path, run: Run, device: str, options: Options) -> bool:
    """Train a run and probe it, as far as that is not done; whether it succeeded."""
    path, probe = folder / "runs" / run.name, folder / "probes" / run.name
    trained = bool(run.encoder) or (path / "result.json").is_file()
    if not trained and not _vtinsert(folder, run.name, _pretrain(run, path, options), device):
        return False
    if (probe / "report.json").is_file():
        return True
    command = _probe(run, probe, data, device, options)
    return _vtinsert(folder, f"{run.name}-probe", command, device)


def _vtinsert(folder: Path, name: str, command: Sequence[str], device: str) -> bool:
    """Run a command of `vtinsert` that sees one device; whether it succeeded."""
    return run_on(device, name, [sys.executable, "-m", "policies.cli", *command], folder)


# What came out.
def _report(folder: Path, runs: Sequence[Run], options: Options) -> None:
    """Write the results, the table and the picture, as far as runs are done."""
    results = {run.name: found for run in runs if (found := _result(folder, run)) is not None}
    document = {
        "command": shlex.join(["python", "scripts/data_size_study.py", *sys.argv[1:]]),
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "versions": provenance.versions(),
        "seed": options.seed,
        "runs": results,
    }
    table = data_size_table(results)
    write_text(folder / "results.json", json.dumps(document, indent=2) + "\n")
    write_text(folder / "table.md", table)
    if any(result["pairs"] for result in results.values()):
        with atomic_write(folder / "data-size.png") as temporary:
            data_size_figure(results).savefig(temporary, dpi=140)
    print(table)


def _result(folder: Path, run: Run) -> Mapping[str, Any] | None:
    """What is known of a run; None if it is not done."""
    probe = folder / "probes" / run.name / "report.json"
    if not probe.is_file():
        return None
    audit = json.loads(probe.read_text())["audit"]
    found: dict[str, Any] = {"preset": run.preset, "pairs": run.pairs, "audit": _brief(audit)}
    trained = folder / "runs" / run.name / "result.json"
    if trained.is_file():
        result = json.loads(trained.read_text())
        found |= {name: result[name] for name in ("steps", "seconds")}
        found["loss"] = result["row"]["loss"]
        found["device"] = json.loads((trained.parent / "config.json").read_text())["devices"]
        found |= {name: result["measured"][name] for name in ("rendered", "rendered_per_s")}
    return found


def _brief(audit: Mapping[str, Any]) -> dict[str, Any]:
    """An audit's facts, and errors and accuracies of the whole embedding."""
    kept = ("train_rows", "heldout_rows", "train_episodes", "heldout_episodes", "bounds", "regions")
    rows = ms.measurements_from(audit["measurements"])
    decisive = ms.select(rows, measure=(ms.ERROR, ms.ACCURACY), part=("", ms.FUSED))
    return {name: audit[name] for name in kept} | {
        "measurements": [row.to_dict() for row in decisive]
    }


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
