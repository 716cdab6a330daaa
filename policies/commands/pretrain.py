"""`vtinsert pretrain`: train an encoder on a data set, or on what is rendered meanwhile."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from policies.choices import default, require_at_least
from policies.commands.option_fields import given, option_fields
from representation.encoder_config import SENSES, EncoderConfig
from representation.pretraining.config import BUDGETS, PretrainConfig, objective_text
from representation.pretraining.live_config import LiveConfig
from representation.pretraining.presets import preset_fields
from representation.require import require

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from representation.pretraining.live_source import LiveSource
    from representation.pretraining.plan import PretrainPlan
    from representation.pretraining.training import PretrainResult


@dataclass(frozen=True)
class RunOptions:
    """What to train on, where, and with what."""

    data: Annotated[Path | None, default("none; this or --live")] = None
    """Folder of the data set, as `vtinsert dataset` writes it."""
    live: Annotated[Literal["cpu", "warp"] | None, default("none; this or --data")] = None
    """Render experience with this physics engine and train on it, in place of --data. The settings
    of its --task are options too, such as --clearance-mm 0.2."""
    live_device: Annotated[str | None, default("that of training")] = None
    """Device of the Warp engine, such as cuda:1."""
    heldout: Annotated[Path | None, default("that of --data")] = None
    """Folder of a data set whose held-out split the objective is evaluated on."""
    preset: Annotated[str | None, default("none; this or --objective")] = None
    """A training run by name, such as paper-classify-resnet50 or
    control-resnet-masked+dynamics; options that are not given are its."""
    output: Path = Path("outputs/pretrain")
    """Folder for the result; must not exist, or be empty."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with the run in that folder, from its last checkpoint, with its own options."""
    from_scratch: tyro.conf.FlagCreatePairsOff[bool] = False
    """Start from random weights, whatever the preset says."""
    modalities: Annotated[
        tuple[Literal["vision", "touch", "depth", "contact", "gel", "shear", "markers", "rgb"], ...]
        | None,
        default("the preset's"),
    ] = None
    """What the encoder perceives with: senses, as the preset has them, or images by key."""
    fingers: Annotated[Literal[1, 2] | None, default("the preset's")] = None
    """Contact masks that the encoder takes."""
    image_size: Annotated[int | None, default("the data's; with --live, 64")] = None
    """Size that the data's depth images must have; with --live, get."""
    contact_size: Annotated[int | None, default("the data's; with --live, 64")] = None
    """Size that the data's contact masks must have; with --live, get."""
    devices: int = 1
    """How many devices, each with a process; -1 for all."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Which devices."""
    workers: int = 2
    """Threads that read data ahead."""
    evaluate_every: int = 1
    """Epochs between evaluations on held-out data."""
    checkpoint_every: int = 1
    """Epochs between checkpoints; a kill loses at most so many."""

    def __post_init__(self) -> None:
        require_at_least(self, devices=-1, workers=1, evaluate_every=1, checkpoint_every=1)
        require(self.devices != 0, "devices", self.devices, "at least 1, or -1 for all")


_DEFAULTS = {
    "max_steps": "(default: none)",
    "max_minutes": "(default: none)",
    "worlds": "(default: 64, or 4096 with warp)",
    "pairs": "(default: without end)",
    "start": "(default: none)",
    "clip_norm": "(default: any)",
    "channels_last": "(default: on CUDA)",
    "cuda_graph": "(default: on one CUDA GPU)",
    "embedding_dim": "(default: the backbone's)",
}
"""What is said of an option whose default is None."""


def _names(config: Any, *but: str) -> tuple[str, ...]:
    return tuple(one.name for one in dataclasses.fields(config) if one.name not in but)


_CONFIG = _names(PretrainConfig, "encoder", "objective_options", "augment_options")
_ENCODER = _names(EncoderConfig, "images", "ranges", "backbone_options")
_LIVE = ("task", "worlds", "pairs", "reuse")
_GO_ON = (
    *("data", "output", "resume", "devices", "accelerator", "workers"),
    *("evaluate_every", "checkpoint_every"),
)
"""What may be given with --resume."""


