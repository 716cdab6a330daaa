from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from policies import cli
from policies.probing import folders_of
from representation import EncoderConfig
from representation.data.dataset import DatasetWriter
from representation.objectives.combine import build_objective
from representation.objectives.pose import POSE_LABELS
from representation.probes.embed import untrained
from representation.probes.measurements import distinct, only, select
from representation.probes.report import AuditReport
from representation.probes.tables import page
from vtenv.collection.experience import column_codes
from vtenv.json_document import from_document
from vtenv.registry import make_task

SIZE = 16
TASK = make_task("VTInsert-v0")
CONFIG = EncoderConfig(
    backbone="test_vit",
    images={"depth": (1, SIZE, SIZE), "contact": (2, SIZE, SIZE)},
    embedding_dim=8,
)
FILES = {
    *("measurements.csv", "report.json", "report.md", "tsne.csv"),
    *("audit.png", "confusion.png", "tsne.png"),
}


def rows(count: int, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    pose = generator.uniform(-1, 1, (count, len(POSE_LABELS))).astype(np.float32)
    depth = 0.35 + 0.02 * pose[:, 3, None, None, None] * np.ones((1, 1, SIZE, SIZE), np.float32)
    contact = generator.random((count, 2, SIZE, SIZE)) < (pose[:, 0, None, None, None] + 1) / 2
    columns = {
        "depth": depth.astype(np.float32),
        "contact": contact.astype(np.uint8),
        "connector": generator.integers(0, 4, count),
        "episode": np.arange(count) // 5,
        "pose": pose,
        "insertion_depth_mm": generator.uniform(-8, 4, count).astype(np.float32),
        "lateral_mm": generator.uniform(0, 4, count).astype(np.float32),
        "contact_force_n": generator.exponential(1.0, count).astype(np.float32),
    }
    near, jammed = TASK.regions(columns).values()
    return columns | {"region": near.astype(np.int64) + jammed}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "experience"
    with DatasetWriter(
        folder,
        kind="experience",
        settings={"task": TASK.env_id, "seed": 0, "clearance_mm": 0.2, "lead_in_mm": 1.0},
        labels=TASK.pose_labels,
        codes=column_codes(TASK),
        modalities=TASK.modalities,
    ) as writer:
        writer.append("train", rows(120, 0))
        writer.append("heldout", rows(60, 1))
    return folder


def save_run(folder: Path) -> None:
    """The folder that training leaves, as far as probing reads it."""
    from representation.pretraining.config import PretrainConfig
    from representation.pretraining.run_folder import PretrainFolder, TrainingData

    encoder = untrained(CONFIG, 0)
    config = PretrainConfig(encoder=CONFIG, objective="infonce")
    folder.mkdir()
    run = PretrainFolder(folder)
    run.begin(config, TrainingData(), {}, {})
    run.write_weights(encoder, build_objective("infonce", encoder), {})


def test_an_untrained_encoder_is_probed(data, tmp_path, capsys) -> None:
    output = tmp_path / "probe"
    arguments = ["probe", "random:test_vit", "--data", str(data), "--output", str(output)]
    assert cli.main([*arguments, "--rows", "100"]) == 0
    shown = capsys.readouterr().out
    for text in ("hand z mm", "Gate", "near", "fail", "pool", str(output)):
        assert text in shown
    assert all(len(line) <= 80 for line in shown.splitlines() if "│" in line)
    assert {path.name for path in output.iterdir()} == FILES
    document = json.loads((output / "report.json").read_text())
    report = from_document(AuditReport, document["audit"])
    assert report.name == "random:test_vit"
    assert report.train_rows["all"] == 100
    room = only(report.measurements, measure="capture range", variable="socket_y_mm")
    assert room.value == pytest.approx(0.2 + 1.0)
    assert set(distinct(select(report.measurements, measure="error"), "subject")) == {
        "mean",
        "encoder",
        "untrained encoder",
        "raw pixels",
    }
    assert {"command", "commit", "hardware", "versions", "data"} <= document.keys()
    assert page(report) in (output / "report.md").read_text()
    assert measured(output) == [m.value for m in report.measurements]


def measured(folder: Path) -> list[float]:
    """The values of a folder's table."""
    with (folder / "measurements.csv").open(newline="") as file:
        return [float(row["value"]) for row in csv.DictReader(file)]


def test_encoders_stand_side_by_side(data, tmp_path, capsys) -> None:
    untrained(CONFIG, 0).save_pretrained(tmp_path / "saved")
    save_run(tmp_path / "run")
    output = tmp_path / "probe"
    names = [str(tmp_path / name) for name in ("saved", "run", "run/encoder")]
    assert cli.main(["probe", *names, "--data", str(data), "--output", str(output)]) == 0
    assert "Side by side" in capsys.readouterr().out
    table = (output / "comparison.md").read_text()
    assert table.count("guessing the mean") == 1
    assert all(name in table for name in names)
    shared, values = [], []
    for folder in folders_of(output, names):
        assert {path.name for path in folder.iterdir()} == FILES
        document = json.loads((folder / "report.json").read_text())["audit"]
        shared.append(document["shared_space"])
        errors = [m for m in document["measurements"] if m["measure"] == "error"]
        assert len({m["subject"] for m in errors}) == (4 if len(shared) == 1 else 2)
        values += measured(folder)
    assert values == measured(output)
    assert shared == ["ridge map of vision to touch", "projection heads", "projection heads"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["random:test_vit", "--rows", "3"], "at least 20"),
        (["random:test_vit", "--data", "no/such/folder"], "no/such/folder"),
        (["random:tset_vit"], "did you mean"),
        (["no-such-encoder"], "unknown encoder 'no-such-encoder'"),
        (["random:test_vit", "--device", "gpu9"], "--device gpu9"),
        ([], "name one or more encoders"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(data, arguments, expected, capsys, tmp_path) -> None:
    given = ["probe", *arguments, "--output", str(tmp_path / "probe")]
    if "--data" not in arguments:
        given += ["--data", str(data)]
    assert cli.main(given) == 2
    shown = capsys.readouterr().err
    assert shown.splitlines()[-1].startswith("vtinsert probe: ")
    assert expected in shown
    assert not (tmp_path / "probe").exists()


def test_images_of_another_size_are_named_with_both_sizes(data, tmp_path, capsys) -> None:
    from dataclasses import replace

    untrained(
        replace(CONFIG, images={"depth": (1, 32, 32), "contact": (2, SIZE, SIZE)}), 0
    ).save_pretrained(tmp_path / "saved")
    assert cli.main(["probe", str(tmp_path / "saved"), "--data", str(data)]) == 2
    shown = capsys.readouterr().err.splitlines()[-1]
    assert "16, 16" in shown
    assert "32, 32" in shown


def test_data_without_labels_are_refused(tmp_path, capsys) -> None:
    with DatasetWriter(tmp_path / "bare", kind="paper", settings={}, labels=()) as writer:
        for split in ("train", "heldout"):
            columns = rows(30, 0)
            del columns["pose"]
            writer.append(split, columns)
    assert cli.main(["probe", "random:test_vit", "--data", str(tmp_path / "bare")]) == 2
    assert "no pose labels" in capsys.readouterr().err


def test_folders_of_encoders_with_one_name_differ() -> None:
    output = Path("out")
    assert folders_of(output, ["a/b"]) == [output]
    assert folders_of(output, ["a/b", "a-b", "c"]) == [
        output / "a-b-0",
        output / "a-b-1",
        output / "c",
    ]
