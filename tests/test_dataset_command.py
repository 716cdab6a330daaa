import hashlib
import subprocess
import sys
import time
from pathlib import Path

import imageio.v3
import numpy as np
import pytest

from policies import cli
from policies.commands import write_dataset as command
from policies.commands.dataset import ExperienceOptions
from policies.worlds import DEFAULT_TASK
from representation.data.dataset import Dataset, DatasetWriter
from vtenv.registry import make_task
from vtenv.tasks.insertion.regions import near_contact

SMALL = ["--image-size", "16", "--contact-size", "16"]


def digests(folder):
    shards = sorted(folder.glob("*.safetensors"))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in shards]


def experience(folder, *options):
    arguments = ["dataset", "experience", "--output", str(folder), "--frames", "600", *SMALL]
    return cli.main([*arguments, *options])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experience") / "data"
    assert experience(folder) == 0
    return folder


def test_experience_is_written_and_summarised(tmp_path, capsys):
    assert (
        experience(
            tmp_path / "data", "--heldout", "0.3", "--connectors", "pin", "--mixture", "biased=1"
        )
        == 0
    )
    captured = capsys.readouterr()
    for word in ("train", "heldout", "episodes", "near", "jammed", "preview.png"):
        assert word in captured.out
    dataset = Dataset.open(tmp_path / "data")
    dataset.verify()
    assert dataset.kind == "experience"
    assert dataset.made["commit"] and dataset.made["versions"]["mujoco"]
    assert dataset.settings["connectors"] == ["pin"]
    assert dataset.settings["mixture"]["biased"] == 1
    read = {name: s.read(np.arange(len(s))) for name, s in dataset.splits.items()}
    assert sum(len(rows["episode"]) for rows in read.values()) == 600
    assert dataset.codes["connector"] == ("pin",)
    assert all((rows["connector"] == 0).all() for rows in read.values())
    assert not set(read["train"]["episode"]) & set(read["heldout"]["episode"])
    for name, rows in read.items():
        transitions = dataset[name].transitions()
        assert (rows["action"][transitions] != 0).any(axis=-1).all()
        last = np.setdiff1d(np.arange(len(rows["episode"])), transitions)
        assert not rows["action"][last].any()
    assert imageio.v3.imread(tmp_path / "data" / "preview.png").shape[2] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_what_ends_a_program_ends_it_as_ctrl_c_does(tmp_path):
    arguments = ["dataset", "experience", *SMALL, "--frames", "1000000"]
    arguments += ["--output", str(tmp_path / "data")]
    code = "import sys; from policies.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "data" / "dataset.json").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    process.terminate()
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_the_same_seed_makes_the_same_files(made, tmp_path):
    assert experience(tmp_path / "threads", "--threads", "1") == 0
    assert digests(tmp_path / "threads") == digests(made)
    assert experience(tmp_path / "seed", "--seed", "1") == 0
    assert not set(digests(tmp_path / "seed")) & set(digests(made))


def test_interrupted_experience_goes_on_to_the_same_files(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "_PART_BYTES", 1)  # a part for each 128 steps
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert experience(whole, "--worlds", "1") == 0
    assert len(digests(whole)) == 2 * 5

    checkpoint = DatasetWriter.checkpoint

    def interrupt(writer):
        checkpoint(writer)
        if writer.completed == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "checkpoint", interrupt)
        assert experience(broken, "--worlds", "1") == 130
    assert "2 of 5 parts are kept" in capsys.readouterr().err
    assert cli.main(["dataset", "check", str(broken)]) == 2
    assert "is unfinished" in capsys.readouterr().err

    assert experience(broken, "--worlds", "1", "--clearance-mm", "0.5") == 2
    assert "settings.clearance_mm was None, and is 0.5" in capsys.readouterr().err
    assert experience(broken, "--worlds", "1") == 0
    assert "Going on after" in capsys.readouterr().err
    assert digests(broken) == digests(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "whole"]

    episodes = [
        set(split.read(np.arange(len(split)), ("episode",))["episode"])
        for split in Dataset.open(whole).splits.values()
    ]
    assert not episodes[0] & episodes[1]


