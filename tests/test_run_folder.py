"""The folder of a run, atomic writes and JSON documents."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from vtenv.atomic_write import atomic_folder, restore_folder
from vtenv.json_document import from_document, read_json
from vtenv.run_folder import RunFolder, RunFolderError


def run_folder(path: Path) -> RunFolder:
    return RunFolder(path, format="test", version=1, kind="a test")


def test_a_run_folder_keeps_what_it_is_given(tmp_path):
    run = run_folder(tmp_path / "run")
    run.require_new()
    with run.lock():
        run.write_config({"seed": 3})
        with run.new_checkpoint(5) as folder:
            (folder / "state").write_text("five")
        with run.new_checkpoint(10) as folder:
            (folder / "state").write_text("ten")
        run.write_table("metrics", [{"loss": 1.0}, {"loss": 0.5, "accuracy": 1.0}])
    assert run.read_config() == {"seed": 3}
    assert [path.name for path in run.checkpoints.iterdir()] == ["000000000010"]
    checkpoint = run.checkpoint()
    assert checkpoint is not None and (checkpoint / "state").read_text() == "ten"
    assert (run.path / "metrics.csv").read_text() == "loss,accuracy\n1.0,\n0.5,1.0\n"
    assert run.read_result() is None
    run.write_result({"epoch": 2})
    assert run.read_result() == {"epoch": 2}
    with pytest.raises(RunFolderError, match="there already"):
        run.require_new()
    run.drop_checkpoints()
    assert run.checkpoint() is None


def test_a_failed_checkpoint_leaves_the_one_before(tmp_path):
    run = run_folder(tmp_path)
    with run.new_checkpoint(1):
        pass
    with pytest.raises(OSError, match="disk"), run.new_checkpoint(2) as folder:
        (folder / "half").touch()
        raise OSError("disk")
    assert [path.name for path in run.checkpoints.iterdir()] == ["000000000001"]


def test_one_process_writes_a_run_folder(tmp_path):
    script = (
        "import sys; from pathlib import Path; from vtenv.run_folder import *\n"
        "run = RunFolder(sys.argv[1], format='test', version=1, kind='a test')\n"
        "try:\n    with run.lock(): ...\n"
        "except RunFolderError as error: print(error)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "run")]
    with run_folder(tmp_path / "run").lock():
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "another process is writing" in printed
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""
    assert not (tmp_path / "run").exists()  # nothing began


@pytest.mark.parametrize("moment", ["before", "between"])
def test_a_folder_whose_writer_was_killed_is_the_old_one(moment, tmp_path):
    path = tmp_path / "encoder"
    with atomic_folder(path) as folder:
        (folder / "weights").write_text("old")
    (tmp_path / ".encoder.vtinsert-writing").mkdir()
    (tmp_path / ".encoder-writing").mkdir()  # somebody else's
    if moment == "between":
        path.rename(tmp_path / ".encoder.vtinsert-replaced")
    restore_folder(path)
    assert (path / "weights").read_text() == "old"
    with atomic_folder(path) as folder:
        (folder / "weights").write_text("new")
    assert (path / "weights").read_text() == "new"
    assert sorted(tmp_path.iterdir()) == [tmp_path / ".encoder-writing", path]


def test_a_power_cut_takes_no_checkpoint(tmp_path, monkeypatch):
    """The new one is on the disk before it takes its name, and that before the old one goes."""
    run = run_folder(tmp_path / "run")
    with run.lock(), run.new_checkpoint(1):
        pass
    events = []
    names = {}
    rename, remove, synced = os.replace, shutil.rmtree, os.fsync

    def record(name, call):
        def recorded(first, *others, **options):
            path = os.readlink(f"/proc/self/fd/{first}") if name == "sync" else str(first)
            events.append((name, Path(names.get(path, path)).name))
            return call(first, *others, **options)

        return recorded

    with run.new_checkpoint(2) as folder:
        names[str(folder)] = "new"
        (folder / "state").write_text("two")
        for module, attribute, name, call in (
            (os, "replace", "rename", rename),
            (shutil, "rmtree", "remove", remove),
            (os, "fsync", "sync", synced),
        ):
            monkeypatch.setattr(module, attribute, record(name, call))
    order = [("sync", "state"), ("sync", "new"), ("rename", "new"), ("sync", "checkpoints")]
    steps = [events.index(event) for event in [*order, ("remove", "000000000001")]]
    assert steps == sorted(steps)


@pytest.mark.parametrize("begins", [False, True])
def test_a_folder_that_was_there_is_written_in_place(begins, tmp_path):
    """A container's volume can be neither renamed nor removed."""
    folder = tmp_path / "volume"
    folder.mkdir()
    before = folder.stat().st_ino
    run = run_folder(folder)
    run.require_new()
    with run.lock():
        if begins:
            run.write_config({})
    assert folder.stat().st_ino == before
    assert run.begun == begins


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_signals_are_requests_and_what_is_ignored_stays_so():
    code = """
import os, signal
from vtenv.interruption import Interruption
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
with Interruption() as interruption:
    os.kill(os.getpid(), signal.SIGHUP)
    assert not interruption.requested
    os.kill(os.getpid(), signal.SIGTERM)
    assert interruption.requested and not interruption.insisted
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        print("insisted", interruption.insisted)
assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["insisted", "True"]
    assert (done.returncode, done.stderr.strip()) == (0, "Stopping; once more to stop at once")


@dataclass(frozen=True)
class Inner:
    sizes: tuple[int, int] = (1, 2)
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Outer:
    rate: float
    kind: Literal["a", "b"] = "a"
    inner: Inner = field(default_factory=Inner)
    options: Mapping[str, float | None] = field(default_factory=dict)


def test_a_dataclass_comes_back_from_its_document():
    document = {"rate": 1, "inner": {"sizes": [3, 4], "names": ["x"]}, "options": {"k": None}}
    expected = Outer(1.0, inner=Inner((3, 4), ("x",)), options={"k": None})
    assert from_document(Outer, document) == expected


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "Outer lacks rate"),
        ([1], "object with its fields"),
        ({"rate": "1"}, "rate must be a number"),
        ({"rate": True}, "rate must be a number"),
        ({"rate": 10**9999}, "too large to show"),
        ({"rate": 1, "rates": 2}, "Outer has no 'rates'"),
        ({"rate": 1, "x" * 5000: 2}, r"Outer has no 'x{196}\.\.\.;"),
        ({"rate": 1, "kind": "c"}, "one of a, b"),
        ({"rate": 1, "kind": ["a"]}, "one of a, b"),
        ({"rate": 1, "inner": {"sizes": [1, 2, 3]}}, "a list of 2"),
        ({"rate": 1, "inner": {"sizes": [1, 10**30]}}, "64 bits"),
        ({"rate": 1, "inner": {"names": "text"}}, "a list"),
        ({"rate": 1, "options": {"k": "v"}}, r"options\.k must be null"),
    ],
)
def test_a_document_of_other_types_is_refused(document, message):
    with pytest.raises(ValueError, match=message):
        from_document(Outer, document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "not JSON"),
        ('{"format": ' + "1" * 10_000 + "}", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"format": "other"}', 'no "format": "test"'),
        ('{"format": "test", "version": "' + "9" * 5000 + '"}', "version"),
        ("\xff", "not JSON"),
    ],
)
def test_a_hostile_document_is_refused(text, message, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(RunFolderError, match=message) as refused:
        run_folder(tmp_path).read_config()
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("name", ["missing.json", "n" * 5000])
def test_a_document_that_cannot_be_opened_is_named(name, tmp_path):
    with pytest.raises(RunFolderError, match="cannot read"):
        read_json(tmp_path / name, "a test", "test", 1, RunFolderError, again="-")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_in_place_of_a_document_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunFolderError, match="is no file"):
        read_json(tmp_path / "pipe", "a test", "test", 1, RunFolderError, again="-")
