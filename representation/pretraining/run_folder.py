"""The folder that a training run leaves: how it was made, and what came out.

- `config.json`: what it was made from: configuration, data, command, commit, machine
- `encoder/`: the selected epoch's encoder and its card
- `objective.safetensors`: the objective's weights of that epoch
- `metrics.csv`: a row for each epoch
- `result.json`: the selected epoch and what was measured, once training is over
- `tensorboard/`: the same and more, for TensorBoard
- `checkpoint.pt`: the last epoch, with all that training needs to go on
"""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from representation.encoder_files import EncoderFileError, load_weights
from representation.model_card import write_card
from representation.objectives.combine import build_objective
from representation.objectives.objective import Objective
from representation.pretraining.config import PretrainConfig
from representation.tensor_file import write_tensors
from representation.timm_encoder import VisuotactileEncoder
from vtenv.atomic_write import atomic_write
from vtenv.json_document import read_json

FORMAT, VERSION = "vtinsert-pretraining", 2


class RunFolderError(ValueError):
    """A folder is not, or not yet, that of a training run; the message says what to do."""


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from; for its card, and for whoever makes it again."""

    data: str = "not said"
    """The data set, in words or as a path."""
    data_sha256: str = ""
    """Checksum of the data set's manifest."""
    live: Mapping[str, Any] = field(default_factory=dict)
    """What was rendered in place of a data set; empty where there was one."""
    heldout: str = ""
    """The data set that was evaluated on, where it is another one."""
    command: str = "not said"
    """The command that makes the result again."""
    resume: str = "pretrain(..., resume=True)"
    """What goes on after an interruption."""
    commit: str = "not said"
    """Commit of this repository."""
    versions: Mapping[str, str | None] = field(default_factory=dict)
    """Versions of the software."""
    hardware: Mapping[str, Any] = field(default_factory=dict)
    """What it was trained on."""


