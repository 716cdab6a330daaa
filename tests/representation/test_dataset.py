import hashlib
import json
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file

from representation.data.columns import LARGEST, Column
from representation.data.dataset import MANIFEST_FILE, Dataset, DatasetError, DatasetWriter
from vtenv.modalities import IMAGE_MODALITIES, Modality

LABELS = ("x_mm", "angle_deg")
PLAN = {"kind": "paper", "settings": {}, "labels": LABELS, "modalities": IMAGE_MODALITIES}
STEP = IMAGE_MODALITIES["depth"].storage


def rows(number, seed=0, size=6):
    rng = np.random.default_rng(seed)
    return {
        "depth": rng.uniform(0, 0.6, (number, 1, size, size)).astype(np.float32),
        "contact": rng.integers(0, 2, (number, 2, size - 1, size - 1), np.uint8),
        "connector": rng.integers(0, 4, number),
        "episode": np.arange(number) // 4,
        "pose": rng.normal(size=(number, 2)).astype(np.float32),
    }


def write(folder, train=None, heldout=None, **arguments):
    arguments = PLAN | {"settings": {"seed": 1}} | arguments
    with DatasetWriter(folder, **arguments) as writer:
        writer.append("train", train or rows(10))
        writer.append("heldout", heldout or rows(3, seed=1))
    return folder


def digests(folder):
    shards = sorted(folder.glob("*.safetensors"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards}


def test_what_is_written_is_read_back(tmp_path):
    train, heldout = rows(10), rows(3, seed=1)
    folder = write(tmp_path / "new" / "data", train, heldout, made={"command": "a test"})
    dataset = Dataset.open(folder)
    assert (dataset.kind, dataset.labels, dataset.settings) == ("paper", LABELS, {"seed": 1})
    assert dataset.made["command"] == "a test"
    assert dataset.made["date"].endswith("+00:00")
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 10,
        "heldout": 3,
    }
    for written, split in ((train, dataset["train"]), (heldout, dataset["heldout"])):
        assert split.columns == tuple(written)
        read = split.read(np.arange(len(split)))
        for name, values in written.items():
            assert read[name].dtype == values.dtype
            tolerance = 5.1e-6 if name == "depth" else 0
            np.testing.assert_allclose(read[name], values, rtol=0, atol=tolerance)
    dataset.verify()
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]


def test_depth_takes_two_bytes_and_a_mask_pixel_a_bit(tmp_path):
    folder = write(tmp_path / "data", rows(8, size=9), rows(1, size=9))
    stored = load_file(folder / "train-00000.safetensors")
    assert (stored["depth"].dtype, stored["depth"].shape) == (np.uint16, (8, 1, 9, 9))
    assert (stored["contact"].dtype, stored["contact"].shape) == (np.uint8, (8, 16))


@settings(max_examples=50)
@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=4), elements=st.integers(0, 1)),
    st.floats(0, float(np.float32(LARGEST * STEP)), width=32),
)
def test_encodings_are_inverted(mask, depth):
    column = Column.of(mask, "bits")
    assert np.array_equal(column.decode(column.encode("contact", mask)), mask)
    image = np.full((1, 1, 2, 2), depth, np.float32)
    column = Column.of(image, STEP)
    once = column.decode(column.encode("depth", image))
    assert np.abs(once - image).max() <= 5.1e-6
    assert np.array_equal(column.decode(column.encode("depth", once)), once)


@pytest.mark.parametrize("columns", [None, ("pose",), ("contact", "depth")])
def test_rows_are_read_in_the_order_asked_for(columns, tmp_path):
    written = rows(50)
    dataset = Dataset.open(write(tmp_path / "data", written, shard_bytes=900))
    split = dataset["train"]
    assert len(split.shards) > 5
    index = np.random.default_rng(0).integers(0, 50, 200)
    read = split.read(index, columns)
    assert tuple(read) == (columns or tuple(written))
    for name, values in read.items():
        np.testing.assert_allclose(values, written[name][index], atol=5.1e-6)
    assert len(split.read([], columns)["contact" if columns != ("pose",) else "pose"]) == 0


