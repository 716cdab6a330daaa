"""Training an encoder for an objective with Lightning Fabric: on a CPU, a GPU, or several."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from representation.augmentations import Augment
from representation.data.sources import DatasetSource, Source, Split, seed_of
from representation.objectives.combine import build_objective
from representation.objectives.objective import Objective
from representation.pretraining.config import PretrainConfig, learning_rate, objective_text
from representation.pretraining.initial_encoder import initial_encoder
from representation.pretraining.run_folder import DAMAGED_REMEDY, PretrainFolder, TrainingData
from representation.pretraining.step_graph import Step, graph_step, runs_as_graph
from representation.tensor_file import require_fit
from representation.tensorboard_log import tensorboard_log
from representation.timm_encoder import VisuotactileEncoder
from vtenv.interruption import Interruption
from vtenv.json_document import from_document
from vtenv.progress import progress_bar
from vtenv.run_folder import RunFolderError, reading

_LOOK_EVERY = 20
"""Steps between looks at the losses: each waits for the device."""
_NOT_ON_THE_CARD = ("step", "learning_rate", "samples_per_s")
_STATISTICS_BATCHES = 100
"""Batches from which the statistics of batch norms are measured at the end."""
_STATISTICS_SEED = 1 << 31
_EVALUATION_SEED = 1 << 32
"""Draws the masks of an evaluation, the same each time."""
Evaluate = Callable[[VisuotactileEncoder, Objective], Mapping[str, float]]


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
    history: list[dict[str, float]]
    """A row for each epoch, as in `metrics.csv`; its `loss` is the mean over the epoch's steps, in
    training mode, while the weights changed."""
    losses: list[float]
    """The loss of each step that this process made."""
    measured: dict[str, float]
    """What was measured of this encoder at the end: `heldout/`, and the final evaluation. Its
    batch statistics are others than in its epoch, and so are these numbers."""

    @property
    def row(self) -> dict[str, float]:
        """The selected epoch's row of the history."""
        return self.history[self.epoch - 1]


@dataclass
class _Progress:
    """Where a run stands; with the weights, all that it needs to go on."""

    epoch: int = 0
    """The epoch that is being trained, from 0."""
    batch: int = 0
    """The epoch's next batch."""
    step: int = 0
    """Steps of the optimizer so far."""
    seconds: float = 0.0
    """Time so far."""
    epoch_begun: float = 0.0
    """Time at the start of the epoch."""
    sums: dict[str, float] = field(default_factory=dict)
    """Sums of loss and metrics over the epoch's steps so far."""
    history: list[dict[str, int | float]] = field(default_factory=list)
    """A row for each epoch before."""
    best_epoch: int = 0
    """The selected epoch so far, from 1."""


