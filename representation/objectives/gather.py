"""Batches of all processes as one, for losses that compare samples with each other."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def process_rank() -> int:
    """This process's place among those that train together; 0 where there is one."""
    return dist.get_rank() if _several() else 0


def gather(tensor: Tensor) -> Tensor:
    """The tensors of all processes, (processes * B, ...), in order of rank, with gradients.

    The gradient of a process's tensor is the sum of those it gets from the losses of all
    processes. Averaged over processes, as data-parallel training does, the gradients are those
    of the mean of the losses.

    Args:
        tensor: This process's, (B, ...); every process's has the same shape.
    """
    if not _several():
        return tensor
    gathered: Tensor = _Gather.apply(tensor)
    return gathered


class _Gather(torch.autograd.Function):
    # torch.distributed.nn.all_gather is deprecated, and its successor is in a private module.
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
