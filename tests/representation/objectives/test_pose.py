from __future__ import annotations

import numpy as np
import pytest
import torch

from representation.objectives.pose import POSE_LABELS, PoseRegression, pose_statistics

MEAN = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
STD = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)


@pytest.fixture
def encoder(make_encoder):
    return make_encoder().eval()


def test_the_loss_is_the_error_of_standardised_labels(encoder, make_batch):
    batch = make_batch()
    objective = PoseRegression(encoder, mean=MEAN, std=STD)
    with torch.no_grad():
        output = objective(encoder, batch)
        predicted = objective.poses(encoder, batch).numpy()
    errors = predicted - batch["pose"].numpy()
    assert output.loss.item() == pytest.approx(np.mean((errors / np.array(STD)) ** 2), rel=1e-4)
    for column, label in enumerate(POSE_LABELS):
        expected = np.mean(np.abs(errors[:, column]))
        assert output.metrics[label] == pytest.approx(expected, rel=1e-4)


def test_guessing_the_mean_costs_one(encoder, make_batch):
    """The variance of what is standardised."""
    batch = make_batch(4)
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    batch["pose"] = mean + std * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None]
    objective = PoseRegression(encoder, mean=MEAN, std=STD)
    torch.nn.init.zeros_(objective.head.weight)
    torch.nn.init.zeros_(objective.head.bias)
    output = objective(encoder, batch)
    assert output.loss.item() == pytest.approx(1.0)
    assert [output.metrics[label].item() for label in POSE_LABELS] == pytest.approx(list(STD))


def test_predictions_are_linear_in_the_embedding(encoder, make_batch):
    """So that a linear probe, and the first layer of a policy, read them too."""
    batch = make_batch()
    objective = PoseRegression(encoder, mean=MEAN, std=STD)
    with torch.no_grad():
        embedding = encoder(batch).double().numpy()
        weight, bias = (v.double().numpy() for v in (objective.head.weight, objective.head.bias))
        predicted = objective.poses(encoder, batch).numpy()
    expected = (embedding @ weight.T + bias) * np.array(STD) + np.array(MEAN)
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-4)


def test_statistics_standardise():
    generator = torch.Generator().manual_seed(0)
    poses = torch.randn(100, len(POSE_LABELS), generator=generator) * torch.tensor(
        STD
    ) + torch.tensor(MEAN)
    poses[:, 5] = 3.0
    mean, std = pose_statistics(poses)
    np.testing.assert_allclose(mean, poses.numpy().mean(axis=0), rtol=1e-5)
    expected = poses.numpy().std(axis=0, ddof=1)
    expected[5] = 1.0
    np.testing.assert_allclose(std, expected, rtol=1e-5)


def test_standardisation_is_saved_with_the_head(encoder):
    state = PoseRegression(encoder, mean=MEAN, std=STD).state_dict()
    assert state["mean"].tolist() == list(MEAN)
    assert state["std"].tolist() == list(STD)


@pytest.mark.parametrize("change", [{"mean": MEAN[:6]}, {"std": (0.0, *STD[1:])}])
def test_labels_are_checked(encoder, change):
    with pytest.raises(ValueError, match="socket_yaw_deg"):
        PoseRegression(encoder, **change)
