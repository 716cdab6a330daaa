"""An encoder on disk: a JSON configuration and safetensors, read strictly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from representation.bundled import bundled, bundled_folder
from representation.encoder_config import EncoderConfig
from vtenv.json_document import from_document, read_json

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
FORMAT, VERSION = "vtinsert-encoder", 1


class EncoderFileError(ValueError):
    """An encoder's file is missing, damaged, foreign, or does not fit; the message says how."""


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


def locate(source: str | Path, download: Mapping[str, Any]) -> tuple[Path, Path]:
    """Paths of an encoder's configuration and weights.

    Args:
        source: A bundled encoder's name, a folder, or an id on the Hugging Face Hub.
        download: Arguments of `huggingface_hub.hf_hub_download`.

    Raises:
        EncoderFileError: If there is none.
    """
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
