from __future__ import annotations

import csv
import json
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from memory_split import SIZE, Interrupted, MemorySplit
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from representation import EncoderConfig, VisuotactileEncoder
from representation.encoder_files import EncoderFileError
from representation.pretraining.config import PretrainConfig, learning_rate
from representation.pretraining.fit import fit_to_split
from representation.pretraining.run_folder import (
    STATE_FILE,
    PretrainFolder,
    TrainingData,
    load_objective,
)
from representation.pretraining.training import (
    evaluate_objective,
    make_fabric,
    make_source,
    pretrain,
)
from vtenv.json_document import from_document
from vtenv.run_folder import RunFolderError

ENCODER = EncoderConfig(
    backbone="test_resnet", images={"depth": (1, SIZE, SIZE), "contact": (2, SIZE, SIZE)}
)
ONE_FINGER = {"depth": (1, SIZE, SIZE), "contact": (1, SIZE, SIZE)}


def make_config(**changes) -> PretrainConfig:
    settings = {
        "encoder": ENCODER,
        "objective": "classification",
        "batch_size": 16,
        "epochs": 3,
        "learning_rate": 3e-3,
    }
    return PretrainConfig(**(settings | changes))


def run(config, folder, split=None, *, interrupt=None, number=signal.SIGINT, **options):
    """Train on the CPU; `interrupt` is the step after which a signal comes, Ctrl-C's by default."""
    fabric = make_fabric(config, accelerator="cpu")
    source = make_source(config, split or MemorySplit(), fabric)
    if interrupt is not None:
        source = Interrupted(source, interrupt, number)
    return pretrain(config, source, folder, fabric=fabric, progress=False, **options)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    encoder = load_file(folder / "encoder" / "model.safetensors")
    return encoder | load_file(folder / "objective.safetensors")


def assert_same(one: Path, two: Path) -> None:
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