def make_fabric(config: PretrainConfig, *, devices: int = 1, accelerator: str = "auto") -> Fabric:
    """The devices of a run; several are a process each, started here or by `torchrun`.

    Args:
        config: For its precision.
        devices: How many; -1 for all there are.
        accelerator: "auto", "cpu", "cuda" or "mps".

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
    """The batches that a configuration asks of a split, for this process; see `DatasetSource`."""
    return DatasetSource(
        split,
        config.batch_size,
        config.keys,
        seed=config.seed,
        device=fabric.device,
        channels=config.channels,
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
    data: TrainingData | None = None,
    made: Mapping[str, Any] | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 1,
    checkpoint_every: int | None = 1,
    progress: bool = True,
) -> PretrainResult:
    """Train an encoder and write it down.

    What a step does depends on the configuration, the data, the step's number and the number of
    processes alone, so that a resumed run ends where an uninterrupted one would, on a CPU bit for
    bit; unless its budget is time. The first Ctrl-C, SIGTERM or SIGHUP ends it with a checkpoint
    after the step that is running; with several processes, after at most 20.

    Args:
        config: What to train.
        source: What to train on; yields what `config.keys` names.
        folder: Where the result goes; see `representation.pretraining.run_folder`.
        heldout: What the objective is evaluated on beside; it has no say in the selection.
        fabric: Devices, from `make_fabric`; None for one, a GPU if there is one.
        resume: Whether to go on with what the folder holds, if anything.
        data: What to write down about the data, where the run begins.
        made: What to write down about the origin, such as `vtenv.provenance.record`, likewise.
        evaluate: Measures the selected encoder at the end.
        evaluate_every: Epochs between evaluations on held-out data.
        checkpoint_every: Epochs between checkpoints, of which a kill loses at most so many; None
            for none, and no metrics.csv, where a run is short and its checkpoint large.
        progress: Whether to show progress on stderr.

    Raises:
        RunFolderError: If the folder holds something, what it holds cannot be resumed, or another
            process writes it.
        PretrainedWeightsError: If ImageNet weights are asked for and cannot be had.
        EncoderFileError: If the encoder to start from cannot be loaded.
        ValueError: If the source lacks what the objective reads, the encoder to start from has
            other backbones, or a loss is not a number; says where, and what to change.
        KeyboardInterrupt: If it was asked to end; says what is kept.
        OSError: If a file cannot be written; the checkpoint before it is kept.
    """
    if missing := [key for key in config.keys if key not in source.keys]:
        raise ValueError(
            f"the source yields no {', '.join(missing)}, which objective "
            f"{objective_text(config.objective)} reads; it yields {', '.join(source.keys)}"
        )
    run = PretrainFolder(folder)
    if resume and run.begun:
        _require_same(config, run)
    else:
        run.require_new()
    fabric = fabric or make_fabric(config)
    fabric.barrier()  # every process has checked the folder before one makes it
    devices = [fabric.device.index or 0] if fabric.device.type == "cuda" else []
    with _locked(run, fabric), torch.random.fork_rng(devices), Interruption() as interruption:
        with _fast_math(fabric.device):
            trainer = _Trainer(config, source, heldout, fabric, run, interruption)
            if fabric.is_global_zero and not run.begun:
                run.begin(config, data or TrainingData(), made or {}, _devices(fabric))
            trainer.train(evaluate_every, checkpoint_every, progress)
        # In full precision, which is that of whoever uses the encoder.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return trainer.finish(evaluate)


@torch.no_grad()
def evaluate_objective(
    encoder: VisuotactileEncoder,
    objective: Objective,
    source: Source,
    fabric: Fabric | None = None,
) -> dict[str, float]:
    """Loss and metrics of an objective in evaluation mode, by name: means over the samples.

    Args:
        encoder: The encoder.
        objective: The objective.
        source: The batches of its epoch 0 are evaluated.
        fabric: For its precision, and for the mean over its processes.
    """
    modes = [(module, module.training) for module in (encoder, objective)]
    encoder.eval()
    objective.eval()
    device = next(encoder.parameters()).device
    generator = torch.Generator(device).manual_seed(_EVALUATION_SEED)
    rows, total = 0, torch.zeros((), device=device)
    with fabric.autocast() if fabric else contextlib.nullcontext():
        for batch in source.epoch(0):
            output = objective(encoder, batch, generator)
            values = {"loss": output.loss, **output.metrics}
            count = len(next(iter(batch.values())))
            total = total + count * torch.stack([value.float() for value in values.values()])
            rows += count
    for module, mode in modes:
        module.train(mode)
    means = total / rows if fabric is None else _mean(fabric, total / rows)
    return dict(zip(values, means.tolist(), strict=True))


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


class _Trainer:
    """The networks of a run, and where it stands."""

    def __init__(
        self,
        config: PretrainConfig,
        source: Source,
        heldout: Source | None,
        fabric: Fabric,
        run: PretrainFolder,
        interruption: Interruption,
    ) -> None:
        self.config, self.source, self.heldout = config, source, heldout
        self.fabric, self.run, self.interruption = fabric, run, interruption
        saved = run.read_state(fabric.device)
        torch.manual_seed(config.seed)
        # A checkpoint has the weights: no need for those it began with.
        again = replace(config, pretrained=False, start=None)
        encoder = initial_encoder(config if saved is None else again)
        objective = build_objective(config.objective, encoder, config.objective_options)
        self.learner = _Learner(encoder, objective)
        cuda = fabric.device.type == "cuda"
        if cuda if config.channels_last is None else config.channels_last:
            self.learner.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(
            param_groups_weight_decay(self.learner, config.weight_decay),
            lr=config.learning_rate,
            fused=cuda,
        )
        # Evaluation runs the learner itself, which stays as it is.
        network = cast(nn.Module, torch.compile(self.learner)) if config.compile else self.learner
        self.network, self.stepper = fabric.setup(network, self.optimizer)
        self.augment = Augment(config.augment, config.augment_options)
        # A CUDA graph draws from the device's default generator: one of ours it would not know.
        index = fabric.device.index or 0
        self.generator = (
            torch.cuda.default_generators[index] if cuda else torch.Generator(fabric.device)
        )
        self.captured = runs_as_graph(config, fabric.device, fabric.world_size)
        self.rate = config.learning_rate
        """The learning rate of the latest step."""
        self.at = _Progress()
        self.losses: list[float] = []
        self.rates: list[float] = []
        """Steps a second between looks."""
        self.best: dict[str, Tensor] | None = None
        """The selected epoch's weights; None where the last one is selected."""
        if saved is not None:
            self._restore(saved)
        self.begun = time.monotonic() - self.at.seconds
        self.used = self._used()

    def train(self, evaluate_every: int, checkpoint_every: int | None, shown: bool) -> None:
        """Train epoch after epoch, until the budget is used up."""
        at, first = self.at, self.fabric.is_global_zero
        folder = self.run.tensorboard if first else None
        with (
            progress_bar(shown=shown and first) as self.bar,
            tensorboard_log(folder, at.step) as self.plot,
        ):
            self.task = self.bar.add_task("", total=self._steps, completed=at.step)
            update: Step = self._update
            if self.captured:
                update = graph_step(update, self.fabric.device)
            # A budget of time may have run out in the epoch that was interrupted.
            while self.used < 1.0 or at.batch:
                if self.used < 1.0 and not self._train_epoch(update):
                    self._save()
                    raise KeyboardInterrupt(f"{at.step} steps are kept in {self.run.path}")
                last = self.used >= 1.0
                self._end_epoch(evaluate=last or (at.epoch + 1) % evaluate_every == 0)
                if checkpoint_every and (last or at.epoch % checkpoint_every == 0):
                    self._save()

    def _train_epoch(self, update: Step) -> bool:
        """Train to the end of the epoch or of the budget; False if it was interrupted."""
        at, source = self.at, self.source
        self.learner.train()
        waiting: list[Tensor] = []
        going_on = True
        looked = at.batch, self._elapsed()
        for batch in source.epoch(at.epoch, at.batch):
            values = self._step(batch, update)
            waiting.append(torch.stack([value.float() for value in values.values()]))
            at.step += 1
            at.batch += 1
            self.used = self._used()
            stop = self.interruption.requested and self.fabric.world_size == 1
            if len(waiting) == _LOOK_EVERY or self.used >= 1.0 or stop:
                going_on = self._look(tuple(values), waiting)
                waiting = []
                now = at.batch, self._elapsed()  # the device has caught up
                self.rates.append((now[0] - looked[0]) / (now[1] - looked[1]))
                looked = now
                self._show()
            if self.used >= 1.0 or not going_on:
                break
        if waiting:
            going_on = self._look(tuple(values), waiting)
        # What was asked for at the end of an epoch ends the next one: it has what this one lacks.
        return going_on or self.used >= 1.0 or at.batch >= source.batches_per_epoch

    def _step(self, batch: Mapping[str, Tensor], update: Step) -> dict[str, Tensor]:
        """One step of the optimizer; loss and metrics."""
        config, fabric, at = self.config, self.fabric, self.at
        # Of the step alone, so that training goes on from any.
        seed = seed_of(config.seed, at.step, fabric.global_rank)
        torch.manual_seed(seed)  # dropout and stochastic depth draw from torch's own
        self.generator.manual_seed(seed)
        self.rate = learning_rate(config, at.epoch, self.used)
        return update(batch, self.rate)

    def _update(self, batch: Mapping[str, Tensor], rate: float | Tensor) -> dict[str, Tensor]:
        """A step at a learning rate, without what changes on the host from step to step."""
        config, fabric = self.config, self.fabric
        for group in self.optimizer.param_groups:
            group["lr"] = rate
            # A capture requires it, and outside of one it is warned about.
            group["capturable"] = self.captured and torch.cuda.is_current_stream_capturing()
        loss, metrics = self.network(self.augment(batch, self.generator), self.generator)
        fabric.backward(loss)
        if config.clip_norm is not None:
            fabric.clip_gradients(
                self.network, self.stepper, max_norm=config.clip_norm, error_if_nonfinite=False
            )
        self.stepper.step()
        self.stepper.zero_grad(set_to_none=True)
        return {name: value.detach() for name, value in {"loss": loss, **metrics}.items()}

    def _look(self, names: tuple[str, ...], values: list[Tensor]) -> bool:
        """Add up the latest steps' losses and metrics, (K,) each, the mean over processes.

        Returns:
            Whether to go on: whether no process was interrupted.
        """
        stop = torch.full((len(values), 1), float(self.interruption.requested))
        rows = torch.stack(values)
        rows = _mean(self.fabric, torch.cat([rows, stop.to(rows)], dim=1))
        at, first = self.at, self.at.batch - len(values)
        for index, (*row, _) in enumerate(rows.tolist()):
            if not math.isfinite(row[0]):
                raise ValueError(
                    f"the loss is {row[0]} in epoch {at.epoch + 1}, step {first + index + 1} of "
                    f"{self.source.batches_per_epoch}. Lower the learning rate "
                    f"({self.config.learning_rate:g}), set clip_norm, or train with "
                    f"precision='32-true'; checkpoints before it are in {self.run.path}"
                )
            self.losses.append(row[0])
            for name, value in zip(names, row, strict=True):
                at.sums[name] = at.sums.get(name, 0.0) + value
        return not bool(rows[-1, -1])

    def _show(self) -> None:
        """Show the epoch's mean loss so far, which is its loss once it is over."""
        at, config = self.at, self.config
        loss = at.sums["loss"] / at.batch
        left = None if config.max_minutes is None else 60.0 * config.max_minutes - self._elapsed()
        self.bar.update(
            self.task,
            description=f"Epoch {at.epoch + 1}{f' of {config.epochs}' if config.epochs else ''}, "
            f"mean loss {loss:.4g}, step",
            completed=at.step,
            seconds_left=left,
        )
        shown = {
            "train/loss": loss,
            "train/learning_rate": self.rate,
            "train/samples_per_s": self.rates[-1] * config.batch_size,
        }
        self.plot(shown, at.step)

    def _end_epoch(self, *, evaluate: bool) -> None:
        """Write down what the epoch was, and keep its weights if they are the best."""
        at, learner = self.at, self.learner
        self._average_buffers()
        row: dict[str, int | float] = {"epoch": at.epoch + 1, "step": at.step}
        row |= {name: value / at.batch for name, value in at.sums.items()}
        row["learning_rate"] = self.rate
        seconds = self._elapsed() - at.epoch_begun
        row["samples_per_s"] = at.batch * self.config.batch_size / seconds
        if evaluate:
            row |= self._heldout()
        lowest = min((earlier["loss"] for earlier in at.history), default=math.inf)
        at.history.append(row)
        at.epoch += 1
        at.batch, at.sums, at.epoch_begun = 0, {}, self._elapsed()
        shown = {f"epoch/{name}": v for name, v in row.items() if name not in ("epoch", "step")}
        self.plot(shown, at.epoch)
        if self.config.select == "last":
            at.best_epoch = at.epoch
        elif row["loss"] < lowest:
            at.best_epoch = at.epoch
            self.best = {name: v.detach().clone() for name, v in learner.state_dict().items()}

    def finish(self, evaluate: Evaluate | None) -> PretrainResult:
        """Measure the selected epoch's encoder, and write it and the result."""
        at, learner = self.at, self.learner
        if self.best is not None:
            learner.load_state_dict(self.best)
        self._settle_statistics()
        learner.eval()
        measured = self._heldout()
        encoder, objective = learner.encoder, learner.objective
        result = PretrainResult(
            self.run.path,
            encoder,
            objective,
            at.best_epoch,
            at.history,
            self.losses,
            measured,
        )
        if self.fabric.is_global_zero:
            if evaluate is not None:
                values = evaluate(encoder, objective)
                measured |= {name: float(value) for name, value in values.items()}
            self._write_weights(measured)
            self.run.write_result(
                {
                    "epoch": at.best_epoch,
                    "epochs": at.epoch,
                    "steps": at.step,
                    "seconds": at.seconds,
                    "steps_per_s": statistics.median(self.rates) if self.rates else None,
                    "row": result.row,
                    "measured": measured,
                }
            )
        self.fabric.barrier()
        return result

    def _heldout(self) -> dict[str, float]:
        if self.heldout is None:
            return {}
        learner = self.learner
        values = evaluate_objective(learner.encoder, learner.objective, self.heldout, self.fabric)
        return {f"heldout/{name}": value for name, value in values.items()}

    @property
    def _steps(self) -> int | None:
        """Steps in all; None where the budget is time."""
        if self.config.epochs is not None:
            return self.config.epochs * self.source.batches_per_epoch
        return self.config.max_steps

    def _used(self) -> float:
        """Part of the budget that is used up; the same in all processes."""
        if self._steps is not None:
            return self.at.step / self._steps
        assert self.config.max_minutes is not None
        used = self._elapsed() / (60.0 * self.config.max_minutes)
        if self.fabric.world_size == 1:  # which need not wait for the device
            return used
        value = torch.tensor(used, dtype=torch.float64, device=self.fabric.device)
        return float(cast(Tensor, self.fabric.all_reduce(value, reduce_op="max")))

    def _elapsed(self) -> float:
        return time.monotonic() - self.begun

    @torch.no_grad()
    def _settle_statistics(self) -> None:
        """Measure the batch norms' statistics anew, with the weights as they are now.

        Running averages lag behind the weights, and are of the training's precision: images that
        are mostly background have channels whose mean is many times their deviation, and there
        either is enough to spoil every prediction.

        Source: Wu and Johnson 2021 ("Rethinking 'Batch' in BatchNorm"), section 3.
        """
        for module in self.learner.modules():
            if isinstance(module, VisuotactileEncoder):  # momentum copies of it too
                self.generator.manual_seed(seed_of(self.config.seed, _STATISTICS_SEED))
                batches = self.source.epoch(self.at.best_epoch - 1)
                some = itertools.islice(batches, _STATISTICS_BATCHES)
                update_bn((self.augment(batch, self.generator) for batch in some), module)
        self._average_buffers()

    @torch.no_grad()
    def _average_buffers(self) -> None:
        """Each process's batch statistics count alike."""
        for buffer in self.learner.buffers():
            if buffer.is_floating_point():
                buffer.copy_(_mean(self.fabric, buffer))

    def _save(self) -> None:
        """Write a checkpoint, and the selected encoder as it is so far."""
        at = self.at
        at.seconds = self._elapsed()
        if self.fabric.is_global_zero:
            self.run.write_table("metrics", at.history)
            state = {
                "learner": self.learner.state_dict(),
                "optimizer": self.optimizer.state_dict()["state"],
                "best": self.best,
                "progress": asdict(at),
            }
            self.run.write_state(at.step, state)
            if at.best_epoch == at.epoch and at.batch == 0:
                self._write_weights({})
        self.fabric.barrier()

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        weights = [p for group in self.optimizer.param_groups for p in group["params"]]
        with reading(self.run.checkpoints, DAMAGED_REMEDY):
            self.at = from_document(_Progress, state["progress"])
            for index, values in state["optimizer"].items():
                if any(v.shape not in (weights[index].shape, ()) for v in values.values()):
                    raise ValueError(f"the optimizer's state {index} does not fit its weights")
            require_fit(self.learner, state["learner"])
            if state["best"] is not None:
                require_fit(self.learner, state["best"])
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state["optimizer"]})
        self.learner.load_state_dict(state["learner"])
        self.best = state["best"]

    def _write_weights(self, measured: Mapping[str, float]) -> None:
        """Write encoder and objective as they are, with a card that shows what is known."""
        row = self.at.history[self.at.best_epoch - 1]
        shown = {n: v for n, v in row.items() if n not in (*_NOT_ON_THE_CARD, *measured)}
        encoder = self.learner.encoder
        if self.config.weights == "float16":
            encoder = copy.deepcopy(encoder).half()
        self.run.write_weights(encoder, self.learner.objective, shown | dict(measured))


