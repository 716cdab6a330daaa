"""What a call of `vtinsert pretrain` trains, and on what."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policies.commands import CommandError
from representation.pretraining import options
from vtenv.provenance import commit, hardware, versions

if TYPE_CHECKING:
    from representation.data.dataset import Dataset
    from representation.pretraining.config import PretrainConfig
    from representation.pretraining.live_source import LiveConfig
    from representation.pretraining.run_folder import Provenance


@dataclasses.dataclass(frozen=True)
class PretrainPlan:
    """What is to be trained, and on what: a data set, or what is rendered.

    Attributes:
        config: What to train.
        command: What asked for it.
        dataset: What to train on; None where it is rendered.
        live: What to render; None where there is a data set.
        heldout: What to evaluate on beside; None for nothing.
    """

    config: PretrainConfig
    command: str
    dataset: Dataset | None
    live: LiveConfig | None
    heldout: Dataset | None


def new_plan(
    output: Path,
    data: Path | None,
    preset: str | None,
    given: dict[str, Any],
    rendering: dict[str, Any],
    heldout: Path | None,
) -> PretrainPlan:
    """What a run that begins trains.

    Args:
        output: Folder for the result.
        data: Folder of the data set; None to render.
        preset: Name of the training run that the options change; None for none.
        given: Options that change it, of `options.OPTIONS`.
        rendering: Arguments of `LiveConfig` that were given.
        heldout: Folder of another data set to evaluate on; None for none.

    Returns:
        The plan.

    Raises:
        CommandError: If options do not go together, or with the data.
    """
    from representation.first_encoder import require_buildable
    from representation.pretraining.presets import preset as find_preset
    from representation.pretraining.run_folder import RunFolder, RunFolderError
    from representation.pretraining.training import PretrainConfig, fit_to_split

    if data is None and "engine" not in rendering:
        raise CommandError(
            "--data is needed: the folder of a data set, from `vtinsert dataset`; or --live"
        )
    if data is not None and rendering:
        raise CommandError(
            "--live and what belongs to it are in place of --data; leave out one or the other"
        )
    if preset is None and "objective" not in given:
        raise CommandError("--preset or --objective is needed, to say what to train for")
    dataset = None if data is None else _open(data, "train")
    held = None if heldout is None else _open(heldout, "heldout")
    if held is None and dataset is not None and "heldout" in dataset.splits:
        held = dataset
    live = None
    sizes = {name: given.get(name) for name in ("image_size", "contact_size")}
    try:
        RunFolder(output).require_new()
        config = find_preset(preset) if preset else PretrainConfig()
        config = options.changed(config, given)
        if dataset is not None:
            config = fit_to_split(config, dataset["train"], **sizes)
        else:
            asked = {name: size for name, size in sizes.items() if size is not None}
            config = dataclasses.replace(
                config, encoder=dataclasses.replace(config.encoder, **asked)
            )
            live = _live(rendering, config)
        if held is not None:
            fit_to_split(
                config,
                held["heldout"],
                image_size=config.encoder.image_size,
                contact_size=config.encoder.contact_size,
            )
        require_buildable(config)
    except RunFolderError as error:
        raise CommandError(f"{error} (--resume goes on with it)") from None
    except ValueError as error:
        raise CommandError(str(error)) from None
    return PretrainPlan(config, shlex.join(["vtinsert", *sys.argv[1:]]), dataset, live, held)


def _live(rendering: dict[str, Any], config: PretrainConfig) -> LiveConfig:
    """What is to be rendered for a configuration."""
    from representation.pretraining.live_source import LiveConfig

    sizes = {"image_size": config.encoder.image_size, "contact_size": config.encoder.contact_size}
    return LiveConfig(**rendering, settings=sizes)


def resumed_plan(
    output: Path,
    data: Path | None,
    preset: str | None,
    given: dict[str, Any],
    rendering: dict[str, Any],
    heldout: Path | None,
) -> PretrainPlan:
    """What a run that goes on trains.

    Args:
        output: Folder of the run.
        data: The data set, where it is now; None for where it was.
        preset: Must be None; so must `heldout` be.
        given: Must be empty; so must `rendering` be.
        rendering: See `given`.
        heldout: See `preset`.

    Returns:
        The plan.

    Raises:
        CommandError: If there is no such run, an option is given, or the data have changed.
    """
    from representation.pretraining.live_source import LiveConfig
    from representation.pretraining.run_folder import RunFolder, RunFolderError

    named = ["preset"] if preset is not None else []
    named += ["heldout"] if heldout is not None else []
    named += [{"engine": "live", "device": "live-device"}.get(name, name) for name in rendering]
    named += [name.replace("_", "-") for name in given]
    if named:
        raise CommandError(
            f"--resume goes on with the options of {output}; leave out "
            f"{', '.join(f'--{name}' for name in named)}"
        )
    try:
        folder = RunFolder(output)
        document, config = folder.read_json(), folder.read_config()
    except RunFolderError as error:
        raise CommandError(str(error)) from None
    held = _open(Path(document["heldout"]), "heldout") if document["heldout"] else None
    if document["live"]:
        if data is not None:
            raise CommandError(f"{output} was begun with --live; leave out --data")
        return PretrainPlan(config, document["command"], None, LiveConfig(**document["live"]), held)
    dataset = _open(data or Path(document["data"]), "train")
    if dataset.fingerprint != document["data_sha256"]:
        raise CommandError(
            f"{dataset.folder} is not the data set that {output} was begun with, or was changed; "
            "give the right one with --data, or begin again in another folder"
        )
    if held is None and "heldout" in dataset.splits:
        held = dataset
    return PretrainPlan(config, document["command"], dataset, None, held)


def _open(folder: Path, split: str) -> Dataset:
    from representation.data.dataset import Dataset, DatasetError

    try:
        dataset = Dataset.open(folder)
        dataset[split]
    except DatasetError as error:
        raise CommandError(str(error)) from None
    return dataset


def provenance(plan: PretrainPlan, output: Path) -> Provenance:
    """Where a run's result comes from.

    Args:
        plan: What it trains.
        output: Its folder.

    Returns:
        What its card says.
    """
    from representation.pretraining.run_folder import Provenance

    known: dict[str, Any] = {}
    if plan.dataset is not None:
        known = {"data": str(plan.dataset.folder), "data_sha256": plan.dataset.fingerprint}
    elif plan.live is not None:
        known = {"data": plan.live.describe(), "live": dataclasses.asdict(plan.live)}
    if plan.heldout is not None and plan.heldout is not plan.dataset:
        known["heldout"] = str(plan.heldout.folder)
    return Provenance(
        **known,
        command=plan.command,
        resume=shlex.join(["vtinsert", "pretrain", "--resume", "--output", str(output)]),
        commit=commit() or "not of a checkout",
        versions=versions(),
        hardware=hardware(),
    )