def without_times(history):
    return [{k: v for k, v in row.items() if k != "samples_per_s"} for row in history]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A run with all its files, and its result."""
    # Batch statistics take longer to settle than this trains.
    config = make_config(epochs=6, encoder=replace(ENCODER, backbone="test_convnext"))
    fabric = make_fabric(config, accelerator="cpu")
    result = pretrain(
        config,
        make_source(config, MemorySplit(), fabric),
        tmp_path_factory.mktemp("runs") / "run",
        heldout=make_source(config, MemorySplit(20, seed=1), fabric, shuffle=False),
        fabric=fabric,
        evaluate=lambda encoder, objective: {"told": 0.5 if not encoder.training else 0.0},
        evaluate_every=2,
        progress=False,
    )
    return config, result


def test_it_learns(learned):
    _, result = learned
    losses = [row["loss"] for row in result.history]
    assert losses[-1] < 0.3 * losses[0]
    assert result.history[-1]["accuracy"] > 0.95
    assert result.history[-1]["heldout/accuracy"] > 0.95


def test_the_epoch_of_lowest_loss_is_the_result(learned, tmp_path):
    _, result = learned
    losses = [row["loss"] for row in result.history]
    assert result.epoch == losses.index(min(losses)) + 1
    # A rate that is far too high: later epochs are worse than the first.
    config = make_config(objective="pose", learning_rate=1.0, schedule="constant", epochs=3)
    best, last = run(config, tmp_path / "a"), run(replace(config, select="last"), tmp_path / "b")
    run(config, tmp_path / "rare", checkpoint_every=10)
    assert_same(tmp_path / "a", tmp_path / "rare")
    losses = [row["loss"] for row in best.history]
    assert best.row["loss"] == min(losses)
    assert last.epoch == 3
    assert last.row["loss"] == losses[-1]
    assert without_times(best.history) == without_times(last.history)


def test_the_folder_holds_the_result(learned):
    config, result = learned
    assert sorted(path.name for path in result.folder.iterdir()) == [
        "checkpoints",
        "config.json",
        "encoder",
        "metrics.csv",
        "objective.safetensors",
        "result.json",
        "tensorboard",
    ]
    assert PretrainFolder(result.folder).read()[0] == config
    document = json.loads((result.folder / "config.json").read_text())
    assert document["devices"] == {"device": "cpu", "processes": 1, "precision": "32-true"}
    with (result.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == [row["loss"] for row in result.history]
    assert [bool(row["heldout/loss"]) for row in rows] == [False, True] * 3
    written = json.loads((result.folder / "result.json").read_text())
    assert written["epoch"] == result.epoch
    # What an epoch was is told once: a row of metrics.csv, which the result repeats as it is.
    assert written["row"] == result.history[result.epoch - 1] == result.row
    assert "loss" not in written
    assert written["measured"] == result.measured
    assert written["measured"]["told"] == 0.5
    card = (result.folder / "encoder" / "README.md").read_text()
    assert "| Objective | classification |" in card
    assert "| told | 0.5 |" in card


def test_encoder_and_objective_come_back_from_the_folder(learned):
    _, result = learned
    encoder = VisuotactileEncoder.from_pretrained(result.folder / "encoder")
    objective = load_objective(result.folder, encoder)
    batch = {key: torch.from_numpy(v) for key, v in MemorySplit(20, seed=1).arrays.items()}
    with torch.no_grad():
        loaded = objective.logits(encoder, batch)
        assert torch.equal(loaded, result.objective.logits(result.encoder, batch))
    assert not objective.training


@pytest.mark.parametrize("objective", ["classification", "moco"])
def test_what_is_measured_is_what_is_written(objective, tmp_path):
    config = make_config(objective=objective, epochs=1)
    assert any(isinstance(m, nn.BatchNorm2d) for m in VisuotactileEncoder(ENCODER).modules())
    fabric = make_fabric(config, accelerator="cpu")
    heldout = make_source(config, MemorySplit(20, seed=1), fabric, shuffle=False)
    result = run(config, tmp_path / "run", heldout=heldout)
    encoder = VisuotactileEncoder.from_pretrained(result.folder / "encoder")
    measured = evaluate_objective(encoder, load_objective(result.folder, encoder), heldout)
    assert measured["loss"] == pytest.approx(result.measured["heldout/loss"])
    assert measured["loss"] != pytest.approx(result.history[0]["heldout/loss"])


def test_an_encoder_that_a_killed_writing_took_away_is_put_back(learned, tmp_path):
    config, finished = learned
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    replaced = folder / ".encoder.vtinsert-replaced"
    (folder / "encoder").replace(replaced)
    run(config, folder, resume=True)
    assert_same(finished.folder, folder)
    assert not replaced.exists()


def test_an_objective_of_another_encoder_is_refused(learned):
    _, result = learned
    other = VisuotactileEncoder(replace(ENCODER, backbone="test_vit", images=ONE_FINGER))
    with pytest.raises(EncoderFileError, match="another encoder"):
        load_objective(result.folder, other)


def test_tensorboard_shows_losses_rates_and_metrics(learned):
    _, result = learned
    events = EventAccumulator(str(result.folder / "tensorboard")).Reload()
    assert {"epoch/loss", "epoch/accuracy", "epoch/samples_per_s", "epoch/heldout/loss"} <= set(
        events.Tags()["scalars"]
    )
    shown = [event.value for event in events.Scalars("epoch/loss")]
    assert shown == pytest.approx([row["loss"] for row in result.history])


DROPPING = {"proj_drop_rate": 0.2, "drop_path_rate": 0.2}


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        (5, {"objective": "infonce", "augment": "contrastive"}),
        (1, {"objective": "moco"}),
        (
            3,
            {
                "objective": {"masked": 1.0, "dynamics": 0.5},
                "objective_options": {"masked": {"patches_per_side": 4}},
                "augment": ("noise",),
            },
        ),
        (5, {"encoder": replace(ENCODER, backbone="test_vit", backbone_options=DROPPING)}),
    ],
    ids=["contrast", "in the first epoch", "masks", "drop path"],
)
def test_a_run_taken_up_ends_where_an_uninterrupted_one_does(step, changes, tmp_path, capsys):
    config = make_config(epochs=2, warmup=0.2, clip_norm=1.0, **changes)
    whole = run(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt, match=f"{step} steps are kept in"):
        run(config, tmp_path / "broken", interrupt=step)
    assert "once more to stop at once" in capsys.readouterr().err
    torch.rand(7)  # somebody else draws from torch's generator
    resumed = run(config, tmp_path / "broken", resume=True)
    assert without_times(resumed.history) == without_times(whole.history)
    assert resumed.epoch == whole.epoch
    assert_same(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.slow
def test_a_compiled_encoder_learns_the_same(tmp_path, monkeypatch):
    # Traced, and run without the minutes that a C++ compiler takes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    config = make_config(objective="moco", epochs=1)  # its momentum encoder is compiled too
    plain = run(config, tmp_path / "plain")
    compiled = run(replace(config, compile=True), tmp_path / "compiled")
    assert compiled.row["loss"] == pytest.approx(plain.row["loss"], rel=1e-3)
    assert plain.encoder.state_dict().keys() == compiled.encoder.state_dict().keys()


def test_it_starts_from_another_encoders_backbones_which_are_not_needed_to_go_on(learned, tmp_path):
    config, before = learned
    start = shutil.copytree(before.folder / "encoder", tmp_path / "start")
    touch = config.encoder.only("touch")
    config = replace(config, encoder=touch, learning_rate=1e-9, start=str(start), epochs=1)
    one_finger = replace(config, encoder=touch.with_images({"contact": (1, SIZE, SIZE)}))
    with pytest.raises(ValueError, match=r"contact backbone cannot start .*does not fit"):
        run(one_finger, tmp_path / "other")
    with pytest.raises(ValueError, match="start"):
        replace(config, pretrained=True)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run", interrupt=2)
    shutil.rmtree(start)
    result = run(config, tmp_path / "run", resume=True)
    theirs = before.encoder.backbones["contact"].state_dict()
    for name, value in result.encoder.backbones["contact"].state_dict().items():
        torch.testing.assert_close(value, theirs[name])


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path):
    config = make_config(epochs=1)
    (tmp_path / "run").mkdir()
    PretrainFolder(tmp_path / "run").begin(config, TrainingData(), {}, {})
    assert len(run(config, tmp_path / "run", resume=True).history) == 1


def test_a_finished_run_is_not_trained_again(learned):
    config, result = learned
    state = PretrainFolder(result.folder).checkpoint() / STATE_FILE
    before = state.stat().st_mtime_ns
    again = run(config, result.folder, resume=True)
    assert again.epoch == result.epoch
    assert state.stat().st_mtime_ns == before


def test_nothing_is_written_over(learned):
    config, result = learned
    with pytest.raises(RunFolderError, match="there already"):
        run(config, result.folder)
    with pytest.raises(RunFolderError, match="another learning_rate, seed"):
        run(replace(config, learning_rate=1.0, seed=8), result.folder, resume=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_asks_a_program_to_end_leaves_a_checkpoint(number, tmp_path, request):
    # Under nohup a hang-up is ignored, and stays so.
    request.addfinalizer(partial(signal.signal, number, signal.signal(number, signal.SIG_DFL)))
    with pytest.raises(KeyboardInterrupt, match="2 steps are kept in"):
        run(make_config(epochs=2), tmp_path / "run", interrupt=2, number=number)
    assert int(PretrainFolder(tmp_path / "run").checkpoint().name) == 2


def rewritten(change):
    def damage(path):
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-10]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(pickle.dumps({"learner": 1})),
        lambda path: torch.save({"learner": Path("/")}, path),
        lambda path: torch.save([], path),
        Path.unlink,
        rewritten(lambda state: state.pop("learner")),
        rewritten(lambda state: state["learner"].popitem()),
        rewritten(lambda state: state["best"].popitem()),
        rewritten(lambda state: state["optimizer"][0].update(exp_avg=torch.zeros(3))),
        rewritten(lambda state: state["optimizer"].update({999: {"step": torch.zeros(())}})),
        rewritten(lambda state: state["progress"].update(epoch="2")),
        rewritten(lambda state: state["progress"].update(history=[{"loss": []}])),
    ],
)
def test_a_checkpoint_that_is_damaged_or_foreign_is_named(damage, learned, tmp_path):
    config, result = learned
    folder = shutil.copytree(result.folder, tmp_path / "run")
    damage(PretrainFolder(folder).checkpoint() / STATE_FILE)
    with pytest.raises(RunFolderError, match="is damaged, or not of such a run"):
        run(config, folder, resume=True)


def test_two_runs_do_not_share_a_folder(tmp_path):
    config = make_config(epochs=1)
    with (
        PretrainFolder(tmp_path / "run").lock(),
        pytest.raises(RunFolderError, match="another process is writing"),
    ):
        run(config, tmp_path / "run")


def test_a_budget_of_steps_ends_within_an_epoch(tmp_path):
    torch.manual_seed(5)
    result = run(make_config(epochs=None, max_steps=4), tmp_path / "run")
    assert [row["step"] for row in result.history] == [3, 4]
    drawn = torch.rand(3)  # torch's generator is as it was
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))


def test_a_budget_of_time_ends_in_time_with_a_rate_of_zero(tmp_path):
    config = make_config(epochs=None, max_minutes=1.5 / 60)
    result = run(config, tmp_path / "run", checkpoint_every=10**6)
    document = json.loads((tmp_path / "run" / "result.json").read_text())
    assert 1.5 <= document["seconds"] < 15.0
    assert result.history[-1]["learning_rate"] < 0.5 * config.learning_rate


def test_the_loss_that_is_no_number_is_named(tmp_path):
    split = MemorySplit()
    split.arrays["pose"][:] = float("nan")
    with pytest.raises(ValueError, match=r"nan in epoch 1, step 1 of 3.*learning rate"):
        run(make_config(objective="pose"), tmp_path / "run", split)


def test_a_source_without_what_is_read_is_refused(tmp_path):
    fabric = make_fabric(make_config(), accelerator="cpu")
    source = make_source(make_config(), MemorySplit(), fabric)
    with pytest.raises(ValueError, match="no pose, which objective pose reads"):
        pretrain(make_config(objective="pose"), source, tmp_path / "run", fabric=fabric)
    assert not (tmp_path / "run").exists()


def test_bfloat16_learns_too(tmp_path):
    result = run(make_config(precision="bf16-mixed", channels_last=True, epochs=4), tmp_path / "r")
    assert result.history[-1]["loss"] < 0.6 * result.history[0]["loss"]
    assert {value.dtype for value in result.encoder.parameters()} == {torch.float32}


def test_weights_are_saved_in_half_the_space(tmp_path):
    result = run(make_config(weights="float16", epochs=1), tmp_path / "run")
    saved = VisuotactileEncoder.from_pretrained(tmp_path / "run" / "encoder").state_dict()
    for name, value in result.encoder.state_dict().items():
        halved = value.half() if value.is_floating_point() else value
        assert torch.equal(saved[name], halved)
        assert saved[name].dtype == halved.dtype
    assert {value.dtype for value in result.encoder.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("schedule", "epoch", "fraction", "expected"),
    [
        ("constant", 3, 0.5, 1.0),
        ("exponential", 0, 0.2, 1.0),
        ("exponential", 3, 0.9, 0.125),
        ("cosine", 0, 0.1, 1.0),
        ("cosine", 0, 0.55, 0.5),
        ("cosine", 0, 1.0, 0.0),
        ("cosine", 0, 0.05, 0.5),
    ],
)
def test_the_rate_follows_the_schedule(schedule, epoch, fraction, expected):
    warmup = 0.1 if schedule == "cosine" else 0.0
    config = make_config(learning_rate=1.0, schedule=schedule, gamma=0.5, warmup=warmup)
    assert learning_rate(config, epoch, fraction) == pytest.approx(expected)


def test_sizes_and_statistics_are_the_datas():
    split = MemorySplit(size=64)
    config = fit_to_split(make_config(objective="pose"), split)
    assert {shape[1:] for shape in config.encoder.images.values()} == {(64, 64)}
    assert config.objective_options["pose"]["mean"] == pytest.approx(
        split.arrays["pose"].mean(axis=0), abs=1e-5
    )
    with pytest.raises(ValueError, match="image_size=224, but depth in the data set has 64 x 64"):
        fit_to_split(make_config(), split, image_size=224)
    split.arrays["contact"] = split.arrays["contact"][:, :1]
    with pytest.raises(ValueError, match="takes 2 channels of contact, and the data set has 1"):
        fit_to_split(make_config(), split)
    one_finger = replace(ENCODER, images=ONE_FINGER)
    split.labels, split.arrays["pose"] = ("x", "y", "angle"), split.arrays["pose"][:, :3]
    of_grasps = fit_to_split(make_config(objective="pose", encoder=one_finger), split)
    assert of_grasps.objective_options["pose"]["labels"] == ["x", "y", "angle"]
    with pytest.raises(ValueError, match=r"predicts hand_x_mm, .* poses are x, y, angle"):
        fit_to_split(replace(config, encoder=one_finger), split)


def test_classes_are_the_datas():
    split = MemorySplit()
    config = fit_to_split(make_config(), split)
    assert config.objective_options["classification"]["num_classes"] == 4
    split.codes = {"connector": ("hdmi", "usb", "aux", "pin", "stud")}
    with pytest.raises(ValueError, match="num_classes=4, and the data set has 5: hdmi"):
        fit_to_split(config, split)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"max_steps": 5}, "epochs and max_steps; set one"),
        ({"epochs": None}, "given by nothing"),
        ({"epochs": 0}, "positive"),
        ({"schedule": "step"}, "constant, exponential, cosine"),
        ({"warmup": 1.0}, "warmup"),
        ({"precision": "16"}, "32-true"),
        ({"batch_size": 0}, "batch_size"),
        ({"clip_norm": 0.0}, "clip_norm"),
    ],
)
def test_what_is_not_allowed_is_said(changes, expected):
    with pytest.raises(ValueError, match=expected):
        make_config(**changes)


def test_a_configuration_comes_back_from_json():
    config = make_config(
        objective={"masked": 1.0, "dynamics": 0.5},
        objective_options={"dynamics": {"terms": ["inverse", "contact"]}},
        augment=("noise", "crop"),
        augment_options={"crop": {"min_scale": 0.9}},
    )
    again = from_document(PretrainConfig, json.loads(json.dumps(config.as_json())))
    assert again.as_json() == config.as_json()
    assert again.keys == config.keys == ("depth", "contact", "next_depth", "next_contact", "action")
    with pytest.raises(ValueError, match="no 'epoch'; it has encoder"):
        from_document(PretrainConfig, {"epoch": 3})


@pytest.mark.slow
def test_two_processes_train_the_same_encoder(tmp_path):
    script = Path(__file__).with_name("train_in_processes.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "2"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    zero, one = (load_file(tmp_path / f"rank-{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(value, one[name]) for name, value in zero.items())
    from train_in_processes import CONFIG

    alone = run(CONFIG, tmp_path / "alone")
    together = json.loads((tmp_path / "run" / "result.json").read_text())
    assert together["row"]["loss"] == pytest.approx(alone.row["loss"], rel=1e-4)
    # Adam's first steps follow the gradient's sign, which rounding may turn where it is 0.
    for name, value in alone.encoder.state_dict().items():
        assert (zero[name] - value).abs().mean() < 1e-4


def test_batch_statistics_are_those_of_the_selected_weights(tmp_path):
    """Not running averages, which lag behind: the loss in evaluation is that in training."""
    config = make_config(learning_rate=2e-2, epochs=2)
    split = MemorySplit()
    result = run(config, tmp_path / "run", split)
    norms = [m for m in result.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and all(norm.momentum == 0.1 for norm in norms)
    images = result.encoder.preprocess(
        {key: torch.as_tensor(v) for key, v in split.read(range(len(split)), None).items()}
    )
    seen = []
    first = next(m for m in result.encoder.backbones["depth"].modules() if m in norms)
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        result.encoder.encode(images)
    mean = seen[0].mean(dim=(0, 2, 3))
    torch.testing.assert_close(first.running_mean, mean, rtol=0.0, atol=1e-4)


def test_without_checkpoints_there_is_the_result_and_every_loss_is_told(tmp_path):
    light = run(make_config(epochs=2), tmp_path / "light", checkpoint_every=None)
    assert PretrainFolder(tmp_path / "light").checkpoint() is None
    assert (tmp_path / "light" / "encoder").is_dir()
    means = [sum(light.losses[start : start + 3]) / 3 for start in (0, 3)]
    assert means == pytest.approx([row["loss"] for row in light.history])