class RunFolder:
    """The files of a training run.

    Args:
        path: The folder; it need not be there yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.encoder = self.path / "encoder"
        self.tensorboard = self.path / "tensorboard"
        self._config = self.path / "config.json"
        self._checkpoint = self.path / "checkpoint.pt"
        self._objective = self.path / "objective.safetensors"
        self._writing = self.path / ".writing"
        self._replaced = self._writing / "replaced"

    def require_new(self) -> None:
        """Check that nothing would be written over.

        Raises:
            RunFolderError: If the folder holds anything.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunFolderError(
                f"{self.path} is there already; resume it, or choose another folder"
            )

    def write_config(
        self, config: PretrainConfig, provenance: Provenance, devices: Mapping[str, Any]
    ) -> None:
        """Write what the run is made from.

        Args:
            config: The configuration.
            provenance: Where the result comes from.
            devices: Devices and precision in use.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        document = {
            "format": FORMAT,
            "version": VERSION,
            **asdict(provenance),
            "devices": dict(devices),
            "config": config.as_json(),
        }
        with atomic_write(self._config) as temporary:
            temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def read_json(self) -> dict[str, Any]:
        """What `write_config` wrote.

        Returns:
            The document; its "config" is the configuration's fields.

        Raises:
            RunFolderError: If there is none, or it is another program's.
        """
        if not self._config.is_file():
            raise RunFolderError(
                f"{self.path} is not the folder of a training run: it holds no config.json"
            )
        return read_json(
            self._config,
            "of a training run of an encoder",
            FORMAT,
            VERSION,
            RunFolderError,
            again="train the encoder again",
        )

    def read_config(self) -> PretrainConfig:
        """The configuration of the run.

        Raises:
            RunFolderError: If it cannot be read.
        """
        document = self.read_json()
        try:
            return PretrainConfig.from_json(document["config"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(f"{self._config} does not describe training: {error}") from error

    def write_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write all that training needs to go on.

        Args:
            state: Tensors, numbers, strings, and dictionaries and lists of them.
        """
        with atomic_write(self._checkpoint) as temporary:
            torch.save(dict(state), temporary)

    def read_checkpoint(self, device: torch.device) -> dict[str, Any] | None:
        """What `write_checkpoint` wrote; None if there is none. Unpickles tensors alone.

        Args:
            device: Where the tensors go.

        Returns:
            The state.
        """
        if not self._checkpoint.is_file():
            return None
        state: dict[str, Any] = torch.load(self._checkpoint, map_location=device, weights_only=True)
        return state

    def write_weights(
        self,
        encoder: VisuotactileEncoder,
        objective: Objective,
        config: PretrainConfig,
        provenance: Provenance,
        metrics: Mapping[str, float | str],
    ) -> None:
        """Write an encoder with its card, and its objective's weights.

        Args:
            encoder: The encoder.
            objective: Its objective.
            config: What they were made from.
            provenance: Where they come from.
            metrics: For the card.
        """
        # Written beside, then renamed: an encoder's folder is never half of one and half of
        # another. Its last part is the name that the card shows.
        self._put_back()
        writing = self._writing
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir()
        encoder.save_pretrained(writing / "encoder")
        write_card(
            writing / "encoder",
            data=provenance.data,
            objective=describe_objective(config.objective),
            command=provenance.command,
            commit=provenance.commit,
            metrics=metrics,
            hardware=", ".join(str(value) for value in provenance.hardware.values()),
            seed=config.seed,
        )
        write_tensors(writing / self._objective.name, objective.state_dict())
        if self.encoder.exists():
            self.encoder.replace(self._replaced)
        (writing / "encoder").replace(self.encoder)
        (writing / self._objective.name).replace(self._objective)
        shutil.rmtree(writing)

    def load_weights(self, encoder: VisuotactileEncoder, objective: Objective) -> None:
        """Load what `write_weights` wrote.

        Args:
            encoder: The encoder to change.
            objective: The objective to change.

        Raises:
            EncoderFileError: If a file is missing, damaged, or does not fit.
        """
        self._put_back()
        load_weights(encoder, self.encoder / "model.safetensors")
        load_weights(objective, self._objective)

    def _put_back(self) -> None:
        """Undo a writing that was killed after it took the old encoder away."""
        if not self.encoder.exists():
            # Not there: nothing to put back, or another process of the run was faster.
            with contextlib.suppress(FileNotFoundError):
                self._replaced.replace(self.encoder)

    def write_metrics(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the table of epochs.

        Args:
            history: A row for each epoch.
        """
        names = list(dict.fromkeys(name for row in history for name in row))
        with (
            atomic_write(self.path / "metrics.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(history)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write what came out.

        Args:
            result: The selected epoch and what was measured.
        """
        with atomic_write(self.path / "result.json") as temporary:
            temporary.write_text(json.dumps(dict(result), indent=2) + "\n", encoding="utf-8")


def load_objective(folder: str | Path, encoder: VisuotactileEncoder) -> Objective:
    """The trained objective of a run: its classifier, projection heads, temperature, decoder.

    Args:
        folder: The run's folder.
        encoder: The encoder it was trained with, as loaded from the folder `encoder` in it.

    Returns:
        The objective, in evaluation mode, where the encoder is.

    Raises:
        RunFolderError: If the folder is not that of a training run.
        EncoderFileError: If the weights are missing, damaged, or do not fit the encoder.
    """
    run = RunFolder(folder)
    config = run.read_config()
    if encoder.config != config.encoder:
        raise EncoderFileError(
            f"{run.path} trained another encoder than the one given; load it from {run.encoder}"
        )
    objective = build_objective(config.objective, encoder, config.objective_options)
    load_weights(objective, run.path / "objective.safetensors")
    return objective.to(next(encoder.parameters()).device).eval()


def describe_objective(objective: str | Mapping[str, float]) -> str:
    """An objective in words, as the command line takes it."""
    if isinstance(objective, str):
        return objective
    return ",".join(f"{name}={weight:g}" for name, weight in objective.items())
