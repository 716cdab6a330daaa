"""CUDA graphs: functions of tensors captured once, and replayed with one launch."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

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


class CaptureError(RuntimeError):
    """A function did something that a CUDA graph cannot hold; the message says what.

    PyTorch's generators and memory may be unusable afterwards, until the process ends.
    """


def capture_graph(
    function: Callable[..., R], device: torch.device, *, warmup: int = 1
) -> Callable[..., R]:
    """A function that runs as a CUDA graph: one launch, however many operations it has.

    Args:
        function: Takes and returns tensors, in nested dicts, tuples and dataclasses. It may read
            and write tensors of its own that stay where they are. It must not look at values:
            what differs between calls is an argument. It may draw from the device's default
            generator, of which a replay takes seed and offset as they are then.
        device: The CUDA device.
        warmup: Calls that run as they are before the capture, at least 1: they make constants and
            choose kernels, which a capture may not.

    Returns:
        The same function, whose results are new tensors. It is captured once for each set of
        shapes, and of arguments that are None; these graphs share their memory. It raises
        `CaptureError` where it cannot be captured.
    """
    pool = torch.cuda.graph_pool_handle()
    return call_in_place(function, partial(_capture, device=device, pool=pool), warmup)


def call_in_place(
    function: Callable[..., R], capture: Callable[..., Callable[[], R]], warmup: int
) -> Callable[..., R]:
    """A function whose arguments are copied to where a replay reads them.

    Args:
        function: As for `capture_graph`.
        capture: Given the function and its arguments, which stay where they are, it returns what
            runs it on them and gives new tensors.
        warmup: Calls with arguments of the same shapes that run as they are first.

    Returns:
        The same function, whose results are new tensors.
    """
    calls: dict[Hashable, _Call[R]] = {}

    def call(*arguments: Any) -> R:
        key = _signature(arguments)
        if key not in calls:
            with torch.inference_mode(False):  # later calls write there, in any mode
                calls[key] = _Call(rebuild(arguments, (leaf.clone() for leaf in leaves(arguments))))
        made = calls[key]
        for dtype, values in by_dtype(leaves(arguments)).items():
            torch._foreach_copy_(made.inputs[dtype], values)  # one launch, not one for each
        if made.replay is not None:
            return made.replay()
        results = function(*made.arguments)
        results = rebuild(results, (leaf.clone() for leaf in leaves(results)))
        made.count += 1
        if made.count >= warmup:
            made.replay = capture(function, made.arguments)
        return results

    return call


class _Call(Generic[R]):
    """Arguments of some shapes that stay where they are, and how a function is run on them."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self.arguments = arguments
        self.inputs = by_dtype(leaves(arguments))
        self.count = 0
        self.replay: Callable[[], R] | None = None


def _capture(
    function: Callable[..., R],
    arguments: tuple[Any, ...],
    *,
    device: torch.device,
    pool: Any,
) -> Callable[[], R]:
    graph = torch.cuda.CUDAGraph()
    cause: Exception | None = None
    try:
        with (
            no_collection(),
            torch.cuda.device(device),
            # Other threads, such as a profiler's, may go on using the device.
            torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"),
        ):
            try:
                packed = Packed.pack(function(*arguments))
            except Exception as error:
                cause = error
                raise
    except RuntimeError as error:
        # The end of a capture that failed fails too: the cause is what came before.
        cause = cause or error
        if isinstance(cause, torch.cuda.OutOfMemoryError) or not isinstance(cause, RuntimeError):
            raise cause from None
        raise CaptureError(str(cause).partition("\n")[0]) from error

    def replay() -> R:
        graph.replay()
        return cast(R, packed.copy())

    return replay


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
