"""Steps that run as a CUDA graph are those that run without one."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from memory_split import SIZE, Interrupted, MemorySplit
from torch.utils._python_dispatch import TorchDispatchMode

from representation import EncoderConfig
from representation.augmentations import AUGMENTATIONS, Augment
from representation.objectives.combine import OBJECTIVES, build_objective
from representation.objectives.infonce import InfoNCE
from representation.pretraining.config import PretrainConfig, learning_rate
from representation.pretraining.initial_encoder import initial_encoder
from representation.pretraining.step_graph import runs_as_graph
from representation.pretraining.training import make_fabric, make_source, pretrain

STEPS = 12
ENCODER = EncoderConfig(
    backbone="test_resnet", images={"depth": (1, SIZE, SIZE), "contact": (2, SIZE, SIZE)}
)
DROPPING = {"proj_drop_rate": 0.2, "drop_path_rate": 0.2}
DROPPING_ENCODER = replace(ENCODER, backbone="test_vit", backbone_options=DROPPING)


def on_gpu(test):
    there = torch.cuda.is_available()
    return pytest.mark.gpu(pytest.mark.skipif(not there, reason="there is no CUDA device")(test))


class Counting(InfoNCE):
    """Counts the calls of Python in training."""

    calls = 0

    def forward(self, *arguments):
        Counting.calls += self.training
        return super().forward(*arguments)


class Looking(InfoNCE):
    """Waits for the device."""

    def forward(self, *arguments):
        output = super().forward(*arguments)
        assert output.loss.item() > 0.0
        return output


def make_config(**changes):
    settings = {
        "encoder": ENCODER,
        "objective": "infonce",
        "objective_options": {},
        "augment": "contrastive",
        "batch_size": 16,
        "epochs": None,
        "max_steps": STEPS,
        "warmup": 0.2,
        "clip_norm": 1.0,
        "select": "last",
        "precision": "32-true",
    }
    if changes.get("objective") == "masked":
        settings["objective_options"] = {"masked": {"patches_per_side": 4}}
    return PretrainConfig(**(settings | changes))


def train(config, folder, *, interrupt=None, **options):
    fabric = make_fabric(config, accelerator="cuda")
    source = make_source(config, MemorySplit(), fabric)
    heldout = make_source(config, MemorySplit(20, seed=1), fabric, shuffle=False)
    if interrupt is not None:
        source = Interrupted(source, interrupt, signal.SIGINT)
    return pretrain(
        config, source, folder, heldout=heldout, fabric=fabric, progress=False, **options
    )


def parameters(*modules):
    return torch.cat([p.detach().cpu().flatten() for m in modules for p in m.parameters()])


def assert_alike(one, other, config):
    """The same run but for rounding."""
    assert one.losses == pytest.approx(other.losses[-len(one.losses) :], rel=0.02, abs=1e-3)
    torch.manual_seed(config.seed)
    encoder = initial_encoder(config)
    start = parameters(
        encoder, build_objective(config.objective, encoder, config.objective_options)
    )
    first, second = (parameters(r.encoder, r.objective) for r in (one, other))
    assert (first - second).abs().mean() < 0.1 * (second - start).abs().mean()


@pytest.mark.parametrize(
    ("changes", "device", "world_size", "expected"),
    [
        ({}, "cuda", 1, True),
        ({}, "cpu", 1, False),
        ({}, "cuda", 2, False),
        ({"compile": True}, "cuda", 1, False),
        ({"cuda_graph": False}, "cuda", 1, False),
        ({"objective": "test_step_graph:Counting"}, "cuda", 1, False),
        ({"objective": "test_step_graph:Counting", "cuda_graph": True}, "cuda", 1, True),
        ({"augment": ["noise", "somebodys:augmentation"]}, "cuda", 1, False),
    ],
)
def test_steps_of_what_is_bundled_run_as_a_graph_on_one_gpu(changes, device, world_size, expected):
    assert runs_as_graph(make_config(**changes), torch.device(device), world_size) == expected


def test_a_graph_without_a_gpu_is_refused_and_an_objective_of_ones_own_is_said(caplog):
    with pytest.raises(ValueError, match=r"cuda_graph=True is not allowed; .* None or False on a"):
        runs_as_graph(make_config(cuda_graph=True), torch.device("cpu"), 1)
    runs_as_graph(make_config(objective="somebodys:Objective"), torch.device("cpu"), 1)
    assert not caplog.records
    runs_as_graph(make_config(objective="somebodys:Objective"), torch.device("cuda"), 1)
    assert "without a CUDA graph, as somebodys:Objective may" in caplog.text


class NoLook(TorchDispatchMode):
    """Raises where a value is read on the host, or a shape depends on one."""

    LOOKS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        indices = args[1] if name.startswith("index") and isinstance(args[1], list | tuple) else ()
        masks = [i for i in indices if isinstance(i, torch.Tensor) and i.dtype == torch.bool]
        assert name not in self.LOOKS and not masks, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_step_looks_at_no_value(objective, make_encoder, make_batch):
    encoder = make_encoder(backbone_options=DROPPING)
    options = make_config(objective=objective).objective_options
    trained, generator = build_objective(objective, encoder, options), torch.Generator()
    with NoLook():
        batch = Augment(list(AUGMENTATIONS))(make_batch(8), generator)
        trained(encoder, batch, generator).loss.backward()
        with pytest.raises(AssertionError, match="waits"):
            batch["depth"].sum().item()


@on_gpu
@pytest.mark.parametrize(
    "changes",
    [
        *({"objective": name} for name in OBJECTIVES),
        {"objective": "moco", "objective_options": {"moco": {"groups": 2, "queue_size": 24}}},
        {"objective": {"infonce": 1.0, "dynamics": 0.5}, "augment": list(AUGMENTATIONS)},
        {"encoder": DROPPING_ENCODER},
        {"precision": "bf16-mixed"},
    ],
    ids=[*OBJECTIVES, "groups", "sum", "drop path", "bfloat16"],
)
def test_replayed_steps_are_those_of_a_run_without_a_graph(changes, tmp_path):
    config = make_config(**changes)
    captured = train(config, tmp_path / "captured")
    eager = train(replace(config, cuda_graph=False), tmp_path / "eager")
    assert len(captured.losses) == len(eager.losses) == STEPS
    assert_alike(captured, eager, config)
    for row, expected in zip(captured.history, eager.history, strict=True):
        used = (row["step"] - 1) / STEPS
        assert row["learning_rate"] == learning_rate(config, row["epoch"] - 1, used)
        values, others = (
            {k: v for k, v in each.items() if k != "samples_per_s"} for each in (row, expected)
        )
        assert values == pytest.approx(others, rel=0.05, abs=0.07)


@on_gpu
@pytest.mark.parametrize("changes", [{"objective": "moco"}, {"encoder": DROPPING_ENCODER}])
def test_a_run_taken_up_ends_where_an_uninterrupted_one_does(changes, tmp_path):
    config = make_config(**changes)
    whole = train(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt, match="5 steps are kept in"):
        train(config, tmp_path / "broken", interrupt=5)
    resumed = train(config, tmp_path / "broken", resume=True)
    assert len(resumed.losses) == STEPS - 5
    assert_alike(resumed, whole, config)


@on_gpu
@pytest.mark.parametrize(("cuda_graph", "calls"), [(None, STEPS), (True, 4)])
def test_python_runs_for_the_first_steps_and_the_capture_alone(
    cuda_graph, calls, tmp_path, monkeypatch
):
    monkeypatch.setattr(Counting, "calls", 0)
    config = make_config(objective="test_step_graph:Counting", cuda_graph=cuda_graph)
    assert len(train(config, tmp_path / "run").losses) == STEPS
    assert Counting.calls == calls


@on_gpu
def test_memory_is_free_after_training(tmp_path):
    config = make_config()
    reserved = []
    for run in ("first", "second"):  # the first leaves workspaces of libraries behind
        train(config, tmp_path / run)
        gc.collect()
        torch.cuda.empty_cache()
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[1] < reserved[0] + 2**22


@on_gpu
def test_a_step_that_cannot_be_captured_is_named(tmp_path):
    # In a process of its own: the next test's memory and generators may not be usable.
    code = (
        "import sys; from pathlib import Path; import test_step_graph as steps\n"
        "config = steps.make_config(objective='test_step_graph:Looking', cuda_graph=True)\n"
        "steps.train(config, Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert "ValueError: a training step cannot run as a CUDA graph" in done.stderr, done.stderr
    assert "cuda_graph=False" in done.stderr