def configured(arguments: Sequence[str]) -> Callable[..., int]:
    """The command for these arguments: the defaults of its options are the preset's."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--preset", "--backbone", "--objective"):
        early.add_argument(option, nargs="?")  # that a value is missing is told below
    known, _ = early.parse_known_args(list(arguments))
    # Fields rather than a configuration, which loads the simulator to judge its encoder's images.
    base = dict(preset_fields(known.preset)) if known.preset else {}
    encoder = base.pop("encoder", {})
    if known.backbone not in (None, encoder.get("backbone")):
        # What was chosen for another network does not fit this one.
        fitted = ("backbone_options", "pooling", "embedding_dim")
        encoder = {name: value for name, value in encoder.items() if name not in fitted}
    texts = {
        "objective": objective_text(base.get("objective", PretrainConfig.objective)),
        "augment": base.get("augment", str(PretrainConfig.augment)),
    }
    fields = [
        *option_fields(PretrainConfig, _CONFIG, _DEFAULTS, base, texts),
        *option_fields(EncoderConfig, _ENCODER, _DEFAULTS, encoder),
        *option_fields(LiveConfig, _LIVE, _DEFAULTS),
    ]
    kind = dataclasses.make_dataclass("Options", fields, bases=(RunOptions,), frozen=True)

    def pretrain(
        options: Any = kind(),  # noqa: B008 (it is frozen)
        settings: tyro.conf.Suppress[dict[str, Any] | None] = None,
    ) -> int:
        """Train an encoder on a data set: the paper's presets, ours, or your own options.

        With --live there is no data set: what is learned from is rendered as it is needed. Options
        that are not given are the preset's; `vtinsert pretrain --preset NAME --help` shows them.
        """
        values = given(options) | {"settings": settings or {}}
        if known.objective is not None:  # also where it is the default
            values["objective"] = options.objective
        _judge(options, values)
        config = PretrainConfig(encoder=EncoderConfig(**encoder), **base)
        if not options.resume:
            config = _changed(config, options, values)
            _judge_names(config)
        return _pretrain(options, config, values)

    pretrain.__annotations__["options"] = kind
    return pretrain


def _judge(run: RunOptions, values: Mapping[str, Any]) -> None:
    """Refuse options that exclude each other, and the lack of what is needed."""
    rendering = [name for name in ("live_device", *_LIVE) if name in values]
    if run.resume:
        named = [name for name in values if name not in (*_GO_ON, "settings")]
        if others := [*named, *values["settings"]]:
            raise ValueError(
                f"--resume goes on with the options of {run.output}; leave out "
                f"{', '.join('--' + name.replace('_', '-') for name in others)}"
            )
        return
    if run.data is None and run.live is None:
        raise ValueError(
            "--data is needed: the folder of a data set, from `vtinsert dataset`; or --live"
        )
    if run.data is not None and (run.live or rendering or values["settings"]):
        raise ValueError(
            "--live and what belongs to it are in place of --data; leave out one or the other"
        )
    if run.preset is None and "objective" not in values:
        raise ValueError("--preset or --objective is needed, to say what to train for")
    if sum((bool(values.get("pretrained")), run.from_scratch, "start" in values)) > 1:
        raise ValueError("of --pretrained, --from-scratch and --start, only one can be given")
    if run.live:
        from vtenv.registry import make_task

        make_task(values.get("task", LiveConfig.task), **values["settings"])
    if run.data is not None:
        from representation.data.dataset import Dataset

        Dataset.open(run.data)  # says what is wrong with it before torch is imported


def _judge_names(config: PretrainConfig) -> None:
    """Refuse names of nothing that there is, before torch is imported."""
    from policies.representation_names import check_encoder_files
    from representation.names import chosen_augmentations, require_network, require_objectives
    from vtenv.import_string import import_string, is_import_string

    require_network(config.encoder.backbone)
    if config.start is not None:
        check_encoder_files(config.start)
    augmentations = chosen_augmentations(config.augment)
    require_objectives(config.objectives)
    for what, names in (("objective", config.objectives), ("augmentation", augmentations)):
        for name in filter(is_import_string, names):
            import_string(name, what)


def _pretrain(run: RunOptions, config: PretrainConfig, values: Mapping[str, Any]) -> int:
    from representation.pretraining.plan import new_plan, resumed_plan
    from vtenv.run_folder import RunFolderError

    resume = shlex.join(["vtinsert", "pretrain", "--resume", "--output", str(run.output)])
    try:
        if run.resume:
            plan = resumed_plan(run.output, run.data)
        else:
            rendered = {name: values[name] for name in (*_LIVE, "settings") if name in values}
            live = LiveConfig(run.live or "cpu", run.live_device, **rendered)
            plan = new_plan(
                run.output,
                config,
                run.data or live,
                heldout=run.heldout,
                sizes={"image_size": run.image_size, "contact_size": run.contact_size},
            )
        result = _train(plan, run)
    except RunFolderError as error:
        hint = "" if run.resume else f" (`{resume}` goes on with a run)"
        raise ValueError(f"{error}{hint}") from None
    except OSError as error:
        raise OSError(
            f"cannot write {run.output}: {error.strerror or error}. Make room on the disk; "
            f"checkpoints before it are kept, go on with `{resume}`"
        ) from None
    except KeyboardInterrupt as error:
        if str(error):
            print(f"Interrupted; {error}. Go on with: {resume}", file=sys.stderr)
        raise
    if result is not None:
        _print(result)
    return 0


def _changed(base: PretrainConfig, run: RunOptions, values: Mapping[str, Any]) -> PretrainConfig:
    """The preset's configuration with the options that were given."""
    encoder = {name: value for name, value in values.items() if name in _ENCODER}
    changes = {name: value for name, value in values.items() if name in _CONFIG}
    if any(name in changes for name in BUDGETS):
        changes |= {name: changes.get(name) for name in BUDGETS}
    if run.from_scratch or "start" in changes:
        changes["pretrained"] = False
    if "objective" in changes:
        changes |= {"objective": _objective(changes["objective"]), "objective_options": {}}
    if "augment" in changes:
        changes |= {"augment": _augment(changes["augment"]), "augment_options": {}}
    config = dataclasses.replace(base.encoder.with_images(_images(base, run)), **encoder)
    return dataclasses.replace(base, encoder=config, **changes)


