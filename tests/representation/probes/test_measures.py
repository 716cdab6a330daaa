from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import normalize

from representation.objectives.combine import WeightedSum, build_objective
from representation.objectives.moco import MoCo
from representation.probes.intervals import episode_means
from representation.probes.linear import ClassProbe
from representation.probes.space import (
    alignment,
    cluster_agreement,
    pooled_recall,
    project,
    projection_heads,
    recall_at,
    ridge_map,
    tsne,
    uniformity,
)


def sphere_points(count: int, width: int, seed: int = 0) -> np.ndarray:
    return normalize(np.random.default_rng(seed).normal(size=(count, width))).astype(np.float32)


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
    constant = np.full((50, 4), 0.5)
    assert recall_at(constant, constant, (1, 5)) == pytest.approx({1: 1 / 50, 5: 5 / 50})


def test_ranks_count_the_keys_that_are_more_similar() -> None:
    angles = np.array([0.0, 0.1, 0.3, 0.7])
    keys = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    queries = keys[[1, 1, 1, 1]]  # own keys are the second, first, third and fourth nearest
    assert recall_at(queries, keys, (1, 2, 3, 4)) == {1: 0.25, 2: 0.5, 3: 0.75, 4: 1.0}


def test_pools_deal_out_every_row_once() -> None:
    points = sphere_points(10, 4)
    recall = pooled_recall(points, np.roll(points, 1, axis=0), (1, 2), 2, np.arange(10))
    assert recall[2] == 1.0
    assert pooled_recall(points, points, (1,), 3, np.arange(10)) == {1: 1.0}


# Alignment and uniformity


def test_alignment_of_partners_that_coincide_oppose_and_are_orthogonal() -> None:
    points = np.eye(4)
    assert alignment(points, points) == 0.0
    assert alignment(points, -points) == 4.0
    assert alignment(points, np.roll(points, 1, axis=0)) == 2.0


def test_uniformity_of_few_points_in_closed_form() -> None:
    assert uniformity(np.ones((5, 1))) == pytest.approx(0.0)
    assert uniformity(np.array([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8.0)
    assert uniformity(np.eye(6)) == pytest.approx(-4.0)
    square = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
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
    assert (probe(held) == actual).all()


def test_the_class_probe_does_not_care_for_scale_nor_for_constant_features() -> None:
    points, classes = clouds()
    held, _ = clouds(seed=1)
    stretched = [
        np.column_stack([p * np.float32([1, 1e3, 1e-3, 1, 1, 1]) + 5, np.full(len(p), 7.0)])
        for p in (points, held)
    ]
    predicted = ClassProbe(stretched[0].astype(np.float32), classes)(
        stretched[1].astype(np.float32)
    )
    assert (predicted == ClassProbe(points, classes)(held)).all()


# Clusters


def test_clusters_that_are_the_classes_score_one_and_shuffled_ones_nothing() -> None:
    points, classes = clouds()
    assert cluster_agreement(points, classes, 0) == pytest.approx(1.0)
    shuffled = np.random.default_rng(0).permutation(classes)
    assert cluster_agreement(points, shuffled, 0) < 0.1


def test_collapsed_clusters_agree_with_nothing() -> None:
    _, classes = clouds()
    assert cluster_agreement(np.ones((120, 6), np.float32), classes, 0) == 0.0


# Intervals


def test_the_interval_is_that_of_episodes_not_of_rows() -> None:
    generator = np.random.default_rng(0)
    episodes = np.repeat(np.arange(40), 50)
    values = np.repeat(generator.normal(size=40), 50)[:, None]  # rows of an episode are copies
    (by_episode,) = episode_means(values, episodes, 1)
    (by_row,) = episode_means(values, np.arange(2000), 1)
    assert by_episode.value == by_row.value == pytest.approx(values.mean())
    expected = 2 * 1.96 * values.std() / math.sqrt(40)
    assert by_episode.high - by_episode.low == pytest.approx(expected, rel=0.2)
    assert by_row.high - by_row.low < 0.3 * expected


def test_episodes_count_by_their_rows() -> None:
    values = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [4.0, 1.0]])
    first, second = episode_means(values, np.array([7, 7, 7, 9]), 0)
    assert (first.value, first.low, first.high) == (1.0, 0.0, 4.0)
    assert (second.low, second.high) == (1.0, 1.0)


def test_a_single_episode_has_no_interval() -> None:
    (found,) = episode_means(np.ones((5, 1)), np.zeros(5, np.int64), 0)
    assert found == (1.0, None, None)


# The shared space


def test_the_ridge_map_finds_partners_that_are_linear_in_each_other() -> None:
    generator = np.random.default_rng(0)
    latent = generator.normal(size=(600, 5))
    vision = (latent @ generator.normal(size=(5, 12)) + 2.0).astype(np.float32)
    touch = (latent @ generator.normal(size=(5, 8)) - 1.0).astype(np.float32)
    fitted, held = (
        {"vision": vision[of], "touch": touch[of]} for of in np.split(range(600), [400])
    )
    mapped = ridge_map(fitted, held, ("vision", "touch"), np.arange(400) % 5 == 0)
    assert recall_at(mapped["vision"], mapped["touch"], (1,)) == {1: 1.0}
    np.testing.assert_allclose(np.linalg.norm(mapped["touch"], axis=1), 1.0, rtol=1e-5)


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
    with torch.no_grad():
        features = encoder.features(make_batch(6))
        expected = heads(features)
    parts = {part: value.numpy() for part, value in features.items()}
    for part, value in project(heads, parts | {"fused": np.zeros((6, 1), np.float32)}).items():
        np.testing.assert_allclose(value, expected[part], rtol=1e-5, atol=1e-7)


# Pictures of many dimensions


def test_tsne_is_repeatable_and_keeps_clusters_apart() -> None:
    points, classes = clouds(80)
    first, second = tsne(points, 3), tsne(points, 3)
    assert first.shape == (80, 2)
    assert (first == second).all()
    assert silhouette_score(first, classes) > 0.5


def test_tsne_takes_few_collapsed_or_flat_points() -> None:
    for points in (np.ones((6, 3)), np.arange(8.0)[:, None]):
        assert np.isfinite(tsne(points.astype(np.float32), 0)).all()
