"""Which touch belongs to which image, among a fixed number of moments?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RANKS = (1, 5, 10)
"""How many most similar keys count, in an audit."""


def recall_at(
    queries: NDArray[np.float32], keys: NDArray[np.float32], ranks: Sequence[int]
) -> dict[int, float]:
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
    better = (similarities > own).sum(axis=1)
    ties = (similarities == own).sum(axis=1)  # itself among them
    # Its place is better + 1 ... better + ties, each as likely.
    return {rank: float(((rank - better) / ties).clip(0.0, 1.0).mean()) for rank in ranks}


def pooled_recall(
    queries: NDArray[np.float32],
    keys: NDArray[np.float32],
    ranks: Sequence[int],
    pool: int,
    order: NDArray[np.int64],
) -> dict[int, float]:
    """Recall among pools of one size: it falls with the size, whatever the embedding.

    Args:
        queries: Unit vectors, (N, D).
        keys: Unit vectors, (N, D).
        ranks: How many most similar keys count.
        pool: Rows of a pool; rows left over are not used.
        order: Rows in the order to deal them out by, (M,).

    Returns:
        Mean recall over the pools, by rank.
    """
    pools = order[: len(order) // pool * pool].reshape(-1, pool)
    found = [recall_at(queries[rows], keys[rows], ranks) for rows in pools]
    return {rank: float(np.mean([recall[rank] for recall in found])) for rank in ranks}
