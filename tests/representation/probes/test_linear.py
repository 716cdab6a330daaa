from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from representation.probes.linear import PENALTIES, Moments, fit_probe, ridge


def moments(features: torch.Tensor, targets: torch.Tensor) -> Moments:
    return Moments.of(features, targets, torch.zeros(features.shape[1]).double())


def draw(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 6, generator=generator) * torch.arange(1.0, 7.0) + 3.0
    targets = torch.randn(count, 2, generator=generator).double() + features[:, :2].double()
    return features, targets


@pytest.mark.parametrize("penalty", [1e-6, 1.0, 1e3])
def test_ridge_is_that_of_scikit_learn(penalty: float) -> None:
    features, targets = draw(50)
    mean, intercept, centred = moments(features, targets).centred()
    weights = ridge(centred, penalty)
    oracle = Ridge(alpha=penalty).fit(features.double().numpy(), targets.numpy())
    np.testing.assert_allclose(weights.T, oracle.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(intercept - mean @ weights, oracle.intercept_, rtol=1e-6)


def test_moments_of_parts_add_up_to_those_of_all() -> None:
    features, targets = draw(9000)  # more than one block
    rows = torch.randperm(9000, generator=torch.Generator().manual_seed(1))
    shift = torch.full((6,), 3.0, dtype=torch.float64)
    whole = Moments.of(features, targets, shift)
    summed = Moments.of(features, targets, shift, rows[:700]) + Moments.of(
        features, targets, shift, rows[700:]
    )
    for name, value in vars(whole).items():
        torch.testing.assert_close(vars(summed)[name], value)
    x = features.double() - shift
    torch.testing.assert_close(whole.xx, x.T @ x)
    some = whole.columns(slice(1, 4))
    torch.testing.assert_close(some.xy, x[:, 1:4].T @ targets)


def test_moments_about_another_origin_are_those_of_shifted_rows() -> None:
    features, targets = draw(100)
    x, y = torch.arange(6.0).double(), torch.tensor([2.0, -1.0]).double()
    about = moments(features, targets).about(x, y)
    expected = moments(features.double() - x, targets - y)
    for name, value in vars(expected).items():
        torch.testing.assert_close(vars(about)[name], value)


def test_linear_data_are_predicted_exactly() -> None:
    features, _ = draw(400)
    targets = (
        features.double() @ torch.randn(6, 3, generator=torch.Generator().manual_seed(2)).double()
    )
    fit, held = moments(features[:200], targets[:200]), moments(features[200:300], targets[200:300])
    probe = fit_probe(fit, held, torch.zeros(6).double())
    torch.testing.assert_close(probe(features[300:]), targets[300:] + 0.0, atol=1e-5, rtol=0)
    assert set(probe.penalties) == {PENALTIES[0]}


def test_the_probe_is_ridge_on_standardised_features_with_the_penalty_that_validates_best() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 30)) * generator.uniform(0.1, 10, 30)
    targets = features[:, 0] + generator.normal(size=60)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    errors = []
    for penalty in PENALTIES:
        model = Ridge(alpha=penalty * 40).fit(standard[:40], targets[:40])
        errors.append(np.square(model.predict(standard[40:]) - targets[40:]).mean())
    best = PENALTIES[int(np.argmin(errors))]
    oracle = Ridge(alpha=best * 60).fit(standard, targets)

    x, y = torch.from_numpy(features), torch.from_numpy(targets)[:, None]
    probe = fit_probe(moments(x[:40], y[:40]), moments(x[40:], y[40:]), torch.zeros(30).double())
    assert probe.penalties == (best,)
    assert PENALTIES[0] < best < PENALTIES[-1]
    np.testing.assert_allclose(probe(x).numpy()[:, 0], oracle.predict(standard), rtol=1e-8)


def test_a_constant_feature_says_nothing() -> None:
    features, targets = draw(100)
    constant = torch.cat([features, torch.full((100, 1), 0.1)], dim=1)
    shift = constant.mean(dim=0, dtype=torch.float64)
    probes = [
        fit_probe(Moments.of(x[:70], targets[:70], s), Moments.of(x[70:], targets[70:], s), s)
        for x, s in ((features, shift[:6]), (constant, shift))
    ]
    torch.testing.assert_close(probes[1](constant), probes[0](features))
    assert probes[1].weights[6].abs().max() == 0


def test_more_features_than_rows_are_no_trouble() -> None:
    features = torch.randn(30, 100, generator=torch.Generator().manual_seed(0))
    targets = features[:, :1].double()
    probe = fit_probe(
        moments(features[:20], targets[:20]), moments(features[20:], targets[20:]), torch.zeros(100)
    )
    assert probe(features).isfinite().all()
