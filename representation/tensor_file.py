"""Tensors as safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name, from any device."""
    on_host = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
    # The library's own files cannot be read by other users.
    path.write_bytes(save(on_host, metadata={"format": "pt"}))
