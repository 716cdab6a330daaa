from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from representation.probes.linear import PENALTIES, RidgeProbe, Standardiser


def draw(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, 6)) * np.arange(1.0, 7.0) + 3.0
    return features, generator.normal(size=(count, 2)) + features[:, :2]


def first(count: int, of: int) -> np.ndarray:
    """Validation rows: all but the first."""
    return np.arange(of) >= count


def test_linear_data_are_predicted_exactly() -> None:
    features, _ = draw(400)
    targets = features @ np.random.default_rng(2).normal(size=(6, 3))
    probe = RidgeProbe.fit(features[:300], targets[:300], first(200, 300))
    np.testing.assert_allclose(probe(features[300:]), targets[300:], atol=1e-5)
    assert set(probe.penalties) == {PENALTIES[0]}


def test_the_probe_is_ridge_on_standardised_features_with_the_penalty_that_validates_best() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 30)) * generator.uniform(0.1, 10, 30)
    noise = generator.normal(size=60)
    targets = np.stack([features[:, 0] + noise, features[:, 1]], axis=1)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    probe = RidgeProbe.fit(features, targets, first(40, 60))
    for k, target in enumerate(targets.T):
        errors = []
        for penalty in PENALTIES:
            model = Ridge(alpha=penalty * 40).fit(standard[:40], target[:40])
            errors.append(np.square(model.predict(standard[40:]) - target[40:]).mean())
        best = PENALTIES[int(np.argmin(errors))]
        oracle = Ridge(alpha=best * 60).fit(standard, target)
        assert probe.penalties[k] == best
        np.testing.assert_allclose(
            probe(features)[:, k], oracle.predict(standard), rtol=1e-7, atol=1e-9
        )
    assert PENALTIES[0] < probe.penalties[0] < PENALTIES[-1]


def test_a_constant_feature_says_nothing() -> None:
    features, targets = draw(100)
    rounding = np.float32(0.1) + np.random.default_rng(1).choice([0, 1e-8], (100, 1))
    constant = np.concatenate([features, rounding], axis=1).astype(np.float32)
    probes = [RidgeProbe.fit(x, targets, first(70, 100)) for x in (constant[:, :6], constant)]
    np.testing.assert_allclose(probes[1](constant), probes[0](constant[:, :6]))
    assert (Standardiser.of(constant)(constant)[:, 6] == 0).all()


@pytest.mark.parametrize("fitted", [0, 20, 30])
def test_more_features_than_rows_are_no_trouble(fitted: int) -> None:
    features = np.random.default_rng(0).normal(size=(30, 100)).astype(np.float32)
    probe = RidgeProbe.fit(features, features[:, :1], first(fitted, 30))
    assert np.isfinite(probe(features)).all()
