"""What a critic is fitted to."""

from __future__ import annotations

import torch
from torch import Tensor


def gae_returns(
    reward: Tensor,
    value: Tensor,
    following: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Returns to fit a critic to, from a stretch of T steps of N worlds.

    Args:
        reward: Reward of each step, (T, N).
        value: What the critic expects before it, (T, N).
        following: What it expects after it, in the same episode, (T, N).
        terminated: Whether the episode ended there, (T, N), bool: nothing follows.
        truncated: Whether it was cut off there, (T, N), bool: `following` stands for the rest.
        gamma: Discount a step.
        gae_lambda: Weight of longer returns: 0 for one step, 1 for as many as there are.

    Returns:
        (T, N).

    Source: Schulman et al. 2016 ("High-Dimensional Continuous Control Using Generalized Advantage
        Estimation"), equation 16, plus the value.
    """
    surprise = reward + gamma * following * ~terminated - value
    going = gamma * gae_lambda * ~(terminated | truncated)
    advantage = torch.zeros_like(value)
    later = torch.zeros_like(value[0])
    for step in reversed(range(len(value))):
        later = surprise[step] + going[step] * later
        advantage[step] = later
    return value + advantage