def test_shards_do_not_depend_on_how_rows_are_appended(tmp_path):
    written = rows(40)
    folders = []
    for number, size in enumerate((40, 7, 1)):
        folders.append(tmp_path / str(number))
        with DatasetWriter(folders[-1], **PLAN, shard_bytes=1000) as writer:
            for first in range(0, 40, size):
                part = {name: values[first : first + size] for name, values in written.items()}
                writer.append("train", part)
    assert digests(folders[0]) == digests(folders[1]) == digests(folders[2])
    prints = {Dataset.open(folder).fingerprint for folder in folders}
    assert len(prints) == 1
    assert Dataset.open(write(tmp_path / "other")).fingerprint not in prints


def test_what_is_appended_may_change_afterwards(tmp_path):
    written = rows(10)
    before = {name: values.copy() for name, values in written.items()}
    with DatasetWriter(tmp_path / "data", **PLAN) as writer:
        writer.append("train", written)
        for values in written.values():
            values[:] = 0
    read = Dataset.open(tmp_path / "data")["train"].read(np.arange(10))
    assert np.array_equal(read["pose"], before["pose"])
    assert np.array_equal(read["episode"], before["episode"])


def test_many_threads_and_processes_may_read(tmp_path):
    written = rows(200)
    split = Dataset.open(write(tmp_path / "data", written, shard_bytes=900))["train"]
    split = pickle.loads(pickle.dumps(split))
    index = [np.random.default_rng(n).integers(0, 200, 64) for n in range(40)]
    with ThreadPoolExecutor(8) as threads:
        for chosen, read in zip(index, threads.map(split.read, index), strict=True):
            assert np.array_equal(read["pose"], written["pose"][chosen])
            assert np.array_equal(read["contact"], written["contact"][chosen])


def test_transitions_stay_within_episodes(tmp_path):
    written = rows(40)
    written["episode"] = np.repeat([5, 3, 9, 2], [10, 1, 20, 9])
    dataset = Dataset.open(write(tmp_path / "data", written, shard_bytes=900))
    expected = [*range(9), *range(11, 30), *range(31, 39)]
    assert dataset["train"].transitions().tolist() == expected


def test_without_episodes_there_are_no_transitions(tmp_path):
    some = {name: values for name, values in rows(4).items() if name != "episode"}
    dataset = Dataset.open(write(tmp_path / "data", some, some))
    with pytest.raises(DatasetError, match="no column 'episode'"):
        dataset["train"].transitions()


@pytest.mark.parametrize("index", [[10], [-1], [0.5], [[1]]])
def test_rows_that_there_are_not(index, tmp_path):
    split = Dataset.open(write(tmp_path / "data"))["train"]
    with pytest.raises(IndexError, match="rows"):
        split.read(np.array(index))


