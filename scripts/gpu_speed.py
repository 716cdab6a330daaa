"""Where the time goes on a GPU: encoder, PPO, pretraining; before and after, in one run."""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--device", default="cuda:0")
parser.add_argument("--out", default=os.environ.get("OUT", "/tmp/out"))
parser.add_argument("--small", action="store_true")
parser.add_argument("--parts", default="encoder,pretrain,ppo,worlds,train")
parser.add_argument("--limit", type=float, default=230.0)
args = parser.parse_args()
CUDA = args.device.startswith("cuda")
OUT = Path(args.out)
OUT.mkdir(parents=True, exist_ok=True)
BEGUN = time.monotonic()
RESULT: dict = {}


def note(section, **values):
    RESULT.setdefault(section, []).append(values)
    print(f"{time.monotonic() - BEGUN:6.1f}s {section}: {values}", flush=True)
    (OUT / "speed.json").write_text(json.dumps(RESULT, indent=1, default=str))


def left():
    return args.limit - (time.monotonic() - BEGUN)


def wait():
    if CUDA:
        torch.cuda.synchronize()


def timed(work, seconds=0.6, warm=3):
    """Median of five blocks, in [ms] a call."""
    for _ in range(warm):
        work()
    wait()
    begun = time.perf_counter()
    work()
    wait()
    each = max(time.perf_counter() - begun, 1e-5)
    count = max(1, int(seconds / 5 / each))
    blocks = []
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(count):
            work()
        wait()
        blocks.append((time.perf_counter() - begun) / count * 1e3)
    return float(np.median(blocks))


@contextlib.contextmanager
def guarded(part, **about):
    try:
        yield
    except Exception as error:  # the others are measured all the same
        note(part, error=f"{type(error).__name__}: {error}"[:300], **about)


def profiled(name, work):
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if CUDA else [])
    with profile(activities=kinds) as prof:
        work()
        wait()
    averages = prof.key_averages()
    keys = ["self_cpu_time_total"] + (["self_cuda_time_total"] if CUDA else [])
    with open(OUT / "profiles.txt", "a") as file:
        for key in keys:
            file.write(f"== {name}, by {key}\n")
            file.write(averages.table(sort_by=key, row_limit=28, max_name_column_width=70) + "\n")


def fold(module, run):
    """Fold each batch norm into the convolution before it, found by what reads whose output."""
    made, pairs, kept = {}, [], []

    def after(conv, _, output):
        made[id(output)] = conv
        kept.append(output)

    def before(norm, inputs):
        if id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])], norm))

    hooks = []
    for layer in module.modules():
        if type(layer) is torch.nn.Conv2d:
            hooks.append(layer.register_forward_hook(after))
        if type(layer) is torch.nn.BatchNorm2d:
            hooks.append(layer.register_forward_pre_hook(before))
    run()
    for hook in hooks:
        hook.remove()
    parents = {child: (m, n) for m in module.modules() for n, child in m.named_children()}
    for conv, norm in pairs:
        fused = torch.nn.utils.fuse_conv_bn_eval(conv, norm)
        owner, name = parents[conv]
        setattr(owner, name, fused)
        owner, name = parents[norm]
        setattr(owner, name, torch.nn.Identity())
    return len(pairs)