def test_what_was_ended_before_its_picture_gets_it_from_the_same_command(tmp_path, monkeypatch):
    folder, arguments = tmp_path / "data", ["dataset", "paper", *SMALL, "--grasps", "8"]
    monkeypatch.setattr(sys, "argv", ["vtinsert", *arguments, "--output", str(folder)])
    with monkeypatch.context() as patch:
        patch.setattr(command, "preview", lambda dataset: exec("raise KeyboardInterrupt"))
        assert cli.main() == 130
    written = digests(folder)
    assert written and not (folder / "preview.png").exists()
    other = [*sys.argv, "--seed", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", other)
        assert cli.main() == 2
    assert cli.main() == 0
    assert (folder / "preview.png").is_file() and digests(folder) == written


@pytest.mark.parametrize("kind", ["paper", "clutter"])
def test_grasps_are_written_and_summarised(kind, tmp_path, capsys):
    arguments = ["dataset", kind, *SMALL, "--grasps", "24"]
    assert cli.main([*arguments, "--output", str(tmp_path / "a")]) == 0
    assert "preview.png" in capsys.readouterr().out
    dataset = Dataset.open(tmp_path / "a")
    dataset.verify()
    assert dataset.kind == kind
    assert dataset.labels == ("grasp_x_mm", "grasp_y_mm", "grasp_angle_deg")
    train, heldout = (
        split.read(np.arange(len(split)))
        for split in map(dataset.__getitem__, ("train", "heldout"))
    )
    assert (len(train["pose"]), len(heldout["pose"])) == (24, 8)
    assert np.bincount(train["connector"]).tolist() == [6] * 4
    assert train["contact"].shape[1:] == (2, 16, 16)
    poses = [
        {(c, *pose) for c, pose in zip(rows["connector"], rows["pose"].tolist(), strict=True)}
        for rows in (train, heldout)
    ]
    assert not poses[0] & poses[1]


def test_what_is_there_is_shown_and_checked(made, tmp_path, capsys):
    assert cli.main(["dataset", "check", str(made)]) == 0
    captured = capsys.readouterr()
    assert "is what was written" in captured.out
    split = Dataset.open(made)["train"]
    rows = split.read(np.arange(len(split)), ("insertion_depth_mm", "lateral_mm"))
    assert f"{near_contact(**rows).mean():.1%}" in captured.out
    assert cli.main(["dataset", "check", str(tmp_path)]) == 2
    assert "holds no dataset.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["experience", "--image-size", "4"], "8 to 512"),
        (["experience", "--clearance-mm", "9"], "0.03 to 2"),
        (["experience", "--connectors", "hdmi"], "aux, pin"),
        (["experience", "--mixture", "expert=much"], "expert=0.5"),
        (["experience", "--mixture", "sleep=1"], "it has expert"),
        (["experience", "--device", "cuda:0"], "engine='warp'"),
        (["paper", "--image-size", "4"], "8 to 512"),
        (["paper", "--grasps", "5"], "from 4 up"),
        (["clutter", "--objects", "99"], "0 to 6"),
    ],
)
def test_what_is_not_allowed_is_said_in_one_line(arguments, expected, tmp_path, capsys):
    output = tmp_path / "data"
    assert cli.main(["dataset", *arguments, "--output", str(output)]) == 2
    captured = capsys.readouterr()
    assert captured.err.strip().splitlines()[-1].startswith("vtinsert dataset: ")
    assert expected in captured.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["experience", "--frames", "0"], "at least 1"),
        (["experience", "--worlds", "0"], "at least 1"),
        (["experience", "--threads", "0"], "at least 1"),
        (["experience", "--heldout", "0.9"], "from 0 to 0.5"),
        (["experience", "--color", "red"], "--color"),
        (["paper", "--seed", "-1"], "at least 0"),
        (["clutter", "--threads", "0"], "at least 1"),
        (["clutter", "--objects", "0"], "at least 1"),
    ],
)
def test_options_that_are_not_allowed_are_refused_by_the_parser(arguments, expected, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["dataset", *arguments])
    assert exit_.value.code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["paper", "experience"])
def test_a_folder_in_the_way_and_a_full_disk(kind, tmp_path, capsys, monkeypatch):
    arguments = ["dataset", kind, *SMALL, "--output"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("all of it")
    assert cli.main([*arguments, str(tmp_path / "full")]) == 2
    assert "not empty" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert cli.main([*arguments, str(tmp_path / "file")]) == 2
    assert "in the way" in capsys.readouterr().err
    assert cli.main([*arguments, str(tmp_path / "file" / "inner")]) == 2
    assert "cannot write" in capsys.readouterr().err

    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    size = ["--frames", "64"] if kind == "experience" else ["--grasps", "8"]
    assert cli.main([*arguments, str(tmp_path / "data"), *size]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_a_mount_point_is_filled_in_place_and_a_full_one_is_left_empty(volume, capsys):
    arguments = ["dataset", "paper", "--output", str(volume), "--threads", "1"]
    assert cli.main([*arguments, "--grasps", "64"]) == 2
    assert f"cannot write {volume}: No space left on device" in capsys.readouterr().err
    assert not list(volume.iterdir())
    assert cli.main([*arguments, *SMALL, "--grasps", "8"]) == 0
    Dataset.open(volume).verify()


@pytest.mark.parametrize("frames", [1, 100, 5_000, 200_000, 20_000_000])
@pytest.mark.parametrize("size", [16, 64, 224])
@pytest.mark.parametrize("worlds", [None, 1, 4096])
def test_every_world_plays_whole_episodes_in_every_part(frames, size, worlds):
    options = ExperienceOptions(frames=frames, worlds=worlds)
    task = make_task(DEFAULT_TASK, image_size=size, contact_size=size)
    plan = command._Plan.of(options, task)
    total = plan.parts * plan.worlds * plan.steps
    assert frames <= total <= frames + plan.parts * plan.worlds
    assert plan.steps >= min(frames, 64)
    assert plan.worlds <= (worlds or 64)
