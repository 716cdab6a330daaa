from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from representation.objectives.combine import WeightedSum, build_objective
from representation.objectives.moco import MoCo
from representation.probes.bootstrap import Bootstrap
from representation.probes.classes import ClassProbe, confusion_counts
from representation.probes.clusters import cluster_agreement, silhouette
from representation.probes.retrieval import pooled_recall, recall_at, unit_vectors
from representation.probes.shared_space import RidgeMap, project, projection_heads
from representation.probes.sphere import alignment, uniformity
from representation.probes.tsne import tsne


def sphere_points(count: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return unit_vectors(torch.randn(count, width, generator=generator))


# Retrieval


def test_identical_embeddings_are_always_found() -> None:
    points = sphere_points(200, 8)
    assert recall_at(points, points, (1, 5)) == {1: 1.0, 5: 1.0}


def test_unrelated_embeddings_are_found_by_chance() -> None:
    recall = recall_at(sphere_points(2000, 16, 0), sphere_points(2000, 16, 1), (1, 10, 100))
    for rank, value in recall.items():
        expected = rank / 2000
        assert abs(value - expected) < 4 * math.sqrt(expected / 2000)


def test_a_constant_embedding_is_found_by_chance() -> None:
    constant = torch.ones(50, 4) / 2
    assert recall_at(constant, constant, (1, 5)) == pytest.approx({1: 1 / 50, 5: 5 / 50})


def test_ranks_count_the_keys_that_are_more_similar() -> None:
    angles = torch.tensor([0.0, 0.1, 0.3, 0.7])
    keys = torch.stack([angles.cos(), angles.sin()], dim=1)
    queries = keys[[1, 1, 1, 1]]  # own keys are the second, first, third and fourth nearest
    assert recall_at(queries, keys, (1, 2, 3, 4)) == {1: 0.25, 2: 0.5, 3: 0.75, 4: 1.0}


def test_pools_deal_out_every_row_once() -> None:
    points = sphere_points(10, 4)
    recall = pooled_recall(points, points.roll(1, dims=0), (1, 2), 2, torch.arange(10))
    assert recall[2] == 1.0
    assert pooled_recall(points, points, (1,), 3, torch.arange(10)) == {1: 1.0}


# Alignment and uniformity


def test_alignment_of_partners_that_coincide_oppose_and_are_orthogonal() -> None:
    points = torch.eye(4)
    assert alignment(points, points) == 0.0
    assert alignment(points, -points) == 4.0
    assert alignment(points, points.roll(1, dims=0)) == 2.0


def test_uniformity_of_few_points_in_closed_form() -> None:
    assert uniformity(torch.ones(5, 1)) == pytest.approx(0.0)
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8.0)
    assert uniformity(torch.eye(6)) == pytest.approx(-4.0)
    square = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    expected = math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6)
    assert uniformity(square) == pytest.approx(expected)


# Classes


