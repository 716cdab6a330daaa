"""The processes of a training, one a GPU, as torchrun starts them."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ranks:
    """A process among those of a training. Rank 0 leads: it alone evaluates, and writes."""

    rank: int = 0
    """Number of this process."""
    size: int = 1
    """Processes."""
    local: int = 0
    """Number of this process among those of its host: of its GPU."""

    @classmethod
    def started(cls) -> Ranks:
        """What torchrun says in the environment; a single process without it."""
        names = {"rank": "RANK", "size": "WORLD_SIZE", "local": "LOCAL_RANK"}
        given = {name: os.environ.get(variable) for name, variable in names.items()}
        return cls(**{name: int(value) for name, value in given.items() if value})

    @property
    def launcher(self) -> tuple[str, ...]:
        """What starts a command in as many processes of one host."""
        if self.size == 1:
            return ()
        return ("torchrun", f"--nproc-per-node={self.size}", "--no-python")

    @contextlib.contextmanager
    def joined(self, device: str) -> Iterator[None]:
        """Exchange tensors of a device, "cpu" or a CUDA device, while the block runs."""
        if self.size == 1:
            yield
            return
        import torch
        from torch import distributed

        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        try:
            yield
        finally:
            distributed.destroy_process_group()

    def share(self, value: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What rank 0 gives, on every rank, with tensors on the CPU; among joined ranks.

        Args:
            value: Of rank 0: numbers, strings, tensors, and dictionaries and lists of them.
        """
        import torch
        from torch import distributed

        document = io.BytesIO()
        torch.save(None if value is None else dict(value), document)
        shared = [document.getvalue()]
        distributed.broadcast_object_list(shared, src=0)
        # A tensor that came as it is would be on the GPU of rank 0.
        found: dict[str, Any] = torch.load(
            io.BytesIO(shared[0]), map_location="cpu", weights_only=True
        )
        return found
