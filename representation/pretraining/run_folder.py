"""The folder that a training run leaves: how it was made, and what came out.

What `vtenv.run_folder` says, and:

- `config.json`: configuration, data, devices, command, commit, versions, hardware
- `metrics.csv`: a row for each epoch
- `encoder/`: the selected epoch's encoder and its card
- `objective.safetensors`: the objective's weights of that epoch
- `checkpoints/STEP/state.pt`: weights, the optimizer's state, and where the run stands

What writes and reads weights imports torch when it is called: to look at a run takes none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from representation.pretraining.config import PretrainConfig, objective_text
from vtenv.atomic_write import atomic_folder, atomic_write, restore_folder
from vtenv.json_document import from_document
from vtenv.run_folder import RunFolder, RunFolderError, reading

if TYPE_CHECKING:
    import torch

    from representation.objectives.objective import Objective
    from representation.timm_encoder import VisuotactileEncoder

FORMAT, VERSION = "vtinsert-pretraining", 3
STATE_FILE = "state.pt"
DAMAGED_REMEDY = "copy it again, or delete it to train from the beginning"
"""What to do about a checkpoint that cannot be gone on with."""


@dataclass(frozen=True)
class TrainingData:
    """What a run was trained on; for its card, and for whoever makes it again."""

    data: str = "not said"
    """The data set, in words or as a path."""
    data_sha256: str = ""
    """The data set's fingerprint; empty for what was rendered."""
    live: Mapping[str, Any] | None = None
    """What was rendered in place of a data set."""
    heldout: str = ""
    """The data set that was evaluated on, where it is another one."""


class PretrainFolder(RunFolder):
    """The files of a training run.

    Args:
        path: The folder; it need not be there yet.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, format=FORMAT, version=VERSION, kind="training of an encoder")
        self.encoder = self.path / "encoder"
        self.objective = self.path / "objective.safetensors"

    def begin(
        self,
        config: PretrainConfig,
        data: TrainingData,
        made: Mapping[str, Any],
        devices: Mapping[str, Any],
    ) -> None:
        """Write what the run is made from, and with: `vtenv.provenance.record`, and devices."""
        self.write_config(
            {**asdict(data), **made, "devices": dict(devices), "config": config.as_json()}
        )

    def read(self) -> tuple[PretrainConfig, TrainingData, dict[str, Any]]:
        """The configuration, the data, and all that `config.json` says.

        Raises:
            RunFolderError: If there is none, or it cannot be read.
        """
        document = self.read_config()
        names = TrainingData.__dataclass_fields__
        try:
            config = from_document(PretrainConfig, document.get("config"))
            data = from_document(TrainingData, {n: document[n] for n in names if n in document})
        except ValueError as error:
            raise RunFolderError(
                f"{self.path / 'config.json'} does not describe training: {error}"
            ) from error
        return config, data, document

    def write_state(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a checkpoint: numbers, strings, tensors, and dictionaries and lists of them."""
        from representation.tensor_file import write_state

        with self.new_checkpoint(step) as folder:
            write_state(folder / STATE_FILE, state)

    def read_state(self, device: torch.device) -> dict[str, Any] | None:
        """What `write_state` wrote last, tensors on a device; None if there is nothing yet.

        Raises:
            RunFolderError: If it is missing in part, truncated or foreign.
        """
        from representation.tensor_file import read_state

        folder = self.checkpoint()
        if folder is None:
            return None
        with reading(folder, DAMAGED_REMEDY):
            state = read_state(folder / STATE_FILE, device)
        return state

    def write_weights(
        self, encoder: VisuotactileEncoder, objective: Objective, metrics: Mapping[str, float]
    ) -> None:
        """Write an encoder with a card that shows metrics, and its objective's weights."""
        from representation.model_card import write_card
        from representation.tensor_file import write_tensors

        config, data, document = self.read()
        hardware = [
            *document.get("hardware", {}).values(),
            document.get("devices", {}).get("device", ""),
        ]
        with atomic_write(self.objective) as temporary:
            write_tensors(temporary, objective.state_dict())
        with atomic_folder(self.encoder) as folder:
            encoder.save_pretrained(folder)
            write_card(
                folder,
                name=self.encoder.name,
                data=data.data,
                objective=objective_text(config.objective),
                command=document.get("command", "not said"),
                commit=document.get("commit", "not said"),
                metrics=metrics,
                hardware=", ".join(str(value) for value in hardware if value),
                seed=config.seed,
            )


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
    from representation.encoder_files import EncoderFileError
    from representation.objectives.combine import build_objective
    from representation.tensor_file import load_weights

    run = PretrainFolder(folder)
    config, _, _ = run.read()
    restore_folder(run.encoder)
    if encoder.config != config.encoder:
        raise EncoderFileError(
            f"{run.path} trained another encoder than the one given; load it from {run.encoder}"
        )
    objective = build_objective(config.objective, encoder, config.objective_options)
    load_weights(objective, run.objective, EncoderFileError)
    return objective.to(next(encoder.parameters()).device).eval()
