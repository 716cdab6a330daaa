"""The folder of a training run: how it was made, how it went, and what came out.

- `config.json`: what it was made from: options, hyperparameters, command, commit, machine
- `metrics.csv`: how training went, a row every while
- `evaluations.csv`: a row for each evaluation on fixed seeds
- `tensorboard/`: the same and more, for TensorBoard
- `best/`, `policy/`: the policy of the best evaluation and the last one, to act with; in `best/`
  also `model.zip`
- `model.zip`: the last policy as a model of Stable-Baselines3
- `checkpoints/STEP/`: the last checkpoint, with all that training needs to go on, until it is over
- `curve.png`: success over steps
- `videos/`: episodes of the best policy
- `result.json`: what came out, once training is over
"""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from policies.learners.train_config import TrainConfig
from vtenv import provenance
from vtenv.atomic_write import atomic_folder, atomic_write
from vtenv.json_document import read_json

FORMAT, VERSION = "vtinsert-training", 1


class RunError(ValueError):
    """A folder is not that of a training run, or not of this one; the message says what to do."""


class RunFiles:
    """The files of a training run.

    Args:
        path: The folder; it need not be there yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.tensorboard = self.path / "tensorboard"
        self.best = self.path / "best"
        self.policy = self.path / "policy"
        self.model = self.path / "model.zip"
        self.curve = self.path / "curve.png"
        self.videos = self.path / "videos"
        self._checkpoints = self.path / "checkpoints"
        self._config = self.path / "config.json"
        self._result = self.path / "result.json"

    @property
    def begun(self) -> bool:
        """Whether the folder holds a run."""
        return self._config.is_file()

    def write_config(self, config: TrainConfig, digest: str, command: str, resume: str) -> None:
        """Write what the run is made from.

        Args:
            config: The resolved configuration.
            digest: The encoder's digest; empty without one.
            command: The command that makes the run again.
            resume: The command that goes on after an interruption.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        document = {
            "format": FORMAT,
            "version": VERSION,
            **config.as_json(),
            "encoder_digest": digest,
            "command": command,
            "resume": resume,
            "commit": provenance.commit() or "not of a checkout",
            "versions": provenance.versions(),
            "hardware": provenance.hardware(),
        }
        self._write_json(self._config, document)

    def read_config(self) -> tuple[TrainConfig, dict[str, Any]]:
        """What `write_config` wrote: the configuration, and everything.

        Raises:
            RunError: If there is none, or it is another program's.
        """
        if not self._config.is_file():
            raise RunError(
                f"{self.path} is not the folder of a training run: it holds no config.json"
            )
        document = read_json(
            self._config,
            "of a policy",
            FORMAT,
            VERSION,
            RunError,
            again="train the policy again",
        )
        names = TrainConfig().as_json()
        try:
            config = TrainConfig.from_json({name: document[name] for name in names})
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{self._config} does not describe training: {error}") from error
        return config, document

    def write_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a table, `NAME.csv`, whole."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with (
            atomic_write(self.path / f"{name}.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write what came out."""
        self._write_json(self._result, result)

    def read_result(self) -> dict[str, Any] | None:
        """What came out; None where training is not over."""
        if not self._result.is_file():
            return None
        result: dict[str, Any] = json.loads(self._result.read_text(encoding="utf-8"))
        return result

    @contextlib.contextmanager
    def new_checkpoint(self, step: int) -> Iterator[Path]:
        """A folder to write a checkpoint into; in the end it takes the place of the others.

        Args:
            step: Where training stands.

        Yields:
            The folder.
        """
        path = self._checkpoints / f"{step:012d}"
        with atomic_folder(path) as temporary:
            yield temporary
        for other in self._checkpoints.iterdir():
            if other != path:
                shutil.rmtree(other)

    def drop_checkpoints(self) -> None:
        """Remove what nobody needs once training is over."""
        shutil.rmtree(self._checkpoints, ignore_errors=True)

    def checkpoint(self) -> Path | None:
        """The folder of the last checkpoint; None if there is none."""
        return max(self._checkpoints.glob("[0-9]*"), default=None)

    @staticmethod
    def _write_json(path: Path, document: Mapping[str, Any]) -> None:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(dict(document), indent=2) + "\n", encoding="utf-8")
