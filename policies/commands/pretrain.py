"""`vtinsert pretrain`: train an encoder on a data set, or on what is rendered meanwhile."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from policies.commands import CommandError
from policies.commands.option_fields import given, option_fields
from representation.encoder_config import SENSES, EncoderConfig
from representation.pretraining.config import BUDGETS, PretrainConfig
from representation.pretraining.live_config import LiveConfig
from vtenv.run_folder import RunFolderError
from vtenv.validation import require

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from representation.pretraining.live_source import LiveSource
    from representation.pretraining.plan import PretrainPlan
    from representation.pretraining.training import PretrainResult


@dataclass(frozen=True)
class RunOptions:
    """What to train on, where, and with what."""

    data: Path | None = None
    """Folder of the data set, as `vtinsert dataset` writes it."""
    live: Literal["cpu", "warp"] | None = None
    """Render experience with this physics engine and train on it, in place of --data."""
    live_device: str | None = None
    """Device of the Warp engine, such as cuda:1."""
    heldout: Path | None = None
    """Folder of a data set whose held-out split the objective is evaluated on."""
    preset: str | None = None
    """A training run by name, such as paper-classify-resnet50 or
    control-resnet-masked+dynamics; options that are not given are its."""
    output: Path = Path("outputs/pretrain")
    """Folder for the result; must not exist, or be empty."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with the run in that folder, from its last checkpoint, with its own options."""
    from_scratch: tyro.conf.FlagCreatePairsOff[bool] = False
    """Start from random weights, whatever the preset says."""
    modalities: tuple[Literal["vision", "touch", "depth", "contact", "gel"], ...] | None = None
    """What the encoder perceives with: senses, as the preset has them, or images by key."""
    fingers: Literal[1, 2] | None = None
    """Contact masks that the encoder takes."""
    image_size: int | None = None
    """Size that the data's depth images must have; with --live, get."""
    contact_size: int | None = None
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


_DEFAULTS = {
    "data": "(this or --live)",
    "live": "(this or --data)",
    "live_device": "(default: that of training)",
    "heldout": "(default: that of --data)",
    "preset": "(this or --objective)",
    "modalities": "(default: the preset's)",
    "fingers": "(default: the preset's)",
    "image_size": "(default: the data's; with --live, 64)",
    "contact_size": "(default: the data's; with --live, 64)",
    "worlds": "(default: 64, or 4096 with warp)",
    "pairs": "(default: without end)",
    "clip_norm": "(default: any)",
    "channels_last": "(default: on CUDA)",
    "embedding_dim": "(default: the backbone's)",
}
"""What is said of an option whose default is None."""
_HELP = (
    "Train an encoder on a data set: the paper's presets, ours, or your own options.\n\n"
    "With --live there is no data set: what is learned from is rendered as it is needed. Options "
    "that are not given are the preset's; `vtinsert pretrain --preset NAME --help` shows them."
)
_RUN = tuple(field.name for field in dataclasses.fields(RunOptions))
_CONFIG = tuple(
    field.name
    for field in dataclasses.fields(PretrainConfig)
    if field.name not in ("encoder", "objective_options", "augment_options")
)
_ENCODER = tuple(
    field.name
    for field in dataclasses.fields(EncoderConfig)
    if field.name not in ("images", "ranges", "backbone_options")
)
_LIVE = ("worlds", "pairs", "reuse")
_GO_ON = (
    "data",
    "output",
    "resume",
    "devices",
    "accelerator",
    "workers",
    "evaluate_every",
    "checkpoint_every",
)
"""What may be given with --resume."""