def encoder_part():
    from representation.runtime import FrozenEncoder, _fastest_convolutions, example_image
    from representation.timm_encoder import VisuotactileEncoder
    from vtenv.engines.cuda_graph import capture_graph

    rng = np.random.default_rng(0)
    device = torch.device(args.device)
    for name in ("resnet-dynamics", "vit-dynamics"):
        for number in (8,) if args.small else (32, 1024, 4096):
            encoder = VisuotactileEncoder.from_pretrained(name)
            images = {
                "depth": example_image("depth", (1, 64, 64), number, np.float32, rng),
                "contact": example_image("contact", (2, 64, 64), number, np.uint8, rng),
            }
            images = {k: torch.as_tensor(v, device=device) for k, v in images.items()}
            reference = None

            def measure(variant, run):
                nonlocal reference
                with guarded("encoder", name=name, worlds=number, variant=variant):
                    wait()
                    begun = time.perf_counter()
                    run(images)
                    wait()
                    first = time.perf_counter() - begun
                    found = run(images).double()
                    if reference is None:
                        reference = found
                    off = (found - reference).square().mean().sqrt()
                    off = float(off / reference.square().mean().sqrt())
                    ms = timed(lambda: run(images))
                    note("encoder", name=name, worlds=number, variant=variant, ms=ms, off=off, first=first)

            measure("before", FrozenEncoder(encoder, runtime="torch", precision="float32"))
            measure("eager bf16", FrozenEncoder(encoder, runtime="torch", precision="bfloat16"))
            if not CUDA:
                continue
            measure("graph float32", FrozenEncoder(encoder, precision="float32"))
            after = FrozenEncoder(encoder)
            measure("after: graph bf16", after)
            if number == 4096:
                profiled(f"{name} {number} after", lambda: [after(images) for _ in range(5)])

            def own(prepare, layout=torch.channels_last, half=True):
                module = copy.deepcopy(encoder).to(device).eval().to(memory_format=layout)
                module = prepare(module)

                def run(x):
                    context = torch.autocast("cuda", torch.bfloat16, half, cache_enabled=False)
                    with context, _fastest_convolutions(True):
                        return module(x).float()

                graph = capture_graph(run, device)

                def call(x):
                    with torch.no_grad():
                        return graph(x)

                return call

            def folded(module):
                with torch.no_grad():
                    note("fold", name=name, pairs=fold(module, lambda: module(images)))
                return module

            measure("graph bf16, unfolded", own(lambda m: m))
            measure("graph bf16, unfolded, NCHW", own(lambda m: m, torch.contiguous_format))
            if name.startswith("resnet"):
                measure("graph bf16, folded, NCHW", own(folded, torch.contiguous_format))
                measure("graph float32, folded", own(folded, half=False))
            measure("graph bfloat16 weights", own(lambda m: m.bfloat16(), half=False))
            if number == 4096 and left() > 60:
                begun = time.monotonic()
                measure("compiled bf16", own(torch.compile))
                note("compile_s", name=name, seconds=time.monotonic() - begun)


def pretrain_part():
    from representation.data.replay_buffer import ReplayBuffer
    from representation.pretraining import training
    from representation.pretraining.presets import preset
    from representation.pretraining.run_folder import PretrainFolder
    from vtenv.interruption import Interruption
    from vtenv.modalities import IMAGE_MODALITIES

    device = torch.device(args.device)
    steps, worlds, batch = (4, 8, 8) if args.small else (16, 4096, 512)
    base = preset("control-resnet-infonce")
    buffer = ReplayBuffer(
        steps, worlds, base.keys, modalities=IMAGE_MODALITIES, device=device, channels=base.channels
    )
    for _ in range(steps):
        touched = torch.rand(worlds, 2, 64, 64, device=device) < 0.2
        buffer.append(
            {
                "depth": 0.25 + 0.2 * torch.rand(worlds, 1, 64, 64, device=device),
                "contact": touched.to(torch.uint8),
                "episode": torch.arange(worlds, device=device),
            }
        )

    class Random:
        keys, batches_per_epoch = base.keys, 1000

        def batch(self):
            chosen = torch.randint(len(buffer.places()), (batch,), device=device)
            return buffer.gather(buffer.places()[chosen], self.keys)

    source = Random()
    note("gather", ms=timed(source.batch))
    for precision, last, compiled in (
        ("32-true", True, False),
        ("32-true", False, False),
        ("bf16-mixed", True, False),
        ("bf16-mixed", False, False),
        ("32-true", True, True),
        ("32-true", False, True),
        ("bf16-mixed", True, True),
        ("32-true", False, "reduce-overhead"),
        ("bf16-mixed", True, "reduce-overhead"),
    ):
        about = {"precision": precision, "channels_last": last, "compile": bool(compiled)}
        if left() < args.limit - 150 or (compiled and not CUDA):
            continue
        compiler = training.torch.compile
        if isinstance(compiled, str):
            training.torch.compile = lambda n, c=compiler: c(n, mode="reduce-overhead")
        with guarded("pretrain", **about), tempfile.TemporaryDirectory() as folder:
            config = replace(base, batch_size=batch, epochs=None, max_steps=10**6, **about)
            fabric = training.make_fabric(config, accelerator="cuda" if CUDA else "cpu")
            with Interruption() as interruption, training._fast_math(fabric.device):
                trainer = training._Trainer(
                    config, source, None, fabric, PretrainFolder(Path(folder) / "run"), interruption
                )
                trainer.learner.train()
                trainer._step(source.batch())

                def step(trainer=trainer):
                    values = trainer._step(source.batch())
                    return torch.stack([v.detach().float() for v in values.values()])

                begun = time.monotonic()
                ms = timed(step, seconds=1.5, warm=12)
                about["compile"] = compiled
                note("pretrain", **about, ms=ms, per_s=1e3 / ms, took=time.monotonic() - begun)
                if (precision, last, compiled) == ("32-true", True, False):
                    profiled("pretrain before", lambda: [step() for _ in range(5)])
        training.torch.compile = compiler