def _devices(fabric: Fabric) -> dict[str, Any]:
    """Devices and precision in use, for whoever makes the run again."""
    cuda = fabric.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(fabric.device) if cuda else fabric.device.type,
        "processes": fabric.world_size,
        "precision": str(fabric.strategy.precision.precision),
    }


@contextlib.contextmanager
def _locked(run: PretrainFolder, fabric: Fabric) -> Iterator[None]:
    """Let the first process hold the folder's lock, and every process know if it cannot."""
    with contextlib.ExitStack() as stack:
        refused = ""
        if fabric.is_global_zero:
            try:
                stack.enter_context(run.lock())
            except RunFolderError as error:
                refused = str(error)
        if refused := fabric.broadcast(refused):
            raise RunFolderError(refused)
        yield


def _require_same(config: PretrainConfig, run: PretrainFolder) -> None:
    saved, given = run.read()[0].as_json(), config.as_json()
    del given["cuda_graph"]  # how steps run, and not what they do
    if changed := [name for name in given if saved[name] != given[name]]:
        raise RunFolderError(
            f"{run.path} was begun with another {', '.join(changed)}; resume with the "
            "configuration that it holds, or choose another folder"
        )


def _mean(fabric: Fabric, tensor: Tensor) -> Tensor:
    """The mean over processes; the tensor itself where there is one."""
    return cast(Tensor, fabric.all_reduce(tensor, reduce_op="mean"))


@contextlib.contextmanager
def _fast_math(device: torch.device) -> Iterator[None]:
    """TF32, and the fastest convolutions, on CUDA."""
    precision = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