def test_names_that_there_are_not(tmp_path):
    dataset = Dataset.open(write(tmp_path / "data"))
    with pytest.raises(DatasetError, match="no split 'test'; it has train, heldout"):
        dataset["test"]
    with pytest.raises(DatasetError, match="no column 'deep'; there are depth, contact"):
        dataset["train"].read([0], ("deep",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pose": np.zeros((10, 3), np.float32)}, "3.* columns for 2 labels"),
        ({"pose": np.full((10, 2), np.nan, np.float32)}, "'pose' holds values that are not finite"),
        ({"depth": np.full((10, 1, 2, 2), 0.7, np.float32)}, "stored from 0 to 0.65535"),
        ({"depth": np.full((10, 1, 2, 2), -0.1, np.float32)}, "reaches from -0.1"),
        ({"depth": np.zeros((10, 1, 2, 2))}, "stored in steps is float32"),
        (
            {"contact": np.full((10, 2, 4, 4), 255, np.uint8)},
            "stored as bits: uint8 or bool",
        ),
        ({"contact": np.zeros((10, 2, 4, 4))}, "stored as bits: uint8 or bool"),
        ({"connector": np.zeros(9, np.int64)}, "different numbers of rows"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "data", rows(10) | change)
    assert not list(tmp_path.iterdir())


def test_columns_keep_their_form(tmp_path):
    with pytest.raises(ValueError, match=r"column 'depth' is float32 \[1, 6, 6\] a row"):
        write(tmp_path / "data", heldout=rows(3, size=8))
    some = rows(3)
    del some["connector"]
    with pytest.raises(ValueError, match="the data set's are depth, contact, connector"):
        write(tmp_path / "data", heldout=some)
    assert not list(tmp_path.iterdir())


def test_settings_must_be_json(tmp_path):
    with pytest.raises(ValueError, match="must be what JSON can hold"):
        write(tmp_path / "data", settings={"path": tmp_path})


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("there", [False, True])
def test_an_error_leaves_nothing(error, there, tmp_path):
    folder = tmp_path / "data"
    if there:
        folder.mkdir()
    with (
        pytest.raises(error),
        DatasetWriter(folder, shard_bytes=1, **PLAN) as writer,
    ):
        writer.append("train", rows(10))
        assert list(folder.glob("*.safetensors"))
        raise error
    assert list(tmp_path.rglob("*")) == ([folder] if there else [])


def test_nothing_written_is_an_error(tmp_path):
    with (
        pytest.raises(DatasetError, match="no rows"),
        DatasetWriter(tmp_path / "data", **PLAN),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_way(tmp_path):
    empty, full, file = tmp_path / "empty", tmp_path / "full", tmp_path / "file"
    empty.mkdir()
    Dataset.open(write(empty))
    full.mkdir()
    (full / "thesis.tex").write_text("all of it")
    with pytest.raises(DatasetError, match="not empty; choose another folder, or delete it"):
        write(full)
    file.write_text("")
    with pytest.raises(DatasetError, match="in the way"):
        write(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "full"]


def resumable(folder, parts, stop_after=None, **settings):
    """Write parts, each of its own seed, and stop as if the power had failed."""
    with DatasetWriter(folder, **PLAN | {"settings": settings}, shard_bytes=900) as writer:
        begun = writer.completed
        for part in range(begun, parts):
            writer.append("train", rows(20, seed=part))
            writer.append("heldout", rows(2, seed=100 + part))
            if stop_after == part:
                raise KeyboardInterrupt
            writer.checkpoint()
    return begun


def test_an_interrupted_run_goes_on_to_the_same_result(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert resumable(whole, 5) == 0
    for stop in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            resumable(broken, 5, stop_after=stop)
        with pytest.raises(DatasetError, match="is unfinished"):
            Dataset.open(broken)
    (broken / "train-00099.safetensors").write_text("half a shard")
    assert resumable(broken, 5) == 3
    assert digests(whole) == digests(broken)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "whole"]
    assert sorted(p.name for p in whole.iterdir()) == sorted(p.name for p in broken.iterdir())
    Dataset.open(broken).verify()


def test_another_plan_does_not_go_on(tmp_path):
    folder = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        resumable(folder, 5, stop_after=1, scene={"clearance_mm": 0.4})
    with pytest.raises(
        DatasetError, match=r"settings.scene.clearance_mm was 0.4, and is 0.3.*delete"
    ):
        resumable(folder, 5, scene={"clearance_mm": 0.3})
    assert resumable(folder, 5, scene={"clearance_mm": 0.4}) == 1


def test_a_damaged_part_is_found_when_going_on(tmp_path):
    folder = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        resumable(folder, 5, stop_after=1)
    shard = folder / "train-00000.safetensors"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    with pytest.raises(DatasetError, match=r"train-00000.safetensors has \d+ bytes"):
        resumable(folder, 5)
    shard.write_bytes(data)
    (folder / MANIFEST_FILE).write_text("{}")
    with pytest.raises(DatasetError, match=r"dataset.json is not the manifest"):
        resumable(folder, 5)


def test_two_may_not_write_the_same(tmp_path):
    with DatasetWriter(tmp_path / "data", **PLAN) as writer:
        with (
            pytest.raises(DatasetError, match="another process is writing"),
            DatasetWriter(tmp_path / "data", **PLAN),
        ):
            pass
        writer.append("train", rows(3))
    assert len(Dataset.open(tmp_path / "data")["train"]) == 3


def test_a_column_is_stored_as_its_modality_says(tmp_path):
    pressure = Modality("pressure", "Pressure", "kPa", (2,), 0.0, 600.0, storage=0.01)
    touched = Modality("touched", "Touched", "1", (3,), 0, 1, "bool", storage="bits")
    records = {record.key: record for record in (pressure, touched)}
    rng = np.random.default_rng(0)
    rows = {
        "pressure": rng.uniform(0, 600, (4, 2)).astype(np.float32),
        "touched": rng.integers(0, 2, (4, 3)).astype(bool),
        "depth": rng.normal(size=(4, 1)).astype(np.float32),  # a name without a record here
    }
    codes = {"connector": ("hdmi", "usb")}
    with DatasetWriter(tmp_path / "data", **PLAN | {"modalities": records}, codes=codes) as writer:
        writer.append("train", rows)
    stored = load_file(tmp_path / "data" / "train-00000.safetensors")
    assert {name: value.dtype.name for name, value in stored.items()} == {
        "pressure": "uint16",
        "touched": "uint8",
        "depth": "float32",
    }
    dataset = Dataset.open(tmp_path / "data")
    read = dataset["train"].read(np.arange(4))
    np.testing.assert_allclose(read["pressure"], rows["pressure"], atol=0.0051)
    assert np.array_equal(read["touched"], rows["touched"]) and read["touched"].dtype == bool
    assert np.array_equal(read["depth"], rows["depth"])
    assert dataset.codes == codes


WRITE_PARTS = """
import os, signal, sys
from pathlib import Path
import numpy as np
from representation.data.dataset import DatasetWriter
folder, kill_after = Path(sys.argv[1]), int(sys.argv[2])
with DatasetWriter(folder, kind="test", settings={}, labels=()) as writer:
    for part in range(writer.completed, 3):
        writer.append("train", {"value": np.full(5, part)})
        writer.checkpoint()
        if part == kill_after:
            writer.append("train", {"value": np.full(5, 99)})
            writer._write_shards("train", rest=True)
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("kill_after", "there"), [(0, False), (1, True)])
def test_a_killed_writer_goes_on_to_the_same_data_set(kill_after, there, tmp_path):
    folder = tmp_path / "data"
    if there:
        folder.mkdir()
    command = [sys.executable, "-c", WRITE_PARTS, str(folder)]
    assert subprocess.run([*command, str(kill_after)]).returncode == -signal.SIGKILL
    with pytest.raises(DatasetError):
        Dataset.open(folder)
    subprocess.run([*command, "-1"], check=True)
    values = Dataset.open(folder)["train"].read(np.arange(15))["value"]
    assert values.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    names = ["dataset.json", *(f"train-0000{part}.safetensors" for part in range(3))]
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == names
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["thesis.tex", "train-00000.safetensors"])
def test_a_foreign_folder_is_left_alone(name, tmp_path):
    foreign = tmp_path / "data" / name
    foreign.parent.mkdir()
    foreign.write_text("all of it")
    with pytest.raises(DatasetError, match="not empty"):
        write(tmp_path / "data")
    assert foreign.read_text() == "all of it"


def test_a_foreign_file_in_an_unfinished_data_set_is_left_alone(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        resumable(tmp_path / "data", 5, stop_after=1)
    foreign = tmp_path / "data" / "thesis.tex"
    foreign.write_text("all of it")
    with pytest.raises(DatasetError, match=r"thesis.tex is in the way"):
        resumable(tmp_path / "data", 5)
    assert foreign.read_text() == "all of it"


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"depth": {"dtype": "U16", "shape": [10, 1, 6, 6], "data_offsets": [0, "720"]}}',
        b'{"depth": {"dtype": "U16", "shape": [10, 1, 6, 6], "data_offsets": [-720, 0]}}',
        b'{"depth": 1' + b"0" * 9999 + b"}",
        b"3",
    ],
)
def test_a_hostile_header_is_refused(header, tmp_path):
    folder = write(tmp_path / "data")
    shard = folder / "train-00000.safetensors"
    data = len(header).to_bytes(8, "little") + header + bytes(720)
    shard.write_bytes(data)
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["splits"]["train"][0]["bytes"] = len(data)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match=r"train-00000.safetensors"):
        Dataset.open(folder)


@pytest.mark.parametrize("name", ["n" * 5000, "~nosuchuser/data"])
def test_a_folder_whose_name_cannot_be_is_refused(name):
    with pytest.raises(DatasetError):
        Dataset.open(name)


def changed(document, **fields):
    return json.dumps(document | fields)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: "{", "dataset.json is not JSON"),
        (lambda d: "[]", "not a JSON object"),
        (lambda d: "[" * 100_000, "not JSON"),
        (lambda d: json.dumps(d).replace('"rows": 10', '"rows": 1' + "0" * 9999), "not JSON"),
        (lambda d: changed(d, kind=7), "kind must be text"),
        (lambda d: changed(d, labels="xy"), "labels must be a list"),
        (lambda d: changed(d, codes={"connector": [1]}), "must be text"),
        (lambda d: changed(d, splits={"s" * 5000: 3}), "dataset.json is damaged"),
        (lambda d: json.dumps(d).replace("[2, 5, 5]", "[2, 5, -5]"), "sides of 0 or more"),
        (lambda d: json.dumps(d).replace('"train-0', '"' + "t" * 5000 + "-0"), "shard of the"),
        (lambda d: changed(d, format="other"), "is not the manifest of a VTInsert data set"),
        (lambda d: changed(d, version=1), "has version 1, and this VTInsert reads version 2"),
        (lambda d: changed(d, columns={"depth": {}}), "dataset.json is damaged"),
        (lambda d: changed(d, splits={"train": [{"file": "a"}]}), "dataset.json is damaged"),
        (lambda d: json.dumps(d).replace("train-0", "../train-0"), "must be a shard of the folder"),
        (lambda d: json.dumps(d).replace('"bits"', '"bats"'), "storage must be"),
        (lambda d: json.dumps(d).replace('"float32"', '"float33"'), "dtype must be one of bool"),
        (lambda d: json.dumps(d).replace("[2, 5, 5]", "[2, 9, 9]"), "does not fit dataset.json"),
        (lambda d: json.dumps(d).replace('"rows": 10', '"rows": 9'), "does not fit dataset.json"),
    ],
)
def test_a_manifest_that_is_not_one(damage, message, tmp_path):
    path = write(tmp_path / "data") / MANIFEST_FILE
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(DatasetError, match=message):
        Dataset.open(tmp_path / "data")


def test_files_that_are_missing_or_damaged(tmp_path):
    with pytest.raises(DatasetError, match=r"there is no .*; a data set's folder is what"):
        Dataset.open(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"holds no dataset.json"):
        Dataset.open(tmp_path)
    folder = write(tmp_path / "data")
    shard = folder / "train-00000.safetensors"
    data = shard.read_bytes()

    shard.write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match=r"train-00000.safetensors has .* truncated"):
        Dataset.open(folder)
    shard.write_bytes(bytes(len(data)))
    with pytest.raises(DatasetError, match="not a safetensors file, or damaged"):
        Dataset.open(folder)
    shard.write_bytes(b"\xff" * len(data))
    with pytest.raises(DatasetError, match="not a safetensors file, or damaged"):
        Dataset.open(folder)
    shard.unlink()
    with pytest.raises(DatasetError, match=r"there is no train-00000.safetensors.*copy"):
        Dataset.open(folder)

    flipped = bytearray(data)
    flipped[-1] ^= 1
    shard.write_bytes(flipped)
    with pytest.raises(DatasetError, match=r"train-00000.safetensors is not what was written"):
        Dataset.open(folder).verify()
    shard.write_bytes(data)
    Dataset.open(folder).verify()
