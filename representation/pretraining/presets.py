"""Training runs by name: the paper's, and ours for control.

They are data, so that a command line can show them without the simulator, whose modalities judge an
encoder's images.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from representation.pretraining.config import PretrainConfig

CONTROL_BACKBONES: dict[str, dict[str, Any]] = {
    "resnet": {
        "backbone": "resnet18",
        "pooling": "flatten",
        "embedding_dim": 128,
        "backbone_options": {
            "layers": [1, 1, 1, 1],
            "channels": [16, 32, 32, 32],
            "stem_type": "deep",
            "stem_width": 8,
            "output_stride": 8,
        },
    },
    "vit": {
        "backbone": "vit_tiny_patch16_224",
        "pooling": "flatten",
        "embedding_dim": 128,
        "backbone_options": {"patch_size": 16, "embed_dim": 96, "depth": 2, "num_heads": 3},
    },
}
"""Encoders for control at 64 pixels: small enough to run beside a simulator on a CPU, and with
`pooling="flatten"`, which keeps where something is."""

CONTROL_OBJECTIVES: tuple[str, ...] = (
    "pose",
    "classification",
    "infonce",
    "moco",
    "masked",
    "soft_contrastive",
    "dynamics",
    "masked+dynamics",
    "infonce+masked",
    "infonce+dynamics",
    "infonce+masked+dynamics",
)
"""Objectives of the presets for control, sums with equal weights."""

_PAPER_BACKBONES = {
    "resnet50": ("resnet50", 1e-4),
    "vit-base": ("vit_base_patch16_224", 1e-5),
}
"""Networks and learning rates of the paper, section C."""


def preset(name: str) -> PretrainConfig:
    """A training run by its name; `dataclasses.replace` changes what shall be different.

    Raises:
        ValueError: If the name is none of `PRESETS`; names those that are nearest.
    """
    from vtenv.json_document import from_document  # imports Gymnasium

    return from_document(PretrainConfig, preset_fields(name))


def preset_fields(name: str) -> Mapping[str, Any]:
    """The fields of `PretrainConfig` that a training run sets, those of its encoder nested.

    Raises:
        ValueError: As `preset`.
    """
    if name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(name, PRESETS, n=3, cutoff=0.0)
    raise ValueError(
        f"preset {name[:80]!r} is unknown; did you mean {', '.join(near)}? All {len(PRESETS)} are "
        "in docs/pretraining.md, and in representation.pretraining.presets.PRESETS"
    )


def _paper(backbone: str) -> dict[str, dict[str, Any]]:
    network, learning_rate = _PAPER_BACKBONES[backbone]

    def run(*keys: str, objective: str = "classification", augment: str = "none") -> dict[str, Any]:
        return {
            "encoder": {"backbone": network, "images": dict.fromkeys(keys, (1, 224, 224))},
            "objective": objective,
            "augment": augment,
            "pretrained": True,
            "batch_size": 64,
            "epochs": 50,
            "learning_rate": learning_rate,
            "schedule": "exponential",
            "select": "lowest_loss",
        }

    both = ("depth", "contact")
    return {
        f"paper-classify-{backbone}": run(*both),
        f"paper-classify-{backbone}-vision": run("depth"),
        f"paper-classify-{backbone}-touch": run("contact"),
        f"paper-classify-{backbone}-occlusion": run(*both, augment="occlusion"),
        f"paper-classify-{backbone}-vision-occlusion": run("depth", augment="occlusion"),
        f"paper-infonce-{backbone}": run(*both, objective="infonce"),
        f"paper-infonce-{backbone}-augmented": run(
            *both, objective="infonce", augment="contrastive"
        ),
    }


def _control() -> dict[str, dict[str, Any]]:
    return {
        f"control-{backbone}-{name}": {
            "encoder": encoder,
            "objective": name if "+" not in name else dict.fromkeys(name.split("+"), 1.0),
            "batch_size": 512,
            "epochs": 30,
            "learning_rate": 1e-3,
            "schedule": "cosine",
            "warmup": 0.05,
            "weight_decay": 0.05,
            "clip_norm": 1.0,
            "select": "last",
            "precision": "32-true",  # as it will be used; networks so small gain nothing from less
        }
        for backbone, encoder in CONTROL_BACKBONES.items()
        for name in CONTROL_OBJECTIVES
    }


PRESETS: dict[str, dict[str, Any]] = _paper("resnet50") | _paper("vit-base") | _control()
"""Every training run by its name, as the fields of `PretrainConfig` that it sets."""
