from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stable_baselines3 import PPO

from policies.deployable import load_policy
from policies.learners.checkpoint import load_parameters
from policies.learners.curriculum import GROWTH, MIN_EPISODES, Curriculum
from policies.learners.record_episodes import RecordEpisodes, episode_means
from policies.learners.reinforcement import WarmUpCritic
from policies.learners.run_log import RunLog
from policies.learners.train_config import TrainConfig
from policies.learners.training import train
from policies.learners.training_folder import TrainingFolder
from policies.representations import make_representation
from policies.vec_env import VTInsertVecEnv
from representation.encoder_config import EncoderConfig
from representation.timm_encoder import VisuotactileEncoder
from vtenv.run_folder import RunFolderError

USB = {"connectors": ["usb"], "clearance_mm": 0.8}
NETWORK = {"policy_kwargs": {"net_arch": [32]}}
SMALL = {
    "ppo": {"n_steps": 4, "batch_size": 32, "n_epochs": 2, **NETWORK},
    "sac": {
        **{"learning_starts": 64, "gradient_steps": 1, "batch_size": 16, "buffer_size": 300},
        **NETWORK,
    },
    "dagger": {"learning_starts": 64, "batch_size": 32, "updates_per_round": 2, **NETWORK},
}


def small(algorithm="ppo", **fields):
    hyperparameters = SMALL[algorithm] | fields.pop("hyperparameters", {})
    fields = {
        "steps": 256,
        "num_envs": 16,
        "settings": USB,
        "evaluate_every": 128,
        "evaluation_episodes": 2,
        "checkpoint_every": 128,
        "num_threads": 1,
        "filmed": 0,
    } | fields
    return TrainConfig(algorithm=algorithm, hyperparameters=hyperparameters, **fields)


