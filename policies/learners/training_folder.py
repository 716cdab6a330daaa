"""The folder of a training run: how it was made, how it went, and what came out.

Beside what every `RunFolder` has:

- `evaluations.csv`: a row for each evaluation on fixed seeds
- `best/`, `policy/`: the policy of the best evaluation and the last one, to act with; in `best/`
  also `model.zip`
- `model.zip`: the last policy as a model of Stable-Baselines3
- `curve.png`: success over steps
- `videos/`: episodes of the best policy
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from policies.learners.train_config import TrainConfig
from vtenv import provenance
from vtenv.json_document import from_document
from vtenv.run_folder import RunFolder, RunFolderError

MAY_DIFFER = ("steps", "max_minutes", "num_threads", "filmed")
"""What may differ when a run goes on: its budgets, and what changes no policy."""


class TrainingFolder(RunFolder):
    """The files of a training run.

    Args:
        path: The folder; it need not be there yet.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, format="vtinsert-training", version=1, kind="training of a policy")
        self.best = self.path / "best"
        self.policy = self.path / "policy"
        self.model = self.path / "model.zip"
        self.curve = self.path / "curve.png"
        self.videos = self.path / "videos"

    def begin(self, config: TrainConfig, digest: str, command: str, resume: str) -> None:
        """Write what the run is made from.

        Args:
            config: The resolved configuration.
            digest: The encoder's digest; empty without one.
            command: The command that makes the run again.
            resume: The command that goes on after an interruption.
        """
        self.write_config(
            {
                **config.as_json(),
                "encoder_digest": digest,
                **provenance.record(),
                "command": command,
                "resume": resume,
            }
        )

    def extend(self, config: TrainConfig, command: str) -> None:
        """Give the run the budget of a configuration; one that has ended goes on.

        Args:
            config: The run's, resolved, with another budget.
            command: The command that asks for it.

        Raises:
            RunFolderError: If the budget is used up, or there is no checkpoint to go on from.
        """
        document = self.read_config()
        budget = {"steps": config.steps, "max_minutes": config.max_minutes}
        if all(document[name] == value for name, value in budget.items()):
            return
        checkpoint, result = self.checkpoint(), self.result()
        if checkpoint is None and result is not None:
            raise RunFolderError(
                f"{self.path} has no checkpoint to go on from; begin another run with "
                f"--start {self.path}"
            )
        made = 0 if checkpoint is None else int(checkpoint.name)
        assert config.steps is not None
        if config.steps <= made:
            raise RunFolderError(
                f"steps={config.steps} is not allowed for {self.path}, which has made {made}; it "
                "must be more"
            )
        seconds = 0.0 if result is None else result["seconds"]
        if config.max_minutes is not None and 60 * config.max_minutes <= seconds:
            raise RunFolderError(
                f"max_minutes={config.max_minutes} is not allowed for {self.path}, which has taken "
                f"{seconds / 60:.3g}; it must be more"
            )
        # First the result: without it, the run of either budget can go on.
        (self.path / "result.json").unlink(missing_ok=True)
        self.write_config({**document, **budget, "command": f"{document['command']} && {command}"})

    def read(self) -> tuple[TrainConfig, str]:
        """The configuration, and the encoder's digest.

        Raises:
            RunFolderError: If there is none, or it is another program's.
        """
        document = self.read_config()
        try:
            fields = {name: document[name] for name in TrainConfig().as_json()}
            return from_document(TrainConfig, fields), str(document["encoder_digest"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(f"{self.path / 'config.json'} is damaged: {error}") from error

    def require_same(self, config: TrainConfig, digest: str) -> None:
        """Check that the folder holds the run of a configuration, but for what may differ.

        Raises:
            RunFolderError: If it is another; says what differs.
        """
        there, old = self.read()
        mine, theirs = config.as_json(), there.as_json()
        differ = [n for n in mine if mine[n] != theirs[n] and n not in MAY_DIFFER]
        if differ:
            given = ", ".join(f"{name}={theirs[name]!r}, not {mine[name]!r}" for name in differ)
            raise RunFolderError(
                f"{self.path} holds another run, with {given}; go on with that one with --resume, "
                "or choose another folder"
            )
        if old != digest:
            raise RunFolderError(
                f"{self.path} was begun with another encoder of the name "
                f"{config.representation!r}: {old[:12]}, and now it is {digest[:12]}; put the old "
                "one back, or choose another folder"
            )

    def result(self) -> dict[str, Any] | None:
        """What came out; None where the run is not over.

        Raises:
            RunFolderError: If it cannot be read.
        """
        result = self.read_result()
        if result is not None and not {"success", "curve", "seconds", "steps"} <= result.keys():
            raise RunFolderError(
                f"{self.path / 'result.json'} is not the result of training; remove it, and go on "
                "with --resume"
            )
        return result
