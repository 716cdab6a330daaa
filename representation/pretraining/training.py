"""Training an encoder for an objective: on a CPU, a GPU, or several."""

from __future__ import annotations

import contextlib
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from representation.augmentations import Augment
from representation.data.sources import DatasetSource, Source, Split
from representation.objectives.combine import build_objective
from representation.objectives.objective import Objective
from representation.pretraining.config import (
    PretrainConfig,
    fit_to_split,
    learning_rate,
)
from representation.pretraining.display import TrainingBar, scalar_log
from representation.pretraining.initial_encoder import initial_encoder
from representation.pretraining.run_folder import (
    Provenance,
    RunFolder,
    RunFolderError,
    describe_objective,
    load_objective,
)
from representation.timm_encoder import VisuotactileEncoder

__all__ = [
    "PretrainConfig",
    "PretrainResult",
    "Provenance",
    "TrainingError",
    "evaluate_objective",
    "fit_to_split",
    "load_objective",
    "make_fabric",
    "make_source",
    "pretrain",
]

_LOOK_EVERY = 20
"""Steps between looks at the losses: each waits for the device."""
_STATISTICS_BATCHES = 100
"""Batches from which the statistics of batch norms are measured at the end."""
_STATISTICS_SEED = 1 << 31
_EVALUATION_SEED = 1 << 32
"""Draws the masks of an evaluation, the same each time."""
_PROGRESS = ("epoch", "step", "seconds", "history", "best_epoch", "best_loss")
"""What a checkpoint keeps of a run beside weights."""
_NOT_ON_THE_CARD = ("step", "learning_rate", "samples_per_s")

Evaluate = Callable[[VisuotactileEncoder, Objective], Mapping[str, float]]


class TrainingError(RuntimeError):
    """Training cannot go on; the message says where and what to change."""


@dataclass(frozen=True)
class PretrainResult:
    """What training leaves in memory; the folder holds it too."""

    folder: Path
    """Where it was written."""
    encoder: VisuotactileEncoder
    """The selected epoch's encoder, in evaluation mode."""
    objective: Objective
    """The objective with that epoch's weights, in evaluation mode."""
    epoch: int
    """The selected epoch, from 1."""
    loss: float
    """Its mean loss in training."""
    metrics: dict[str, float]
    """That epoch's row of the history, but for what is measured of the result: `heldout/`, and
    the final evaluation."""
    history: list[dict[str, float]]
    """A row for each epoch."""


def make_fabric(config: PretrainConfig, *, devices: int = 1, accelerator: str = "auto") -> Fabric:
    """The devices of a run, and the processes on them.

    Several devices are a process each: the program is started again for each of them, here or by
    `torchrun`.

    Args:
        config: For its precision.
        devices: How many; -1 for all there are.
        accelerator: "auto", "cpu", "cuda" or "mps".

    Returns:
        The started fabric.

    Raises:
        ValueError: If there are no such devices.
    """
    cuda = accelerator in ("cuda", "gpu") or (accelerator == "auto" and torch.cuda.is_available())
    present = torch.cuda.device_count() if cuda else None
    if cuda and not present:
        raise ValueError("there is no CUDA device; use accelerator='cpu'")
    devices = (present or 1) if devices == -1 else devices
    if devices < 1 or (present is not None and devices > present):
        raise ValueError(
            f"devices={devices} is not allowed; it must be from 1 to {present or 'any number'}"
        )
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if cuda else "32-true"
    # A static graph may leave weights unused: a class token's, say, where tokens are flattened.
    several = DDPStrategy(static_graph=True, gradient_as_bucket_view=True)
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        strategy=several if devices > 1 else "auto",
        precision=cast(Any, precision),
    )
    fabric.launch()
    return fabric


def make_source(
    config: PretrainConfig, split: Split, fabric: Fabric, *, shuffle: bool = True, **options: Any
) -> DatasetSource:
    """The batches that a configuration asks of a split, for this process.

    Args:
        config: The configuration.
        split: The rows.
        fabric: The devices.
        shuffle: Whether to train with them, rather than to evaluate.
        options: Further arguments of `DatasetSource`.

    Returns:
        The source.
    """
    return DatasetSource(
        split,
        config.batch_size,
        config.keys,
        seed=config.seed,
        device=fabric.device,
        fingers=config.encoder.images.get("contact", (None,))[0],
        shuffle=shuffle,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        **options,
    )