def worlds_part():
    import gymnasium

    from policies.benchmarks.benchmark_config import BenchmarkConfig
    from policies.benchmarks.cases import _stepping
    from policies.benchmarks.timing import Case, Clock, EngineProbe, time_cases
    from policies.worlds import simulation_of
    from representation.wrappers.encode import VectorEncodeObservation

    for number in (8,) if args.small else (1024, 4096):
        with guarded("worlds", worlds=number):
            clock, cases = Clock(args.device), []
            config = BenchmarkConfig(engine="warp", device=args.device)
            made = []
            for label, options in (
                ("environment", None),
                ("before", {"runtime": "torch", "precision": "float32"}),
                ("after", {}),
            ):
                envs = gymnasium.make_vec(
                    "VTInsert-v0",
                    number,
                    vectorization_mode="vector_entry_point",
                    engine="warp",
                    device=args.device,
                    observations="torch",
                    autoreset_mode="SameStep",
                )
                if options is not None:
                    envs = VectorEncodeObservation(envs, "resnet-dynamics", flat=True, **options)
                made.append(envs)
                simulation = simulation_of(envs)
                transitions = _stepping(envs, config)
                probe = EngineProbe(simulation.engine, clock)
                simulation.engine = probe
                cases.append(Case(label, lambda t=transitions: next(t), number, None, probe))
            time_cases(cases, clock, steps=60, repetitions=1 if args.small else 5)
            for case in cases:
                for row in case.measurements():
                    note("worlds", **row)
            for case, envs in zip(cases, made, strict=True):
                simulation = simulation_of(envs)
                simulation.engine = case.probe._engine
                ms = timed(case.step, seconds=1.5)
                note("plain loop", case=case.name, worlds=number, ms=ms, per_s=number / ms * 1e3)
                if CUDA and case.name == "after":
                    profiled(f"worlds {number} after", lambda c=case: [c.step() for _ in range(5)])
                envs.close()


