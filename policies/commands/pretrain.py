"""`vtinsert pretrain`: train an encoder on a data set."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from policies.commands import CommandError
from representation.pretraining import options
from representation.pretraining.plan import PretrainPlan, new_plan, provenance, resumed_plan
from vtenv.progress import progress_bar

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from representation.data.sources import Source
    from representation.pretraining.live_source import LiveSource
    from representation.pretraining.training import PretrainResult


def pretrain(
    *,
    data: Path | None = None,
    live: Literal["cpu", "warp"] | None = None,
    live_device: str | None = None,
    worlds: int | None = None,
    pairs: int | None = None,
    reuse: float | None = None,
    heldout: Path | None = None,
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

    Options that are not given are the preset's. Sizes of images are the data set's. With --live
    there is no data set: what is learned from is rendered as it is needed.

    Args:
        data: Folder of the data set, as `vtinsert dataset` writes it.
        live: Render experience with this physics engine and train on it, in place of --data.
        live_device: Device of the Warp engine, such as cuda:1; by default that of training.
        worlds: Worlds that are rendered together; by default 64, or 4096 with the Warp engine.
        pairs: Render so many pairs of images before training, and train on those alone; by
            default rendering goes on as long as training.
        reuse: How often a rendered moment is drawn, on average, before a new one takes its place;
            by default 2.
        heldout: Folder of a data set whose held-out split the objective is evaluated on; by
            default the one that is trained on.
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
        image_size: Size that the data's depth images must have; with --live, get.
        contact_size: Size that the data's contact masks must have; with --live, get.
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
        if name in options.OPTIONS and value is not None and value is not False
    }
    rendering = {
        name: value
        for name, value in (
            ("engine", live),
            ("device", live_device),
            ("worlds", worlds),
            ("pairs", pairs),
            ("reuse", reuse),
        )
        if value is not None
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
    if resume:
        plan = resumed_plan(output, data, preset, given, rendering, heldout)
    else:
        plan = new_plan(output, data, preset, given, rendering, heldout)
    _train(
        plan,
        output,
        resume=resume,
        devices=devices,
        accelerator=accelerator,
        workers=workers,
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
    )
    return 0


def _train(
    plan: PretrainPlan,
    output: Path,
    *,
    resume: bool,
    devices: int,
    accelerator: str,
    workers: int,
    evaluate_every: int,
    checkpoint_every: int,
) -> None:
    """Train, and say what came out."""
    from gymnasium.error import DependencyNotInstalled

    from representation.backbone import PretrainedWeightsError
    from representation.encoder_files import EncoderFileError
    from representation.pretraining.run_folder import RunFolderError
    from representation.pretraining.training import (
        TrainingError,
        fit_to_split,
        make_fabric,
        make_source,
        pretrain,
    )

    config = plan.config
    rendered: LiveSource | None = None
    with contextlib.ExitStack() as stack:
        try:
            fabric = make_fabric(config, devices=devices, accelerator=accelerator)
            source: Source
            if plan.dataset is not None:
                source = make_source(config, plan.dataset["train"], fabric, workers=workers)
            else:
                source = rendered = _rendered(plan, fabric)
                stack.callback(rendered.close)
                config = fit_to_split(config, rendered.ring)
            heldout = None
            if plan.heldout is not None:
                split = plan.heldout["heldout"]
                heldout = make_source(config, split, fabric, shuffle=False, workers=workers)
        except (ValueError, DependencyNotInstalled) as error:
            raise CommandError(str(error)) from None
        try:
            result = pretrain(
                config,
                source,
                output,
                heldout=heldout,
                fabric=fabric,
                resume=resume,
                provenance=provenance(plan, output),
                evaluate=None if rendered is None else lambda *_: _rendering(rendered),
                evaluate_every=evaluate_every,
                checkpoint_every=checkpoint_every,
            )
        except PretrainedWeightsError as error:
            raise CommandError(f"{error}, here --from-scratch") from None
        except (EncoderFileError, RunFolderError, TrainingError) as error:
            raise CommandError(str(error)) from None
    if fabric.is_global_zero:
        _print(result)


def _rendered(plan: PretrainPlan, fabric: Fabric) -> LiveSource:
    """What is rendered for training, in this process; the first moments are there."""
    from representation.pretraining.live_source import live_source

    assert plan.live is not None
    source = live_source(
        plan.live,
        plan.config.batch_size,
        plan.config.keys,
        device=fabric.device,
        seed=plan.config.seed,
        fingers=plan.config.encoder.num_fingers,
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
    metrics = result.metrics
    if "rendered" in metrics:
        print(
            f"Rendered {metrics['rendered']:,.0f} moments; "
            f"{metrics['rendered_per_s']:,.0f} a second before training"
        )
    parts = [f"loss {result.loss:.4g}"]
    for name in ("accuracy", "accuracy_vision", "accuracy_touch", "loss"):
        if f"heldout/{name}" in result.metrics:
            parts.append(f"held-out {name} {result.metrics[f'heldout/{name}']:.4g}")
    print(f"Epoch {result.epoch} of {len(result.history)} selected: {', '.join(parts)}")
    print(f"Encoder: {result.folder / 'encoder'}")
