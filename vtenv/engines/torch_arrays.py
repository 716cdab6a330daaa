"""Arrays of torch on one device, for the Warp engine."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from vtenv.arrays import Array
from vtenv.engines.cuda_graph import capture_graph, copy_tensors

Key = TypeVar("Key", bound=Hashable)
R = TypeVar("R")


class TorchBackend:
    """Tensors on one device, queued on torch's current stream; an `ArrayBackend`.

    Args:
        device: The device.
        errors: Counts, on the device, the worlds whose physics lost something.
        report: Called on the host, with that number where it is not zero, by every transfer.
    """

    def __init__(
        self,
        device: torch.device,
        errors: Callable[[], torch.Tensor],
        report: Callable[[int], None],
    ) -> None:
        self.device = device
        self._errors, self._report = errors, report
        self._is_cuda = device.type == "cuda"

    def asarray(self, values: Array) -> torch.Tensor:
        """Values on the device, float64 as float32; does not wait for the device."""
        if not isinstance(values, torch.Tensor):
            values = torch.from_numpy(np.require(values, requirements=["C", "W"]))
        if values.dtype == torch.float64:
            values = values.to(torch.float32)
        if self._is_cuda and not values.is_cuda:
            values = values.pin_memory()
        return values.detach().to(self.device, non_blocking=True)

    def copy(self, arrays: Mapping[Key, Array]) -> dict[Key, Array]:
        """Copies of tensors, those of a dtype and shape in one operation."""
        return copy_tensors(arrays)

    def to_host(self, arrays: Mapping[Key, Array]) -> Callable[[], dict[Key, NDArray[Any]]]:
        """Start to copy tensors to the host: images each, numbers in one block.

        Returns:
            Waits for them, and returns them as NumPy arrays.
        """
        numbers = {name: array for name, array in arrays.items() if array.ndim < 4}
        parts = [*numbers.values(), self._errors()]
        block = torch.cat([part.reshape(-1).to(torch.float32) for part in parts])
        host = self._to_host(block)
        images = {name: self._to_host(a) for name, a in arrays.items() if name not in numbers}
        arrived = torch.cuda.Event() if self._is_cuda else None
        if arrived is not None:
            arrived.record(torch.cuda.current_stream(self.device))

        def wait() -> dict[Key, NDArray[Any]]:
            if arrived is not None:
                arrived.synchronize()
            *sent, errors = torch.split(host, [part.numel() for part in parts])
            if errors > 0:
                self._report(int(errors))
            there: dict[Key, NDArray[Any]] = {}
            for name, array in arrays.items():
                if name in numbers:
                    part = sent.pop(0).to(array.dtype, copy=True)
                    there[name] = part.reshape(array.shape).numpy()
                else:
                    there[name] = images[name].numpy()
            return there

        return wait

    def capture(self, function: Callable[..., R]) -> Callable[..., R]:
        """The function as a CUDA graph; on the CPU the function as it is."""
        return capture_graph(function, self.device) if self._is_cuda else function

    def _to_host(self, tensor: torch.Tensor) -> torch.Tensor:
        """Start to copy a tensor to the host, where memory once locked is used again."""
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=self._is_cuda)
        return host.copy_(tensor, non_blocking=True)