def _images(base: PretrainConfig, run: RunOptions) -> dict[str, tuple[int, int, int]]:
    """The preset's images, of the senses and with the fingers that were given."""
    images = dict(base.encoder.images)
    if run.modalities is not None:
        known = {**EncoderConfig().images, **images}
        images = {
            key: known.get(key) or _usual_shape(key)
            for name in run.modalities
            for key in SENSES.get(name, (name,))
            if key in known or key == name
        }
    if run.fingers is not None:
        touch = [key for key in images if key in SENSES["touch"]]
        each = {key: images[key][0] // 2 for key in touch}  # components of a finger's
        images |= {key: (run.fingers * (each[key] or 1), *images[key][1:]) for key in touch}
    return images


def _usual_shape(key: str) -> tuple[int, int, int]:
    """Channels, rows and columns of an image of the environment."""
    from policies.worlds import DEFAULT_TASK
    from vtenv.registry import make_task
    from vtenv.simulation import observation_space

    space = observation_space(make_task(DEFAULT_TASK, modalities=(key,)))
    return EncoderConfig.for_space(space).images[key]


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
    from representation.names import AUGMENTATION_PRESETS

    return text if text in AUGMENTATION_PRESETS else tuple(name.strip() for name in text.split(","))


def _train(plan: PretrainPlan, run: RunOptions) -> PretrainResult | None:
    """Train; the result, where this is the first process."""
    # Slow to import.
    from representation.backbone import PretrainedWeightsError
    from representation.pretraining.fit import fit_to_split
    from representation.pretraining.training import make_fabric, make_source, pretrain
    from vtenv import provenance

    config = plan.config
    with contextlib.ExitStack() as stack:
        fabric = make_fabric(config, devices=run.devices, accelerator=run.accelerator)
        rendered = None
        if plan.dataset is not None:
            source: Any = make_source(config, plan.dataset["train"], fabric, workers=run.workers)
        else:
            source = rendered = stack.enter_context(contextlib.closing(_rendered(plan, fabric)))
            config = fit_to_split(config, rendered.buffer)
        heldout = None
        if plan.heldout is not None:
            split = plan.heldout["heldout"]
            heldout = make_source(config, split, fabric, shuffle=False, workers=run.workers)
        try:
            result = pretrain(
                config,
                source,
                run.output,
                heldout=heldout,
                fabric=fabric,
                resume=run.resume,
                data=plan.data,
                made=provenance.record(),
                evaluate=None
                if rendered is None
                else lambda *_: {
                    "rendered": rendered.rendered,
                    "rendered_per_s": rendered.rate or 0.0,  # while nothing was trained
                },
                evaluate_every=run.evaluate_every,
                checkpoint_every=run.checkpoint_every,
            )
        except PretrainedWeightsError as error:
            raise ValueError(f"{error}, here --from-scratch") from None
    return result if fabric.is_global_zero else None


def _rendered(plan: PretrainPlan, fabric: Fabric) -> LiveSource:
    """What is rendered for training, in this process; the first moments are there."""
    from representation.pretraining.live_source import live_source
    from vtenv.progress import progress_bar

    assert plan.live is not None
    source = live_source(
        plan.live,
        plan.config.batch_size,
        plan.config.keys,
        device=fabric.device,
        seed=plan.config.seed,
        channels=plan.config.channels,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    with progress_bar() as progress:
        steps, worlds = plan.live.plan
        task = progress.add_task("Rendering", total=steps * worlds)
        source.fill(lambda count: progress.advance(task, count))
    return source


def _print(result: PretrainResult) -> None:
    measured = result.measured
    if "rendered" in measured:
        print(
            f"Rendered {measured['rendered']:,.0f} moments; "
            f"{measured['rendered_per_s']:,.0f} a second before training"
        )
    parts = [f"loss {result.row['loss']:.4g}"]
    for name in ("accuracy", "accuracy_vision", "accuracy_touch", "loss"):
        if f"heldout/{name}" in measured:
            parts.append(f"held-out {name} {measured[f'heldout/{name}']:.4g}")
    print(f"Epoch {result.epoch} of {len(result.history)} selected: {', '.join(parts)}")
    print(f"Encoder: {result.folder / 'encoder'}")
