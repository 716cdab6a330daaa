"""Draws the study's figures and prints its tables, from what its runs left.

python -m scripts.paper.report outputs/paper-study/results.json --output docs
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from matplotlib.figure import Figure

from representation.probes.markdown import table
from scripts.paper import figures
from scripts.paper.conditions import CONDITIONS
from scripts.paper.results import Estimate, Results, over_seeds
from scripts.paper.runs import BACKBONES, SENSES, study
from vtenv.atomic_write import atomic_write, write_text
from vtenv.grasps.grasps import GraspConfig, grasp_blocks

_CLASSIFIERS = {
    "ResNet-50": "classify-resnet50{}",
    "ViT-B": "classify-vit-base{}",
    "ResNet-50,\nour recipe": "ours-resnet50{}",
    "ViT-B,\nour recipe": "ours-vit-base{}",
}
_OCCLUDED = {
    **{
        f"{title}, no occluders in training": {
            senses: f"classify-{backbone}{suffix}" for suffix, senses in SENSES.items()
        }
        for backbone, title in BACKBONES.items()
    },
    "ResNet-50, occluders in training": {
        "vision": "occluded-vision",
        "touch": "classify-resnet50-touch",
        "vision + touch": "occluded-joint",
        "..., a loss for each sense": "occluded-separate",
        "..., touch augmented, modality dropout": "occluded-augmented",
        "..., the same and a loss for each sense": "occluded-separate-augmented",
        "..., gradients balanced": "occluded-balanced",
        "..., cross-attention": "attention-occluded",
        "two networks, calibrated": "late-fusion",
    },
    "ResNet-50, our recipe, occluders in training": {
        "vision": "occluded-ours-vision",
        "touch": "ours-resnet50-touch",
        "vision + touch": "occluded-ours-joint",
        "..., a loss for each sense": "occluded-ours-separate",
        "two networks, calibrated": "ours-late-fusion",
    },
}
_JOINT_SCORES = (
    "silhouette",
    "nmi",
    "alignment",
    "uniformity_vision",
    "uniformity_touch",
    "recall_1",
    "recall_10",
    "probe_vision",
    "probe_touch",
)
_CONTRAST = {
    "InfoNCE": "joint-resnet50-heads",
    "MoCo": "moco",
    "MoCo, two groups": "moco-groups",
    "MoCo, two groups, shuffled": "moco-shuffled",
}


@dataclass(frozen=True)
class Options:
    """What to report."""

    results: tyro.conf.Positional[Path]
    """The file of results."""
    output: Path | None = None
    """Where images/ and results/ are, which get the figures and the data; None for tables alone."""


def main(options: Options) -> int:
    """Print tables; draw figures and write data if asked for."""
    results = Results.read(options.results)
    print("\n\n".join(filter(None, _tables(results))))
    if options.output is None:
        return 0
    for name, figure in _figures(results).items():
        with atomic_write(options.output / "images" / f"paper-{name}.png") as temporary:
            figure.savefig(temporary, dpi=140, format="png")
    write_text(
        options.output / "results" / "paper-study.json",
        json.dumps(results.public(), separators=(",", ":")) + "\n",
    )
    return 0


def _tables(results: Results) -> Iterable[str]:
    labels = {run.group: run.label for run in study((0,)).values() if results.seeds(run.group)}

    def rows(names: Iterable[str], conditions: Sequence[str]) -> list[list[str]]:
        return [
            [
                labels[name],
                str(len(results.seeds(name))),
                *(str(results.accuracy(name, each)) for each in conditions),
            ]
            for name in names
            if name in labels
        ]

    yield _table(
        ["classifier", "seeds", "accuracy"],
        rows(
            (n for n in labels if n == "attention" or n.startswith(("classify", "ours"))), ["clean"]
        ),
    )
    for title, lines in _OCCLUDED.items():
        yield _table(
            [title, "clean", "occluded", *figures.COVERED],
            [
                [label, *map(str, _occluded(results, name))]
                for label, name in lines.items()
                if results.seeds(name)
            ],
        )
    joint = [name for name in labels if name.startswith(("joint", "moco"))]
    yield _table(
        ["joint space", "width", *_JOINT_SCORES],
        [
            [labels[name], f"{results.values(name, 'width')[0]:,}"]
            + [_number(over_seeds(results.values(name, key))) for key in _JOINT_SCORES]
            for name in joint
        ],
    )
    yield _table(
        ["contrast", "change of the loss from step to step, relative", "absolute"],
        [
            [label, str(relative), _number(absolute)]
            for label, name in _CONTRAST.items()
            if results.seeds(name)
            for relative, absolute in [results.jumpiness(name)]
        ],
    )
    resnets, transformers = ([f"classify-{b}{suffix}" for suffix in SENSES] for b in BACKBONES)
    corrupted = [name for name in CONDITIONS if name != "little occluded"]
    yield _table(
        ["classifier", "seeds", *corrupted], rows([*resnets, *transformers, "robust"], corrupted)
    )
    clutter = ["clean", "clutter-3", "clutter-6"]
    yield _table(
        ["classifier", "seeds", "alone", "beside 3", "beside 6"],
        rows([*resnets, "clutter-vision", "clutter"], clutter),
    )


def _occluded(results: Results, name: str) -> list[Estimate]:
    return [
        results.accuracy(name),
        results.accuracy(name, "occluded"),
        *results.by_covered(name),
    ]


def _number(estimate: Estimate) -> str:
    half = "" if estimate.half is None else f" ± {estimate.half:.3f}"
    return f"{estimate.value:.3f}{half}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return table(head, rows) if rows else ""


def _figures(results: Results) -> Mapping[str, Figure]:
    """Figures by name, as far as there is anything to draw."""
    drawn: dict[str, Figure] = {}
    groups = {
        title: {
            senses: results.accuracy(pattern.format(suffix))
            for suffix, senses in SENSES.items()
            if results.seeds(pattern.format(suffix))
        }
        for title, pattern in _CLASSIFIERS.items()
    }
    if bars_of := {title: bars for title, bars in groups.items() if bars}:
        drawn["accuracy"] = figures.accuracy_figure(bars_of)
    counts = {
        f"ResNet-50, {senses}": results.confusion(name)
        for suffix, senses in SENSES.items()
        if results.seeds(name := f"classify-resnet50{suffix}") and suffix != "-vision"
    }
    if counts:
        drawn["confusion"] = figures.confusion_figure(counts)
    panels = {
        title: {
            label: results.by_covered(name) for label, name in lines.items() if results.seeds(name)
        }
        for title, lines in _OCCLUDED.items()
    }
    if shown := {title: lines for title, lines in panels.items() if len(lines) > 1}:
        drawn["occlusion"] = figures.occlusion_figure(shown)
    losses = {
        title: np.array(results.values(name, "losses"))
        for title, name in _CONTRAST.items()
        if results.seeds(name)
    }
    if losses:
        drawn["losses"] = figures.loss_figure(losses)
    bare = {"resnet50": "logits", "vit-base": "tokens"}
    spaces = [
        [
            (f"{BACKBONES[b]}, {kind}{text}", f"joint-{b}-{kind}{suffix}-s0")
            for suffix, text in (("", ""), ("-augmented", ", augmented"))
        ]
        for b, kind in bare.items()
    ]
    if all(name in results.runs for row in spaces for _, name in row):
        places = {
            name: np.array(results.runs[name]["places"], np.float32)
            for row in spaces
            for _, name in row
        }
        drawn["tsne"] = figures.tsne_figure(
            [[(title, places[name], results.connector) for title, name in row] for row in spaces]
        )
        size = results.document["image_size"]
        config = GraspConfig(image_size=8, contact_size=size)
        contact = np.concatenate([b["contact"] for b in grasp_blocks(config, "heldout", 0)])
        _, touch = np.split(places[spaces[0][0][1]], 2)
        if len(contact) == len(touch):  # a small study has fewer
            drawn["imprints"] = figures.imprint_figure(touch, results.connector, contact)
    return drawn


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