def table(folder, name):
    with (folder / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of PPO that has ended."""
    folder = tmp_path_factory.mktemp("ppo") / "run"
    return train(small(), folder, progress=False)


def test_a_run_leaves_its_policies_tables_and_curve(run):
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "best",
        "checkpoints",
        "config.json",
        "curve.png",
        "evaluations.csv",
        "metrics.csv",
        "model.zip",
        "policy",
        "result.json",
        "tensorboard",
    ]
    assert (run.folder / "best" / "model.zip").is_file()
    for name in ("best", "policy"):
        policy = load_policy(run.folder / name)
        assert policy.representation.name == "state" and policy.settings == USB
        assert policy.provenance["algorithm"] == "ppo"
    assert policy.provenance["precision"] == "float32"


@pytest.mark.slow
def test_the_best_policy_is_filmed(tmp_path, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "off")
    run = train(small(steps=64, filmed=1), tmp_path / "run", progress=False)
    assert (run.folder / "videos" / "best.mp4").stat().st_size > 1000


def test_a_video_that_cannot_be_made_is_no_reason_to_fail(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "videos").write_text("in the way")
    run = train(small(steps=64, filmed=1), tmp_path / "run", progress=False)
    assert "No video in" in capsys.readouterr().err
    assert json.loads((run.folder / "result.json").read_text())["success"] == run.success


def test_the_tables_tell_success_reward_terms_length_and_speed(run):
    evaluations, metrics = table(run.folder, "evaluations"), table(run.folder, "metrics")
    assert [int(row["steps"]) for row in evaluations] == [0, 128, 256]
    assert run.curve == tuple((int(r["steps"]), float(r["success"])) for r in evaluations)
    # Worlds start anew at a checkpoint: no episode is longer than what is between two.
    assert int(metrics[-1]["steps"]) == run.steps == 256
    assert {"seconds", "steps_per_s", "curriculum", "train/approx_kl"} <= set(metrics[-1])
    for row in metrics:
        parts = float(row["rollout_s"]) + float(row["update_s"])
        assert 0 < parts < float(metrics[-1]["seconds"])
    assert all(0 < float(row["evaluation_s"]) <= float(row["seconds"]) for row in evaluations)
    result = json.loads((run.folder / "result.json").read_text())
    assert result["success"] == run.success and result["episodes"] == 2
    low, high = result["success_interval"]
    assert low <= run.success <= high


def test_the_bar_says_nothing_of_success_on_a_narrowed_curriculum(tmp_path, capsys):
    log = RunLog(TrainingFolder(tmp_path), 100, shown=True)
    with log.opened():
        log.train({"steps": 10, "seconds": 1.0, "success": 1.0, "curriculum": 0.1})
        log.evaluate({"steps": 10, "seconds": 2.0, "success": 0.25})
        log.show(10, None)
    said = capsys.readouterr().err
    assert "Training, success 25% when evaluated, curriculum at 10%" in said
    assert "100%" not in said


def test_tensorboard_has_the_same(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    assert {"evaluation/success", "rollout/steps_per_s", "train/loss"} <= set(log.Tags()["scalars"])
    assert [event.step for event in log.Scalars("evaluation/success")] == [0, 128, 256]


def test_the_model_goes_on_in_stable_baselines(run):
    envs = make_representation("state").make(16, **USB)
    model = PPO.load(run.folder / "model.zip", env=VTInsertVecEnv(envs))
    assert model.num_timesteps == 256
    model.learn(64, reset_num_timesteps=False)
    envs.close()


def test_a_run_that_has_ended_is_not_run_again(run):
    before = (run.folder / "metrics.csv").stat().st_mtime_ns
    assert train(small(), run.folder, progress=False) == run
    assert (run.folder / "metrics.csv").stat().st_mtime_ns == before
    with pytest.raises(RunFolderError, match=r"holds another run, with seed=0, not 1"):
        train(small(seed=1), run.folder, progress=False)


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(algorithm, tmp_path):
    config = small(algorithm)
    whole = train(config, tmp_path / "whole", progress=False)

    # From a while after its first checkpoint, a table cannot be written: as on a full disk.
    broken = tmp_path / "broken"
    files, metrics = TrainingFolder(broken), broken / "metrics.csv"

    def break_it():
        while files.checkpoint() is None:
            time.sleep(0.002)
        while not metrics.is_dir():
            metrics.unlink(missing_ok=True)
            with contextlib.suppress(FileExistsError):
                metrics.mkdir()

    breaker = threading.Thread(target=break_it, daemon=True)
    breaker.start()
    with pytest.raises(OSError):
        train(config, broken, progress=False)
    breaker.join()
    metrics.rmdir()
    assert files.checkpoint() is not None and files.read_result() is None
    resumed = train(config, broken, progress=False)

    assert resumed.curve == whole.curve and resumed.success == whole.success
    timed = {"seconds", "steps_per_s", "rollout_s", "update_s"}
    for one, other in zip(*(table(run.folder, "metrics") for run in (whole, resumed)), strict=True):
        assert {k: v for k, v in one.items() if k not in timed} == {
            k: v for k, v in other.items() if k not in timed
        }
    weights = [load_file(r.folder / "policy" / "policy.safetensors") for r in (whole, resumed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_more_steps_end_where_a_longer_run_does(algorithm, tmp_path):
    # A rate that falls with the budget, as PPO's preset has it, would be another.
    short = small(algorithm, steps=128, hyperparameters={"learning_rate": 3e-4})
    whole = train(replace(short, steps=256), tmp_path / "whole", progress=False)

    ended = train(short, tmp_path / "run", progress=False, command="first")
    assert ended.steps == 128
    longer = replace(short, steps=256)
    extended = train(longer, tmp_path / "run", progress=False, command="then")
    assert extended.steps == 256 and extended.curve == whole.curve
    for name in ("policy/policy.safetensors", "best/policy.safetensors"):
        weights = [load_file(run.folder / name) for run in (whole, extended)]
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    document = json.loads((extended.folder / "config.json").read_text())
    assert (document["steps"], document["command"]) == (256, "first && then")
    assert train(longer, tmp_path / "run", progress=False) == extended


def test_a_distillation_takes_more_steps_too(tmp_path):
    config = small("dagger", steps=256)
    train(config, tmp_path / "run", progress=False)
    extended = train(replace(config, steps=384), tmp_path / "run", progress=False)
    assert [steps for steps, _ in extended.curve] == [0, 128, 256, 384]


def test_a_budget_that_is_used_up_is_refused(run, tmp_path):
    with pytest.raises(RunFolderError, match=r"steps=128 is not allowed.*has made 256"):
        train(small(steps=128), run.folder, progress=False)
    with pytest.raises(RunFolderError, match=r"max_minutes=1e-05 is not allowed.*has taken"):
        train(small(steps=512, max_minutes=1e-5), run.folder, progress=False)
    without = tmp_path / "run"
    shutil.copytree(run.folder, without, ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(RunFolderError, match=r"no checkpoint to go on from.*--start"):
        train(small(steps=512), without, progress=False)
    assert TrainingFolder(without).result() is not None


def test_a_signal_to_a_run_that_has_learned_is_not_kept_waiting(tmp_path, capfd):
    files = TrainingFolder(tmp_path / "run")

    def interrupt():
        while not files.policy.is_dir():
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        train(small(steps=64), files.path, progress=False, resume="vtinsert train --resume")
    thread.join()
    assert "Stopped at step 64. Go on with: vtinsert train --resume" in capfd.readouterr().err
    assert files.result() is None
    assert train(small(steps=64), files.path, progress=False).steps == 64


@pytest.mark.parametrize(
    ("algorithm", "number"), [("ppo", signal.SIGINT), ("dagger", signal.SIGTERM)]
)
def test_a_signal_leaves_a_run_that_goes_on(algorithm, number, tmp_path, capfd):
    config = small(algorithm, steps=2048, evaluate_every=2048, checkpoint_every=2048)
    files = TrainingFolder(tmp_path / "run")

    def interrupt():
        while not (files.path / "evaluations.csv").is_file():
            time.sleep(0.002)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        train(config, files.path, progress=False, resume="vtinsert train --resume")
    thread.join()
    checkpoint = files.checkpoint()
    assert checkpoint is not None
    stopped = int(checkpoint.name)
    assert 0 < stopped < 2048
    said = capfd.readouterr().err
    assert f"Stopped at step {stopped:,}. Go on with: vtinsert train --resume" in said

    state = checkpoint / "state.pt"
    whole = state.read_bytes()
    for damaged in (whole[:100], b""):
        state.write_bytes(damaged)
        with pytest.raises(RunFolderError, match=r"damaged.*; remove .*checkpoints, and --resume"):
            train(config, files.path, progress=False)
    state.write_bytes(whole)
    with files.lock(), pytest.raises(RunFolderError, match="another process is writing"):
        train(config, files.path, progress=False)

    again = train(config, files.path, progress=False)
    assert again.steps >= 2048
    steps = [int(row["steps"]) for row in table(files.path, "metrics")]
    assert stopped in steps and steps == sorted(set(steps))
    assert [s for s, _ in again.curve] == sorted({s for s, _ in again.curve})


def test_the_time_is_a_budget_too(tmp_path):
    config = small(steps=10**6, max_minutes=0.01, evaluate_every=10**6, checkpoint_every=10**6)
    result = train(config, tmp_path / "run", progress=False)
    assert 0 < result.steps < 10**5
    assert [steps for steps, _ in result.curve] == [0, result.steps]


@pytest.mark.parametrize("checked", [True, False])
def test_weights_that_are_not_finite_end_training(checked, tmp_path, monkeypatch):
    # torch.compile switches off for the whole process what distributions check.
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", checked)
    config = small(hyperparameters={"learning_rate": 1e30, "target_kl": None})
    with pytest.raises(ValueError, match=r"no longer finite at step .* lower learning rate"):
        train(config, tmp_path / "run", progress=False)


def test_training_leaves_the_encoder_as_it_was(tmp_path):
    config = EncoderConfig(
        backbone="test_resnet",
        embedding_dim=8,
        images={"depth": (1, 32, 32), "contact": (2, 32, 32)},
    )
    encoder = VisuotactileEncoder(config)
    encoder.save_pretrained(tmp_path / "encoder")
    before = load_file(tmp_path / "encoder" / "model.safetensors")
    name = str(tmp_path / "encoder")
    run = train(small(representation=name, steps=64), tmp_path / "run", progress=False)
    # A policy on an encoder that is not bundled has a copy of it, made after training.
    after = load_file(run.folder / "policy" / "encoder" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    document = json.loads((run.folder / "config.json").read_text())
    assert document["encoder_digest"] == make_representation(name).digest
    # Batch norms that drifted would tell, even where gradients are off.
    assert any("running_mean" in key for key in before)

    VisuotactileEncoder(config).save_pretrained(tmp_path / "encoder")
    with pytest.raises(RunFolderError, match="begun with another encoder"):
        train(small(representation=name, steps=64), tmp_path / "run", progress=False)


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dagger") / "run"
    return train(small("dagger", steps=512), folder, progress=False)


def weights(model):
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def test_ppo_goes_on_from_a_distilled_policy(distilled, tmp_path):
    warm = small(start=str(distilled.folder), steps=64)
    result = train(warm, tmp_path / "warm", progress=False)
    # At step 0 it is the policy that it starts from, on the same episodes.
    best = max(success for _, success in distilled.curve)
    assert result.curve[0] == (0, best)


def test_a_warm_start_takes_over_actor_critic_and_deviation(distilled):
    from policies.learners.warm_start import check_start, start_from

    representation = make_representation("state")
    config = small(start=str(distilled.folder)).resolved()
    envs = VTInsertVecEnv(representation.make(16, **USB))
    path = check_start(config, representation)
    source, model = PPO.load(path, env=envs), PPO.load(path, env=envs)
    for parameter in model.policy.parameters():
        torch.nn.init.normal_(parameter)
    start_from(path, model)
    found, expected = weights(model), weights(source)
    assert {"log_std", "value_net.weight", "action_net.weight"} <= found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    load_parameters(path, model)  # optimizers, too
    envs.close()


def test_a_critic_warms_up_alone(distilled):
    envs = VTInsertVecEnv(make_representation("state").make(16, **USB))
    model = PPO.load(distilled.folder / "model.zip", env=envs, n_steps=4, batch_size=32)
    before = weights(model)
    model.learn(128, WarmUpCritic(128))
    after = weights(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("value_net" in name for name in changed)
    model.learn(128, WarmUpCritic(0))
    both = {name for name in before if not torch.equal(after[name], weights(model)[name])}
    assert "action_net.weight" in both and "value_net.weight" in both
    envs.close()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"representation": "proprio"}, "trained on the representation 'state', and this run"),
        ({"representation": "resnet-pose"}, "on 'resnet-pose' with the encoder [0-9a-f]{12}"),
        ({"algorithm": "sac"}, "sac cannot start from .* a run of dagger"),
        ({"start": "nowhere"}, "nowhere is not the folder of a run"),
        ({"start": "/"}, "not the folder of a run"),
        (
            {"hyperparameters": {"policy_kwargs": {"net_arch": [8]}}},
            "is damaged, or not of such a run.*policy_kwargs",
        ),
    ],
)
def test_a_start_that_does_not_fit_is_refused(distilled, tmp_path, fields, message):
    config = small(**{"start": str(distilled.folder)} | fields)
    with pytest.raises(RunFolderError, match=message):
        train(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_curriculum_widens_ranges_as_episodes_succeed():
    envs = make_representation("state").make(2, **USB)
    simulation = envs.unwrapped.simulation
    full = simulation.task.config.initial_state
    curriculum = Curriculum(simulation, 0.5)
    near = simulation.task.config.initial_state
    assert near.socket_y_mm == (-6.0, 6.0) and near.socket_x_mm == (37.75, 41.25)
    assert near.in_hand_z_mm == full.in_hand_z_mm

    curriculum.learn_of(MIN_EPISODES, 0.1 * MIN_EPISODES)
    assert curriculum.scale == 0.5
    curriculum.learn_of(MIN_EPISODES - 1, MIN_EPISODES - 1)
    assert curriculum.scale == 0.5
    state = curriculum.state_dict()
    curriculum.learn_of(1, 1)
    assert curriculum.scale == pytest.approx(0.5 + GROWTH)
    curriculum.load_state_dict(state)
    assert curriculum.scale == 0.5 and simulation.task.config.initial_state == near

    for _ in range(20):
        curriculum.learn_of(MIN_EPISODES, MIN_EPISODES)
    assert curriculum.scale == 1.0 and simulation.task.config.initial_state == full
    envs.close()


def test_narrowed_ranges_decide_where_socket_and_hand_begin():
    envs = make_representation("state").make(8)
    Curriculum(envs.unwrapped.simulation, 1e-9)
    observation, _ = envs.reset(seed=0)
    socket_yaw, hand = observation[:, 24], observation[:, :5]
    assert np.ptp(socket_yaw) < 1e-3 and np.ptp(hand[:, 1]) < 0.05
    assert np.ptp(observation[:, 13]) > 0.1  # the plug in the hand is as it was
    envs.close()


def test_episodes_are_summed_up_term_by_term():
    envs = RecordEpisodes(make_representation("state").make(3, max_episode_steps=20, **USB))
    envs.reset(seed=0)
    assert not envs.take()
    rng = np.random.default_rng(0)
    total, ended = 0.0, 0
    for _ in range(40):
        _, reward, terminated, truncated, _ = envs.step(rng.uniform(-1, 1, (3, 5)))
        total += reward.sum()
        ended += int((terminated | truncated).sum())
    means = episode_means(envs.take())
    assert means["episodes"] == ended
    # All steps belong to episodes that have ended, if all were truncated twice.
    assert ended == 6 and means["episode_length"] == 20 and means["success"] == 0
    assert means["return"] * 6 == pytest.approx(total)
    assert means["reward_time"] == pytest.approx(-0.2)
    assert episode_means(envs.take()) == {}
    envs.close()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"algorithm": "a2c"}, "algorithm='a2c' is not allowed.*ppo, sac, tqc"),
        ({"engine": "isaac"}, "engine='isaac' is not allowed"),
        ({"steps": 0}, "steps=0 is not allowed; steps must be positive"),
        ({"curriculum": 1.5}, "curriculum=1.5 is not allowed"),
        ({"algorithm": "dagger", "curriculum": 0.5}, "curriculum=0.5 .* left out for dagger"),
        ({"hyperparameters": {"lr": 1}}, "hyperparameters='lr' is not allowed.*learning_rate"),
        ({"hyperparameters": {"use_sde": True}}, "'use_sde' is not allowed"),
        ({"seed": -1}, "training has 1,000,000"),
        ({"settings": {"connectors": ["usb", "generated-1000"]}}, "generated-1000 is held out"),
        ({"seed": 999_999, "num_envs": 2}, "first=999999 and 2 seeds are not allowed"),
    ],
)
def test_a_configuration_that_is_wrong_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**fields)


def test_numpys_scalars_survive_json():
    chosen = {"learning_rate": np.float32(0.5), "n_steps": np.int64(4)}
    config = TrainConfig(steps=np.int64(64), seed=np.uint8(1), hyperparameters=chosen)
    assert (
        config.as_json()
        == TrainConfig(
            steps=64, seed=1, hyperparameters={"learning_rate": 0.5, "n_steps": 4}
        ).as_json()
    )