def ppo_part():
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import Logger

    from policies.features import calibrate
    from policies.hyperparameters import preset
    from policies.learners import algorithms
    from policies.learners.device_ppo import DevicePPO
    from policies.learners.rating import Rating
    from policies.learners.record_episodes import RecordEpisodes
    from policies.learners.train_config import TrainConfig
    from policies.representations import make_representation
    from policies.vec_env import VTInsertVecEnv

    chosen = preset("ppo", {"warp": True})
    seen = make_representation("resnet-pose")
    sizes = ((8, 64),) if args.small else ((1024, 4096), (4096, 16384))
    for number, batch in sizes:
        for label in ("before", "after"):
            if left() < 30 or (label == "before" and number == 4096):
                continue
            with guarded("ppo", worlds=number, variant=label):
                settings = {"observations": "torch", "engine": "warp", "device": args.device}
                if label == "before":
                    settings["precision"] = "float32"
                envs = seen.make(number, **settings)
                if label == "before":
                    envs.transform.encoder.runtime = "torch"
                venv = VTInsertVecEnv(RecordEpisodes(envs))
                algorithms.DevicePPO = PPO if label == "before" else DevicePPO
                model = algorithms.make_model(
                    "ppo", seen, venv, chosen | {"batch_size": batch}, seed=0, device=args.device
                )
                spent = {"rollout": 0.0, "train": 0.0}
                for name, key in (("collect_rollouts", "rollout"), ("train", "train")):

                    def timing(*a, original=getattr(model, name), key=key, **k):
                        wait()
                        begun = time.perf_counter()
                        result = original(*a, **k)
                        wait()
                        spent[key] += time.perf_counter() - begun
                        return result

                    setattr(model, name, timing)
                rollout = chosen["n_steps"] * number
                # Episodes out of step, as in the middle of training.
                model.env.reset()
                envs.unwrapped._elapsed[:] = np.arange(number) % 100
                model._last_obs = model.env.envs.reset()[0].cpu().numpy()
                envs.unwrapped._elapsed[:] = np.arange(number) % 100
                model._last_episode_starts = np.ones(number, bool)
                model.learn(rollout, reset_num_timesteps=False)
                for key in spent:
                    spent[key] = 0.0
                times = 1 if args.small else 6
                begun = time.perf_counter()
                model.learn(times * rollout, reset_num_timesteps=False)
                took = time.perf_counter() - begun
                note(
                    "ppo",
                    worlds=number,
                    variant=label,
                    per_s=times * rollout / took,
                    rollout_ms_a_step=spent["rollout"] / times / chosen["n_steps"] * 1e3,
                    train_ms_a_rollout=spent["train"] / times * 1e3,
                )
                if CUDA and number == 1024:
                    profiled(
                        f"ppo {label}", lambda m=model: m.learn(rollout, reset_num_timesteps=False)
                    )
                if label == "after" and number in (8, 1024):
                    config = TrainConfig(
                        engine="warp",
                        device=args.device,
                        representation="resnet-pose",
                        evaluation_episodes=4 if args.small else 400,
                    ).resolved()
                    rating = Rating(config, seen)
                    for _ in range(2):
                        begun = time.perf_counter()
                        rated = rating.rate(model.policy)
                        note("rating", seconds=time.perf_counter() - begun, **rated)
                    rating.close()
                envs.close()


def train_part():
    command = [
        *(sys.executable, "-c", "from policies.cli import main; main()", "train"),
        *("--algorithm", "ppo", "--engine", "warp", "--representation", "resnet-pose"),
        *("--num-envs", "1024", "--set", "batch_size=4096", "--device", args.device),
        *("--steps", "2000" if args.small else "1_000_000", "--filmed", "0"),
        *("--output", str(Path(tempfile.mkdtemp()) / "run")),
    ]
    begun = time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=max(5.0, left()), check=False
    )
    note("train", seconds=time.monotonic() - begun, rc=done.returncode, said=done.stderr[-300:])
    run = Path(command[-1])
    for name in ("result.json", "evaluations.csv"):
        found = list(run.rglob(name))
        if found:
            note("train", file=name, text=found[0].read_text()[:3000])


def main():
    compiling = None
    if CUDA:
        warm = (
            "import torch, gymnasium, vtenv\n"
            "e = gymnasium.make_vec('VTInsert-v0', 64, vectorization_mode='vector_entry_point',"
            f" engine='warp', device='{args.device}', observations='torch')\n"
            f"e.reset(seed=0); e.step(torch.zeros(64, 5, device='{args.device}'))\n"
        )
        compiling = subprocess.Popen([sys.executable, "-c", warm])
        note(
            "machine",
            name=torch.cuda.get_device_name(),
            cpus=os.cpu_count(),
            torch=torch.__version__,
        )
    for part in args.parts.split(","):
        if part in ("worlds", "ppo", "train") and compiling is not None:
            compiling.wait()
            compiling = None
            note("compiled")
        if left() > 15:
            with guarded(part):
                globals()[f"{part}_part"]()
    note("end", seconds=time.monotonic() - BEGUN)


if __name__ == "__main__":
    main()
