"""An encoder on disk: a JSON configuration and safetensors, read strictly."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from representation.bundled import bundled_encoders, encoders_folder
from representation.encoder_config import EncoderConfig
from representation.tensor_file import write_tensors
from vtenv.json_document import read_json

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
FORMAT, VERSION = "vtinsert-encoder", 1
_SHOWN = 3
_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

Model = TypeVar("Model", bound=nn.Module)


class EncoderFileError(ValueError):
    """An encoder's file is missing, damaged, foreign, or does not fit; the message says how."""


def write_encoder(model: nn.Module, config: EncoderConfig, folder: Path) -> None:
    """Write an encoder's two files into an existing folder."""
    document = {"format": FORMAT, "version": VERSION, **asdict(config)}
    text = json.dumps(document, indent=2) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    write_tensors(folder / WEIGHTS_FILE, model.state_dict())


def read_encoder(
    source: str | Path,
    build: Callable[[Mapping[str, Any]], Model],
    download: Mapping[str, Any],
) -> Model:
    """Read an encoder.

    Args:
        source: A bundled encoder's name, a folder, or an id on the Hugging Face Hub.
        build: Makes the model from the fields of its configuration.
        download: Arguments of `huggingface_hub.hf_hub_download`.

    Returns:
        The model with its weights.

    Raises:
        EncoderFileError: If a file is missing, damaged, foreign, or does not fit.
    """
    config_path, weights_path = _locate(source, download)
    fields = read_config(config_path)
    try:
        model = build(fields)
    except (TypeError, ValueError) as error:
        raise EncoderFileError(f"{config_path} does not describe an encoder: {error}") from error
    load_weights(model, weights_path)
    return model


def read_config(path: Path) -> dict[str, Any]:
    """Fields of an encoder's `EncoderConfig`, not yet validated, from its JSON file.

    Raises:
        EncoderFileError: If it is not JSON, or not the configuration of an encoder of ours.
    """
    return read_json(
        path,
        "the configuration of a VTInsert encoder, as VisuotactileEncoder.save_pretrained writes it",
        FORMAT,
        VERSION,
        EncoderFileError,
        again="train the encoder again",
    )


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights into a model: the same keys and shapes, or an error.

    A model of another floating type than the file's becomes one of that type.

    Args:
        model: The model to change.
        path: A safetensors file.

    Raises:
        EncoderFileError: If it is missing, damaged, does not fit, or has numbers that are not
            finite; names keys and shapes.
    """
    if not path.is_file():
        raise EncoderFileError(f"there is no {path.name} in {path.parent}; copy the folder again")
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise EncoderFileError(
            f"{path} is truncated or not a safetensors file ({error}); "
            "copy or download it again. Pickled weights are never loaded"
        ) from error
    precisions = {value.dtype for value in found.values() if value.is_floating_point()}
    if len(precisions) == 1 and precisions <= set(_PRECISIONS):
        model.to(precisions.pop())
    expected = model.state_dict()
    wrong = [
        f"{name} ({_form(found[name])} in the file, {_form(value)} in the encoder)"
        for name, value in expected.items()
        if name in found and _form(found[name]) != _form(value)
    ]
    problems = {
        "keys missing from the file": [name for name in expected if name not in found],
        "keys the encoder does not have": [name for name in found if name not in expected],
        "other shape or type": wrong,
    }
    if any(problems.values()):
        listed = (f"{what}: {_some(names)}" for what, names in problems.items() if names)
        raise EncoderFileError(
            f"{path} does not fit its {CONFIG_FILE}: {'; '.join(listed)}. "
            "Take both files from the same save"
        )
    if bad := [name for name, value in found.items() if not _is_finite(value)]:
        raise EncoderFileError(
            f"{path} has weights that are not finite: {_some(bad)}; its training has diverged, or "
            "the file is damaged: take an earlier save"
        )
    model.load_state_dict(found)


def _is_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(value.isfinite().all())


def _form(value: Any) -> str:
    return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"


def _some(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _locate(source: str | Path, download: Mapping[str, Any]) -> tuple[Path, Path]:
    bundled = bundled_encoders()
    if isinstance(source, str) and source in bundled:
        folder = encoders_folder() / source
    else:
        folder = Path(source)
        with suppress(RuntimeError):  # there is no such user
            folder = folder.expanduser()
    if os.path.isdir(folder):  # unlike Path.is_dir, also of names too long for a file
        if not (folder / CONFIG_FILE).is_file():
            raise EncoderFileError(
                f"{folder} holds no {CONFIG_FILE}; an encoder's folder is what "
                "VisuotactileEncoder.save_pretrained writes"
            )
        return folder / CONFIG_FILE, folder / WEIGHTS_FILE
    names = ", ".join(bundled) or "none"
    if isinstance(source, Path) or source.count("/") != 1:
        raise EncoderFileError(
            f"{str(source)!r} is not a bundled encoder ({names}), a folder, or an id on the "
            'Hugging Face Hub such as "user/model"'
        )
    try:
        config_path, weights_path = (
            Path(hf_hub_download(source, name, **download)) for name in (CONFIG_FILE, WEIGHTS_FILE)
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise EncoderFileError(
            f"cannot get {source!r} from the Hugging Face Hub, and there is no such folder: "
            f"{error}. Bundled encoders need no network: {names}"
        ) from error
    return config_path, weights_path