def pretrain(
    config: PretrainConfig,
    source: Source,
    folder: str | Path,
    *,
    heldout: Source | None = None,
    fabric: Fabric | None = None,
    resume: bool = False,
    provenance: Provenance | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
    checkpoint_every: int = 1,
    progress: bool = True,
) -> PretrainResult:
    """Train an encoder and write it down.

    What a step does depends on the configuration, the data and the number of processes alone, so
    that a resumed run ends where an uninterrupted one would, on a CPU bit for bit; unless its
    budget is time.

    Args:
        config: What to train.
        source: What to train on; yields what `config.keys` names.
        folder: Where the result goes; see `representation.pretraining.run_folder`.
        heldout: What the objective is evaluated on beside; it has no say in the selection.
        fabric: Devices, from `make_fabric`; None for one, a GPU if there is one.
        resume: Whether to go on with what the folder holds, if anything.
        provenance: What to write down about the origin.
        evaluate: Measures the selected encoder at the end.
        evaluate_every: Epochs between evaluations on held-out data.
        checkpoint_every: Epochs between checkpoints, of which an interruption loses at most so
            many.
        progress: Whether to show a bar on stderr.

    Returns:
        The selected encoder, and what was measured.

    Raises:
        RunFolderError: If the folder holds something, or what it holds cannot be resumed.
        TrainingError: If the loss is not a number.
        PretrainedWeightsError: If ImageNet weights are asked for and cannot be had.
        EncoderFileError: If the encoder to start from cannot be loaded.
        ValueError: If the source lacks what the objective reads, or the encoder to start from has
            other backbones.
    """
    if missing := [key for key in config.keys if key not in source.keys]:
        raise ValueError(
            f"the source yields no {', '.join(missing)}, which objective "
            f"{describe_objective(config.objective)} reads; it yields {', '.join(source.keys)}"
        )
    run = RunFolder(folder)
    if resume:
        _require_same(config, run)
    else:
        run.require_new()
    provenance = provenance or Provenance()
    fabric = fabric or make_fabric(config)
    devices = [fabric.device.index or 0] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        with _fast_math(fabric.device):
            state = run.read_checkpoint(fabric.device) if resume else None
            training = _Training(config, source, heldout, fabric, run, provenance, progress, state)
            fabric.barrier()  # every process has checked the folder before one makes it
            try:
                training.train(evaluate_every, checkpoint_every)
            except KeyboardInterrupt:
                if fabric.is_global_zero:
                    print(
                        f"Interrupted; {training.saved} epoch(s) are in {run.path}. "
                        f"Go on with: {provenance.resume}",
                        file=sys.stderr,
                    )
                raise
        # In full precision, which is that of whoever uses the encoder.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return training.finish(evaluate)


@torch.no_grad()
def evaluate_objective(
    encoder: VisuotactileEncoder,
    objective: Objective,
    source: Source,
    fabric: Fabric | None = None,
) -> dict[str, float]:
    """Loss and metrics of an objective on a source, in evaluation mode.

    Args:
        encoder: The encoder.
        objective: The objective.
        source: The batches of its epoch 0 are evaluated.
        fabric: For its precision, and for the mean over its processes.

    Returns:
        Means over the samples, by name; "loss" among them.
    """
    modes = [(module, module.training) for module in (encoder, objective)]
    encoder.eval()
    objective.eval()
    device = next(encoder.parameters()).device
    generator = torch.Generator(device).manual_seed(_EVALUATION_SEED)
    means = _Means()
    with fabric.autocast() if fabric else contextlib.nullcontext():
        for batch in source.epoch(0):
            output = objective(encoder, batch, generator)
            means.add({"loss": output.loss, **output.metrics}, _rows(batch))
    for module, mode in modes:
        module.train(mode)
    return means.compute(fabric)


