"""An encoder on disk: a JSON configuration and safetensors, read strictly."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from torch import nn

from representation.bundled import bundled, bundled_folder
from representation.encoder_config import EncoderConfig
from representation.tensor_file import load_weights, write_tensors
from vtenv.json_document import from_document, read_json

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
FORMAT, VERSION = "vtinsert-encoder", 1

Model = TypeVar("Model", bound=nn.Module)


class EncoderFileError(ValueError):
    """An encoder's file is missing, damaged, foreign, or does not fit; the message says how."""


def write_encoder(model: nn.Module, config: EncoderConfig, folder: Path) -> None:
    """Write an encoder's two files into an existing folder.

    Raises:
        ValueError: If its weights are of several precisions, which `read_encoder` refuses.
    """
    kinds = {str(v.dtype)[6:] for v in model.state_dict().values() if v.is_floating_point()}
    if len(kinds) > 1:
        raise ValueError(
            f"the encoder's weights are of {' and '.join(sorted(kinds))}; make them one before it "
            "is saved, such as by encoder.float()"
        )
    document = {"format": FORMAT, "version": VERSION, **asdict(config)}
    text = json.dumps(document, indent=2) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    write_tensors(folder / WEIGHTS_FILE, model.state_dict())


def read_encoder(
    source: str | Path, build: Callable[[EncoderConfig], Model], download: Mapping[str, Any]
) -> Model:
    """Read an encoder.

    Args:
        source: A bundled encoder's name, a folder, or an id on the Hugging Face Hub.
        build: Makes the model from its configuration.
        download: Arguments of `huggingface_hub.hf_hub_download`.

    Returns:
        The model with its weights.

    Raises:
        EncoderFileError: If a file is missing, damaged, foreign, or does not fit.
    """
    config_path, weights_path = _locate(source, download)
    config = read_config(config_path)
    try:
        model = build(config)
    except ValueError as error:
        raise EncoderFileError(f"{config_path} does not describe an encoder: {error}") from error
    load_weights(model, weights_path, EncoderFileError)
    return model


def read_config(path: Path) -> EncoderConfig:
    """An encoder's configuration, from its JSON file.

    Raises:
        EncoderFileError: If it is not JSON, or not the configuration of an encoder of ours.
    """
    fields = read_json(
        path,
        "the configuration of a VTInsert encoder, as VisuotactileEncoder.save_pretrained writes it",
        FORMAT,
        VERSION,
        EncoderFileError,
        again="train the encoder again",
    )
    try:
        return from_document(EncoderConfig, fields)
    except ValueError as error:
        raise EncoderFileError(f"{path} does not describe an encoder: {error}") from error


def _locate(source: str | Path, download: Mapping[str, Any]) -> tuple[Path, Path]:
    """Paths of an encoder's configuration and weights."""
    ours = bundled("encoders")
    names = ", ".join(ours) or "none"
    folder = bundled_folder("encoders") / source if source in ours else Path(source)
    with suppress(RuntimeError):  # there is no such user
        folder = folder.expanduser()
    if os.path.isdir(folder):  # unlike Path.is_dir, also of names too long for a file
        if not (folder / CONFIG_FILE).is_file():
            raise EncoderFileError(
                f"{folder} holds no {CONFIG_FILE}; an encoder's folder is what "
                "VisuotactileEncoder.save_pretrained writes"
            )
        return folder / CONFIG_FILE, folder / WEIGHTS_FILE
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
