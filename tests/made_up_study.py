"""The folder of an ablation that nobody ran: what `vtinsert ablate` would have left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from policies.ablation.folder import Ablation
from policies.ablation.grid import AblationConfig, Cell
from policies.learners.training_folder import TrainingFolder
from representation.probes.measurements import Measurement
from representation.probes.report import AuditReport

CONNECTORS = ("aux", "pin", "usb", "stud")
CAUSES = {
    "dropped": 0.03,
    "slipped": 0.05,
    "force": 0.1,
    "out of reach": 0.02,
    "jammed": 0.45,
    "partial": 0.2,
    "missed": 0.15,
}
"""How often an episode that fails does so, by cause."""
STRENGTH = {
    "state": 0.995,
    "resnet-pose": 0.96,
    "resnet-dynamics": 0.85,
    "vit-dynamics": 0.74,
    "resnet-pose:vision": 0.31,
    "resnet-pose:touch": 0.12,
    "proprio": 0.03,
    "random": 0.45,
    "end-to-end": 0.9,
}
"""About how often policies succeed, by representation; any other one never does."""


def write_cell(
    ablation: Ablation, cell: Cell, success: float, episodes: int = 40, steps: int = 400_000
) -> None:
    """What a cell leaves that is done."""
    rng = np.random.default_rng([cell.seed, len(cell.representation), ord(cell.representation[-1])])
    folder = ablation.folder(cell)
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for number in range(episodes):
        connector = CONNECTORS[number % 4]
        chance = np.clip(success + 0.06 * (number % 4 - 1.5) + rng.normal(0, 0.01), 0, 1)
        won = bool(rng.random() < chance)
        cause = "" if won else str(rng.choice(list(CAUSES), p=list(CAUSES.values())))
        rows.append(
            {
                **asdict(cell),
                "episode": number,
                "episode_seed": 1_000_000 + number,
                "connector": connector,
                "success": int(won),
                "failure": cause,
                "steps": int(rng.integers(20, 150)),
                "insertion_depth_mm": 5.0,
                "peak_force_n": 5.0 + number % 7,
            }
        )
    TrainingFolder(folder).write_table("episodes", rows)
    evaluations = []
    speed = rng.uniform(0.12, 0.3)
    for part in np.linspace(0, 1, 21):
        rate = success * (1 - np.exp(-part / speed)) + rng.normal(0, 0.015)
        connectors = {
            f"success_{name}": float(np.clip(rate + 0.05 * (i - 1.5), 0, 1))
            for i, name in enumerate(CONNECTORS)
        }
        evaluations.append(
            {
                "steps": int(part * steps),
                "seconds": 300.0 * part,
                "episodes": 100,
                "success": float(np.mean(list(connectors.values()))),
                **connectors,
            }
        )
    TrainingFolder(folder).write_table("evaluations", evaluations)
    config = {"commit": "0123456789ab", "hardware": {"cpu": "a processor", "cores": 2}}
    (folder / "config.json").write_text(json.dumps(config))
    dim = 0 if cell.representation in ("state", "proprio", "end-to-end") else 256
    result = {"success": success, "steps": steps, "seconds": 290.0 + 7 * cell.seed}
    (folder / "result.json").write_text(json.dumps(result | {"embedding_dim": dim}))


def write_study(
    folder: Path, config: AblationConfig, failed: Sequence[Cell] = (), missing: Sequence[Cell] = ()
) -> Ablation:
    """What `vtinsert ablate` leaves.

    Args:
        folder: Where to.
        config: The grid.
        failed: Cells that went wrong.
        missing: Cells that were not trained yet.
    """
    ablation = Ablation(folder)
    made = {
        "command": "vtinsert ablate --representations state resnet-pose",
        "commit": "0123456789ab",
        "hardware": {"cpu": "a processor", "cores": 2},
        "versions": {"python": "3.12.1", "torch": "2.15.0"},
    }
    ablation.write_grid(config, made)
    for cell in config.cells:
        if cell in missing:
            continue
        if cell in failed:
            ablation.write_failure(cell, "RuntimeError: <out of memory> & more")
            continue
        success = STRENGTH.get(cell.representation, 0.0)
        if cell.algorithm == "ppo":
            success = success * 0.4 if cell.start == "scratch" else min(success * 1.04, 1.0)
        write_cell(ablation, cell, success)
    ablation.write_episodes(config.cells)
    return ablation


def tables(text: str) -> dict[tuple[str, str], dict[str, list[str]]]:
    """Rows of Markdown tables, by section and by the heading of their last column."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    section = ""
    lines = text.splitlines()
    for before, line in pairwise(lines):
        if line.startswith("## "):
            section = line.removeprefix("## ")
        if line.startswith("|---") or line.startswith("| ---"):
            rows: dict[str, list[str]] = {}
            found[section, before.split(" | ")[-1].strip("| ")] = rows
        elif line.startswith("| ") and before.startswith("|"):
            name, *cells = (cell.strip() for cell in line.strip("| ").split(" | "))
            rows[name] = cells
    return found


def probe_report(name: str, error: float) -> str:
    """What `vtinsert probe` writes of an encoder; each part has an error of its own."""
    rows: list[Measurement] = []
    of = {"fitted_on": "near", "region": "near"}
    for i, part in enumerate(("vision", "touch", "fused")):
        for subject, j in (("encoder", 0), ("untrained encoder", 10)):
            value = error + i + j
            rows.append(
                Measurement(
                    name, subject, "error", value, part, "hand_z_mm", **of, unit="mm", bound=0.1
                )
            )
        rows.append(Measurement(name, "encoder", "accuracy", 0.9, part, "connector", **of))
    report = AuditReport(
        name=name,
        senses=("vision", "touch"),
        embedding_size=256,
        variables=("hand_z_mm",),
        classes=CONNECTORS,
        regions={"near": "near", "all": "all rows"},
        bounds={"hand_z_mm": 0.1, "socket_y_mm": 0.3},
        seed=0,
        train_rows={"all": 10},
        heldout_rows={"all": 10},
        train_episodes=10,
        heldout_episodes=10,
        shared_space="",
        measurements=tuple(rows),
        notes=(),
    )
    return json.dumps({"command": "vtinsert probe", "audit": report.to_dict()})