class _Learner(nn.Module):
    """Encoder and objective as one network, whose output is the loss."""

    def __init__(self, encoder: VisuotactileEncoder, objective: Objective) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective

    def forward(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        output = self.objective(self.encoder, batch, generator)
        return output.loss, output.metrics


class _Means:
    """Means of scalars over samples, summed where they are."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weight = 0.0

    def add(self, values: Mapping[str, Tensor], weight: float) -> None:
        for name, value in values.items():
            weighted = value.detach().float() * weight
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted
        self._weight += weight

    def compute(self, fabric: Fabric | None = None) -> dict[str, float]:
        if not self._sums:
            return {}
        means = torch.stack([value / self._weight for value in self._sums.values()])
        if fabric is not None and fabric.world_size > 1:
            means = cast(Tensor, fabric.all_reduce(means, reduce_op="mean"))
        return dict(zip(self._sums, means.tolist(), strict=True))


class _Training:
    """A run and where it stands."""

    def __init__(
        self,
        config: PretrainConfig,
        source: Source,
        heldout: Source | None,
        fabric: Fabric,
        run: RunFolder,
        provenance: Provenance,
        progress: bool,
        state: Mapping[str, Any] | None,
    ) -> None:
        self.config, self.source, self.heldout = config, source, heldout
        self.fabric, self.run, self.provenance = fabric, run, provenance
        torch.manual_seed(config.seed)
        # A checkpoint has the weights: no need for those it began with.
        again = replace(config, pretrained=False, start=None)
        encoder = initial_encoder(config if state is None else again)
        objective = build_objective(config.objective, encoder, config.objective_options)
        self.learner = _Learner(encoder, objective)
        cuda = fabric.device.type == "cuda"
        if cuda if config.channels_last is None else config.channels_last:
            self.learner.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.learner, config.weight_decay),
            lr=config.learning_rate,
            fused=cuda,
        )
        self.network, self.stepper = fabric.setup(self.learner, self.optimizer)
        self.augment = Augment(config.augment, config.augment_options)
        self.generator = torch.Generator(fabric.device)
        self.bar = TrainingBar(config.epochs, progress and fabric.is_global_zero)
        self.epoch = self.step = 0
        self.seconds = self.used = 0.0
        self.history: list[dict[str, float]] = []
        self.best_epoch, self.best_loss = 0, math.inf
        self.kept: dict[str, Tensor] | None = None
        self.saved = 0
        if state is not None:
            self.learner.load_state_dict(state["learner"])
            self.optimizer.load_state_dict(state["optimizer"])
            for name in _PROGRESS:
                setattr(self, name, state[name])
            self.saved = self.epoch

    def train(self, evaluate_every: int, checkpoint_every: int) -> None:
        """Epochs until the budget is used up."""
        if self.epoch == 0 and self.fabric.is_global_zero:
            devices = {
                "device": _device_name(self.fabric.device),
                "processes": self.fabric.world_size,
                "precision": str(self.fabric.strategy.precision.precision),
            }
            self.run.write_config(self.config, self.provenance, devices)
        begun, before = time.monotonic(), self.seconds
        self._elapsed: Callable[[], float] = lambda: before + time.monotonic() - begun
        folder = self.run.tensorboard if self.fabric.is_global_zero else None
        with self.bar, scalar_log(folder, self.step) as log, self._compiled():
            self.used = self._used()
            while self.used < 1.0:
                row = self._train_epoch(log)
                last = self.used >= 1.0
                if self.heldout is not None and (last or (self.epoch + 1) % evaluate_every == 0):
                    encoder, objective = self.learner.encoder, self.learner.objective
                    measured = evaluate_objective(encoder, objective, self.heldout, self.fabric)
                    row |= {f"heldout/{name}": value for name, value in measured.items()}
                self.history.append(row)
                self.epoch += 1
                for name, value in row.items():
                    if name not in ("epoch", "step"):
                        log(f"epoch/{name}", value, self.epoch)
                if self.config.select == "last" or row["loss"] < self.best_loss:
                    self.best_epoch, self.best_loss = self.epoch, row["loss"]
                    state = self.learner.state_dict()
                    self.kept = {name: value.detach().clone() for name, value in state.items()}
                self.seconds = self._elapsed()
                if last or self.epoch % checkpoint_every == 0:
                    self._save()

    def finish(self, evaluate: Evaluate | None) -> PretrainResult:
        """Load the selected epoch, measure it and write the result."""
        encoder, objective = self.learner.encoder, self.learner.objective
        self.run.load_weights(encoder, objective)
        self._settle_statistics()
        encoder.eval()
        objective.eval()
        metrics = dict(self.history[self.best_epoch - 1])
        if self.heldout is not None:
            # Of the encoder that is written, whose statistics are others than in its epoch.
            measured = evaluate_objective(encoder, objective, self.heldout, self.fabric)
            metrics |= {f"heldout/{name}": value for name, value in measured.items()}
        if self.fabric.is_global_zero:
            if evaluate is not None:
                metrics |= {
                    name: float(value) for name, value in evaluate(encoder, objective).items()
                }
            self._write_weights(metrics)
            self.run.write_result(
                {
                    "epoch": self.best_epoch,
                    "epochs": self.epoch,
                    "steps": self.step,
                    "seconds": self.seconds,
                    "loss": self.best_loss,
                    "metrics": metrics,
                }
            )
        self.fabric.barrier()
        return PretrainResult(
            self.run.path,
            encoder,
            objective,
            self.best_epoch,
            self.best_loss,
            metrics,
            self.history,
        )

    def _train_epoch(self, log: Callable[[str, float, int], None]) -> dict[str, float]:
        config, fabric = self.config, self.fabric
        seed = _seed(config.seed, self.epoch, fabric.global_rank)
        torch.manual_seed(seed)  # dropout and stochastic depth draw from torch's own
        self.generator.manual_seed(seed)
        self.learner.train()
        means, losses, waiting = _Means(), [], []  # type: ignore[var-annotated]
        samples, looked, rate = 0, time.monotonic(), config.learning_rate
        begun = looked
        for batch in self.source.epoch(self.epoch):
            rate = learning_rate(config, self.epoch, self.used)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            augmented = self.augment(batch, self.generator)
            loss, metrics = self.network(augmented, self.generator)
            fabric.backward(loss)
            if config.clip_norm is not None:
                fabric.clip_gradients(
                    self.network,
                    self.stepper,
                    max_norm=config.clip_norm,
                    error_if_nonfinite=False,
                )
            self.stepper.step()
            self.stepper.zero_grad(set_to_none=True)
            self.step += 1
            self.used = self._used()
            samples += _rows(batch) * fabric.world_size
            means.add(metrics, 1.0)
            waiting.append(loss.detach())
            if len(waiting) == _LOOK_EVERY:
                losses += self._look(waiting, len(losses))
                now = time.monotonic()
                speed = len(waiting) / (now - looked)
                waiting, looked = [], now
                self.bar.show(self.used, self.epoch, losses[-1], speed)
                log("train/loss", sum(losses[-_LOOK_EVERY:]) / _LOOK_EVERY, self.step)
                log("train/learning_rate", rate, self.step)
                log("train/samples_per_s", speed * _rows(batch) * fabric.world_size, self.step)
            if self.used >= 1.0:
                break
        losses += self._look(waiting, len(losses))
        seconds = time.monotonic() - begun
        if fabric.world_size > 1:
            self._average_buffers()
        self.bar.show(self.used, self.epoch, losses[-1], len(losses) / seconds)
        return {
            "epoch": self.epoch + 1,
            "step": self.step,
            "loss": math.fsum(losses) / len(losses),
            **means.compute(fabric),
            "learning_rate": rate,
            "samples_per_s": samples / seconds,
        }

    def _look(self, losses: Sequence[Tensor], before: int) -> list[float]:
        """Losses as numbers, the mean over processes: if one is lost, all of them know.

        Args:
            losses: The latest losses, not yet looked at.
            before: Steps of this epoch before them.
        """
        if not losses:
            return []
        stacked = torch.stack(list(losses)).float()
        if self.fabric.world_size > 1:
            stacked = cast(Tensor, self.fabric.all_reduce(stacked, reduce_op="mean"))
        values: list[float] = stacked.tolist()
        for index, value in enumerate(values):
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss is {value} in epoch {self.epoch + 1}, step {before + index + 1} of "
                    f"{self.source.batches_per_epoch}. Lower the learning rate "
                    f"({self.config.learning_rate:g}), set clip_norm, or train with "
                    f"precision='32-true'; {self.saved} epoch(s) before it are in {self.run.path}"
                )
        return values

    def _used(self) -> float:
        """Part of the budget that is used up; the same in all processes."""
        config = self.config
        if config.epochs is not None:
            return self.step / (config.epochs * self.source.batches_per_epoch)
        if config.max_steps is not None:
            return self.step / config.max_steps
        assert config.max_minutes is not None
        used = self._elapsed() / (60.0 * config.max_minutes)
        if self.fabric.world_size > 1:
            value = torch.tensor(used, dtype=torch.float64, device=self.fabric.device)
            used = float(cast(Tensor, self.fabric.all_reduce(value, reduce_op="max")))
        return used

    @torch.no_grad()
    def _settle_statistics(self) -> None:
        """Measure the batch norms' statistics anew, with the weights as they are now.

        Running averages lag behind the weights, and are of the training's precision: images that
        are mostly background have channels whose mean is many times their deviation, and there
        either is enough to spoil every prediction.

        Source: Wu and Johnson 2021 ("Rethinking 'Batch' in BatchNorm"), section 3.
        """
        encoders = self._encoders()
        modules = [module for encoder in encoders for module in encoder.modules()]
        norms = [m for m in modules if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for encoder in encoders:
            encoder.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over batches
            norm.train()
        self.generator.manual_seed(_seed(self.config.seed, _STATISTICS_SEED))
        batches = self.source.epoch(self.best_epoch - 1)
        for batch in itertools.islice(batches, _STATISTICS_BATCHES):
            augmented = self.augment(batch, self.generator)
            for encoder in encoders:
                encoder(augmented)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        if self.fabric.world_size > 1:
            self._average_buffers()

    @torch.no_grad()
    def _average_buffers(self) -> None:
        """Each process's batch statistics count alike."""
        for buffer in self.learner.buffers():
            if buffer.is_floating_point():
                buffer.copy_(cast(Tensor, self.fabric.all_reduce(buffer, reduce_op="mean")))

    def _encoders(self) -> list[VisuotactileEncoder]:
        """The encoder, and momentum copies of it."""
        return [m for m in self.learner.modules() if isinstance(m, VisuotactileEncoder)]

    @contextlib.contextmanager
    def _compiled(self) -> Iterator[None]:
        """Encoders that compile what they compute, while training lasts."""
        encoders = self._encoders() if self.config.compile else []
        for encoder in encoders:
            object.__setattr__(encoder, "encode", torch.compile(encoder.encode))
        try:
            yield
        finally:
            for encoder in encoders:
                object.__delattr__(encoder, "encode")

    def _save(self) -> None:
        """The weights first: a checkpoint never speaks of an epoch that was not written."""
        if self.fabric.is_global_zero:
            if self.kept is not None:
                now = {name: v.detach().clone() for name, v in self.learner.state_dict().items()}
                self.learner.load_state_dict(self.kept)
                self._write_weights(self.history[self.best_epoch - 1])
                self.learner.load_state_dict(now)
            self.run.write_metrics(self.history)
            self.run.write_checkpoint(
                {
                    "learner": self.learner.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    **{name: getattr(self, name) for name in _PROGRESS},
                }
            )
        self.kept = None
        self.fabric.barrier()
        self.saved = self.epoch

    def _write_weights(self, metrics: Mapping[str, float]) -> None:
        shown = {name: value for name, value in metrics.items() if name not in _NOT_ON_THE_CARD}
        self.run.write_weights(
            self.learner.encoder,
            self.learner.objective,
            self.config,
            replace(
                self.provenance,
                hardware={**self.provenance.hardware, "device": _device_name(self.fabric.device)},
            ),
            shown,
        )


def _require_same(config: PretrainConfig, run: RunFolder) -> None:
    if not run.path.exists() or not any(run.path.iterdir()):
        return
    saved, given = run.read_config().as_json(), config.as_json()
    if changed := [name for name in given if saved[name] != given[name]]:
        raise RunFolderError(
            f"{run.path} was begun with another {', '.join(changed)}; resume with the "
            "configuration that it holds, or choose another folder"
        )


def _parameter_groups(learner: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    weights = [value for value in learner.parameters() if value.requires_grad]
    return [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": weight_decay},
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]


def _seed(*parts: int) -> int:
    """One seed from several, far from those of their neighbours."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def _rows(batch: Mapping[str, Tensor]) -> int:
    return len(next(iter(batch.values())))


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextlib.contextmanager
def _fast_math(device: torch.device) -> Iterator[None]:
    """TF32, and the fastest convolutions, on CUDA."""
    if device.type != "cuda":
        yield
        return
    precision, benchmark = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.benchmark = benchmark
