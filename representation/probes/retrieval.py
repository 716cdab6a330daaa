"""Which touch belongs to which image, among a fixed number of moments?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def recall_at(queries: Tensor, keys: Tensor, ranks: Sequence[int]) -> dict[int, float]:
    """Part of the queries whose own key is among the most similar ones.

    Keys that are as similar as the own one are ranked before it in half of all cases, as a draw
    would have it, so that a constant embedding scores as chance does.

    Args:
        queries: Unit vectors, (N, D); the own key of row i is row i.
        keys: Unit vectors, (N, D).
        ranks: How many most similar keys count.

    Returns:
        The part by rank.
    """
    similarities = queries @ keys.T
    own = similarities.diagonal()[:, None]
    better = (similarities > own).sum(dim=1)
    ties = (similarities == own).sum(dim=1)  # itself among them
    recalls = {}
    for rank in ranks:
        # Its place is better + 1 ... better + ties, each as likely.
        found = ((rank - better) / ties).clamp(0.0, 1.0)
        recalls[rank] = float(found.double().mean())
    return recalls


def pooled_recall(
    queries: Tensor, keys: Tensor, ranks: Sequence[int], pool: int, order: Tensor
) -> dict[int, float]:
    """Recall among pools of one size: it falls with the size, whatever the embedding.

    Args:
        queries: Unit vectors, (N, D).
        keys: Unit vectors, (N, D).
        ranks: How many most similar keys count.
        pool: Rows of a pool; rows left over are not used.
        order: A permutation of the rows, (N,), int64, to deal them out by.

    Returns:
        Mean recall over the pools, by rank.
    """
    pools = order[: len(order) // pool * pool].reshape(-1, pool)
    found = [recall_at(queries[rows], keys[rows], ranks) for rows in pools]
    return {rank: sum(f[rank] for f in found) / len(found) for rank in ranks}


def unit_vectors(values: Tensor) -> Tensor:
    """Rows scaled to length 1, (N, D); a zero row stays zero."""
    return torch.nn.functional.normalize(values, dim=1)
