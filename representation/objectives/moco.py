"""Contrast with many more negatives than a batch holds: a queue and momentum encoders."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import permutations
from typing import TYPE_CHECKING, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from representation.objectives.gather import gather, process_rank
from representation.objectives.infonce import accuracies
from representation.objectives.objective import (
    Batch,
    Objective,
    ObjectiveOutput,
    require_positive,
    require_senses,
)
from representation.objectives.projection import ProjectionHeads
from vtenv.validation import require

if TYPE_CHECKING:  # it imports timm, which takes seconds
    from representation.timm_encoder import VisuotactileEncoder


class KeyQueue(nn.Module):
    """The latest keys, oldest out first; a ring of fixed size.

    Args:
        size: Number of keys it holds, K.
        width: Width of a key.
    """

    keys: Tensor
    """The ring, (K, width); rows not filled yet are 0."""
    count: Tensor
    """Number of keys pushed since the start, int64."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(size, width))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @property
    def filled(self) -> Tensor:
        """Which rows hold a key, (K,), bool."""
        return torch.arange(len(self.keys), device=self.keys.device) < self.count

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Add keys, over the oldest ones.

        Args:
            keys: Keys, (N, width); if they are more than fit, the last ones stay.
        """
        size = len(self.keys)
        skipped = max(len(keys) - size, 0)
        rows = self.count + torch.arange(skipped, len(keys), device=keys.device)
        self.keys[rows % size] = keys[skipped:].to(self.keys.dtype)
        self.count += len(keys)


def queue_info_nce(
    queries: Tensor,
    keys: Tensor,
    queue: Tensor,
    filled: Tensor,
    temperature: float,
    first: int = 0,
) -> Tensor:
    """As `info_nce`, with the keys of a queue as negatives too.

    Args:
        queries: Unit vectors, (N, D).
        keys: Unit vectors of the batch, (M, D); the query's own is row `first + i`.
        queue: Unit vectors of earlier batches, (K, D).
        filled: Rows of the queue that count, (K,), bool.
        temperature: T.
        first: Row of the first query's key.
    """
    earlier = (queries @ queue.T).masked_fill(~filled, -float("inf"))
    logits = torch.cat([queries @ keys.T, earlier], dim=1) / temperature
    return cross_entropy(logits, first + torch.arange(len(queries), device=queries.device))


class MoCo(Objective):
    """Cross-modal momentum contrast.

    An image is compared with touches, and a touch with images. The keys come from a momentum
    copy of the encoder and its projection heads, without gradients; those of earlier batches stay
    in one queue for each sense. The keys of the batch itself are negatives too, so the first
    batch, which finds the queue empty, teaches as InfoNCE does.

    In training mode a call moves the momentum copy, then computes the loss, then fills the
    queues; in evaluation mode it changes nothing.

    Args:
        encoder: For its sizes; its weights are what the momentum copy starts from.
        projection_dim: Width of the projections that are compared.
        temperature: Fixed, as the keys of the queue were made for one.
        queue_size: Keys in each queue.
        momentum: Part of the momentum copy that stays at each step, in [0, 1).
        groups: Equal parts of a batch that each have batch statistics of their own, as on so many
            devices; 1 for the whole batch's.
        shuffle: Whether a query and its key are put in groups apart from each other, so that
            statistics which both share cannot give the key away.

    Raises:
        ValueError: If the encoder has a single sense, or the groups do not divide a batch.

    Source: He et al. 2020 (MoCo), equations 1 and 2, algorithm 1, and "Shuffling BN"; named as
    future work by the paper, section E.
    """

    trains_fusion = False

    def __init__(
        self,
        encoder: VisuotactileEncoder,
        *,
        projection_dim: int = 128,
        temperature: float = 0.07,
        queue_size: int = 4096,
        momentum: float = 0.999,
        groups: int = 1,
        shuffle: bool = True,
    ) -> None:
        super().__init__()
        require_senses(encoder, "moco")
        require_positive(
            projection_dim=projection_dim,
            temperature=temperature,
            queue_size=queue_size,
            groups=groups,
        )
        require(0.0 <= momentum < 1.0, "momentum", momentum, "in [0, 1)")
        self.temperature = temperature
        self.momentum = momentum
        self.groups, self.shuffle = groups, shuffle
        self.projections = ProjectionHeads(encoder.feature_sizes, projection_dim)
        self.momentum_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.momentum_projections = copy.deepcopy(self.projections).requires_grad_(False)
        self.queues = nn.ModuleDict(
            {name: KeyQueue(queue_size, projection_dim) for name in encoder.feature_sizes}
        )

    def forward(
        self, encoder: VisuotactileEncoder, batch: Batch, generator: Generator | None = None
    ) -> ObjectiveOutput:
        """The loss; metrics `accuracy_SENSE` (within the batch), `queue_size`."""
        if self.training:
            self._follow(encoder)
        queries = self.projections(self._features(encoder, batch))
        with torch.no_grad():
            order = self._order(queries, generator)
            features = self._features(self.momentum_encoder, batch, order)
            keys = self.momentum_projections(features)
            keys = {sense: gather(value) for sense, value in keys.items()}
        first = process_rank() * len(next(iter(queries.values())))
        queues = cast(Mapping[str, KeyQueue], self.queues)
        # The queues are overwritten below, before gradients are taken through the product.
        earlier = {sense: queue.keys.clone() for sense, queue in queues.items()}
        filled = queues[next(iter(queries))].filled
        losses = [
            queue_info_nce(queries[query], keys[key], earlier[key], filled, self.temperature, first)
            for query, key in permutations(queries, 2)
        ]
        metrics = accuracies(queries, keys, first) | {"queue_size": filled.sum().float()}
        if self.training:
            for sense, value in keys.items():
                queues[sense].push(value)
        return ObjectiveOutput(torch.stack(losses).mean(), metrics)

    def _order(self, queries: Mapping[str, Tensor], generator: Generator | None) -> Tensor | None:
        """Rows of the batch in the order that keys are put in groups by; None for their own."""
        if not (self.training and self.shuffle and self.groups > 1):
            return None
        rows = next(iter(queries.values()))
        device = rows.device if generator is None else generator.device
        order = torch.randperm(len(rows), generator=generator, device=device)
        return order.to(rows.device)

    def _features(
        self, encoder: VisuotactileEncoder, batch: Batch, order: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Features of a batch by sense, (B, D_s), a group at a time in training."""
        if not self.training or self.groups == 1:
            return encoder.features(batch)
        count = len(batch[encoder.keys[0]])
        require(count % self.groups == 0, "groups", self.groups, f"a divisor of the batch, {count}")
        if order is None:
            order = torch.arange(count, device=batch[encoder.keys[0]].device)
        parts = [
            encoder.features({key: batch[key][part] for key in encoder.keys})
            for part in order.chunk(self.groups)
        ]
        back = order.argsort()
        return {sense: torch.cat([part[sense] for part in parts])[back] for sense in parts[0]}

    @torch.no_grad()
    def _follow(self, encoder: VisuotactileEncoder) -> None:
        """Equation 2, for all parameters; batch statistics are each network's own."""
        for copied, module in (
            (self.momentum_encoder, encoder),
            (self.momentum_projections, self.projections),
        ):
            for slow, fast in zip(copied.parameters(), module.parameters(), strict=True):
                slow.lerp_(fast, 1.0 - self.momentum)
