"""The runs of the paper's study: what each is trained from, and what each is asked afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score
from torch import Tensor

from representation.augmentations import Augment
from representation.data.sources import Source
from representation.encoder_config import EncoderConfig
from representation.objectives.classification import Classification
from representation.objectives.objective import Objective
from representation.pretraining.config import PretrainConfig
from representation.pretraining.presets import preset
from representation.probes.space import cluster_agreement, projection_heads, recall_at
from representation.timm_encoder import VisuotactileEncoder

OCCLUSION_SEED = 7
"""Draws the occluders of the held-out set, the same for every network."""

GRASP_DEPTH_RANGE = (0.405, 0.435)
"""Depths that our own run tells apart, in [m]: from above the connectors to the table."""

BACKBONES = {"resnet50": "ResNet-50", "vit-base": "ViT-B/16"}
SENSES = {"": "vision + touch", "-vision": "vision", "-touch": "touch"}


@dataclass(frozen=True)
class Run:
    """A training run of the study."""

    config: PretrainConfig
    """What to train."""
    label: str
    """What it is called in tables."""
    occluded: bool = False
    """Whether it is tested with occlusions, as it was trained with them."""
    start: str | None = None
    """The run whose encoder it starts from; None for random weights."""
    free_grasps: bool = False
    """Whether it is trained on the large set of simulated grasps, not on the paper's."""


def study(*, pretrained: bool = False) -> dict[str, Run]:
    """Every run of the paper, and what it left to future work, by name.

    Args:
        pretrained: Whether backbones start from ImageNet weights, as the paper's did.

    Returns:
        The runs; a run comes after the one it starts from.
    """
    runs: dict[str, Run] = {}
    for backbone, title in BACKBONES.items():
        for suffix, senses in SENSES.items():
            name = f"classify-{backbone}{suffix}"
            runs[name] = Run(preset(f"paper-{name}"), f"{title}, {senses}")
    for suffix in ("", "-vision"):
        name = f"classify-resnet50{suffix}-occlusion"
        runs[name] = Run(
            preset(f"paper-{name}"), f"ResNet-50, {SENSES[suffix]}, occluded", occluded=True
        )
    for backbone, title in BACKBONES.items():
        for suffix, kind in (("", "no augmentation"), ("-augmented", "augmented")):
            name = f"infonce-{backbone}{suffix}"
            runs[name] = Run(preset(f"paper-{name}"), f"{title}, {kind}")

    both = runs["classify-resnet50"].config
    attention = replace(both.encoder, fusion="cross_attention")
    runs["classify-resnet50-attention"] = Run(
        replace(both, encoder=attention), "ResNet-50, vision + touch, cross-attention"
    )
    ranges = both.encoder.ranges
    depth = replace(ranges["depth"], encoded_range=GRASP_DEPTH_RANGE)
    sharp = replace(both.encoder, ranges={**ranges, "depth": depth})
    runs["classify-resnet50-ours"] = Run(
        replace(both, encoder=sharp, learning_rate=3e-4, schedule="cosine", warmup=0.05),
        "ResNet-50, vision + touch, our preset",
    )
    runs["moco-resnet50"] = Run(
        replace(runs["infonce-resnet50"].config, objective="moco", select="last"), "ResNet-50, MoCo"
    )
    # Without ImageNet a vision transformer of this size starts from simulated grasps instead.
    vit = runs["classify-vit-base"].config
    runs["grasps-vit-base"] = Run(
        replace(vit, learning_rate=1e-4, schedule="cosine", warmup=0.1, epochs=6),
        "ViT-B/16 on simulated grasps",
        free_grasps=True,
    )
    for suffix, senses in SENSES.items():
        runs[f"classify-vit-base{suffix}-grasps"] = Run(
            runs[f"classify-vit-base{suffix}"].config,
            f"ViT-B/16, {senses}, from simulated grasps",
            start="grasps-vit-base",
        )
    return {
        name: replace(run, config=replace(run.config, pretrained=pretrained and run.start is None))
        for name, run in runs.items()
    }


def shrink(run: Run) -> Run:
    """A run of the same shape, made in seconds on a CPU: to try the study, not for results."""
    small: dict[str, tuple[str, dict[str, object]]] = {
        "resnet50": ("resnet18", {"layers": [1, 1, 1, 1], "channels": [8, 16, 32, 64]}),
        "vit_base_patch16_224": (
            "vit_tiny_patch16_224",
            {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3},
        ),
    }
    backbone, options = small[run.config.encoder.backbone]
    encoder: EncoderConfig = replace(
        run.config.encoder, backbone=backbone, backbone_options=options
    )
    rate = max(run.config.learning_rate, 5e-4)
    return replace(
        run,
        config=replace(run.config, encoder=encoder, epochs=2, batch_size=32, learning_rate=rate),
    )


def occluded(batch: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """A held-out batch behind occluders: its own for each batch, the same for every network."""
    generator = torch.Generator().manual_seed(OCCLUSION_SEED + number)
    return Augment("occlusion")(batch, generator)


@torch.inference_mode()
def classify(
    encoder: VisuotactileEncoder, classifier: Classification, source: Source, *, occlude: bool
) -> NDArray[np.int64]:
    """Count classes of a held-out set against predictions.

    Args:
        encoder: The encoder, in evaluation mode.
        classifier: Its classifier.
        source: Held-out batches.
        occlude: Whether occluders stand before them.

    Returns:
        Counts, true class by predicted class, (4, 4).
    """
    classes = classifier.classifier.out_features
    counts = np.zeros((classes, classes), np.int64)
    for number, batch in enumerate(source.epoch(0)):
        seen = occluded(batch, number) if occlude else batch
        predicted = classifier.logits(encoder, seen).argmax(dim=1).cpu().numpy()
        np.add.at(counts, (batch["connector"].cpu().numpy(), predicted), 1)
    return counts


@torch.inference_mode()
def project(
    encoder: VisuotactileEncoder, objective: Objective, source: Source
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """Held-out grasps in the space where vision and touch are compared.

    Returns:
        Unit vectors by modality, (N, P), and connectors, (N,).
    """
    heads = projection_heads(objective)
    assert heads is not None, "a contrastive objective has projection heads"
    parts: dict[str, list[Tensor]] = {"vision": [], "touch": []}
    connectors = []
    for batch in source.epoch(0):
        for modality, vectors in heads(encoder.features(batch)).items():
            parts[modality].append(vectors.float().cpu())
        connectors.append(batch["connector"].cpu())
    vectors = {name: torch.cat(rows).numpy() for name, rows in parts.items()}
    return vectors, torch.cat(connectors).numpy()


def joint_scores(
    vectors: Mapping[str, NDArray[np.float32]], connector: NDArray[np.int64], seed: int
) -> dict[str, float]:
    """How a joint space clusters by object, and how well one sense finds the other.

    Args:
        vectors: Unit vectors by modality, (N, P).
        connector: Connectors, (N,).
        seed: Of k-means.

    Returns:
        Silhouette and normalised mutual information over both modalities' points, and recall of
        a grasp's touch from its image among all held-out grasps, at 1, 5 and 10.
    """
    points = np.concatenate(list(vectors.values()))
    classes = np.tile(connector, len(vectors))
    found = recall_at(vectors["vision"], vectors["touch"], (1, 5, 10))
    recalls = {f"recall_{k}": part for k, part in found.items()}
    agreement = cluster_agreement(points, classes, seed)
    silhouette = float(silhouette_score(points, classes))
    return {"silhouette": silhouette, "nmi": agreement, **recalls}
