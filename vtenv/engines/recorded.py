"""Functions of tensors, replayed on a GPU as one recording instead of launched one by one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar, cast

import torch

R = TypeVar("R")


def leaves(tree: Any) -> Iterator[torch.Tensor]:
    """The tensors in nested dicts, tuples and dataclasses, in order; None holds none."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif tree is not None:
        for part in _parts(tree):
            yield from leaves(part)


def rebuild(tree: Any, tensors: Iterator[torch.Tensor]) -> Any:
    """The same nest around other tensors."""
    if isinstance(tree, torch.Tensor):
        return next(tensors)
    if tree is None:
        return None
    parts = [rebuild(part, tensors) for part in _parts(tree)]
    if isinstance(tree, dict):
        return dict(zip(tree, parts, strict=True))
    return tuple(parts) if isinstance(tree, tuple) else type(tree)(*parts)


def _parts(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return list(tree.values())
    if isinstance(tree, tuple):
        return list(tree)
    if is_dataclass(tree):
        return [getattr(tree, field.name) for field in fields(tree)]
    raise TypeError(f"a recording holds dicts, tuples and dataclasses of tensors, not {tree!r}")


@dataclass(frozen=True)
class Packed:
    """Tensors laid end to end in one block for each dtype, which are copied together."""

    tree: Any
    blocks: dict[torch.dtype, torch.Tensor]

    @classmethod
    def pack(cls, tree: Any) -> Packed:
        """Lay the tensors of a nest end to end."""
        by_dtype: dict[torch.dtype, list[torch.Tensor]] = {}
        for leaf in leaves(tree):
            by_dtype.setdefault(leaf.dtype, []).append(leaf.reshape(-1))
        return cls(tree, {dtype: torch.cat(parts) for dtype, parts in by_dtype.items()})

    def copy(self) -> Any:
        """The nest with new tensors."""
        rests = {dtype: block.clone() for dtype, block in self.blocks.items()}

        def tensors() -> Iterator[torch.Tensor]:
            for leaf in leaves(self.tree):
                size = leaf.numel()
                rest = rests[leaf.dtype]
                rests[leaf.dtype] = rest[size:]
                yield rest[:size].view(leaf.shape)

        return rebuild(self.tree, tensors())


def recorded(function: Callable[..., R], device: torch.device) -> Callable[..., R]:
    """A function that runs as a CUDA graph: one launch, however many operations it has.

    Args:
        function: Takes and returns tensors, in nested dicts, tuples and dataclasses. It may read
            and write tensors of its own that stay where they are. It must not look at values:
            what differs between calls is an argument.
        device: The CUDA device.

    Returns:
        The same function, whose results are new tensors. It is recorded once for each set of
        shapes, and of arguments that are None.
    """
    recordings: dict[Hashable, tuple[torch.cuda.CUDAGraph, list[torch.Tensor], Packed]] = {}

    def call(*arguments: Any) -> R:
        key = _signature(arguments)
        if key not in recordings:
            results = function(*arguments)  # makes constants, which a recording may not
            recordings[key] = _record(function, arguments, device)
            return results
        graph, inputs, packed = recordings[key]
        for held, value in zip(inputs, leaves(arguments), strict=True):
            held.copy_(value)
        graph.replay()
        return cast(R, packed.copy())

    return call


def _record(
    function: Callable[..., Any], arguments: tuple[Any, ...], device: torch.device
) -> tuple[torch.cuda.CUDAGraph, list[torch.Tensor], Packed]:
    inputs = [leaf.clone() for leaf in leaves(arguments)]
    graph = torch.cuda.CUDAGraph()
    with (
        torch.cuda.device(device),
        # Other threads, such as a profiler's, may go on using the device.
        torch.cuda.graph(graph, capture_error_mode="thread_local"),
    ):
        packed = Packed.pack(function(*rebuild(arguments, iter(inputs))))
    return graph, inputs, packed


def _signature(tree: Any) -> Hashable:
    """What a recording depends on: the nest, and its tensors' shapes and dtypes."""
    if isinstance(tree, torch.Tensor):
        return tree.shape, tree.dtype
    if tree is None:
        return None
    names = tuple(tree) if isinstance(tree, dict) else ()
    return type(tree), names, tuple(map(_signature, _parts(tree)))
