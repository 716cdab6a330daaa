"""Weights as a safetensors file, read strictly; and where a run stands, as PyTorch's own file."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

_SHOWN = 3


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name, from any device."""
    on_host = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
    # The library's own files cannot be read by other users.
    path.write_bytes(save(on_host, metadata={"format": "pt"}))


@contextlib.contextmanager
def pytorch_document(path: Path) -> Iterator[io.BytesIO]:
    """What PyTorch is to write a file of its own into, which is then written.

    In a file PyTorch hides why it cannot be written; and its writer turns a Ctrl-C into an error
    about what it has not written.
    """
    document = io.BytesIO()
    try:
        yield document
    except RuntimeError as error:
        cause = error.__context__
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__context__
        if cause is None:
            raise
        raise KeyboardInterrupt from None
    path.write_bytes(document.getbuffer())


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write numbers, strings, tensors, and dictionaries and lists of them."""
    with pytorch_document(path) as document:
        torch.save(dict(state), document)


def read_state(path: Path, device: torch.device | str) -> dict[str, Any]:
    """What `write_state` wrote, tensors on a device; no other object is unpickled."""
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def load_weights(
    module: nn.Module, path: Path, error: type[Exception], config: str = "config.json"
) -> None:
    """Load weights into a module: the same names, shapes and finite numbers, or an error.

    Args:
        module: The module to change; it becomes one of the floating type of the file.
        path: The file.
        error: What to raise.
        config: Name of the file beside it that says what the module is.

    Raises:
        error: If the file is missing, damaged or does not fit; names what is wrong.
    """
    if not path.is_file():
        raise error(f"there is no {path.name} in {path.parent}; copy the folder again")
    try:
        found = load_file(path)
    except (SafetensorError, OSError) as wrong:
        raise error(
            f"{path} is truncated or not a safetensors file ({wrong}); copy or download it again. "
            "Pickled weights are never loaded"
        ) from wrong
    precisions = {value.dtype for value in found.values() if value.is_floating_point()}
    if len(precisions) == 1:
        module.to(precisions.pop())
    try:
        require_fit(module, found)
    except ValueError as wrong:
        raise error(
            f"{path} does not fit its {config}: {wrong}. Take both files from the same save"
        ) from None
    broken = [n for n, v in found.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise error(
            f"{path} has numbers that are not finite: {_some(broken)}; its training has diverged, "
            "or the file is damaged: take an earlier save, or train again with a lower learning "
            "rate"
        )
    module.load_state_dict(found)


def require_fit(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Check that tensors are the state of a module: the same names, shapes and types.

    Raises:
        ValueError: If they are not; says in what.
    """
    expected = module.state_dict()
    problems = {
        "missing from the file": [name for name in expected if name not in tensors],
        "that the network does not have": [name for name in tensors if name not in expected],
        "of other shape or type": [
            f"{name} ({_form(tensors[name])} in the file, {_form(value)} in the network)"
            for name, value in expected.items()
            if name in tensors and _form(tensors[name]) != _form(value)
        ],
    }
    if any(problems.values()):
        raise ValueError(
            "; ".join(f"{what}: {_some(names)}" for what, names in problems.items() if names)
        )


def _some(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _form(value: Tensor) -> str:
    return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
