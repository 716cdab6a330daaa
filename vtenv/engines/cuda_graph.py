"""CUDA graphs: functions of tensors captured once, and replayed with one launch."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar, cast

import torch

from vtenv.arrays import leaves, rebuild

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


@contextmanager
def no_collection() -> Iterator[None]:
    """Let Python collect no garbage meanwhile.

    Worlds and graphs that are no longer used hold memory of the device, and giving that back breaks
    a capture that happens to be going on.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def copy_tensors(tensors: Mapping[K, torch.Tensor]) -> dict[K, torch.Tensor]:
    """Copies of tensors, those of a dtype and shape in one operation."""
    lists: dict[tuple[torch.dtype, torch.Size], list[torch.Tensor]] = {}
    for tensor in tensors.values():
        lists.setdefault((tensor.dtype, tensor.shape), []).append(tensor)
    copies = {kind: iter(torch.stack(parts).unbind()) for kind, parts in lists.items()}
    return {name: next(copies[tensor.dtype, tensor.shape]) for name, tensor in tensors.items()}


def by_dtype(tensors: Iterable[torch.Tensor]) -> dict[torch.dtype, list[torch.Tensor]]:
    """Tensors in lists of one dtype, for operations that take such."""
    lists: dict[torch.dtype, list[torch.Tensor]] = {}
    for tensor in tensors:
        lists.setdefault(tensor.dtype, []).append(tensor)
    return lists


@dataclass(frozen=True)
class Packed:
    """Tensors laid end to end in one block for each dtype, which are copied together."""

    tree: Any
    layout: list[tuple[torch.dtype, torch.Size]]
    blocks: dict[torch.dtype, torch.Tensor]
    sizes: dict[torch.dtype, list[int]]

    @classmethod
    def pack(cls, tree: Any) -> Packed:
        """Lay the tensors of a nest end to end."""
        laid = list(leaves(tree))
        flat = by_dtype(leaf.reshape(-1) for leaf in laid)
        return cls(
            tree,
            [(leaf.dtype, leaf.shape) for leaf in laid],
            {dtype: torch.cat(parts) for dtype, parts in flat.items()},
            {dtype: [part.numel() for part in parts] for dtype, parts in flat.items()},
        )

    def copy(self) -> Any:
        """The nest with new tensors."""
        # Split at once: cut off one by one, the parts would take the host longer than the copies.
        parts = {
            dtype: iter(block.clone().split_with_sizes(self.sizes[dtype]))
            for dtype, block in self.blocks.items()
        }
        return rebuild(self.tree, (next(parts[dtype]).view(shape) for dtype, shape in self.layout))


_Graph = tuple[torch.cuda.CUDAGraph, dict[torch.dtype, list[torch.Tensor]], Packed]
"""A graph, its inputs, and its results."""


def capture_graph(function: Callable[..., R], device: torch.device) -> Callable[..., R]:
    """A function that runs as a CUDA graph: one launch, however many operations it has.

    Args:
        function: Takes and returns tensors, in nested dicts, tuples and dataclasses. It may read
            and write tensors of its own that stay where they are. It must not look at values:
            what differs between calls is an argument.
        device: The CUDA device.

    Returns:
        The same function, whose results are new tensors. It is captured once for each set of
        shapes, and of arguments that are None; these graphs share their memory.
    """
    graphs: dict[Hashable, _Graph] = {}
    pool = torch.cuda.graph_pool_handle()

    def call(*arguments: Any) -> R:
        key = _signature(arguments)
        if key not in graphs:
            results = function(*arguments)  # makes constants, which a capture may not
            graphs[key] = _capture(function, arguments, device, pool)
            return results
        graph, inputs, packed = graphs[key]
        for dtype, values in by_dtype(leaves(arguments)).items():
            torch._foreach_copy_(inputs[dtype], values)  # one launch, not one for each
        graph.replay()
        return cast(R, packed.copy())

    return call


def _capture(
    function: Callable[..., Any], arguments: tuple[Any, ...], device: torch.device, pool: Any
) -> _Graph:
    inputs = [leaf.clone() for leaf in leaves(arguments)]
    graph = torch.cuda.CUDAGraph()
    with (
        no_collection(),
        torch.cuda.device(device),
        # Other threads, such as a profiler's, may go on using the device.
        torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"),
    ):
        packed = Packed.pack(function(*rebuild(arguments, iter(inputs))))
    return graph, by_dtype(inputs), packed


def _signature(tree: Any) -> Hashable:
    """What a graph depends on: the nest, and its tensors' shapes and dtypes."""
    if isinstance(tree, torch.Tensor):
        return tree.shape, tree.dtype
    if tree is None:
        return None
    names = tuple(tree) if isinstance(tree, dict) else ()
    parts = tree.values() if isinstance(tree, dict) else tree
    if is_dataclass(tree):
        parts = [getattr(tree, field.name) for field in fields(tree)]
    return type(tree), names, tuple(map(_signature, parts))