def configured(arguments: Sequence[str]) -> Callable[..., int]:
    """The command for these arguments: the defaults of its options are the preset's.

    Args:
        arguments: What follows `vtinsert pretrain`.

    Raises:
        CommandError: If there is no such preset.
    """
    from representation.pretraining.presets import preset

    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--preset")
    early.add_argument("--backbone")
    early.add_argument("--objective")
    try:
        known, _ = early.parse_known_args(list(arguments))
        base = preset(known.preset) if known.preset else PretrainConfig()
    except argparse.ArgumentError:  # an option without a value: told below
        known, base = argparse.Namespace(backbone=None, objective=None), PretrainConfig()
    except ValueError as error:
        raise CommandError(str(error)) from None
    encoder = base.encoder
    if known.backbone not in (None, encoder.backbone):
        # What was chosen for another network does not fit this one.
        encoder = dataclasses.replace(
            encoder, backbone_options={}, pooling="average", embedding_dim=None
        )
    base = dataclasses.replace(base, encoder=encoder)
    augment = base.augment if isinstance(base.augment, str) else ",".join(base.augment)
    texts = {"objective": base.objective_text, "augment": augment}
    fields = [
        *option_fields(RunOptions(), _RUN, _DEFAULTS),
        *option_fields(base, _CONFIG, _DEFAULTS, texts),
        *option_fields(encoder, _ENCODER, _DEFAULTS),
        *option_fields(LiveConfig(), _LIVE, _DEFAULTS),
    ]
    kind = dataclasses.make_dataclass("Options", fields, frozen=True)

    def pretrain(options: Any) -> int:
        values = given(options)
        if known.objective is not None:  # also where it is the default
            values["objective"] = options.objective
        run = RunOptions(**{name: values[name] for name in _RUN if name in values})
        if run.resume and (named := [name for name in values if name not in _GO_ON]):
            raise CommandError(
                f"--resume goes on with the options of {run.output}; leave out "
                f"{', '.join('--' + name.replace('_', '-') for name in named)}"
            )
        return _pretrain(run, {n: v for n, v in values.items() if n not in _RUN}, base)

    pretrain.__doc__ = _HELP
    without_prefixes: Any = tyro.conf.OmitArgPrefixes
    pretrain.__annotations__ = {"options": without_prefixes[kind], "return": int}
    return pretrain


def _pretrain(run: RunOptions, options: dict[str, Any], base: PretrainConfig) -> int:
    changed = {name: value for name, value in options.items() if name not in _LIVE}
    rendering = {name: value for name, value in options.items() if name in _LIVE}
    starts = bool(options.get("pretrained")), run.from_scratch, "start" in options
    if sum(starts) > 1:
        raise CommandError("of --pretrained, --from-scratch and --start, only one can be given")
    require(run.devices >= 1 or run.devices == -1, "--devices", run.devices, "at least 1, or -1")
    for name in ("workers", "evaluate_every", "checkpoint_every"):
        require(getattr(run, name) >= 1, name, getattr(run, name), "at least 1")
    if not run.resume:
        if run.data is None and run.live is None:
            raise CommandError(
                "--data is needed: the folder of a data set, from `vtinsert dataset`; or --live"
            )
        if run.data is not None and (run.live or run.live_device or rendering):
            raise CommandError(
                "--live and what belongs to it are in place of --data; leave out one or the other"
            )
        if run.preset is None and "objective" not in options:
            raise CommandError("--preset or --objective is needed, to say what to train for")
    # What takes seconds to import comes after what can be judged without it.

    from representation.backbone import PretrainedWeightsError
    from representation.pretraining.plan import new_plan, resumed_plan
    from representation.pretraining.training import TrainingError

    resume = shlex.join(["vtinsert", "pretrain", "--resume", "--output", str(run.output)])
    try:
        if run.resume:
            plan = resumed_plan(run.output, run.data)
        else:
            live = LiveConfig(run.live or "cpu", run.live_device, **rendering)
            plan = new_plan(
                run.output,
                _changed(base, run, changed),
                run.data or live,
                heldout=run.heldout,
                sizes={"image_size": run.image_size, "contact_size": run.contact_size},
            )
        result = _train(plan, run)
    except PretrainedWeightsError as error:
        raise CommandError(f"{error}, here --from-scratch") from None
    except RunFolderError as error:
        hint = "" if run.resume else f" (`{resume}` goes on with a run)"
        raise CommandError(f"{error}{hint}") from None
    except TrainingError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(
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


def _changed(base: PretrainConfig, run: RunOptions, options: dict[str, Any]) -> PretrainConfig:
    """The preset's configuration with the options that were given."""
    encoder = {name: value for name, value in options.items() if name in _ENCODER}
    changes = {name: value for name, value in options.items() if name not in _ENCODER}
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
            key: known.get(key, known["contact"])
            for name in run.modalities
            for key in SENSES.get(name, (name,))
            if key in known or key == name
        }
    if run.fingers is not None:
        touch = [key for key in images if key in SENSES["touch"]]
        images |= {key: (run.fingers, *images[key][1:]) for key in touch}
    return images


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


def _train(plan: PretrainPlan, run: RunOptions) -> PretrainResult | None:
    """Train; the result, where this is the first process."""
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
        result = pretrain(
            config,
            source,
            run.output,
            heldout=heldout,
            fabric=fabric,
            resume=run.resume,
            data=plan.data,
            made=provenance.record(),
            evaluate=None if rendered is None else lambda *_: _rendering(rendered),
            evaluate_every=run.evaluate_every,
            checkpoint_every=run.checkpoint_every,
        )
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


def _rendering(source: LiveSource) -> dict[str, float]:
    """How much was rendered, and how fast while nothing was trained."""
    return {"rendered": source.rendered, "rendered_per_s": source.rate or 0.0}


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
