"""What the study asks of a trained run: numbers and predictions, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score
from torch import Tensor

from representation.data.dataset import Dataset, Split
from representation.objectives.classification import Classification
from representation.objectives.objective import Objective
from representation.probes.linear import ClassProbe
from representation.probes.space import (
    alignment,
    cluster_agreement,
    projection_heads,
    recall_at,
    tsne,
    uniformity,
)
from representation.timm_encoder import VisuotactileEncoder
from scripts.paper.conditions import CONDITIONS, drawn

KEYS = ("depth", "contact", "connector")
RANKS = (1, 5, 10)
CALIBRATION_SEED = 8
"""Draws the occluders of the grasps that late fusion is calibrated by."""

_BATCH = 256


def heldout(split: Split, channels: int = 1) -> dict[str, Tensor]:
    """All grasps of a split on the CPU, one finger's mask each."""
    columns = split.read(np.arange(len(split)), KEYS)
    columns["contact"] = columns["contact"][:, :channels]
    return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in columns.items()}


@torch.inference_mode()
def logits(
    encoder: VisuotactileEncoder, classifier: Classification, batch: Mapping[str, Tensor]
) -> NDArray[np.float32]:
    """Scores of the classes, (N, 4), in batches."""
    device = next(encoder.parameters()).device
    parts = []
    for start in range(0, len(batch["connector"]), _BATCH):
        part = {key: batch[key][start : start + _BATCH].to(device) for key in encoder.keys}
        parts.append(classifier.logits(encoder, part).float().cpu())
    return torch.cat(parts).numpy()


def classification(
    encoder: VisuotactileEncoder,
    classifier: Classification,
    paper: Dataset,
    calibration: Dataset | None,
    clutter: Mapping[str, Dataset],
) -> dict[str, Any]:
    """Predictions of held-out grasps by condition, a digit a grasp.

    Args:
        encoder: The encoder, in evaluation mode.
        classifier: Its classifier.
        paper: The paper's grasps.
        calibration: Others, of which logits are to be given; None for no logits.
        clutter: Grasps among other objects, by condition.

    Returns:
        `predictions` by condition, and `logits`, in hundredths, for "clean", "occluded" and
        "calibration", if there are such grasps.
    """
    clean = heldout(paper["heldout"])
    scores = {name: logits(encoder, classifier, drawn(name, clean)) for name in CONDITIONS}
    for name, data in clutter.items():
        scores[name] = logits(encoder, classifier, heldout(data["heldout"]))
    found: dict[str, Any] = {
        "predictions": {name: digits(values.argmax(axis=1)) for name, values in scores.items()}
    }
    if calibration is not None:
        others = drawn("occluded", heldout(calibration["heldout"]), seed=CALIBRATION_SEED)
        scores["calibration"] = logits(encoder, classifier, others)
        found["logits"] = {
            name: (100 * scores[name]).round().astype(int).tolist()
            for name in ("clean", "occluded", "calibration")
        }
    return found


def digits(classes: NDArray[np.int64]) -> str:
    """Classes as a string of digits: a measurement that one can read, and small."""
    return "".join(map(str, classes.tolist()))


@torch.inference_mode()
def joint(
    encoder: VisuotactileEncoder, objective: Objective, paper: Dataset, *, places: bool
) -> dict[str, Any]:
    """How a joint space lies, and how well one sense finds the other.

    Args:
        encoder: The encoder, in evaluation mode.
        objective: Its contrastive objective.
        paper: The paper's grasps.
        places: Whether to place them in a plane by t-SNE.

    Returns:
        Scores by name: width of the space; silhouette and normalised mutual information with the
        class, over both senses' points; alignment; uniformity of each sense's points; recall of a
        grasp's touch from its image among all held-out grasps; and the accuracy of a linear
        probe of each sense's features. `places`, vision's and then touch's, if asked for.
    """
    heads = projection_heads(objective)
    assert heads is not None, "a contrastive objective has projection heads"
    splits = [heldout(paper[name]) for name in ("train", "heldout")]
    features = [_features(encoder, batch) for batch in splits]
    classes = [batch["connector"].numpy() for batch in splits]
    vectors = {sense: value.float() for sense, value in heads(features[1]).items()}
    width = vectors["vision"].shape[1]
    points = _coordinates(torch.cat([vectors["vision"], vectors["touch"]]))
    vision, touch = np.split(points, 2)
    both = np.tile(classes[1], 2)
    found = recall_at(vision, touch, RANKS)
    scores: dict[str, Any] = {
        "width": width,
        "silhouette": float(silhouette_score(points, both)),
        "nmi": cluster_agreement(points, both, 0),
        "alignment": alignment(vision, touch),
        "uniformity_vision": uniformity(vision),
        "uniformity_touch": uniformity(touch),
    }
    scores |= {f"recall_{rank}": part for rank, part in found.items()}
    for sense in ("vision", "touch"):
        trained, held = (_averaged(encoder, part[sense]) for part in features)
        probe = ClassProbe(trained, classes[0])
        scores[f"probe_{sense}"] = float((probe(held) == classes[1]).mean())
    if places:
        scores["places"] = tsne(points, seed=0).round(2).tolist()
    return scores


def _features(encoder: VisuotactileEncoder, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    device = next(encoder.parameters()).device
    parts = []
    for start in range(0, len(batch["connector"]), _BATCH):
        part = {key: batch[key][start : start + _BATCH].to(device) for key in encoder.keys}
        parts.append(encoder.features(part))
    return {sense: torch.cat([part[sense] for part in parts]) for sense in parts[0]}


def _averaged(encoder: VisuotactileEncoder, features: Tensor) -> NDArray[np.float32]:
    """Features that a probe reads, (N, D): where they are all tokens side by side, their mean."""
    if encoder.config.pooling == "flatten":
        tokens = next(iter(encoder.backbones.values())).num_tokens
        features = features.unflatten(1, (tokens, -1)).mean(dim=1)
    return features.float().cpu().numpy()


def _coordinates(points: Tensor) -> NDArray[np.float32]:
    """Points, (N, D), in at most N coordinates, largest first, which keep all products of points.

    Distances and angles stay as they are, whatever the width, which is what makes 151,000 of them
    as cheap as 1,000.
    """
    if points.shape[1] <= len(points):
        return points.cpu().numpy()
    rows = points.double()
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    placed = vectors.flip(1) * values.flip(0).clamp(min=0.0).sqrt()
    return placed.float().cpu().numpy()