def clouds(count: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    classes = np.arange(count) % 4
    points = 10 * np.eye(4, 6)[classes] + generator.normal(size=(count, 6))
    return points.astype(np.float32), classes


def test_separable_classes_are_told_apart() -> None:
    points, classes = clouds()
    probe = ClassProbe(points, classes)
    assert probe.converged
    held, actual = clouds(seed=1)
    assert (probe.predict(held) == actual).all()


def test_the_class_probe_does_not_care_for_scale_nor_for_constant_features() -> None:
    points, classes = clouds()
    held, _ = clouds(seed=1)
    stretched = [
        np.column_stack([p * np.float32([1, 1e3, 1e-3, 1, 1, 1]) + 5, np.full(len(p), 7.0)])
        for p in (points, held)
    ]
    predicted = ClassProbe(stretched[0].astype(np.float32), classes).predict(
        stretched[1].astype(np.float32)
    )
    assert (predicted == ClassProbe(points, classes).predict(held)).all()


def test_confusion_counts_actual_classes_in_rows() -> None:
    counts = confusion_counts(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert counts == ((1, 1, 0), (0, 1, 0), (1, 0, 0))


# Clusters


def test_clusters_that_are_the_classes_score_one_and_shuffled_ones_nothing() -> None:
    points, classes = clouds()
    assert silhouette(points, classes) > 0.7
    assert cluster_agreement(points, classes, 0) == pytest.approx(1.0)
    shuffled = np.random.default_rng(0).permutation(classes)
    assert abs(silhouette(points, shuffled)) < 0.1
    assert cluster_agreement(points, shuffled, 0) < 0.1


def test_collapsed_clusters_agree_with_nothing() -> None:
    _, classes = clouds()
    assert cluster_agreement(np.ones((120, 6), np.float32), classes, 0) == 0.0


# Bootstrap


def test_the_interval_is_that_of_episodes_not_of_rows() -> None:
    generator = np.random.default_rng(0)
    episodes = np.repeat(np.arange(40), 50)
    values = np.repeat(generator.normal(size=40), 50)[:, None]  # rows of an episode are copies
    every = np.ones(2000, bool)
    (by_episode,) = Bootstrap(episodes, np.random.default_rng(1)).means(values, every)
    (by_row,) = Bootstrap(np.arange(2000), np.random.default_rng(1)).means(values, every)
    assert by_episode.mean == by_row.mean == pytest.approx(values.mean())
    expected = 2 * 1.96 * values.std() / math.sqrt(40)
    assert by_episode.high - by_episode.low == pytest.approx(expected, rel=0.2)
    assert by_row.high - by_row.low < 0.3 * expected
    assert (by_episode.rows, by_episode.episodes) == (2000, 40)


def test_means_over_no_rows_are_not_known() -> None:
    (found,) = Bootstrap(np.arange(5), np.random.default_rng(0)).means(
        np.ones((5, 1)), np.zeros(5, bool)
    )
    assert (found.mean, found.low, found.rows) == (None, None, 0)


# The shared space


def test_the_ridge_map_finds_partners_that_are_linear_in_each_other() -> None:
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(600, 5, generator=generator)
    vision = latent @ torch.randn(5, 12, generator=generator) + 2.0
    touch = latent @ torch.randn(5, 8, generator=generator) - 1.0
    mapped = RidgeMap(vision[:400], touch[:400], torch.arange(400) % 5 == 0)(
        {"vision": vision[400:], "touch": touch[400:]}
    )
    assert recall_at(mapped["vision"], mapped["touch"], (1,)) == {1: 1.0}


def test_projection_heads_are_those_that_contrast_was_trained_with(make_encoder) -> None:
    encoder = make_encoder()
    objective = build_objective({"infonce": 1.0, "pose": 1.0}, encoder)
    assert isinstance(objective, WeightedSum)
    assert projection_heads(objective) is objective.objectives["infonce"].projections
    moco = build_objective("moco", encoder)
    assert isinstance(moco, MoCo)
    assert projection_heads(moco) is moco.projections
    assert projection_heads(build_objective("pose", encoder)) is None


def test_projections_are_the_objective_s_own(make_encoder, make_batch) -> None:
    encoder = make_encoder().eval()
    objective = build_objective("infonce", encoder)
    heads = projection_heads(objective)
    features = encoder.features(make_batch(6))
    for modality, value in project(heads, features | {"both": torch.zeros(6, 1)}).items():
        torch.testing.assert_close(value, heads(features)[modality])


# Pictures of many dimensions


def test_tsne_is_repeatable_and_keeps_clusters_apart() -> None:
    points, classes = clouds(80)
    first, second = tsne(points, 3), tsne(points, 3)
    assert first.shape == (80, 2)
    assert (first == second).all()
    assert silhouette(first, classes) > 0.5


def test_tsne_takes_few_collapsed_or_flat_points() -> None:
    for points in (np.ones((6, 3)), np.arange(8.0)[:, None]):
        assert np.isfinite(tsne(points.astype(np.float32), 0)).all()
