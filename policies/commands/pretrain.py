"""`vtinsert pretrain`: train an encoder on a data set."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from policies import machine
from policies.commands import CommandError

if TYPE_CHECKING:
    from representation.dataset import Dataset
    from representation.training import PretrainConfig, PretrainResult


def pretrain(
    *,
    data: Path | None = None,
    preset: str | None = None,
    output: Path = Path("outputs/pretrain"),
    resume: tyro.conf.FlagCreatePairsOff[bool] = False,
    objective: str | None = None,
    augment: str | None = None,
    backbone: str | None = None,
    pretrained: tyro.conf.FlagCreatePairsOff[bool] = False,
    from_scratch: tyro.conf.FlagCreatePairsOff[bool] = False,
    start: str | None = None,
    modalities: Annotated[
        tuple[Literal["vision", "touch"], ...] | None, tyro.conf.arg(metavar="[vision] [touch]")
    ] = None,
    fusion: Literal["concat", "cross_attention"] | None = None,
    pooling: Literal["average", "flatten"] | None = None,
    embedding_dim: int | None = None,
    image_size: int | None = None,
    contact_size: int | None = None,
    fingers: Literal[1, 2] | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    max_minutes: float | None = None,
    batch_size: int | None = None,
    learning_rate: Annotated[float | None, tyro.conf.arg(aliases=["--lr"])] = None,
    schedule: Literal["constant", "exponential", "cosine"] | None = None,
    gamma: float | None = None,
    warmup: float | None = None,
    weight_decay: float | None = None,
    clip_norm: float | None = None,
    select: Literal["lowest_loss", "last"] | None = None,
    precision: Literal["auto", "32-true", "bf16-mixed"] | None = None,
    compile: tyro.conf.FlagCreatePairsOff[bool] = False,
    seed: int | None = None,
    devices: int = 1,
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    workers: int = 2,
    evaluate_every: int = 1,
    checkpoint_every: int = 1,
) -> int:
    """Train an encoder on a data set: the paper's presets, ours, or your own options.

    Options that are not given are the preset's. Sizes of images are the data set's.

    Args:
        data: Folder of the data set, as `vtinsert dataset` writes it.
        preset: A training run by name, such as paper-classify-resnet50 or
            control-resnet-masked+dynamics; an unknown one is answered with those that are near.
        output: Folder for the result; must not exist, or be empty.
        resume: Go on with the run in that folder, from its last checkpoint, with its own options.
        objective: One or several: infonce, or masked=1,dynamics=0.5.
        augment: none, occlusion, contrastive; or names of augmentations: noise,crop.
        backbone: Any network that timm knows, with its own defaults, pooling "average" and no
            projection unless they are given too.
        pretrained: Start from ImageNet weights; needs a network, or their files.
        from_scratch: Start from random weights, whatever the preset says.
        start: Start from another encoder's backbones: a folder, a bundled name, an id on the Hub.
        modalities: What the encoder perceives with.
        fusion: How modalities become one embedding.
        pooling: How a backbone's tokens become its feature.
        embedding_dim: Width of each modality's part of the embedding.
        image_size: Size that the data's depth images must have.
        contact_size: Size that the data's contact masks must have.
        fingers: Contact masks that the encoder takes.
        epochs: The budget in passes through the data.
        max_steps: The budget in steps.
        max_minutes: The budget in minutes.
        batch_size: Samples in a step, over all devices.
        learning_rate: Highest learning rate.
        schedule: How it falls.
        gamma: What the exponential schedule multiplies it by after each epoch.
        warmup: Part of the budget in which it rises.
        weight_decay: Weight decay of AdamW.
        clip_norm: Largest norm of the gradient.
        select: Which epoch is the result.
        precision: "auto" for bf16-mixed on CUDA and 32-true elsewhere.
        compile: Compile the encoder with torch.compile.
        seed: Seed of initial weights, order, augmentation and masking.
        devices: How many devices, each with a process; -1 for all.
        accelerator: Which devices.
        workers: Threads that read data ahead.
        evaluate_every: Epochs between evaluations on held-out data.
        checkpoint_every: Epochs between checkpoints; an interruption loses at most so many.
    """
    given = {
        name: value
        for name, value in locals().items()
        if name in _OPTIONS and value is not None and value is not False
    }
    if pretrained + from_scratch + (start is not None) > 1:
        raise CommandError("of --pretrained, --from-scratch and --start, only one can be given")
    for name, value in (
        ("devices", abs(devices)),
        ("workers", workers),
        ("evaluate-every", evaluate_every),
        ("checkpoint-every", checkpoint_every),
    ):
        if value < 1:
            raise CommandError(f"--{name} must be at least 1")
    run = _resumed(output, data, preset, given) if resume else _new(output, data, preset, given)
    result = _train(
        run,
        output,
        resume=resume,
        devices=devices,
        accelerator=accelerator,
        workers=workers,
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
    )
    if result is not None:
        _print(result)
    return 0


_CONFIG_OPTIONS = {
    "objective",
    "augment",
    "pretrained",
    "start",
    "epochs",
    "max_steps",
    "max_minutes",
    "batch_size",
    "learning_rate",
    "schedule",
    "gamma",
    "warmup",
    "weight_decay",
    "clip_norm",
    "select",
    "precision",
    "compile",
    "seed",
}
_ENCODER_OPTIONS = {
    "backbone": "backbone",
    "modalities": "modalities",
    "fusion": "fusion",
    "pooling": "pooling",
    "embedding_dim": "embedding_dim",
    "fingers": "num_fingers",
}
_SIZES = {"image_size", "contact_size"}
_OPTIONS = _CONFIG_OPTIONS | _ENCODER_OPTIONS.keys() | _SIZES | {"from_scratch"}
_BUDGETS = ("epochs", "max_steps", "max_minutes")


@dataclasses.dataclass(frozen=True)
class _Run:
    """What is to be trained, on what."""

    config: PretrainConfig
    dataset: Dataset
    command: str


def _new(output: Path, data: Path | None, preset: str | None, given: dict[str, Any]) -> _Run:
    from representation.first_encoder import require_buildable
    from representation.presets import preset as find_preset
    from representation.run_folder import RunFolder, RunFolderError
    from representation.training import PretrainConfig, fit_to_split

    if data is None:
        raise CommandError("--data is needed: the folder of a data set, from `vtinsert dataset`")
    if preset is None and "objective" not in given:
        raise CommandError("--preset or --objective is needed, to say what to train for")
    dataset = _open(data)
    try:
        RunFolder(output).require_new()
        config = find_preset(preset) if preset else PretrainConfig()
        config = _changed(config, given)
        config = fit_to_split(
            config,
            dataset["train"],
            image_size=given.get("image_size"),
            contact_size=given.get("contact_size"),
        )
        require_buildable(config)
    except RunFolderError as error:
        raise CommandError(f"{error} (--resume goes on with it)") from None
    except ValueError as error:
        raise CommandError(str(error)) from None
    return _Run(config, dataset, shlex.join(["vtinsert", *sys.argv[1:]]))


def _resumed(output: Path, data: Path | None, preset: str | None, given: dict[str, Any]) -> _Run:
    from representation.run_folder import RunFolder, RunFolderError

    if preset is not None or given:
        named = ["preset"] if preset is not None else []
        named += [name.replace("_", "-") for name in given]
        raise CommandError(
            f"--resume goes on with the options of {output}; leave out "
            f"{', '.join(f'--{name}' for name in named)}"
        )
    try:
        folder = RunFolder(output)
        document, config = folder.read_document(), folder.read_config()
    except RunFolderError as error:
        raise CommandError(str(error)) from None
    dataset = _open(data or Path(document["data"]))
    if dataset.fingerprint != document["data_sha256"]:
        raise CommandError(
            f"{dataset.folder} is not the data set that {output} was begun with, or was changed; "
            "give the right one with --data, or begin again in another folder"
        )
    return _Run(config, dataset, document["command"])


def _open(folder: Path) -> Dataset:
    from representation.dataset import Dataset, DatasetError

    try:
        dataset = Dataset.open(folder)
        dataset["train"]
    except DatasetError as error:
        raise CommandError(str(error)) from None
    return dataset


def _changed(config: PretrainConfig, given: dict[str, Any]) -> PretrainConfig:
    """The configuration with the options that were given."""
    changes = {name: value for name, value in given.items() if name in _CONFIG_OPTIONS}
    encoder = {_ENCODER_OPTIONS[name]: v for name, v in given.items() if name in _ENCODER_OPTIONS}
    if "backbone" in encoder:
        # What was chosen for another network does not fit this one.
        encoder = {"backbone_options": {}, "pooling": "average", "embedding_dim": None} | encoder
    if any(name in given for name in _BUDGETS):
        changes |= {name: given.get(name) for name in _BUDGETS}
    if "from_scratch" in given or "start" in given:
        changes.setdefault("pretrained", False)
    if "objective" in changes:
        changes |= {"objective": _objective(changes["objective"]), "objective_options": {}}
    if "augment" in changes:
        changes |= {"augment": _augment(changes["augment"]), "augment_options": {}}
    encoder_config = dataclasses.replace(config.encoder, **encoder)
    return dataclasses.replace(config, encoder=encoder_config, **changes)


def _objective(text: str) -> str | dict[str, float]:
    """A name; or several with weights, "masked=1,dynamics=0.5"."""
    parts = text.replace("+", ",").split(",")
    if len(parts) == 1 and "=" not in text:
        return text
    weights = {}
    for part in parts:
        name, _, weight = part.partition("=")
        try:
            weights[name.strip()] = float(weight or 1.0)
        except ValueError:
            raise ValueError(
                f"--objective {text}: {weight!r} is no weight; write masked=1,dynamics=0.5"
            ) from None
    return weights


def _augment(text: str) -> str | tuple[str, ...]:
    from representation.augmentations import PRESETS

    return text if text in PRESETS else tuple(name.strip() for name in text.split(","))


def _train(
    run: _Run,
    output: Path,
    *,
    resume: bool,
    devices: int,
    accelerator: str,
    workers: int,
    evaluate_every: int,
    checkpoint_every: int,
) -> PretrainResult | None:
    """Train; the result, in the main process."""
    from representation.backbone import PretrainedWeightsError
    from representation.encoder_files import EncoderFileError
    from representation.run_folder import Provenance, RunFolderError
    from representation.training import TrainingError, make_fabric, make_source, pretrain

    provenance = Provenance(
        data=str(run.dataset.folder),
        data_sha256=run.dataset.fingerprint,
        command=run.command,
        resume=shlex.join(["vtinsert", "pretrain", "--resume", "--output", str(output)]),
        commit=machine.commit() or "not of a checkout",
        versions=machine.versions(),
        hardware=machine.hardware(),
    )
    try:
        fabric = make_fabric(run.config, devices=devices, accelerator=accelerator)
        source = make_source(run.config, run.dataset["train"], fabric, workers=workers)
        heldout = None
        if "heldout" in run.dataset.splits:
            split = run.dataset["heldout"]
            heldout = make_source(run.config, split, fabric, shuffle=False, workers=workers)
    except ValueError as error:
        raise CommandError(str(error)) from None
    try:
        result = pretrain(
            run.config,
            source,
            output,
            heldout=heldout,
            fabric=fabric,
            resume=resume,
            provenance=provenance,
            evaluate_every=evaluate_every,
            checkpoint_every=checkpoint_every,
        )
    except PretrainedWeightsError as error:
        raise CommandError(f"{error}, here --from-scratch") from None
    except (EncoderFileError, RunFolderError, TrainingError) as error:
        raise CommandError(str(error)) from None
    return result if fabric.is_global_zero else None


def _print(result: PretrainResult) -> None:
    parts = [f"loss {result.loss:.4g}"]
    for name in ("accuracy", "accuracy_vision", "accuracy_touch", "loss"):
        if f"heldout/{name}" in result.metrics:
            parts.append(f"held-out {name} {result.metrics[f'heldout/{name}']:.4g}")
    print(f"Epoch {result.epoch} of {len(result.history)} selected: {', '.join(parts)}")
    print(f"Encoder: {result.folder / 'encoder'}")
